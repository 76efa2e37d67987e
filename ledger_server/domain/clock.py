"""Owns the type of clocks and the only reading of the real one."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the present instant, in UTC."""
    return datetime.now(UTC)
