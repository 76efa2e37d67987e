"""Owns the lines of a snapshot of balances: fields by name become exact minor units, or are told as wrong."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

_AMOUNT: Final = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?")
_PLAYER: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_MOST: Final = 2**63 - 1

PLAYER: Final = ("player_id", "player")
CURRENCY: Final = ("currency", "currency_code")
REAL: Final = ("real",)
BONUS: Final = ("bonus",)


class BadLine(Exception):
    """A line can't be read; the text says why."""


class BadSnapshot(Exception):
    """A snapshot can't be read as a whole; the text says why."""


class Columns(NamedTuple):
    """The names under which a snapshot has its fields; None: it has none, and says nothing of that money."""

    player: str
    currency: str
    real: str | None
    bonus: str | None


class SnapshotLine(NamedTuple):
    """One balance: amounts in minor units, and the line's number in its file."""

    player_id: str
    currency: str
    real: int
    bonus: int
    number: int


def columns_of(names: Iterable[str]) -> Columns:
    """Find the fields by the names of a header, whatever their order and capitals.

    Args:
        names: all of them, so that one that is there twice is there twice.
    Raises:
        BadLine: one is missing, or there are two of it.
    """
    given = list(names)

    def find(known: tuple[str, ...]) -> str | None:
        found = [name for name in given if name.strip().lower() in known]
        if len(found) > 1:
            raise BadLine(f"there are several columns {' or '.join(known)}: {', '.join(found)}")
        return found[0] if found else None

    player, currency, real, bonus = find(PLAYER), find(CURRENCY), find(REAL), find(BONUS)
    if player is None or currency is None:
        raise BadLine(f"there must be columns player_id and currency, and there are {', '.join(given)}")
    if real is None and bonus is None:
        raise BadLine(f"there must be a column real, bonus, or both, and there are {', '.join(given)}")
    return Columns(player, currency, real, bonus)


def read_line(
    fields: Mapping[str, object], columns: Columns, places: Mapping[str, int], number: int
) -> SnapshotLine:
    """Read one line.

    Args:
        places: the decimal places of the currencies that the server knows.
    Raises:
        BadLine: it says nothing exact.
    """
    player, currency = _text(fields, columns.player), _text(fields, columns.currency)
    if not _PLAYER.fullmatch(player):
        raise BadLine(f"{player!r} is no id of a player: 1 to 64 letters, digits, `_`, `.`, `@` and `-`")
    if currency not in places:
        raise BadLine(f"{currency!r} is no currency that the server knows")
    return SnapshotLine(
        player,
        currency,
        0 if columns.real is None else _minor(fields.get(columns.real), currency, places[currency]),
        0 if columns.bonus is None else _minor(fields.get(columns.bonus), currency, places[currency]),
        number,
    )


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise BadLine(f"{name} is missing or no text")
    return str(value).strip()


def _minor(value: object, currency: str, places: int) -> int:
    """Return an amount in minor units; a binary float was never exact, so it is refused."""
    if isinstance(value, float):
        raise BadLine(f"{value!r} is a binary float: have the amount as a decimal, such as numeric or text")
    text = format(value, "f") if isinstance(value, Decimal) else str("" if value is None else value).strip()
    if not _AMOUNT.fullmatch(text):
        raise BadLine(f"{text!r} is no amount: say it like 1234.56")
    whole, _, fraction = text.partition(".")
    if fraction[places:].strip("0"):
        raise BadLine(f"{text} has more decimal places than {currency}, which has {places}")
    minor = int(whole + fraction[:places].ljust(places, "0"))
    if abs(minor) > _MOST:
        raise BadLine(f"{text} is more than a balance can be")
    return minor
