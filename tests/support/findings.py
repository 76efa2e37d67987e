"""Own the findings of one tenant: discrepancies as a run sees them, and short calls over real gRPC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from defter.ledger.v1 import journal_pb2
from defter.reconciliation.v1 import finding_pb2 as pb

from ledger_server.domain.findings.commands import (
    AcknowledgeFinding,
    FindingCommand,
    ReopenFinding,
    ReportDiscrepancy,
    ResolveFinding,
)
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.findings.finding import Finding, Resolution, Source
from ledger_server.domain.ids import finding_id
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.state.commands import Method
from ledger_server.engine.lane.work import Request
from ledger_server.engine.records.findings import finding_of
from ledger_server.store.database import Pool
from tests.support.cashier import CAPTURED, Cashier
from tests.support.engine import IDS, KEY, asked
from tests.support.ledger import LARGEST_PAGE, Ledger

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
OURS = Side(
    ref="dep_x_7",
    kind=ProviderRecordKind.PAYMENT,
    amount=500,
    currency="EUR",
    state="CAPTURED",
    time=NOON,
    type="",
)
THEIRS = Side(
    ref="pi_7",
    kind=ProviderRecordKind.PAYMENT,
    amount=450,
    currency="EUR",
    state="succeeded",
    time=NOON,
    type="charge",
)


_METHODS = {
    AcknowledgeFinding: Method.AcknowledgeFinding,
    ResolveFinding: Method.ResolveFinding,
    ReopenFinding: Method.ReopenFinding,
}


def a_discrepancy(kind: FindingClass = FindingClass.AMOUNT_MISMATCH, **facts: Any) -> Discrepancy:
    """Return a discrepancy; arguments that are not given have fixed defaults."""
    wanted: dict[str, Any] = {
        "provider": "mock",
        "payment": None,
        "withdrawal": False,
        "ledger": OURS,
        "remote": THEIRS,
        "currency": "EUR",
        "description": "the amounts differ",
        "evidence": {"record_id": "txn_7"},
        "subject_time": NOON,
    }
    return Discrepancy(kind=kind, **{**wanted, **facts})


def of_ref(ref: str, kind: FindingClass = FindingClass.MISSING_IN_LEDGER, **facts: Any) -> Discrepancy:
    """Return a discrepancy about what the provider alone has, under that ref."""
    remote = Side(
        ref=ref,
        kind=ProviderRecordKind.PAYMENT,
        amount=450,
        currency="EUR",
        state="succeeded",
        time=NOON,
        type="",
    )
    return a_discrepancy(kind, ledger=None, remote=remote, **facts)


def later(discrepancy: Discrepancy, minutes: int = 1) -> Discrepancy:
    """Return the same discrepancy with other facts."""
    facts = {name: getattr(discrepancy, name) for name in discrepancy.__struct_fields__}
    return Discrepancy(**{**facts, "evidence": {"minutes": str(minutes)}})


def reported(discrepancy: Discrepancy, *, run: int | None = 1) -> Request:
    """Return the request by which a run reports what it has seen."""
    return Request(ReportDiscrepancy(discrepancy=discrepancy, source=Source.RUN, run=run))


def by_hand(
    kind: type[FindingCommand], fingerprint: bytes, version: int, *, actor: str = "ada", **fields: Any
) -> Any:
    """Return the command of a step that a person asks for."""
    own: dict[str, Any] = {}
    if kind is AcknowledgeFinding:
        own = {"assignee": "bob"}
    elif kind is ResolveFinding:
        own = {"resolution": Resolution.ACCEPTED_DIFFERENCE, "correction": "", "duplicate_of": ""}
    elif kind is not ReopenFinding:
        raise TypeError(kind)
    return kind(
        finding_id=finding_id(fingerprint),
        fingerprint=fingerprint,
        expected_version=version,
        actor=actor,
        note="",
        **{**own, **fields},
    )


def step(
    kind: type[FindingCommand],
    fingerprint: bytes,
    version: int,
    key: str,
    *,
    actor: str = "ada",
    **fields: Any,
) -> Request:
    """Return the keyed request of a step by hand."""
    return asked(by_hand(kind, fingerprint, version, actor=actor, **fields), _METHODS[kind], key)


async def stored_finding(pool: Pool, fingerprint: bytes) -> Finding | None:
    """Return a finding as it is stored."""
    body = await pool.fetchval(
        "SELECT body FROM reconciliation_findings WHERE tenant_key = $1 AND fingerprint = $2",
        KEY,
        fingerprint,
    )
    return None if body is None else finding_of(IDS, pb.Finding.FromString(body))


async def history_of(pool: Pool, fingerprint: bytes) -> list[tuple[int, str]]:
    """Return a finding's versions and states, as the records that its history names have them."""
    rows = await pool.fetch(
        "SELECT version, record FROM finding_versions JOIN journal USING (tenant_key, sequence)"
        " WHERE tenant_key = $1 AND fingerprint = $2 ORDER BY version",
        KEY,
        fingerprint,
    )
    history = []
    for row in rows:
        found = finding_of(IDS, journal_pb2.JournalRecord.FromString(row["record"]).finding_changed)
        assert (found.fingerprint, found.version) == (fingerprint, row["version"])
        history.append((found.version, found.state.name))
    return history


