"""Owns the row of a database's history: its epoch, and whether outbound calls are stopped.

The row names the database transaction that wrote it. Loading a dump writes the row by another one, so a
database that was restored from a dump shows it.
"""

from datetime import datetime
from typing import Any, Final, NamedTuple

from asyncpg import InsufficientPrivilegeError

from ledger_server.domain.findings.discrepancy import LOSS_SEVERITIES, TELL_OF_LOSS
from ledger_server.domain.findings.finding import FindingState
from ledger_server.domain.history import Found, Identity, Known
from ledger_server.domain.ids import TenantKey
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.store.database import AnyConnection

_COLUMNS: Final = (
    "epoch, past_epochs, outbound_stopped, note, actor, change_time, begin_time, known_until, version,"
    # Earlier servers change the row without these columns.
    " CASE WHEN caller_version = version THEN caller_identity END AS caller_identity,"
    " CASE WHEN caller_version = version THEN caller_person END AS caller_person"
)
_READ: Final = f"SELECT {_COLUMNS} FROM history WHERE history_key = 1"
# A standby has no write position; CASE keeps PostgreSQL from asking for one.
_LOOK: Final = f"""
SELECT {_COLUMNS}, h.system_identifier AS known_system, h.database_oid AS known_oid,
    h.timeline AS known_timeline,
    h.xmin::text::bigint = h.row_transaction % 4294967296 AS written_here,
    (SELECT s.system_identifier FROM pg_control_system() s)::text AS system_identifier,
    (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())::bigint AS database_oid,
    pg_is_in_recovery() AS standby,
    CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8) END
        AS timeline,
    CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint END
        AS position
FROM history h WHERE history_key = 1
"""
_WRITTEN: Final = (
    "change_time = defter_now(), version = version + 1, row_transaction = pg_current_xact_id()::text::bigint"
)
_BEGIN: Final = f"""
UPDATE history SET epoch = $2, past_epochs = $3, system_identifier = $4, database_oid = $5, timeline = $6,
    outbound_stopped = $7, note = $8, actor = $9, known_until = $10, begin_time = defter_now(), {_WRITTEN}
WHERE history_key = 1 AND version = $1
RETURNING {_COLUMNS}
"""
_ANY_EPOCH: Final = "SELECT epochs FROM tenants WHERE epochs <> '' ORDER BY tenant_id LIMIT 1"
_KNOWN_UNTIL: Final = "SELECT max(record_time) FROM tenants"
# A call that may have been made in the lost history counts as sent, from when it was owed. So the next try
# first asks the provider, and calls only while the provider is certain to remember the key.
_MAYBE_MADE: Final = """
UPDATE outbox o SET maybe_made = true, first_try_time = COALESCE(o.first_try_time, p.create_time)
FROM payments p
WHERE o.open AND p.tenant_key = o.tenant_key AND p.payment_number = o.payment_number
"""
# Who stops calls that were allowed does so for another reason than a loss: it was answered for when they were
# resumed. Who stops them once more leaves the loss open.
_STOP: Final = f"""
UPDATE history SET outbound_stopped = true, note = $1, actor = $2,
    known_until = CASE WHEN outbound_stopped THEN known_until END,
    caller_identity = $3, caller_person = $4, caller_version = version + 1, {_WRITTEN}
WHERE history_key = 1 RETURNING {_COLUMNS}
"""
_RESUME: Final = f"""
UPDATE history SET outbound_stopped = false, note = $2, actor = $3,
    caller_identity = $4, caller_person = $5, caller_version = version + 1, {_WRITTEN}
WHERE history_key = 1 AND version = $1 RETURNING {_COLUMNS}
"""
# Every provider account with payments, by tenant, found by steps through the index, with its complete runs.
_ACCOUNTS: Final = """
SELECT t.tenant_key, t.tenant_id, a.provider FROM tenants t CROSS JOIN LATERAL (
    WITH RECURSIVE each AS (
        (SELECT p.provider FROM payments p WHERE p.tenant_key = t.tenant_key ORDER BY p.provider LIMIT 1)
        UNION ALL
        SELECT (SELECT p.provider FROM payments p
            WHERE p.tenant_key = t.tenant_key AND p.provider > each.provider ORDER BY p.provider LIMIT 1)
        FROM each WHERE each.provider IS NOT NULL
    ) SELECT provider FROM each WHERE provider IS NOT NULL
) a
WHERE (t.tenant_id, a.provider) > ($1, $2)
ORDER BY t.tenant_id, a.provider LIMIT $3
"""
_RUNS: Final = """
SELECT body FROM reconciliation_runs
WHERE tenant_key = $1 AND begin_time > $2 AND provider = $3 AND state = $4
"""
# Of all tenants; a reopened finding counts as one that was opened anew.
_FINDINGS_OF_LOSS: Final = f"""
SELECT count(*) AS count,
    (array_agg(t.tenant_id ORDER BY t.tenant_id, f.fingerprint))[1:$5] AS tenant_ids,
    (array_agg(f.fingerprint ORDER BY t.tenant_id, f.fingerprint))[1:$5] AS fingerprints
FROM tenants t
JOIN reconciliation_findings f ON f.tenant_key = t.tenant_key AND f.state IN (1, 2, 5)
WHERE f.class = ANY($1::smallint[]) AND f.severity = ANY($2::smallint[])
    AND (f.subject_time >= $3 OR f.open_time >= $4
        OR (f.state = {int(FindingState.REOPENED)} AND f.update_time >= $4))
"""


