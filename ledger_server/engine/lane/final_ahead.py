"""Owns how far behind its own records a commit makes instants final, while callers read by time.

The next batch is nearly always decided some milliseconds later. If a commit promises so in the head's
`final_time`, the instants in between are final as soon as that commit is durable, and a read of them neither
waits for the next commit nor writes. A batch that is decided earlier than promised gets the first time after
the promise, so its records are ahead of the clock by less than the bound below, and `commits.py` tells nobody
of them before their time. Only speed depends on the length of the promise, never correctness.
"""

from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Final

# For so long after a read by time has had to wait, commits promise something.
_ASKED_SECONDS: Final = 1.0
# The promise is this share of the shortest recent time from the begin of a commit to the end of the next
# one. So the time of what the next commit brings has nearly always come when that commit ends.
_SHARE: Final = 0.75
_RECENT: Final = 4
MOST_SECONDS: Final = 0.01
"""What is promised is at most this, and so records are ahead of the clock by at most this."""


class FinalAhead:
    """The promise of one lane's commits."""

    __slots__ = ("_asked", "_before", "_begun", "_recent", "_time")

    def __init__(self, time: Callable[[], float]) -> None:
        """Take a clock that counts seconds."""
        self._time = time
        self._asked = float("-inf")
        # When the newest commit has begun, and the one before it.
        self._begun: float | None = None
        self._before: float | None = None
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def asked(self) -> None:
        """Take note that a read by time has to wait."""
        self._asked = self._time()

    def ended(self) -> None:
        """Take note that a commit is durable."""
        if self._before is not None:
            self._recent.append(self._time() - self._before)

    def begun(self) -> timedelta | None:
        """Return how far behind its last record the commit that begins now makes instants final."""
        time = self._time()
        self._before, self._begun = self._begun, time
        if not self._recent or time - self._asked > _ASKED_SECONDS:
            return None
        return timedelta(seconds=min(_SHARE * min(self._recent), MOST_SECONDS))
