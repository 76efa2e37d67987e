"""Owns the look-ups of adjustments by number.

As in `lane_store.py`, all statements name one tenant and use an index.
"""

from collections.abc import Sequence
from typing import Final

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection

# Bounded from both sides and ordered, since only the primary key serves that: see `payment_store.py`.
_LOAD: Final = """
SELECT a.adjustment_number, a.body
FROM unnest($2::bigint[]) AS wanted(adjustment_number)
CROSS JOIN LATERAL (
    SELECT adjustment_number, body FROM adjustments
    WHERE tenant_key = $1 AND adjustment_number BETWEEN wanted.adjustment_number AND wanted.adjustment_number
    ORDER BY adjustment_number LIMIT 1
) a
"""


async def load_adjustments(
    connection: AnyConnection, key: TenantKey, numbers: Sequence[int]
) -> dict[int, bytes]:
    """Return the messages of those of the adjustments that exist."""
    rows = await connection.fetch(_LOAD, key, numbers)
    return {row["adjustment_number"]: row["body"] for row in rows}
