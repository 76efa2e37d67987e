"""Owns the reading of snapshots from files: CSV or JSON Lines, packed by gzip or not, one line at a time."""

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from ledger_server.operator.snapshot_lines import BadLine, BadSnapshot

_GZIP: Final = b"\x1f\x8b"

Fields = Mapping[str, object]


class SnapshotRow(NamedTuple):
    """A line's number and its fields, or why it has none."""

    number: int
    fields: Fields
    problem: str = ""


@contextmanager
def opened(file: Path) -> Iterator[io.TextIOBase]:
    """Open a file as text, whatever its line ends, with or without a byte order mark.

    Raises:
        BadSnapshot: it can't be read, is cut off, or is no text.
    """
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
                yield text
    except EOFError:
        raise BadSnapshot(f"{file}: the gzip file is cut off") from None
    except (gzip.BadGzipFile, UnicodeDecodeError, csv.Error) as error:
        raise BadSnapshot(f"{file}: {error}") from None
    except OSError as error:
        raise BadSnapshot(f"{file}: {error.strerror or error}") from None


def rows(text: io.TextIOBase) -> Iterator[SnapshotRow]:
    """Yield the rows of a file; one that begins with a brace is JSON Lines, any other CSV with a header.

    Raises:
        BadSnapshot: there is nothing in it.
    """
    first = text.readline()
    if not first.strip():
        raise BadSnapshot("the file begins with an empty line, or has none")
    lines = _with(first, text)
    if first.lstrip().startswith("{"):
        yield from _json_lines(lines)
    else:
        yield from _csv(lines)


def _with(first: str, text: io.TextIOBase) -> Iterator[str]:
    yield first
    yield from text


def _csv(lines: Iterator[str]) -> Iterator[SnapshotRow]:
    reader = csv.reader(lines, strict=True)
    names = [name.strip() for name in next(reader)]
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
            found = json.loads(line, parse_float=str, parse_int=str, parse_constant=_no_number)
        except (ValueError, RecursionError, BadLine) as error:
            yield SnapshotRow(number, {}, str(error))
        else:
            is_object = isinstance(found, dict)
            yield SnapshotRow(number, found if is_object else {}, "" if is_object else "it is no JSON object")


def _no_number(name: str) -> object:
    raise BadLine(f"{name} is no amount")
