"""Owns the rate limits of webhooks: per endpoint, and per remote address."""

import hashlib
import ipaddress
import math
import secrets
import time
from typing import Final

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from webhook_edge.verdicts import Refused, Verdict

# Remote addresses share this many counters, so that no number of addresses fills the memory. The assignment
# differs by process, so that nobody can choose to share a provider's counter.
_ADDRESS_COUNTERS: Final = 4_096


class Throttle:
    """Counts in sliding windows, in the memory of this process; each process has limits of its own."""

    def __init__(self) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._key = secrets.token_bytes(16)

    async def admit_address(self, rate: RateLimitItem, endpoint: str, address: str) -> None:
        """Count a request of a remote address, whatever it is.

        Raises:
            Refused: TOO_MANY.
        """
        digest = hashlib.blake2b(_network(address).encode(), key=self._key, digest_size=4).digest()
        await self._admit(rate, "address", endpoint, str(int.from_bytes(digest, "big") % _ADDRESS_COUNTERS))

    async def admit_verified(self, rate: RateLimitItem, endpoint: str) -> None:
        """Count a verified webhook of an endpoint; junk must not use up the limit of genuine webhooks.

        Raises:
            Refused: TOO_MANY.
        """
        await self._admit(rate, "verified", endpoint)

    async def _admit(self, rate: RateLimitItem, *names: str) -> None:
        if await self._limiter.hit(rate, *names):
            return
        stats = await self._limiter.get_window_stats(rate, *names)
        raise Refused(Verdict.TOO_MANY, retry_seconds=max(1, math.ceil(stats.reset_time - time.time())))


def rate_limit(text: str) -> RateLimitItem:
    """Read a limit such as `600/minute`.

    Raises:
        ValueError: the text is not a limit.
    """
    rate, *more = parse_many(text)
    if more:
        raise ValueError(f"{text!r} is more than one limit")
    if rate.amount < 1:
        raise ValueError(f"{text!r} lets nothing pass")
    return rate


def _network(address: str) -> str:
    """Return what one sender can't easily change: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((parsed, 64), strict=False))
