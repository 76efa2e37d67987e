"""Owns a lane's reads of findings: those of payments, and those that commands name."""

from collections.abc import Sequence
from typing import Final

from asyncpg import Record

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection

_BY_FINGERPRINT: Final = """
SELECT f.fingerprint, f.body
FROM unnest($2::bytea[]) AS wanted(fingerprint)
CROSS JOIN LATERAL (
    SELECT fingerprint, body FROM reconciliation_findings
    WHERE tenant_key = $1 AND fingerprint = wanted.fingerprint LIMIT 1
) f
"""


async def load_findings(
    connection: AnyConnection, key: TenantKey, fingerprints: Sequence[bytes]
) -> dict[bytes, bytes]:
    """Return the messages of those findings that exist, by fingerprint."""
    rows: list[Record] = await connection.fetch(_BY_FINGERPRINT, key, fingerprints)
    return {row["fingerprint"]: row["body"] for row in rows}
