"""Own the list of bad input to findings: each is refused by name, and nothing is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from defter.reconciliation.v1 import finding_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from ledger_server.domain.ids import TenantId, TenantIds, finding_id, tenant_key
from tests.support.findings import Desk, of_ref
from tests.support.ledger import Ledger
from tests.support.wire import refusal

LONG = "x" * 256
OUT_OF_ENUM = 99
DUPLICATE_OF = pb.RESOLUTION_REASON_DUPLICATE_OF
OTHER = finding_id(of_ref("other").fingerprint)
OTHER_TENANT = TenantIds(tenant_key(TenantId("other")))


@dataclass(frozen=True)
class Bad:
    """A call that must be refused before anything is decided."""

    name: str
    reason: str
    field: str
    call: Callable[[Desk, pb.Finding], Awaitable[object]]


def acknowledging(name: str, reason: str, field: str, /, **changes: Any) -> Bad:
    """Return a bad AcknowledgeFinding: a good one with some fields changed."""
    return Bad(name, reason, field, lambda desk, found: desk.acknowledge(found, **changes))


def resolving(name: str, reason: str, field: str, /, **changes: Any) -> Bad:
    """Return a bad ResolveFinding: a good one with some fields changed."""
    return Bad(name, reason, field, lambda desk, found: desk.resolve(found, **changes))


def reopening(name: str, reason: str, field: str, /, **changes: Any) -> Bad:
    """Return a bad ReopenFinding: a good one with some fields changed."""
    return Bad(name, reason, field, lambda desk, found: desk.reopen(found, **changes))


def listing(name: str, reason: str, field: str, /, **filters: Any) -> Bad:
    """Return a bad ListFindings."""

    def call(desk: Desk, _: pb.Finding) -> Awaitable[object]:
        request = pb.ListFindingsRequest(**{"tenant_id": desk.ledger.tenant_id, **filters})
        return desk.stubs.findings.ListFindings(request)

    return Bad(name, reason, field, call)


def counting(name: str, reason: str, field: str, /, **window: Any) -> Bad:
    """Return a bad CountFindings."""

    def call(desk: Desk, _: pb.Finding) -> Awaitable[object]:
        request = pb.CountFindingsRequest(**{"tenant_id": desk.ledger.tenant_id, **window})
        return desk.stubs.findings.CountFindings(request)

    return Bad(name, reason, field, call)


def reading(name: str, reason: str, field: str, /, **fields: Any) -> Bad:
    """Return a bad GetFinding."""
    return Bad(
        name, reason, field, lambda desk, _: desk.stubs.findings.GetFinding(pb.GetFindingRequest(**fields))
    )


def repairing(name: str, reason: str, field: str, /, **changes: Any) -> Bad:
    """Return a bad RepairFinding: a good one with some fields changed."""

    def call(desk: Desk, found: pb.Finding) -> Awaitable[object]:
        good = {"tenant_id": desk.ledger.tenant_id, "finding_id": found.finding_id, "actor": "ada"}
        return desk.stubs.findings.RepairFinding(pb.RepairFindingRequest(**{**good, **changes}))

    return Bad(name, reason, field, call)


BAD_INPUT = [
    # What all steps share.
    acknowledging("missing_tenant", "FIELD_MISSING", "tenant_id", tenant_id=""),
    reopening("malformed_tenant", "FIELD_MALFORMED", "tenant_id", tenant_id="Casino"),
    acknowledging("missing_key", "IDEMPOTENCY_KEY_MISSING", "idempotency_key", idempotency_key=""),
    resolving("missing_key_to_resolve", "IDEMPOTENCY_KEY_MISSING", "idempotency_key", idempotency_key=""),
    reopening("missing_key_to_reopen", "IDEMPOTENCY_KEY_MISSING", "idempotency_key", idempotency_key=""),
    resolving("long_key", "IDEMPOTENCY_KEY_MALFORMED", "idempotency_key", idempotency_key=LONG),
    reopening("key_with_line_break", "IDEMPOTENCY_KEY_MALFORMED", "idempotency_key", idempotency_key="a\nb"),
    acknowledging("missing_finding", "FIELD_MISSING", "finding_id", finding_id=""),
    resolving("long_finding", "FIELD_TOO_LONG", "finding_id", finding_id=LONG),
    acknowledging("no_version", "FIELD_OUT_OF_RANGE", "expected_version", expected_version=0),
    resolving("negative_version", "FIELD_OUT_OF_RANGE", "expected_version", expected_version=-(2**63)),
    acknowledging("missing_actor", "FIELD_MISSING", "actor", actor=""),
    resolving("long_actor", "FIELD_TOO_LONG", "actor", actor=LONG),
    reopening("actor_with_nul", "FIELD_MALFORMED", "actor", actor="a\x00"),
    acknowledging("long_note", "FIELD_TOO_LONG", "note", note="x" * 1_001),
    resolving("note_with_nul", "FIELD_MALFORMED", "note", note="\x00"),
    # Acknowledging.
    acknowledging("missing_assignee", "FIELD_MISSING", "assignee", assignee=""),
    acknowledging("long_assignee", "FIELD_TOO_LONG", "assignee", assignee=LONG),
    acknowledging("assignee_with_nul", "FIELD_MALFORMED", "assignee", assignee="a\x00b"),
    # Resolving.
    resolving("missing_reason", "FIELD_MISSING", "reason", reason=0),
    resolving("reason_out_of_enum", "FIELD_MALFORMED", "reason", reason=OUT_OF_ENUM),
    resolving(
        "correction_of_no_form",
        "FIELD_MALFORMED",
        "correction_transaction_id",
        correction_transaction_id="tx_nothing",
    ),
    resolving(
        "correction_of_another_tenant",
        "FIELD_MALFORMED",
        "correction_transaction_id",
        correction_transaction_id=OTHER_TENANT.transaction_id(1),
    ),
    resolving(
        "long_correction", "FIELD_TOO_LONG", "correction_transaction_id", correction_transaction_id=LONG
    ),
    resolving("duplicate_of_nothing", "FIELD_MISSING", "duplicate_of_finding_id", reason=DUPLICATE_OF),
    resolving(
        "duplicate_of_no_form",
        "FIELD_MALFORMED",
        "duplicate_of_finding_id",
        reason=DUPLICATE_OF,
        duplicate_of_finding_id="fnd_nothing",
    ),
    resolving(
        "duplicate_for_another_reason",
        "FIELD_MALFORMED",
        "duplicate_of_finding_id",
        duplicate_of_finding_id=OTHER,
    ),
    resolving(
        "long_duplicate",
        "FIELD_TOO_LONG",
        "duplicate_of_finding_id",
        reason=DUPLICATE_OF,
        duplicate_of_finding_id=LONG,
    ),
    Bad(
        "duplicate_of_itself",
        "FIELD_MALFORMED",
        "duplicate_of_finding_id",
        lambda desk, found: desk.resolve(
            found, reason=DUPLICATE_OF, duplicate_of_finding_id=found.finding_id
        ),
    ),
    # Reads.
    listing("list_of_no_tenant", "FIELD_MISSING", "tenant_id", tenant_id=""),
    listing("state_out_of_enum", "FIELD_MALFORMED", "states", states=[1, OUT_OF_ENUM]),
    listing("negative_state", "FIELD_MALFORMED", "states", states=[-1]),
    listing("class_out_of_enum", "FIELD_MALFORMED", "finding_class", finding_class=OUT_OF_ENUM),
    listing("severity_out_of_enum", "FIELD_MALFORMED", "min_severity", min_severity=OUT_OF_ENUM),
    listing("provider_in_capitals", "FIELD_MALFORMED", "provider", provider="MOCK"),
    listing("long_payment", "FIELD_TOO_LONG", "payment_id", payment_id=LONG),
    listing("assignee_to_list_with_nul", "FIELD_MALFORMED", "assignee", assignee="\x00"),
    listing("long_assignee_to_list", "FIELD_TOO_LONG", "assignee", assignee=LONG),
    listing("large_page", "FIELD_OUT_OF_RANGE", "page_size", page_size=1_001),
    counting("count_of_no_tenant", "FIELD_MISSING", "tenant_id", tenant_id=""),
    counting("count_to_alone", "FIELD_MISSING", "from_time", to_time=Timestamp(seconds=1)),
    counting("count_from_nowhen", "FIELD_OUT_OF_RANGE", "from_time", from_time=Timestamp(seconds=-1)),
    listing("invented_token", "PAGE_TOKEN_INVALID", "page_token", page_token="next"),
    reading("read_of_no_tenant", "FIELD_MISSING", "tenant_id", finding_id=OTHER),
    reading("read_of_no_finding", "FIELD_MISSING", "finding_id", tenant_id="casino"),
    # Repairing.
    repairing("repair_of_no_finding", "FIELD_MISSING", "finding_id", finding_id=""),
    repairing("repair_by_nobody", "FIELD_MISSING", "actor", actor=""),
    repairing("repair_by_long_actor", "FIELD_TOO_LONG", "actor", actor=LONG),
]


@pytest.mark.parametrize("bad", BAD_INPUT, ids=lambda bad: bad.name)
async def test_send_bad_input_on_findings_is_refused_and_writes_nothing(bad: Bad, ledger: Ledger) -> None:
    """The reason names the rule, the field is pointed at, and the journal is what it was."""
    desk = Desk(ledger)
    found = await desk.raised()
    head = await ledger.head()

    refused = await refusal(bad.call(desk, found))

    assert (refused.reason, refused.metadata.get("field")) == (bad.reason, bad.field)
    assert bad.field in refused.violated_fields
    assert await ledger.head() == head


async def test_send_largest_documented_texts_is_taken(ledger: Ledger) -> None:
    """255 characters are a person, and 1,000 are a note, also where a character has several bytes."""
    desk = Desk(ledger)
    found = await desk.raised()

    acknowledged = await desk.acknowledge(found, assignee="ü" * 255, actor="é" * 255, note="💣" * 1_000)

    assert await desk.findings(assignee="ü" * 255) == [acknowledged]
