"""Owns the rows of reconciliation runs and the leases on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, NamedTuple

from asyncpg import Record, UniqueViolationError

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection

RUNNING: Final = 1


class RunBegun(Exception):
    """Another worker has just begun a run of the account, which has one at a time; nothing was written."""


class StoredRun(NamedTuple):
    """A run; its message stands in `body`."""

    number: int
    state: int
    digest: bytes
    lease_until: datetime
    body: bytes


_COLUMNS: Final = "run_number, state, request_digest, lease_until, body"
_READ: Final = f"SELECT {_COLUMNS} FROM reconciliation_runs WHERE tenant_key = $1 AND run_number = $2"
_RUNNING: Final = f"""
SELECT {_COLUMNS} FROM reconciliation_runs
WHERE tenant_key = $1 AND provider = $2 AND state = {RUNNING} FOR UPDATE
"""
_INSERT: Final = """
INSERT INTO reconciliation_runs
    (tenant_key, run_number, provider, state, request_digest, owner, lease_until, begin_time, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_TAKE_UP: Final = """
UPDATE reconciliation_runs SET state = $3, owner = $4, lease_until = $5, begin_time = $6, body = $7
WHERE tenant_key = $1 AND run_number = $2
"""
# A worker that was declared dead is still named in the row: a run that is over stays over.
_SAVE: Final = f"""
UPDATE reconciliation_runs SET state = $4, lease_until = $5, body = $6
WHERE tenant_key = $1 AND run_number = $2 AND owner = $3 AND state = {RUNNING}
"""
_HOLD: Final = f"""
SELECT 1 FROM reconciliation_runs
WHERE tenant_key = $1 AND run_number = $2 AND owner = $3 AND state = {RUNNING} FOR SHARE
"""
_SET_STATE: Final = """
UPDATE reconciliation_runs SET state = $3, body = $4 WHERE tenant_key = $1 AND run_number = $2
"""


async def read_run(
    connection: AnyConnection, key: TenantKey, number: int, *, lock: bool = False
) -> StoredRun | None:
    """Return a run; with `lock`, locked until the caller's database transaction ends."""
    row = await connection.fetchrow(_READ + (" FOR UPDATE" if lock else ""), key, number)
    return None if row is None else _run(row)


async def lock_running(connection: AnyConnection, key: TenantKey, provider: str) -> StoredRun | None:
    """Lock and return the run that is under way for a provider account."""
    row = await connection.fetchrow(_RUNNING, key, provider)
    return None if row is None else _run(row)


async def begin_run(
    connection: AnyConnection,
    key: TenantKey,
    provider: str,
    run: StoredRun,
    *,
    owner: str,
    begin_time: datetime,
) -> None:
    """Insert a run that a worker begins.

    Raises:
        RunBegun: this run, or another one of the account, was begun at the same time.
    """
    with _begun_elsewhere():
        await connection.execute(
            _INSERT,
            key,
            run.number,
            provider,
            run.state,
            run.digest,
            owner,
            run.lease_until,
            begin_time,
            run.body,
        )


async def take_up_run(
    connection: AnyConnection, key: TenantKey, run: StoredRun, *, owner: str, begin_time: datetime
) -> None:
    """Write that a worker takes up a run again; the caller has locked the run.

    Raises:
        RunBegun: another run of the account was begun at the same time.
    """
    with _begun_elsewhere():
        await connection.execute(
            _TAKE_UP, key, run.number, run.state, owner, run.lease_until, begin_time, run.body
        )


async def hold_run(connection: AnyConnection, key: TenantKey, number: int, owner: str) -> bool:
    """Whether a run is still a worker's; if so, it stays so until this database transaction ends."""
    return bool(await connection.fetchval(_HOLD, key, number, owner))


async def set_state(connection: AnyConnection, key: TenantKey, number: int, state: int, body: bytes) -> None:
    """Write the state of a run that nobody works on any more."""
    await connection.execute(_SET_STATE, key, number, state, body)


async def save_run(
    connection: AnyConnection,
    key: TenantKey,
    number: int,
    *,
    owner: str,
    state: int,
    lease_until: datetime,
    body: bytes,
) -> bool:
    """Write how far a run has come; return False if another worker has taken it over."""
    status = await connection.execute(_SAVE, key, number, owner, state, lease_until, body)
    return bool(status == "UPDATE 1")


def _run(row: Record) -> StoredRun:
    return StoredRun(*row)


@contextmanager
def _begun_elsewhere() -> Iterator[None]:
    try:
        yield
    except UniqueViolationError as error:
        raise RunBegun(str(error)) from error
