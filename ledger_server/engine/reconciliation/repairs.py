"""Owns the repair of a finding: the request that books what the provider's records say."""

from defter.reconciliation.v1 import finding_pb2

from ledger_server.domain.errors import FindingNotRepairable
from ledger_server.domain.reconciliation.repair import event_for
from ledger_server.engine.lane.work import Request
from ledger_server.engine.reads.findings import FindingReads
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.reconciliation.event_requests import event_request
from ledger_server.engine.records.findings import finding_of
from ledger_server.engine.records.payments import payment_of
from ledger_server.store.payment_store import load_payments
from ledger_server.store.record_store import provider_records_of_kind


class Repairs:
    """Looks up what the provider has listed for findings."""

    def __init__(self, reads: Reads, findings: FindingReads) -> None:
        self._reads = reads
        self._findings = findings

    async def request(self, tenant_id: str, finding_id: str, actor: str) -> Request:
        """Return the request that books what the provider lists for a finding's payment.

        Raises:
            FindingNotFound, FindingNotRepairable.
        """
        found = (await self._findings.finding(tenant_id, finding_id)).found
        key = await self._reads.key_of(tenant_id)
        ids = await self._reads.ids(tenant_id)
        seen = finding_of(ids, finding_pb2.Finding.FromString(found.body)).seen
        number, remote = seen.payment, seen.remote
        if number is None or remote is None:
            raise FindingNotRepairable(finding_id=finding_id)
        records = await self._reads.run(
            lambda connection: provider_records_of_kind(connection, key, seen.provider, number, remote.kind),
            tenant=key,
        )
        stored = await self._reads.run(
            lambda connection: load_payments(connection, key, [number]), tenant=key
        )
        event = None
        if number in stored:
            payment = payment_of(ids, stored[number].kind, stored[number].body)
            event = event_for(ids, payment, records, remote.ref, actor)
        if event is None:
            raise FindingNotRepairable(finding_id=finding_id)
        return event_request(event)
