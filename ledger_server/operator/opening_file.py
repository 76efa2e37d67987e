"""Owns the reading of files of opening balances: CSV and JSON Lines, line by line, amounts exact.

Nothing is guessed: what does not have the one form that `docs/operations/backfill.md` describes is refused
with its line. Memory does not grow with the file.
"""

import csv
import gzip
import json
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

COLUMNS: Final = ("player_id", "currency", "real", "bonus")
"""What a line has, by the names that a CSV file's first line and a JSON object's keys have."""
OPTIONAL: Final = frozenset({"bonus"})
MAX_LINE_BYTES: Final = 64 * 1024

_CSV: Final = (".csv",)
_JSON: Final = (".jsonl", ".ndjson")
_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_AMOUNT: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")
_WHOLE: Final = re.compile(r"[0-9]+")
_MAX_DIGITS: Final = 40
_MAX_MINOR: Final = 2**63 - 1
_MAX_SHOWN: Final = 60
# The server takes fewer; with more, a message might be too large to be sent.
_MAX_PLAYER_ID: Final = 255


class OpeningRow(NamedTuple):
    """One line: what a player has in a currency, in minor units; an amount may be negative."""

    number: int
    player_id: str
    currency: str
    real: int
    bonus: int


class Wrong(NamedTuple):
    """A line that says nothing that could be sent, and why."""

    number: int
    reason: str
    text: str


class BadOpenings(Exception):
    """The file can't be read on from a line."""

    def __init__(self, number: int, reason: str, text: str) -> None:
        super().__init__(f"line {number}: {text}")
        self.wrong = Wrong(number, reason, text)


class AmountWrong(Exception):
    """A text is no amount of the currency."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class _LineWrong(Exception):
    """A line is none; the file can be read on."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class _Number(str):
    """A number as it stands in JSON, digit by digit; a float would already be another one."""

    __slots__ = ()


def minor_units(text: str, currency: str, places: Mapping[str, int]) -> int:
    """Return an amount such as `1234.5` in minor units.

    Zeros behind the currency's decimal places say nothing and may stand.

    Args:
        places: decimal places by currency.
    Raises:
        AmountWrong: it is malformed, not exact, or too large; or the currency is unknown.
    """
    decimal_places = places.get(currency)
    if decimal_places is None:
        raise AmountWrong("CURRENCY_UNKNOWN", f"{_shown(currency)} is no currency of the server")
    found = _AMOUNT.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    if found is None or not text.isascii():
        raise AmountWrong(
            "AMOUNT_MALFORMED",
            f"{_shown(text)} is no amount: digits, and a point before the decimal places",
        )
    sign, whole, fraction = found.groups("")
    if len(fraction) > decimal_places:
        if fraction[decimal_places:].strip("0"):
            raise AmountWrong(
                "AMOUNT_NOT_EXACT", f"{text} is not exact: {currency} has {decimal_places} decimal places"
            )
        fraction = fraction[:decimal_places]
    amount = int(whole + fraction.ljust(decimal_places, "0"))
    if amount > _MAX_MINOR:
        raise AmountWrong("AMOUNT_TOO_LARGE", f"{text} {currency} is more than the ledger can count")
    return -amount if sign else amount


