"""Owns the limits of a lane."""

from msgspec import Struct


class LaneLimits(Struct, frozen=True, kw_only=True):
    """How much a lane takes on.

    Attributes:
        capacity: requests that may wait or be under way; more are refused with LANE_FULL.
        capacity_bytes: the same in bytes of requests, so that few large ones fill a lane too.
        batch_size: requests that are decided in one go; a commit takes up to twice as many.
        batch_bytes: the same in bytes, of requests and of the records that come of them.
        group_size: requests from which on a commit begins without waiting for more.
        ahead_size: waiting requests from which on the lane decides what can't be written yet.
        expiry_size: holds that are expired in one go. An outage may leave hundreds of thousands due on one
            account, and all others in the process wait while they are.
        cache_size: entries of each kind that the working set keeps; up to twice as many in between.
        working_set_bytes: the approximate memory of all lanes of the process together.
        patience_seconds: how long work without a deadline waits for an unavailable database.
        slow_seconds: a batch that took so long is logged.
    """

    capacity: int = 8_192
    capacity_bytes: int = 32 * 1024 * 1024
    batch_size: int = 1_000
    batch_bytes: int = 4 * 1024 * 1024
    group_size: int = 160
    ahead_size: int = 32
    expiry_size: int = 1_000
    cache_size: int = 10_000
    working_set_bytes: int = 256 * 1024 * 1024
    patience_seconds: float = 10.0
    slow_seconds: float = 1.0
