"""Owns the reads of what was posted for opening balances."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.state.commands import RequestKey
from ledger_server.store.database import AnyConnection

# A look-up each, whatever the planner thinks of the table; see `lane_store.py`.
_OUTCOMES: Final = """
SELECT wanted.place, j.record, r.sequence AS reversed_by
FROM unnest($2::smallint[], $3::text[], $4::text[]) WITH ORDINALITY
    AS wanted(method, idempotency_key, player_id, place)
CROSS JOIN LATERAL (
    SELECT sequence, record FROM journal
    WHERE tenant_key = $1 AND idempotency_key = wanted.idempotency_key AND method = wanted.method
        AND player_id = wanted.player_id LIMIT 1
) j
LEFT JOIN LATERAL (
    SELECT sequence FROM journal WHERE tenant_key = $1 AND reverses = j.sequence LIMIT 1
) r ON true
"""


class OpeningOutcome(NamedTuple):
    """What was decided for one key, and whether it was reversed since."""

    record: bytes
    is_reversed: bool


async def outcomes(
    connection: AnyConnection, key: TenantKey, asked: Sequence[RequestKey]
) -> dict[int, OpeningOutcome]:
    """Return what was decided for keys, by their place in `asked`; those that are unused are left out."""
    rows = await connection.fetch(
        _OUTCOMES,
        key,
        [int(each.method) for each in asked],
        [each.idempotency_key for each in asked],
        [each.player_id for each in asked],
    )
    return {row["place"] - 1: OpeningOutcome(row["record"], row["reversed_by"] is not None) for row in rows}
