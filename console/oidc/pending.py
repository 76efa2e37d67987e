"""Owns the sign-ins that have begun: each belongs to one browser, counts once, and ends by itself."""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LIFE_SECONDS: Final = 600
_MOST: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A sign-in on its way.

    Attributes:
        state: comes back with the answer.
        nonce: stands in the ID token.
        verifier: proves to the provider that the code was asked for here (PKCE).
        target: a path of the console, where it leads.
        until: seconds of the store's clock.
    """

    state: str
    nonce: str
    verifier: str
    target: str
    until: float


class PendingSignIns:
    """Those of this process; the browser has 256 random bits, of which the process keeps the hash."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Begin with none.

        Args:
            now: seconds of a clock that never goes back.
        """
        self._now = now
        self._open: OrderedDict[bytes, Pending] = OrderedDict()

    def begin(self, target: str) -> tuple[str, Pending]:
        """Begin one; return what the browser keeps, and it."""
        token = secrets.token_urlsafe(32)
        pending = Pending(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            target=target,
            until=self._now() + LIFE_SECONDS,
        )
        while len(self._open) >= _MOST:
            self._open.popitem(last=False)
        self._open[_digest(token)] = pending
        return token, pending

    def take(self, token: str) -> Pending | None:
        """Return what a browser has begun, for the first and last time; None: nothing that still counts."""
        pending = self._open.pop(_digest(token), None)
        return pending if pending is not None and self._now() < pending.until else None

    def __len__(self) -> int:
        return len(self._open)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
