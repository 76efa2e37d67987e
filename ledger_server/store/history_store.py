"""Owns how a database's history is read and changed: its epoch, and whether outbound calls are stopped."""

from datetime import datetime
from typing import Final, NamedTuple

from ledger_server.domain.history import Identity, Known
from ledger_server.store.database import AnyConnection

OUTBOUND_ALLOWED: Final = "EXISTS (SELECT 1 FROM history WHERE history_key = 1 AND NOT outbound_stopped)"
"""Whether a call may be made: for statements that prove more than this in the same round trip."""

_COLUMNS: Final = "epoch, past_epochs, outbound_stopped, note, actor, change_time, version"
_READ: Final = f"SELECT {_COLUMNS} FROM history WHERE history_key = 1"
_LOOK: Final = f"""
SELECT {_COLUMNS}, h.system_identifier AS known_system, h.database_oid AS known_oid,
    h.timeline AS known_timeline,
    (SELECT s.system_identifier FROM pg_control_system() s)::text AS system_identifier,
    (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())::bigint AS database_oid,
    substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8) AS timeline,
    (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint AS position
FROM history h WHERE history_key = 1
"""
_BEGIN: Final = f"""
UPDATE history SET epoch = $2, past_epochs = $3, system_identifier = $4, database_oid = $5, timeline = $6,
    outbound_stopped = $7, note = $8, actor = $9, change_time = defter_now(), version = version + 1
WHERE history_key = 1 AND version = $1
RETURNING {_COLUMNS}
"""
_STOP: Final = f"""
UPDATE history SET outbound_stopped = true, note = $1, actor = $2, change_time = defter_now(),
    version = version + 1
WHERE history_key = 1 RETURNING {_COLUMNS}
"""
_RESUME: Final = f"""
UPDATE history SET outbound_stopped = false, note = $2, actor = $3, change_time = defter_now(),
    version = version + 1
WHERE history_key = 1 AND version = $1 RETURNING {_COLUMNS}
"""
# Every account that has ever had a payment, with whether a complete run of it began after the change.
_UNRECONCILED: Final = """
SELECT t.tenant_id, a.provider FROM (SELECT DISTINCT tenant_key, provider FROM payments) AS a
JOIN tenants t ON t.tenant_key = a.tenant_key
WHERE NOT EXISTS (
    SELECT 1 FROM reconciliation_runs r
    WHERE r.tenant_key = a.tenant_key AND r.provider = a.provider AND r.state = $2 AND r.begin_time > $1
)
ORDER BY t.tenant_id, a.provider LIMIT 20
"""


class History(NamedTuple):
    """The history of a database.

    Attributes:
        epoch: None before a server has opened the database.
        note: why calls were stopped or go on, by whom, since when.
        version: counts changes.
    """

    epoch: str | None
    past_epochs: tuple[str, ...]
    outbound_stopped: bool
    note: str
    actor: str
    change_time: datetime | None
    version: int


class Look(NamedTuple):
    """A history beside what the database is now."""

    history: History
    known: Known
    found: Identity
    position: int


async def read_history(connection: AnyConnection) -> History:
    """Return the history as it stands."""
    return _history_of(await connection.fetchrow(_READ))


async def outbound_allowed(connection: AnyConnection) -> bool:
    """Whether calls to providers may be made now."""
    return bool(await connection.fetchval(f"SELECT {OUTBOUND_ALLOWED}"))


async def look(connection: AnyConnection) -> Look | None:
    """Return the history beside what the database is; None of a standby, which is none until promoted."""
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return None
    row = await connection.fetchrow(_LOOK)
    assert row is not None, "the migration has written it"
    identity = None
    if row["known_system"] is not None:
        identity = Identity(
            system_identifier=row["known_system"],
            database_oid=row["known_oid"],
            timeline=row["known_timeline"],
        )
    history = _history_of(row)
    return Look(
        history,
        Known(epoch=history.epoch, past_epochs=frozenset(history.past_epochs), identity=identity),
        Identity(
            system_identifier=row["system_identifier"],
            database_oid=row["database_oid"],
            timeline=int(row["timeline"], 16),
        ),
        row["position"],
    )


async def begin_epoch(
    connection: AnyConnection, looked: Look, epoch: str, *, stopped: bool, note: str, actor: str
) -> History | None:
    """Begin an epoch in the database as it is; None where another process was faster."""
    past = looked.history.past_epochs
    if looked.history.epoch and looked.history.epoch != epoch:
        past = (*past, looked.history.epoch)
    row = await connection.fetchrow(
        _BEGIN,
        looked.history.version,
        epoch,
        " ".join(past),
        looked.found.system_identifier,
        looked.found.database_oid,
        looked.found.timeline,
        stopped,
        note,
        actor,
    )
    return None if row is None else _history_of(row)


async def stop_outbound(connection: AnyConnection, *, note: str, actor: str) -> History:
    """Stop all calls to providers."""
    return _history_of(await connection.fetchrow(_STOP, note, actor))


async def resume_outbound(
    connection: AnyConnection, *, version: int, note: str, actor: str
) -> History | None:
    """Let calls be made again; None where the history has changed since that version."""
    row = await connection.fetchrow(_RESUME, version, note, actor)
    return None if row is None else _history_of(row)


async def unreconciled(
    connection: AnyConnection, since: datetime | None, complete: int
) -> list[tuple[str, str]]:
    """Return up to 20 tenants and provider accounts with payments and no complete run begun since then."""
    rows = await connection.fetch(_UNRECONCILED, since, complete)
    return [(row["tenant_id"], row["provider"]) for row in rows]


def _history_of(row: object) -> History:
    assert row is not None, "the migration has written it"
    return History(
        epoch=row["epoch"],  # type: ignore[index]
        past_epochs=tuple(row["past_epochs"].split()),  # type: ignore[index]
        outbound_stopped=row["outbound_stopped"],  # type: ignore[index]
        note=row["note"],  # type: ignore[index]
        actor=row["actor"],  # type: ignore[index]
        change_time=row["change_time"],  # type: ignore[index]
        version=row["version"],  # type: ignore[index]
    )