class OpeningFile:
    """One file, which is read as often as is asked for.

    Attributes:
        size: of the file, in bytes.
        position: how many of them were read.
    """

    def __init__(self, file: Path, places: Mapping[str, int]) -> None:
        """Look at a file.

        Raises:
            OSError: it can't be read.
            ValueError: it is none that could be read twice, or its name does not say what it is.
        """
        self._file = file
        self._places = places
        self.position = 0
        state = file.stat()
        if not stat.S_ISREG(state.st_mode):
            raise ValueError(f"{file}: it is read twice, so it has to be a file")
        self.size = state.st_size
        name = file.name.lower().removesuffix(".gz")
        if name.endswith(_CSV):
            self._read = self._csv
        elif name.endswith(_JSON):
            self._read = self._json
        else:
            raise ValueError(f"{file}: its name has to end in {', '.join(_CSV + _JSON)}, maybe with .gz")

    def rows(self) -> Iterator[OpeningRow | Wrong]:
        """Yield the lines.

        Raises:
            BadOpenings: it can't be read on.
        """
        self.position = 0
        with self._file.open("rb") as raw:
            compressed = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if compressed else raw as stream:
                yield from self._read(self._lines(raw, stream))

    def _lines(self, raw: IO[bytes], stream: Any) -> Iterator[str]:
        """Yield the lines as text, with their ends.

        Raises:
            BadOpenings: the file is cut off, is no text in UTF-8, or has a line that is too long.
        """
        number = 0
        while True:
            number += 1
            try:
                line: bytes = stream.readline(MAX_LINE_BYTES + 1)
                if number == 1:
                    line = line.removeprefix(_BOM)
                if len(line) > MAX_LINE_BYTES:
                    raise BadOpenings(number, "LINE_TOO_LONG", f"a line has at most {MAX_LINE_BYTES:,} bytes")
                text = line.decode()
            except EOFError:
                raise BadOpenings(number, "FILE_TRUNCATED", "the compressed file is cut off here") from None
            except (gzip.BadGzipFile, zlib.error):
                raise BadOpenings(number, "FILE_CORRUPT", "the compressed file is damaged here") from None
            except UnicodeDecodeError:
                raise BadOpenings(number, "NOT_UTF8", "the file is no text in UTF-8") from None
            self.position = raw.tell()
            if not text:
                if number == 1:
                    raise BadOpenings(1, "FILE_EMPTY", "the file is empty")
                return
            yield text

    def _csv(self, lines: Iterator[str]) -> Iterator[OpeningRow | Wrong]:
        reader = csv.reader(lines, strict=True)
        columns: list[str] | None = None
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise BadOpenings(reader.line_num, "LINE_MALFORMED", f"this is no CSV: {error}") from None
            if cells is None:
                break
            if columns is None:
                columns = _checked_columns(cells)
            elif len(cells) != len(columns):
                if cells:
                    text = f"the line has {len(cells)} cells and the first one {len(columns)}"
                    yield Wrong(reader.line_num, "LINE_MALFORMED", text)
            else:
                yield self._row(reader.line_num, dict(zip(columns, cells, strict=True)))

    def _json(self, lines: Iterator[str]) -> Iterator[OpeningRow | Wrong]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                said = _object_of(line)
            except _LineWrong as wrong:
                yield Wrong(number, wrong.reason, str(wrong))
            else:
                yield self._row(number, said)

    def _row(self, number: int, said: Mapping[str, str]) -> OpeningRow | Wrong:
        currency, player_id = said["currency"], said["player_id"]
        if len(player_id) > _MAX_PLAYER_ID:
            return Wrong(number, "FIELD_TOO_LONG", f"player_id has {len(player_id):,} characters")
        try:
            real = minor_units(said["real"], currency, self._places)
            bonus = minor_units(said["bonus"], currency, self._places) if "bonus" in said else 0
        except AmountWrong as wrong:
            return Wrong(number, wrong.reason, str(wrong))
        return OpeningRow(number, player_id, currency, real, bonus)


def _checked_columns(cells: list[str]) -> list[str]:
    """Return the names in a CSV file's first line. Raises BadOpenings."""
    try:
        _check_names(cells)
    except _LineWrong as wrong:
        raise BadOpenings(1, wrong.reason, str(wrong)) from None
    return cells


def _check_names(names: list[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            raise _LineWrong("COLUMN_UNKNOWN", f"{_shown(name)} is none of {', '.join(COLUMNS)}")
        if names.count(name) > 1:
            raise _LineWrong("COLUMN_TWICE", f"{name} is there twice")
    for name in COLUMNS:
        if name not in names and name not in OPTIONAL:
            raise _LineWrong("COLUMN_MISSING", f"{name} is missing")


def _object_of(line: str) -> dict[str, str]:
    """Return what a line of JSON says, numbers as their digits. Raises _LineWrong."""
    try:
        pairs = json.loads(
            line,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_Number,
            object_pairs_hook=_Pairs,
        )
    except (ValueError, RecursionError):
        raise _LineWrong("LINE_MALFORMED", "this is no JSON") from None
    if not isinstance(pairs, _Pairs):
        raise _LineWrong("LINE_MALFORMED", "this is no JSON object")
    _check_names([name for name, _ in pairs])
    said = dict(pairs)
    for name, value in said.items():
        is_text = isinstance(value, str) and not isinstance(value, _Number) and _is_sendable(value)
        is_number = isinstance(value, _Number)
        whole = is_number and _WHOLE.fullmatch(value) is not None
        if not (is_text or (is_number and name in ("real", "bonus")) or (whole and name == "player_id")):
            raise _LineWrong("LINE_MALFORMED", f"{name} is of another kind than it has to be")
    return said


def _is_sendable(text: str) -> bool:
    """Whether a text can be sent; halves of characters, which JSON can say by escapes, can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Pairs(list[tuple[str, Any]]):
    """The names and values of a JSON object, which may have a name twice."""


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…")
