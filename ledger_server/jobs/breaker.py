"""Owns the circuit breaker of a provider account: a silent provider gets only a trial call now and then.

A pure rule; times are seconds of a clock that only goes forward.
"""

from typing import Final

_MAX_DOUBLINGS: Final = 30


class Breaker:
    """Whether a provider account is called at all."""

    def __init__(self, *, threshold: int, first_pause_seconds: float, max_pause_seconds: float) -> None:
        self._threshold: Final = threshold
        self._first_pause: Final = first_pause_seconds
        self._max_pause: Final = max_pause_seconds
        self._silences = 0
        self._openings = 0
        self._closed_again = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the breaker has opened and no answer has come since."""
        return self._openings > 0

    def allowed(self, now: float, under_way: int) -> bool:
        """Whether one more call may begin: while it is open, one at a time, and each after a pause."""
        if not self.is_open:
            return True
        return now >= self._closed_again and not under_way

    def pause_left(self, now: float) -> float:
        """Return for how long nothing is called."""
        return max(0.0, self._closed_again - now) if self.is_open else 0.0

    def answered(self) -> bool:
        """Note that the provider gave any answer; return whether that closes the breaker."""
        closes = self.is_open
        self._silences = self._openings = 0
        return closes

    def silent(self, now: float) -> bool:
        """Note that the provider gave no answer; return whether that opens the breaker or keeps it open."""
        self._silences += 1
        # The silence of a call that was under way when the breaker opened is no news.
        if self._silences < self._threshold or (self.is_open and now < self._closed_again):
            return False
        pause = self._first_pause * 2 ** min(self._openings, _MAX_DOUBLINGS)
        self._openings += 1
        self._closed_again = now + min(pause, self._max_pause)
        return True
