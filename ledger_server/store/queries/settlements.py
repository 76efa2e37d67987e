"""Owns the list of settlement batches."""

from datetime import datetime
from typing import Final

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection
from ledger_server.store.settlement_store import StoredSettlementBatch

_BATCHES: Final = """
SELECT batch_id, currency_code AS currency, state, version, moved, open_time, body, provider
FROM settlement_batches
WHERE tenant_key = $1 AND ($2 = '' OR provider = $2) AND ($3 = 0 OR state = $3)
    AND (open_time, provider, batch_id, currency_code) < ($4, $5, $6, $7)
ORDER BY open_time DESC, provider DESC, batch_id DESC, currency_code DESC LIMIT $8
"""

SettlementBatchPosition = tuple[datetime, str, str, str]
"""When a batch was first seen, its provider account, id and currency."""


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
