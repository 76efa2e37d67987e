"""Owns idempotency keys: the same key gets the same answer, and does nothing twice."""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from mock_psp.errors import ApiError


class KeyReused(ApiError):
    """The key belongs to another request."""


class KeyInUse(ApiError):
    """The first request with this key is still under way."""


class Answer(Struct, frozen=True, kw_only=True):
    """What was answered, kept to be answered again."""

    status: int
    body: bytes


class _Kept(Struct):
    digest: bytes
    since: datetime
    answer: Answer | None = None


class Keys:
    """The keys that are remembered; a forgotten key makes a new request, as with real providers."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    def begin(self, key: str, digest: bytes, *, kept_seconds: float) -> Answer | None:
        """Claim a key for a request, or return the answer to the same request before.

        Raises:
            KeyReused: the key was claimed by a request with another digest.
            KeyInUse: the key was claimed and its request is not answered yet.
        """
        self._forget_before(self._clock() - timedelta(seconds=kept_seconds))
        kept = self._kept.get(key)
        if kept is None:
            self._kept[key] = _Kept(digest, self._clock())
            return None
        if kept.digest != digest:
            raise KeyReused("idempotency_error", "the key was used for another request")
        if kept.answer is None:
            raise KeyInUse("idempotency_key_in_use", "a request with this key is under way")
        return kept.answer

    def finish(self, key: str, answer: Answer) -> None:
        """Keep the answer to the request that claimed the key."""
        self._kept[key].answer = answer

    def abandon(self, key: str) -> None:
        """Let go of a claimed key: its request did nothing."""
        del self._kept[key]

    def _forget_before(self, time: datetime) -> None:
        """Forget what was claimed by then; keys stand in the order in which they were claimed."""
        while self._kept:
            oldest = next(iter(self._kept))
            kept = self._kept[oldest]
            if kept.since > time or kept.answer is None:
                return
            del self._kept[oldest]
