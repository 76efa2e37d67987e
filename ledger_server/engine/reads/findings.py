"""Owns the reads of findings: one with its history, and lists of them."""

from datetime import datetime

from ledger_server.domain.errors import FindingNotFound
from ledger_server.domain.ids import TenantIds, finding_fingerprint
from ledger_server.engine.reads.ledger import At, Reads
from ledger_server.store.queries import counts, findings
from ledger_server.store.queries.counts import FindingCount
from ledger_server.store.queries.findings import FindingFilter, FindingPosition, FindingRead
from ledger_server.store.queries.rendering import Page


class FindingReads:
    """All reads of findings; what was recorded is returned as the bytes of its message."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def ids(self, tenant_id: str) -> TenantIds:
        """Return what reads and makes the ids of a tenant in this history."""
        return await self._reads.ids(tenant_id)

    async def finding(self, tenant_id: str, finding_id: str) -> At[FindingRead]:
        """Return a finding with its history. Raises FindingNotFound."""
        key = await self._reads.key_of(tenant_id)
        fingerprint = finding_fingerprint(finding_id)
        if fingerprint is None:
            raise FindingNotFound(finding_id=finding_id)
        found, newest = await self._reads.run_at(
            lambda connection: findings.finding(connection, key, fingerprint), key
        )
        if found is None:
            raise FindingNotFound(finding_id=finding_id)
        return At(found, newest)

    async def count_findings(
        self, tenant_id: str, ended: tuple[datetime, datetime] | None
    ) -> At[list[FindingCount]]:
        """Count findings; `ended`: those that are resolved and were opened in this span, too."""
        key = await self._reads.key_of(tenant_id)
        return await self._reads.run_at(lambda connection: counts.count_findings(connection, key, ended), key)

    async def list_findings(
        self, tenant_id: str, wanted: FindingFilter, *, after: FindingPosition, size: int
    ) -> Page[bytes, FindingPosition]:
        """Return a page of findings, those opened last first."""
        key = await self._reads.key_of(tenant_id)
        return await self._reads.page_at(
            lambda connection: findings.list_findings(connection, key, wanted, after=after, size=size), key
        )
