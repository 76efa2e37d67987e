"""Owns the reads of tenants."""

from collections.abc import Sequence
from typing import Final

from asyncpg import Record

from ledger_server.domain.ids import epochs_of
from ledger_server.domain.payments.withdrawal import NO_POLICY
from ledger_server.domain.state.commands import Enforcement
from ledger_server.store.database import AnyConnection
from ledger_server.store.lane_store import Head
from ledger_server.store.queries.rendering import Page

_LIST: Final = """
SELECT tenant_id, sequence, chain_hash, record_time, balance_enforcement, create_time, epochs FROM tenants
WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2
"""


async def list_tenants(connection: AnyConnection, *, after: str, size: int) -> Page[Head, str]:
    """Return a page of tenants by id; the only statement that names more than one tenant.

    Args:
        after: the id behind which the page begins, or empty.
    """
    rows: Sequence[Record] = await connection.fetch(_LIST, after, size + 1)
    heads = [
        Head(
            tenant_id=row["tenant_id"],
            sequence=row["sequence"],
            chain_hash=row["chain_hash"],
            record_time=row["record_time"],
            enforcement=Enforcement(row["balance_enforcement"]),
            create_time=row["create_time"],
            policy=NO_POLICY,
            epochs=epochs_of(row["epochs"]),
            epoch="",
            final_time=None,
        )
        for row in rows[:size]
    ]
    return Page(heads, heads[-1].tenant_id if len(rows) > size else None)
