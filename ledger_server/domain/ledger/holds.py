"""Owns holds and their life: OPEN, then CAPTURED, RELEASED or EXPIRED."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.code import Code
from ledger_server.domain.errors import (
    CaptureExceedsHold,
    ExpireTimeNotLater,
    HoldAlreadyCaptured,
    HoldAlreadyReleased,
    HoldExpired,
    Rejected,
)
from ledger_server.domain.ledger.transactions import TransactionType

PAYMENT_OWNER: Final = "defter_payment_id"
"""The key in a hold's metadata that names the payment it belongs to."""


MAX_TIME_TO_LIVE: Final = timedelta(days=36_500)
"""A hundred years: longer than any hold is meant to live, and far from the last time that there is."""

Expiry = datetime | timedelta
"""When a hold ends: at an instant, or a time to live after the decision."""


class HoldState(Code):
    """Where a hold stands."""

    OPEN = 1
    CAPTURED = 2
    RELEASED = 3
    EXPIRED = 4


class Hold(Struct, frozen=True, kw_only=True):
    """A pending transaction between two accounts. Amounts in minor units.

    Its number is the sequence of the record that placed it.
    """

    number: int
    debit_account_id: str
    credit_account_id: str
    currency: str
    amount: int
    captured: int
    released: int
    state: HoldState
    expire_time: datetime | None
    type: TransactionType
    reference: str
    metadata: Mapping[str, str]
    place_time: datetime
    end_time: datetime | None
    limit_breached: bool

    @property
    def remaining(self) -> int:
        """What is still held, minor units."""
        return self.amount - self.captured - self.released

    @property
    def owner(self) -> str:
        """The payment that the hold belongs to, if any; then only that payment may change the hold."""
        return self.metadata.get(PAYMENT_OWNER, "")

    @property
    def expects_without_end(self) -> bool:
        """Whether the hold belongs to a deposit that was begun before the holds of deposits had an end.

        Releasing such a hold has the effect of an expiry: what the provider captures later is posted in full.
        """
        return bool(self.owner) and self.type is TransactionType.DEPOSIT and self.expire_time is None

    def due(self, now: datetime) -> bool:
        """Whether the hold's expire time has come, even if the expiry is not recorded yet."""
        return self.state is HoldState.OPEN and self.expire_time is not None and now >= self.expire_time


_ENDED: Final[Mapping[HoldState, type[Rejected]]] = {
    HoldState.CAPTURED: HoldAlreadyCaptured,
    HoldState.RELEASED: HoldAlreadyReleased,
}


def check_open(hold: Hold, *, hold_id: str, now: datetime) -> None:
    """Refuse a step on a hold that has ended.

    Raises:
        HoldAlreadyCaptured, HoldAlreadyReleased: it ended by a call.
        HoldExpired: now ≥ expire_time, whether or not the sweeper has come by. Retrying can't help.
    """
    ended = _ENDED.get(hold.state)
    if ended is not None:
        raise ended(hold_id=hold_id)
    if hold.state is HoldState.EXPIRED or hold.due(now):
        expire_time = hold.expire_time.isoformat() if hold.expire_time else ""
        raise HoldExpired(hold_id=hold_id, expire_time=expire_time)


def capture(hold: Hold, *, hold_id: str, amount: int | None, final: bool, now: datetime) -> Hold:
    """Turn all or part of an open hold into posted money.

    Args:
        amount: in the hold's currency, 1 ≤ amount ≤ what is still held; None for all of it.
        final: whether the rest is released in the same commit.
    Returns:
        The hold afterwards; `captured` and `released` tell by how much it changed.
    Raises:
        CaptureExceedsHold: and the reasons of `check_open`; nothing was changed.
    """
    check_open(hold, hold_id=hold_id, now=now)
    taken = hold.remaining if amount is None else amount
    if taken > hold.remaining:
        raise CaptureExceedsHold(hold_id=hold_id, amount_minor=taken, remaining_minor=hold.remaining)
    rest = hold.remaining - taken
    ended = final or rest == 0
    return replace(
        hold,
        captured=hold.captured + taken,
        released=hold.released + (rest if final else 0),
        state=HoldState.CAPTURED if ended else HoldState.OPEN,
        end_time=now if ended else None,
    )


def release(hold: Hold, *, hold_id: str, now: datetime) -> Hold:
    """Undo what is still held, on request. Raises the reasons of `check_open`."""
    check_open(hold, hold_id=hold_id, now=now)
    return replace(
        hold,
        released=hold.released + hold.remaining,
        state=HoldState.RELEASED,
        end_time=now,
    )


def expire(hold: Hold) -> Hold:
    """Undo what is still held by time: as of the expire time, whenever the expiry is recorded."""
    return replace(
        hold,
        released=hold.released + hold.remaining,
        state=HoldState.EXPIRED,
        end_time=hold.expire_time,
    )


def instant(expiry: Expiry, now: datetime) -> datetime:
    """Return the instant that an expiry means in a decision at `now`.

    A decision is made once for each key, so a time to live is counted once: a retry gets what was recorded.

    Args:
        now: the record time of the decision.
    """
    return now + expiry if isinstance(expiry, timedelta) else expiry


def extend(hold: Hold, *, hold_id: str, expire_time: Expiry, now: datetime) -> Hold:
    """Move the expire time to a later one.

    Args:
        expire_time: an instant, or how long the hold lives from `now` on.
    Raises:
        ExpireTimeNotLater: not later than now and than the present one, or the hold never expires.
    """
    check_open(hold, hold_id=hold_id, now=now)
    later = instant(expire_time, now)
    if hold.expire_time is None or later <= hold.expire_time:
        raise ExpireTimeNotLater(expire_time=later.isoformat())
    return replace(hold, expire_time=later)
