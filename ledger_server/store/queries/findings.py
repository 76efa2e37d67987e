"""Owns the reads of findings: one with its history, and lists that begin with the newest."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NamedTuple

from asyncpg import Record
from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Select,
    SmallInteger,
    any_,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ledger_server.domain.findings.discrepancy import FindingClass, Severity
from ledger_server.domain.findings.finding import FindingState
from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection
from ledger_server.store.queries.payments import payment_of_kind
from ledger_server.store.queries.rendering import (
    PAGE_BYTES,
    ListStatement,
    Page,
    fetch_page,
    number,
    render,
    time,
)
from ledger_server.store.reconciliation_tables import findings

MAX_VERSIONS: Final = 1_000

_KEY: Final = number("key")
_FINDING: Final = """
SELECT f.body, f.version, s.run_number, s.seen_time
FROM reconciliation_findings f
LEFT JOIN LATERAL (
    SELECT run_number, seen_time FROM finding_sightings
    WHERE tenant_key = $1 AND fingerprint = $2 OFFSET 0
) s ON true
WHERE f.tenant_key = $1 AND f.fingerprint = $2
"""
# Versions are written once, so the versions up to the one that was read are those of that moment. The length
# of a stored value is known without reading it, so only records that are returned are read.
_HISTORY: Final = f"""
SELECT sequence, record FROM (
    SELECT version, sequence, record, sum(octet_length(record)) OVER (
        ORDER BY version DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_after
    FROM (
        SELECT v.version, v.sequence, j.record
        FROM (
            SELECT version, sequence FROM finding_versions
            WHERE tenant_key = $1 AND fingerprint = $2 AND version <= $3
            ORDER BY version DESC LIMIT {MAX_VERSIONS}
        ) v
        CROSS JOIN LATERAL (
            SELECT record FROM journal WHERE tenant_key = $1 AND sequence = v.sequence LIMIT 1
        ) j
    ) AS counted
) AS measured
WHERE bytes_after IS NULL OR bytes_after < {PAGE_BYTES}
ORDER BY version
"""


class FindingVersion(NamedTuple):
    """The record that made one version of a finding."""

    sequence: int
    record: bytes


class FindingRead(NamedTuple):
    """A finding's message, its newest versions in order, and the run that saw it last."""

    body: bytes
    history: Sequence[FindingVersion]
    run_number: int | None
    seen_time: datetime | None


class FindingFilter(NamedTuple):
    """Which findings are listed; None or an empty field is no condition. A payment comes with its kind."""

    states: frozenset[FindingState] = frozenset()
    kind: FindingClass | None = None
    min_severity: Severity | None = None
    provider: str = ""
    payment_number: int | None = None
    payment_kind: int | None = None
    assignee: str = ""


class FindingPosition(NamedTuple):
    """Where a finding stands in lists."""

    open_time: datetime
    fingerprint: bytes


NEWEST: Final = FindingPosition(datetime.max.replace(microsecond=0, tzinfo=UTC), b"")
"""Before every finding."""


async def finding(connection: AnyConnection, key: TenantKey, fingerprint: bytes) -> FindingRead | None:
    """Return a finding with the newest of its versions, at most `MAX_VERSIONS` and about 1 MiB."""
    row = await connection.fetchrow(_FINDING, key, fingerprint)
    if row is None:
        return None
    versions = await connection.fetch(_HISTORY, key, fingerprint, row["version"])
    history = [FindingVersion(version["sequence"], version["record"]) for version in versions]
    return FindingRead(row["body"], history, row["run_number"], row["seen_time"])


async def list_findings(
    connection: AnyConnection, key: TenantKey, wanted: FindingFilter, *, after: FindingPosition, size: int
) -> Page[bytes, FindingPosition]:
    """Return a page of the messages of findings, those opened last first, behind a position."""
    asked = frozenset(name for name, value in wanted._asdict().items() if value) - {"payment_kind"}
    values = {
        **wanted._asdict(),
        "states": sorted(wanted.states),
        "key": key,
        "open_time": after.open_time,
        "fingerprint": after.fingerprint,
    }
    page = await fetch_page(connection, _list(asked), values, size, _position)
    return Page([row["body"] for row in page.items], page.next)


@cache
def _list(asked: frozenset[str]) -> ListStatement:
    """Return the list that enters the index of payments, or that of times, and filters by the rest."""
    rest = sorted(asked - {"payment_number"})
    needed = [findings.c.open_time, findings.c.fingerprint, *(_COLUMNS[name] for name in rest)]
    rows = select(*needed, findings.c.body).where(findings.c.tenant_key == _KEY)
    if "payment_number" in asked:
        # A payment has few findings. The OFFSET keeps the planner from walking through all others by time.
        rows = rows.where(findings.c.payment_number == payment_of_kind()).offset(literal_column("0"))
        table: Any = rows.subquery("of_payment")
        rows = select(*table.c)
    else:
        table = findings
    place = tuple_(table.c.open_time, table.c.fingerprint)
    drive = rows.where(
        place < tuple_(time("open_time"), bindparam("fingerprint", type_=LargeBinary))
    ).order_by(*_newest_first(table))
    scanned = drive.limit(number("scan")).subquery("scanned")
    wanted = (
        select(scanned.c.open_time, scanned.c.fingerprint, scanned.c.body)
        .where(*(_condition(name, scanned.c[_COLUMNS[name].name]) for name in rest))
        .order_by(*_newest_first(scanned))
        .limit(number("count"))
        .subquery("wanted")
    )
    size = func.octet_length(wanted.c.body)
    running = func.sum(size).over(order_by=_newest_first(wanted), rows=(None, 0))
    page = select(*wanted.c, running.label("bytes")).subquery("page")
    fitting = page.c.bytes - func.octet_length(page.c.body) < literal_column(str(PAGE_BYTES))
    return ListStatement(
        render(select(*page.c).where(fitting).order_by(*_newest_first(page))),
        _end(drive, table) if rest else None,
    )


_COLUMNS: Final = {
    "states": findings.c.state,
    "kind": findings.c["class"],
    "min_severity": findings.c.severity,
    "provider": findings.c.provider,
    "assignee": findings.c.assignee,
}


def _condition(name: str, column: ColumnElement[Any]) -> ColumnElement[bool]:
    if name == "states":
        return column == any_(bindparam("states", type_=ARRAY(SmallInteger)))
    value: ColumnElement[Any] = bindparam(name, type_=column.type)
    return column >= value if name == "min_severity" else column == value


def _newest_first(table: Any) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return table.c.open_time.desc(), table.c.fingerprint.desc()


def _end(drive: Select[Any], table: Any) -> Any:
    last = drive.with_only_columns(table.c.open_time, table.c.fingerprint)
    return render(last.offset(number("scan") - literal_column("1")).limit(literal_column("1")))


def _position(row: Record) -> FindingPosition:
    return FindingPosition(row["open_time"], row["fingerprint"])
