"""Own the fake clock: time moves when a test says so."""

from datetime import UTC, datetime, timedelta

START = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until it is moved; call it to read it."""

    def __init__(self, start: datetime = START) -> None:
        self.now = start

    def __call__(self) -> datetime:
        """Return the present instant."""
        return self.now

    def advance(self, *, seconds: float = 0, microseconds: int = 0) -> datetime:
        """Move the clock forward and return the new instant."""
        self.now += timedelta(seconds=seconds, microseconds=microseconds)
        return self.now
