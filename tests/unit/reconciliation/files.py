"""Own making report files: in the vendors' layout, whole or damaged."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from itertools import pairwise
from pathlib import Path

import pytest

from ledger_server.domain.errors import ReportMalformed
from ledger_server.domain.reconciliation.settlement import ReportFormat, SettlementLine
from ledger_server.process.bootstrap import currencies
from ledger_server.providers.settlement_reports import read_report

LEDGER = currencies({})
_REPORTS = Path(__file__).parent / "reports"


def sample(name: str) -> bytes:
    """Return the bytes of a sample report."""
    return (_REPORTS / name).read_bytes()


def rows_of(data: bytes) -> list[dict[str, str]]:
    """Return a file's rows by column."""
    return list(csv.DictReader(io.StringIO(data.decode())))


def file_of(
    rows: Sequence[Mapping[str, str]],
    columns: Iterable[str] | None = None,
    *,
    line_end: str = "\n",
    quoted: bool = False,
) -> bytes:
    """Return a file of rows, with the columns of the first in its order unless told otherwise."""
    out = io.StringIO()
    names = list(rows[0] if columns is None else columns)
    writer = csv.DictWriter(
        out,
        names,
        extrasaction="ignore",
        lineterminator=line_end,
        quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL,
    )
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def read(
    report_format: ReportFormat,
    data: bytes | Iterable[bytes],
    *,
    account: str = "",
    time_zone: tzinfo | None = None,
) -> list[SettlementLine]:
    """Return all lines of a file."""
    chunks = [data] if isinstance(data, bytes) else data
    return list(read_report(report_format, chunks, LEDGER, account=account, time_zone=time_zone))


def problems(
    report_format: ReportFormat,
    data: bytes | Iterable[bytes],
    *,
    account: str = "",
    time_zone: tzinfo | None = None,
) -> list[str]:
    """Return why a file is refused, a sentence a problem; the test fails if it is not."""
    with pytest.raises(ReportMalformed) as refused:
        read(report_format, data, account=account, time_zone=time_zone)
    found = refused.value.metadata["problems"].split("\n")
    assert found[0].startswith(f"line {refused.value.metadata['line']}: ")
    return found


def cut(data: bytes, points: Iterable[int]) -> list[bytes]:
    """Return the same bytes in pieces."""
    edges = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]
