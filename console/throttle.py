"""Owns the limits of signing in: by remote address and by name, so that passwords can't be tried out."""

import hashlib
import secrets
from typing import Final

from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

_BY_ADDRESS: Final = parse("30/5 minutes")
_BY_PROVIDER: Final = parse("60/5 minutes")
_BY_NAME: Final = parse("10/5 minutes")
# Addresses and names share this many counters, so that no number of them fills the memory.
_COUNTERS: Final = 4_096


class Throttle:
    """Counts in sliding windows, in the memory of this process."""

    def __init__(self) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._key = secrets.token_bytes(16)

    async def admits_address(self, address: str) -> bool:
        """Count a sign-in by the provider, which has no name yet; whether it is to be begun."""
        return await self._limiter.hit(_BY_PROVIDER, "provider", self._counter(address))

    async def admits(self, address: str, name: str) -> bool:
        """Count a try; whether it is to be looked at."""
        by_address = await self._limiter.hit(_BY_ADDRESS, "address", self._counter(address))
        by_name = await self._limiter.hit(_BY_NAME, "name", self._counter(name.lower()))
        return by_address and by_name

    def _counter(self, text: str) -> str:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=4).digest()
        return str(int.from_bytes(digest, "big") % _COUNTERS)
