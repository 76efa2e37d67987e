"""Owns the reading of snapshots from files: CSV or JSON Lines, packed by gzip or not, one line at a time."""

import csv
import gzip
import io
import itertools
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from ledger_server.operator.snapshot_lines import BadLine, BadSnapshot, columns_of

_GZIP: Final = b"\x1f\x8b"
# What `surrogateescape` makes of bytes that are no UTF-8; no text in UTF-8 has these.
_NO_TEXT: Final = re.compile("[\udc80-\udcff]")

Fields = Mapping[str, object]


class SnapshotRow(NamedTuple):
    """A line's number and its fields, or why it has none."""

    number: int
    fields: Fields
    problem: str = ""


@contextmanager
def opened(file: Path) -> Iterator[io.TextIOBase]:
    """Open a file as text, whatever its line ends, with or without a byte order mark.

    Bytes that are no UTF-8 come as surrogates, which `rows` refuses with the line that has them.

    Raises:
        BadSnapshot: it can't be read.
    """
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
                yield text
    except OSError as error:
        raise BadSnapshot(f"{file}: {error.strerror or error}") from None


def rows(text: io.TextIOBase) -> Iterator[SnapshotRow]:
    """Yield the rows of a file; one that begins with a brace is JSON Lines, any other CSV with a header.

    Raises:
        BadSnapshot: there is nothing in it, its header is wrong, or it can't be read on from a line.
    """
    lines = _lines(text)
    first = next(lines, "")
    if not first.strip():
        raise BadSnapshot("the file begins with an empty line, or has none")
    lines = itertools.chain([first], lines)
    if first.lstrip().startswith("{"):
        yield from _json_lines(lines)
    else:
        yield from _csv(lines)


def _lines(text: io.TextIOBase) -> Iterator[str]:
    """Yield the lines. Raises BadSnapshot where the file is cut off, damaged, or no text."""
    for number in itertools.count(1):
        try:
            line = text.readline()
        except EOFError:
            raise BadSnapshot(f"line {number}: the gzip file is cut off here") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise BadSnapshot(f"line {number}: the gzip file is damaged here: {error}") from None
        if not line:
            return
        if not line.isascii() and _NO_TEXT.search(line):
            raise BadSnapshot(f"line {number}: it is no text in UTF-8")
        yield line


def _csv(lines: Iterator[str]) -> Iterator[SnapshotRow]:
    reader = csv.reader(lines, strict=True)
    try:
        yield from _csv_rows(reader)
    except csv.Error as error:
        raise BadSnapshot(f"line {reader.line_num}: it is no CSV: {error}") from None


def _csv_rows(reader: Any) -> Iterator[SnapshotRow]:
    names = [name.strip() for name in next(reader)]
    try:
        columns_of(names)
    except BadLine as bad:
        raise BadSnapshot(f"line 1: {bad}") from None
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(names):
            problem = f"it has {len(cells)} cells, and the header has {len(names)}"
            yield SnapshotRow(reader.line_num, dict.fromkeys(names, ""), problem)
        else:
            yield SnapshotRow(reader.line_num, dict(zip(names, cells, strict=True)))


def _json_lines(lines: Iterator[str]) -> Iterator[SnapshotRow]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            # Numbers stay as they are written: no digit is lost on the way.
            found = json.loads(
                line,
                parse_float=str,
                parse_int=str,
                parse_constant=_no_number,
                object_pairs_hook=_Pairs,
            )
            fields = _fields(found)
        except (ValueError, RecursionError, BadLine) as error:
            yield SnapshotRow(number, {}, str(error))
        else:
            yield SnapshotRow(number, fields)


class _Pairs(list[tuple[str, object]]):
    """The names and values of a JSON object, which may have a name twice."""


def _fields(found: object) -> Fields:
    """Return the fields of a JSON object. Raises BadLine if it is none, or has one of them twice."""
    if not isinstance(found, _Pairs):
        raise BadLine("it is no JSON object")
    fields = dict(found)
    if len(fields) < len(found):
        columns_of(name for name, _ in found)
    return fields


def _no_number(name: str) -> object:
    raise BadLine(f"{name} is no amount")