class HistoryNotReadable(Exception):
    """The application's role may not look at what the database is."""


class History(NamedTuple):
    """The history of a database.

    Attributes:
        epoch: None before a server has opened the database.
        note: why calls were stopped or go on; `actor` said so, at `change_time`.
        begin_time: when the epoch began.
        known_until: the newest record that the database had when the epoch began, or an earlier one if an
            earlier loss was not reconciled; None in the first epoch, and once calls that had been resumed
            were stopped by hand.
        version: counts changes.
        caller: by whose call the row was changed last; None on an open server, and where a server did it.
    """

    epoch: str | None
    past_epochs: tuple[str, ...]
    outbound_stopped: bool
    note: str
    actor: str
    change_time: datetime | None
    begin_time: datetime | None
    known_until: datetime | None
    version: int
    caller: NamedCaller | None


class Look(NamedTuple):
    """A history beside what the database is now."""

    history: History
    known: Known
    found: Found


class TenantProviderAccount(NamedTuple):
    """A provider account with payments of a tenant."""

    key: TenantKey
    tenant_id: str
    provider: str


class FindingOfLoss(NamedTuple):
    """An unresolved finding of a tenant."""

    tenant_id: str
    fingerprint: bytes


async def read_history(connection: AnyConnection) -> History:
    """Return the history as it stands."""
    return _history_of(await connection.fetchrow(_READ))


async def look(connection: AnyConnection) -> Look | None:
    """Return the history beside the database's identity; None for a standby that is not promoted.

    Raises:
        HistoryNotReadable: the role may not look at what the database is.
    """
    try:
        row = await connection.fetchrow(_LOOK)
    except InsufficientPrivilegeError as error:
        raise HistoryNotReadable(str(error)) from error
    assert row is not None, "the migration has written it"
    if row["standby"] or row["timeline"] is None:
        return None
    identity = None
    if row["known_system"] is not None:
        identity = Identity(
            system_identifier=row["known_system"],
            database_oid=row["known_oid"],
            timeline=row["known_timeline"],
        )
    history = _history_of(row)
    # Records of an epoch in a database that no server has opened must come from another database.
    strange = ""
    if identity is None:
        strange = (await connection.fetchval(_ANY_EPOCH) or "").rpartition(":")[2]
    found = Identity(
        system_identifier=row["system_identifier"],
        database_oid=row["database_oid"],
        timeline=int(row["timeline"], 16),
    )
    return Look(
        history,
        Known(epoch=history.epoch, past_epochs=frozenset(history.past_epochs), identity=identity),
        Found(
            identity=found,
            position=row["position"],
            written_here=bool(row["written_here"]),
            strange_epoch=strange,
        ),
    )


