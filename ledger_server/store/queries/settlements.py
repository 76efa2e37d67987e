"""Owns the lists of settlement batches, and of a batch's lines."""

from datetime import datetime
from typing import Final, NamedTuple

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection
from ledger_server.store.settlement_store import SettlementBatchName, StoredSettlementBatch

_BATCHES: Final = """
SELECT batch_id, currency_code AS currency, state, version, moved, open_time, body, provider
FROM settlement_batches
WHERE tenant_key = $1 AND ($2 = '' OR provider = $2) AND ($3 = 0 OR state = $3)
    AND (open_time, provider, batch_id, currency_code) < ($4, $5, $6, $7)
ORDER BY open_time DESC, provider DESC, batch_id DESC, currency_code DESC LIMIT $8
"""
# The batch's index leads to its lines, whose order has none: the fence keeps the planner from walking through
# all lines of the account in that order instead.
_LINES: Final = """
SELECT line_id, line_number, kind, provider_type, batch_id, currency, gross, fee, net, is_payout, create_time
FROM (
    SELECT line_id, line_number, kind, provider_type, batch_id, currency_code AS currency, gross, fee, net,
        is_payout, create_time
    FROM settlement_lines
    WHERE tenant_key = $1 AND provider = $2 AND batch_id = $3 AND currency_code = $4 AND batch_id <> ''
        AND line_id > $5
    OFFSET 0
) l
ORDER BY line_id LIMIT $6
"""

SettlementBatchPosition = tuple[datetime, str, str, str]
"""When a batch was first seen, its provider account, id and currency."""


class StoredSettlementLine(NamedTuple):
    """A line as it is kept; amounts are minor units."""

    line_id: str
    line_number: int
    kind: int
    provider_type: str
    batch_id: str
    currency: str
    gross: int
    fee: int
    net: int
    is_payout: bool
    create_time: datetime


async def list_lines(
    connection: AnyConnection,
    key: TenantKey,
    provider: str,
    name: SettlementBatchName,
    *,
    after: str,
    size: int,
) -> list[StoredSettlementLine]:
    """Return lines of a batch behind one of them, by their ids."""
    rows = await connection.fetch(_LINES, key, provider, *name, after, size)
    return [StoredSettlementLine(*row) for row in rows]


async def list_batches(
    connection: AnyConnection,
    key: TenantKey,
    *,
    provider: str,
    state: int,
    before: SettlementBatchPosition,
    size: int,
) -> list[tuple[SettlementBatchPosition, StoredSettlementBatch]]:
    """Return batches with their positions, the newest first."""
    rows = await connection.fetch(_BATCHES, key, provider, state, *before, size)
    return [
        (
            (row["open_time"], row["provider"], row["batch_id"], row["currency"]),
            StoredSettlementBatch(*(row[name] for name in StoredSettlementBatch._fields)),
        )
        for row in rows
    ]
