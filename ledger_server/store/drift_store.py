"""Owns the reads of findings about drifted balances, each with the run that saw it last."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection

_SEEN: Final = """LEFT JOIN finding_sightings s ON s.tenant_key = $1 AND s.fingerprint = f.fingerprint"""
_KNOWN: Final = f"""
SELECT f.subject_time, f.fingerprint, f.body, s.run_number FROM unnest($2::bytea[]) AS wanted(fingerprint)
CROSS JOIN LATERAL (
    SELECT subject_time, fingerprint, body FROM reconciliation_findings
    WHERE tenant_key = $1 AND fingerprint = wanted.fingerprint LIMIT 1
) AS f {_SEEN}
"""
_UNSEEN: Final = f"""
SELECT f.subject_time, f.fingerprint, f.body, s.run_number FROM reconciliation_findings f {_SEEN}
WHERE f.tenant_key = $1 AND f.provider = $2 AND f.state IN (1, 2, 5)
    AND (f.subject_time, f.fingerprint) > ($4, $5)
    AND f.class = {FindingClass.BALANCE_DRIFT:d} AND s.run_number IS DISTINCT FROM $3
ORDER BY f.subject_time, f.fingerprint LIMIT $6
"""
_RUNS: Final = """
SELECT r.run_number, r.body FROM unnest($2::bigint[]) AS wanted(run_number)
CROSS JOIN LATERAL (
    SELECT run_number, body FROM reconciliation_runs
    WHERE tenant_key = $1 AND run_number = wanted.run_number LIMIT 1
) AS r
"""


class KnownDrift(NamedTuple):
    """A finding about a drifted balance, and the run that saw it last, if one has."""

    subject_time: datetime
    fingerprint: bytes
    body: bytes
    seen_by: int | None


async def known_drifts(
    connection: AnyConnection, key: TenantKey, fingerprints: Iterable[bytes]
) -> dict[bytes, KnownDrift]:
    """Return those of the findings that exist, by fingerprint."""
    rows = await connection.fetch(_KNOWN, key, sorted(fingerprints))
    return {row["fingerprint"]: KnownDrift(*row) for row in rows}


async def unseen_drifts(
    connection: AnyConnection,
    key: TenantKey,
    source: str,
    run: int,
    *,
    after: tuple[datetime, bytes],
    size: int,
) -> list[KnownDrift]:
    """Return unresolved findings about a legacy system's balances that a run has not seen.

    Args:
        after: the subject time and fingerprint behind which they are, in that order.
    """
    rows = await connection.fetch(_UNSEEN, key, source, run, *after, size)
    return [KnownDrift(*row) for row in rows]


async def run_bodies(connection: AnyConnection, key: TenantKey, numbers: Sequence[int]) -> dict[int, bytes]:
    """Return the messages of those of the runs that exist, by number."""
    rows = await connection.fetch(_RUNS, key, numbers)
    return {row["run_number"]: row["body"] for row in rows}
