"""Owns the parsing of an operator's words: times, durations, windows and names of a closed list."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

import typer
from google.protobuf.descriptor import EnumDescriptor

_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_DURATION: Final = re.compile(r"([0-9]{1,9}[smhdw])+")
_PART: Final = re.compile(r"([0-9]+)([smhdw])")
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)
# Servers accept a year at most; a protobuf duration can't hold more than this.
_LONGEST: Final = timedelta(days=36_600)


class Window(NamedTuple):
    """A window from a time up to, but not including, another; both in UTC."""

    from_time: datetime
    to_time: datetime


def duration(text: str) -> timedelta:
    """Read a length of time, such as `90s`, `15m`, `2h`, `1d12h` or `1w`.

    Raises:
        ValueError: it is none.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no length of time; say it like 90s, 15m, 2h, 1d12h or 1w")
    try:
        found = sum((int(count) * _UNITS[unit] for count, unit in _PART.findall(text)), timedelta(0))
    except OverflowError:
        found = timedelta.max
    if found > _LONGEST:
        raise ValueError(f"{text!r} is too long")
    return found


def moment(text: str) -> datetime:
    """Read a time, such as `2026-11-19` or `2026-11-19T10:30+01:00`; without a zone it is UTC.

    Raises:
        ValueError: it is none.
    """
    try:
        told = datetime.fromisoformat(text)
        return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; say it like 2026-11-19 or 2026-11-19T10:30Z") from None


def day(text: str) -> Window:
    """Read a whole day in UTC, such as `2026-11-19`.

    Raises:
        ValueError: it is none.
    """
    try:
        begin = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        return Window(begin, begin + _DAY)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no day; say it like 2026-11-19") from None


def window(
    now: datetime, *, from_: datetime | None, to: datetime | None, last: timedelta | None, on: Window | None
) -> Window:
    """Return the window that was given in one of three ways.

    A span of a day or more ends at the last full hour, and a shorter one at the last full minute, so that a
    retry of a scheduler asks for the same window.

    Raises:
        ValueError: none or several ways were used, or the window is empty.
    """
    if sum((from_ is not None, last is not None, on is not None)) != 1 or (to is not None and from_ is None):
        raise ValueError("say one window: --from with --to, --last, or --date")
    if on is not None:
        return on
    if from_ is not None:
        found = Window(from_, to if to is not None else _floor(now, _MINUTE))
    else:
        assert last is not None
        end = _floor(now, _HOUR if last >= _DAY else _MINUTE)
        try:
            found = Window(end - last, end)
        except OverflowError:
            raise ValueError("--last goes back too far") from None
    if found.from_time >= found.to_time:
        raise ValueError(f"the window is empty: it ends at {found.to_time:%Y-%m-%d %H:%M:%S} UTC")
    return found


def _floor(time: datetime, step: timedelta) -> datetime:
    return time - (time - datetime.min.replace(tzinfo=UTC)) % step


def one_of(values: EnumDescriptor, prefix: str) -> Callable[[str], int]:
    """Return a reader of one name of a closed list: `MISSING_IN_LEDGER` or `missing-in-ledger`."""
    known = {value.name.removeprefix(prefix): value.number for value in values.values if value.number}

    def read(text: str | int) -> int:
        # Typer parses a default as if it had been typed.
        found = text if isinstance(text, int) else known.get(text.upper().replace("-", "_"))
        if found is None:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(known)}")
        return found

    return read


def read_by(parse: "Callable[[str], object]") -> Callable[[str], object]:
    """Return a parser whose ValueError becomes a usage error."""

    def read(text: object) -> object:
        if not isinstance(text, str):
            return text
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return read