def hours(number: float) -> datetime:
    """Return a time so many hours after noon."""
    return NOON + timedelta(hours=number)


class Desk:
    """The findings of a tenant over the wire; every step gets a fresh key unless one is given."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.stubs = ledger.stubs

    async def raised(self, **fields: Any) -> pb.Finding:
        """Have a provider capture more of a deposit than was asked for; return the finding about that."""
        cashier = Cashier(self.ledger)
        deposit = await cashier.initiate(500, **{"provider_ref": self.ledger.new_key(), **fields})
        event_id = self.ledger.new_key()
        await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 600, event_id=event_id))
        [found] = await self.findings(payment_id=deposit.deposit_id)
        return found

    async def findings(self, **filters: Any) -> list[pb.Finding]:
        """Return all findings."""
        request = pb.ListFindingsRequest(tenant_id=self.ledger.tenant_id, page_size=LARGEST_PAGE, **filters)
        found: list[pb.Finding] = []
        while True:
            page = await self.stubs.findings.ListFindings(request)
            found += page.findings
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def read(self, finding_id: str) -> pb.GetFindingResponse:
        """Return a finding with its history."""
        request = pb.GetFindingRequest(tenant_id=self.ledger.tenant_id, finding_id=finding_id)
        return await self.stubs.findings.GetFinding(request)

    async def acknowledge(self, found: pb.Finding, **fields: Any) -> pb.Finding:
        """Say who looks after it."""
        request = pb.AcknowledgeFindingRequest(**{**self._step(found), "assignee": "bob", **fields})
        return (await self.stubs.findings.AcknowledgeFinding(request)).finding

    async def resolve(self, found: pb.Finding, **fields: Any) -> pb.Finding:
        """Say why the finding is settled."""
        return (await self.stubs.findings.ResolveFinding(self.resolve_request(found, **fields))).finding

    def resolve_request(self, found: pb.Finding, **fields: Any) -> pb.ResolveFindingRequest:
        """Return the request that accepts a difference."""
        reason = pb.RESOLUTION_REASON_ACCEPTED_DIFFERENCE
        return pb.ResolveFindingRequest(**{**self._step(found), "reason": reason, **fields})

    async def reopen(self, found: pb.Finding, **fields: Any) -> pb.Finding:
        """Take it up again."""
        request = pb.ReopenFindingRequest(**{**self._step(found), **fields})
        return (await self.stubs.findings.ReopenFinding(request)).finding

    def _step(self, found: pb.Finding) -> dict[str, Any]:
        return {
            "tenant_id": self.ledger.tenant_id,
            "idempotency_key": self.ledger.new_key(),
            "finding_id": found.finding_id,
            "expected_version": found.version,
            "actor": "ada",
        }
