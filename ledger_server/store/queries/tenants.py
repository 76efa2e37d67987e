"""Owns the reads of tenants."""

from collections.abc import Callable, Sequence
from typing import Final

from asyncpg import Record

from ledger_server.domain.adjustments.adjustment import NO_ADJUSTMENT_POLICY
from ledger_server.domain.ids import epochs_of
from ledger_server.domain.payments.withdrawal import NO_POLICY
from ledger_server.domain.state.commands import Enforcement
from ledger_server.store.database import AnyConnection
from ledger_server.store.lane_store import Head
from ledger_server.store.queries.rendering import Page

_IDS: Final = "SELECT tenant_id FROM tenants"
_HEADS: Final = """
SELECT tenant_id, sequence, chain_hash, record_time, balance_enforcement, create_time, epochs FROM tenants
WHERE tenant_id = ANY($1)
"""


async def list_tenants(
    connection: AnyConnection, *, after: str, size: int, sees: Callable[[str], bool]
) -> Page[Head, str]:
    """Return a page of tenants by id; the only statements that name more than one tenant.

    The ids of all tenants are read for each page, so that the time it takes tells nobody how many there are
    that may not be seen, nor between which of those that may.

    Args:
        after: the id behind which the page begins, or empty.
        sees: whether a tenant may be in the list.
    """
    ids = sorted(row["tenant_id"] for row in await connection.fetch(_IDS))
    shown = [tenant_id for tenant_id in ids if sees(tenant_id) and tenant_id > after]
    rows: Sequence[Record] = await connection.fetch(_HEADS, shown[:size])
    heads = [
        Head(
            tenant_id=row["tenant_id"],
            sequence=row["sequence"],
            chain_hash=row["chain_hash"],
            record_time=row["record_time"],
            enforcement=Enforcement(row["balance_enforcement"]),
            create_time=row["create_time"],
            policy=NO_POLICY,
            adjustment_policy=NO_ADJUSTMENT_POLICY,
            epochs=epochs_of(row["epochs"]),
            epoch="",
            final_time=None,
        )
        for row in sorted(rows, key=lambda row: str(row["tenant_id"]))
    ]
    return Page(heads, shown[size - 1] if len(shown) > size else None)