async def begin_epoch(connection: AnyConnection, looked: Look, epoch: str, *, lost: str, actor: str) -> bool:
    """Begin an epoch in the database as it is; return False if another process was faster.

    Args:
        lost: why commits may have been lost, which stops calls; empty for the first epoch.
    """
    before = looked.history
    past = before.past_epochs
    if before.epoch and before.epoch != epoch:
        past = (*past, before.epoch)
    async with connection.transaction():
        known_until = await connection.fetchval(_KNOWN_UNTIL) if lost else None
        if before.outbound_stopped and before.known_until is not None and known_until is not None:
            # An earlier loss is not reconciled yet.
            known_until = min(known_until, before.known_until)
        row = await connection.fetchrow(
            _BEGIN,
            before.version,
            epoch,
            " ".join(past),
            looked.found.identity.system_identifier,
            looked.found.identity.database_oid,
            looked.found.identity.timeline,
            bool(lost) or before.outbound_stopped,
            lost or before.note,
            actor,
            known_until,
        )
        if row is not None and lost:
            await connection.execute(_MAYBE_MADE)
    return row is not None


async def stop_outbound(
    connection: AnyConnection, *, note: str, actor: str, caller: NamedCaller | None
) -> History:
    """Stop all calls to providers."""
    return _history_of(await connection.fetchrow(_STOP, note, actor, *_columns_of(caller)))


async def resume_outbound(
    connection: AnyConnection, *, version: int, note: str, actor: str, caller: NamedCaller | None
) -> History | None:
    """Let calls be made again; None if the history has changed since that version."""
    row = await connection.fetchrow(_RESUME, version, note, actor, *_columns_of(caller))
    return None if row is None else _history_of(row)


async def provider_accounts(
    connection: AnyConnection, after: tuple[str, str], limit: int
) -> list[TenantProviderAccount]:
    """Return provider accounts with payments, ordered by tenant and name, after the given ones."""
    rows = await connection.fetch(_ACCOUNTS, *after, limit)
    return [
        TenantProviderAccount(TenantKey(row["tenant_key"]), row["tenant_id"], row["provider"]) for row in rows
    ]


async def runs_since(
    connection: AnyConnection, account: TenantProviderAccount, since: datetime, state: int
) -> list[bytes]:
    """Return the runs of an account that began after a time and are in a state."""
    rows = await connection.fetch(_RUNS, account.key, since, account.provider, state)
    return [row["body"] for row in rows]


async def findings_of_loss(
    connection: AnyConnection, since: datetime, noticed: datetime, *, examples: int
) -> tuple[int, list[FindingOfLoss]]:
    """Count the unresolved findings that tell of lost money, and return some, by tenant and fingerprint.

    Args:
        since: findings about anything from then on count, whenever they were opened.
        noticed: when the loss was noticed; findings that were opened from then on count, too.
    """
    row = await connection.fetchrow(
        _FINDINGS_OF_LOSS,
        [int(each) for each in TELL_OF_LOSS],
        [int(each) for each in LOSS_SEVERITIES],
        since,
        noticed,
        examples,
    )
    assert row is not None, "a count is always one row"
    named = zip(row["tenant_ids"] or (), row["fingerprints"] or (), strict=True)
    return row["count"], [FindingOfLoss(*each) for each in named]


def _history_of(row: Any) -> History:
    assert row is not None, "the migration has written it"
    return History(
        epoch=row["epoch"],
        past_epochs=tuple(row["past_epochs"].split()),
        outbound_stopped=row["outbound_stopped"],
        note=row["note"],
        actor=row["actor"],
        change_time=row["change_time"],
        begin_time=row["begin_time"],
        known_until=row["known_until"],
        version=row["version"],
        caller=(
            None
            if row["caller_identity"] is None
            else NamedCaller(row["caller_identity"], row["caller_person"])
        ),
    )


def _columns_of(caller: NamedCaller | None) -> tuple[str | None, str | None]:
    return (None, None) if caller is None else (caller.identity, caller.person)
