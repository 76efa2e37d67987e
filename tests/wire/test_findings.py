"""Own what FindingService promises: steps, lists with filters and pages, and a finding with its history."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from defter.reconciliation.v1 import finding_pb2 as pb

from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Severity
from ledger_server.domain.findings.finding import FindingState, Resolution, Source
from ledger_server.domain.ids import TenantId, TenantIds, finding_id, tenant_key
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.engine.lane.work import Request
from ledger_server.store.queries import rendering
from tests.support.cashier import CAPTURED, Cashier
from tests.support.clock import START, FakeClock
from tests.support.fake_provider import SILENT_PROVIDER
from tests.support.findings import Desk, a_discrepancy, later, of_ref, reported
from tests.support.ledger import Ledger
from tests.support.requests import timestamp
from tests.support.service import Service
from tests.support.wire import refusal
from tests.wire.test_lists import all_pages

IDS = TenantIds(tenant_key(TenantId("casino")))
OPEN, ACKNOWLEDGED, RESOLVED, REOPENED = (
    pb.FINDING_STATE_OPEN,
    pb.FINDING_STATE_ACKNOWLEDGED,
    pb.FINDING_STATE_RESOLVED,
    pb.FINDING_STATE_REOPENED,
)


@pytest.fixture
def desk(ledger: Ledger) -> Desk:
    """The findings of the tenant."""
    return Desk(ledger)


async def report(server: Service, *requests: Request) -> None:
    """Report discrepancies as a run does, in one commit."""
    await server.server.ledger.submit("casino", list(requests))


async def report_one(server: Service, desk: Desk, discrepancy: Discrepancy) -> pb.Finding:
    """Report a discrepancy and return its finding."""
    await report(server, reported(discrepancy))
    return (await desk.read(finding_id(discrepancy.fingerprint))).finding


async def test_capture_more_than_asked_for_raises_a_finding_of_the_payment(desk: Desk) -> None:
    """It says what is wrong with which payment, what each side knows, and who saw it."""
    cashier = Cashier(desk.ledger)
    deposit = await cashier.initiate(500, provider_ref="pay")
    await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 600))

    [found] = await desk.findings()

    assert found == pb.Finding(
        finding_id=found.finding_id,
        finding_class=pb.FINDING_CLASS_AMOUNT_MISMATCH,
        severity=pb.SEVERITY_HIGH,
        state=OPEN,
        version=1,
        provider="mock",
        payment_id=deposit.deposit_id,
        ledger=pb.Side(
            ref=f"{deposit.deposit_id}/events",
            kind=pb.RECORD_KIND_PAYMENT,
            amount_minor=500,
            currency_code="EUR",
            time=timestamp(START),
        ),
        currency_code="EUR",
        description="more was captured than asked for",
        evidence={"expected_minor": "500", "actual_minor": "600", "provider_ref": "pay"},
        subject_time=timestamp(START),
        open_time=timestamp(START),
        update_time=timestamp(START),
        source=pb.FINDING_SOURCE_PAYMENT,
    )


async def test_take_finding_through_its_steps_keeps_each_in_its_history(desk: Desk, clock: FakeClock) -> None:
    """Every answer is a version, and the history has them all with the records that made them."""
    opened = await desk.raised()
    clock.advance(seconds=1)
    acknowledged = await desk.acknowledge(opened, assignee="bob", note="asking the bank")
    clock.advance(seconds=1)
    resolved = await desk.resolve(acknowledged, actor="bob", reason=pb.RESOLUTION_REASON_TIMING)
    clock.advance(seconds=1)
    reopened = await desk.reopen(resolved, note="no")

    read = await desk.read(opened.finding_id)

    versions = [opened, acknowledged, resolved, reopened]
    records = await desk.ledger.records("finding_changed")
    assert [version.state for version in versions] == [OPEN, ACKNOWLEDGED, RESOLVED, REOPENED]
    assert [version.version for version in versions] == [1, 2, 3, 4]
    assert [(each.assignee, each.actor, each.note) for each in versions] == [
        ("", "", ""),
        ("bob", "ada", "asking the bank"),
        ("bob", "bob", ""),
        ("bob", "ada", "no"),
    ]
    assert [each.resolution_reason for each in versions] == [0, 0, pb.RESOLUTION_REASON_TIMING, 0]
    assert [(each.update_time.seconds - opened.update_time.seconds) for each in versions] == [0, 1, 2, 3]
    assert read.finding == reopened
    assert [version.finding for version in read.history] == versions
    assert [(each.sequence, each.finding) for each in read.history] == [
        (record.sequence, record.finding_changed) for record in records
    ]
    assert (read.last_seen_run_id, read.HasField("last_seen_time")) == ("", False)


async def test_resolve_finding_by_a_transaction_names_it(desk: Desk) -> None:
    """What put it right stands in the finding; a captured hold is a transaction too."""
    found = await desk.raised()
    await desk.ledger.open("ann")
    posted = await desk.ledger.post("house", "ann", 1)
    hold = await desk.ledger.place_hold("house", "ann", 1)
    captured = (await desk.ledger.capture(hold.hold_id)).transaction

    corrected = pb.RESOLUTION_REASON_LEDGER_CORRECTED
    first = await desk.resolve(found, reason=corrected, correction_transaction_id=posted.transaction_id)
    reopened = await desk.reopen(first)
    second = await desk.resolve(reopened, reason=corrected, correction_transaction_id=captured.transaction_id)

    assert first.correction_transaction_id == posted.transaction_id
    assert reopened.correction_transaction_id == ""
    assert second.correction_transaction_id == captured.transaction_id


async def test_resolve_finding_by_what_is_no_transaction_is_refused(desk: Desk) -> None:
    """A record that posts nothing is none; nothing but the refusal is written."""
    found = await desk.raised()
    tenant_created = TenantIds(tenant_key(TenantId(desk.ledger.tenant_id))).transaction_id(1)

    refused = await refusal(desk.resolve(found, correction_transaction_id=tenant_created))

    assert (refused.reason, refused.metadata) == (
        "TRANSACTION_NOT_FOUND",
        {"transaction_id": tenant_created},
    )
    assert (await desk.read(found.finding_id)).finding == found


async def test_resolve_finding_as_duplicate_needs_the_other_one(desk: Desk, server: Service) -> None:
    """It names a finding that there is."""
    found, other = await desk.raised(), await desk.raised()
    unknown = finding_id(of_ref("nothing").fingerprint)
    duplicate = pb.RESOLUTION_REASON_DUPLICATE_OF

    refused = await refusal(desk.resolve(found, reason=duplicate, duplicate_of_finding_id=unknown))
    resolved = await desk.resolve(found, reason=duplicate, duplicate_of_finding_id=other.finding_id)

    assert (refused.reason, refused.metadata) == ("FINDING_NOT_FOUND", {"finding_id": unknown})
    assert resolved.duplicate_of_finding_id == other.finding_id


async def test_read_finding_that_runs_have_seen_names_the_last_one(
    desk: Desk, server: Service, database_url: str
) -> None:
    """The run that made a change stands in the finding, and the one that saw it last beside it."""
    found = await report_one(server, desk, a_discrepancy())
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO finding_sightings (tenant_key, fingerprint, run_number, seen_time)"
            " VALUES ($1, $2, 9, $3)",
            tenant_key(TenantId("casino")),
            a_discrepancy().fingerprint,
            START,
        )
    finally:
        await connection.close()

    read = await desk.read(found.finding_id)

    assert (found.run_id, found.source) == (IDS.run_id(1), pb.FINDING_SOURCE_RUN)
    assert (read.last_seen_run_id, read.last_seen_time) == (IDS.run_id(9), timestamp(START))


async def test_read_finding_with_long_history_returns_its_newest_versions(
    desk: Desk, server: Service
) -> None:
    """A history that goes on for ever still fits into a message."""
    facts = [reported(later(a_discrepancy(), number)) for number in range(1_005)]
    await report(server, *facts)
    name = finding_id(a_discrepancy().fingerprint)

    versions = [each.finding.version for each in (await desk.read(name)).history]

    assert versions == list(range(6, 1_006))


async def test_read_finding_with_large_history_fits_into_a_message(desk: Desk, server: Service) -> None:
    """Large versions are cut by their size, the newest first; the last one is always there."""
    large = [
        reported(a_discrepancy(evidence={"number": str(number), "text": "x" * 100_000}))
        for number in range(30)
    ]
    await report(server, *large)

    read = await desk.read(finding_id(a_discrepancy().fingerprint))

    versions = [each.finding.version for each in read.history]
    assert 2 <= len(versions) < 30
    assert versions == list(range(31 - len(versions), 31))
    assert read.ByteSize() < 3 * 1024 * 1024


async def test_read_unknown_finding_is_refused(desk: Desk) -> None:
    """An id that is none, and one that nothing has; reading writes nothing."""
    head = await desk.ledger.head()

    refusals = [
        await refusal(desk.read(name)) for name in ("nothing", finding_id(a_discrepancy().fingerprint))
    ]

    assert {(refused.reason, refused.code.name) for refused in refusals} == {
        ("FINDING_NOT_FOUND", "NOT_FOUND")
    }
    assert await desk.ledger.head() == head


async def test_repair_finding_without_a_record_of_the_provider_is_refused(desk: Desk) -> None:
    """Nothing says what its payment lacks."""
    found = await desk.raised()
    tenant_id = desk.ledger.tenant_id
    request = pb.RepairFindingRequest(tenant_id=tenant_id, finding_id=found.finding_id, actor="ada")
    unknown = pb.RepairFindingRequest(tenant_id=tenant_id, finding_id="fnd_nothing", actor="ada")

    refused = await refusal(desk.stubs.findings.RepairFinding(request))

    assert (refused.reason, refused.code.name) == ("FINDING_NOT_REPAIRABLE", "FAILED_PRECONDITION")
    assert refused.metadata == {"finding_id": found.finding_id}
    assert (await refusal(desk.stubs.findings.RepairFinding(unknown))).reason == "FINDING_NOT_FOUND"


async def five_findings(desk: Desk, server: Service, clock: FakeClock) -> dict[str, str]:
    """Raise findings that differ, some at once and some a minute apart; return their names by id."""
    payment = await desk.raised()
    clock.advance(seconds=60)
    pair = [of_ref("one"), of_ref("two", FindingClass.DUPLICATE_AT_PROVIDER)]
    await report(server, *map(reported, pair))
    clock.advance(seconds=60)
    lone = [of_ref("three", FindingClass.UNKNOWN_RECORD_TYPE, provider=SILENT_PROVIDER), a_discrepancy()]
    for discrepancy in lone:
        await report(server, reported(discrepancy))
        clock.advance(seconds=60)
    ids = [finding_id(one.fingerprint) for one in [*pair, *lone]]
    names = dict(zip(ids, ("one", "two", "three", "four"), strict=True))
    for listed in await desk.findings():
        if names.get(listed.finding_id) == "two":
            await desk.acknowledge(listed, assignee="bob")
        elif names.get(listed.finding_id) == "three":
            await desk.resolve(await desk.acknowledge(listed, assignee="eve"))
    return {**names, payment.finding_id: "payment"}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, {"payment", "one", "two", "three", "four"}),
        ({"states": [OPEN]}, {"payment", "one", "four"}),
        ({"states": [RESOLVED, ACKNOWLEDGED, RESOLVED]}, {"two", "three"}),
        ({"states": [RESOLVED, 0]}, {"payment", "one", "two", "three", "four"}),
        ({"states": [REOPENED]}, set()),
        ({"finding_class": pb.FINDING_CLASS_AMOUNT_MISMATCH}, {"payment", "four"}),
        ({"min_severity": pb.SEVERITY_LOW}, {"payment", "one", "two", "three", "four"}),
        ({"min_severity": pb.SEVERITY_HIGH}, {"payment", "one", "two", "four"}),
        ({"min_severity": pb.SEVERITY_CRITICAL}, {"two"}),
        ({"provider": SILENT_PROVIDER}, {"three"}),
        ({"provider": "not-configured"}, set()),
        ({"assignee": "bob"}, {"two"}),
        ({"assignee": "nobody"}, set()),
        ({"assignee": "eve", "states": [RESOLVED], "provider": SILENT_PROVIDER}, {"three"}),
        ({"payment_id": "garbage"}, set()),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_filter_findings_returns_only_matches(
    desk: Desk, server: Service, clock: FakeClock, filters: dict[str, Any], expected: set[str]
) -> None:
    """Filters are joined by and, states by or; each is listed as it is read."""
    names = await five_findings(desk, server, clock)

    found = await desk.findings(**filters)

    assert {names[each.finding_id] for each in found} == expected
    assert found == [(await desk.read(each.finding_id)).finding for each in found]
    places = [(each.open_time.ToMicroseconds(), each.finding_id) for each in found]
    assert places == sorted(places, reverse=True)


async def test_filter_findings_by_payment_returns_those_of_that_payment(desk: Desk, server: Service) -> None:
    """All that a payment has, with other filters too; the same number of another kind is no payment."""
    one, _ = await desk.raised(), await desk.raised()
    number = IDS.deposit_sequence(one.payment_id)
    await report(server, reported(of_ref("pi_1", FindingClass.DUPLICATE_AT_PROVIDER, payment=number)))

    found = await desk.findings(payment_id=one.payment_id)
    critical = await desk.findings(payment_id=one.payment_id, min_severity=pb.SEVERITY_CRITICAL)

    assert {each.payment_id for each in found} == {one.payment_id}
    assert {each.finding_class for each in found} == {
        pb.FINDING_CLASS_AMOUNT_MISMATCH,
        pb.FINDING_CLASS_DUPLICATE_AT_PROVIDER,
    }
    assert [each.finding_class for each in critical] == [pb.FINDING_CLASS_DUPLICATE_AT_PROVIDER]
    assert await desk.findings(payment_id=one.payment_id.replace("dep_", "wd_")) == []


@pytest.mark.parametrize(
    "filters", [{}, {"provider": "mock"}, {"payment": True}], ids=["all", "some", "payment"]
)
async def test_page_through_findings_returns_each_once_in_order(
    desk: Desk, server: Service, clock: FakeClock, filters: dict[str, Any]
) -> None:
    """Pages are full but for the last, also among those opened at one instant; new ones come before."""
    payment = await Cashier(desk.ledger).initiate(500)
    number = IDS.deposit_sequence(payment.deposit_id)
    for minute in range(3):
        await report(server, *(reported(of_ref(f"{minute}-{n}", payment=number)) for n in range(3)))
        clock.advance(seconds=60)
    wanted = {"payment_id": payment.deposit_id} if "payment" in filters else filters
    request = pb.ListFindingsRequest(tenant_id="casino", page_size=4, **wanted)

    found = await all_pages(desk.stubs.findings.ListFindings, request, "findings")

    places = [(each.open_time.ToMicroseconds(), each.finding_id) for page in found for each in page]
    assert [len(page) for page in found] == [4, 4, 1]
    assert places == sorted(set(places), reverse=True)


@pytest.mark.parametrize("of_payment", [False, True], ids=["all", "payment"])
async def test_page_through_findings_that_hardly_any_filter_passes_ends_pages_early(
    desk: Desk, server: Service, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, of_payment: bool
) -> None:
    """A page looks at so many findings and no more; an empty one still says where to go on."""
    monkeypatch.setattr(rendering, "SCAN_LIMIT", 1)
    payment = await Cashier(desk.ledger).initiate(500)
    number = IDS.deposit_sequence(payment.deposit_id)
    rare = of_ref("rare", FindingClass.DUPLICATE_AT_PROVIDER, payment=number)
    common = [of_ref(str(each), payment=number) for each in range(7)]
    for discrepancy in [rare, *common]:
        await report(server, reported(discrepancy))
        clock.advance(seconds=1)
    request = pb.ListFindingsRequest(
        tenant_id="casino",
        page_size=2,
        finding_class=pb.FINDING_CLASS_DUPLICATE_AT_PROVIDER,
        payment_id=payment.deposit_id if of_payment else "",
    )

    found = await all_pages(desk.stubs.findings.ListFindings, request, "findings")

    assert [[each.finding_id for each in page] for page in found] == [
        [],
        [],
        [finding_id(rare.fingerprint)],
    ]


async def test_open_finding_between_two_pages_shifts_nothing(
    desk: Desk, server: Service, clock: FakeClock
) -> None:
    """What is opened later stands before what was read."""
    await report(server, *(reported(of_ref(str(number))) for number in range(4)))
    request = pb.ListFindingsRequest(tenant_id="casino", page_size=2)
    first = await desk.stubs.findings.ListFindings(request)
    clock.advance(seconds=1)
    await report(server, reported(of_ref("new")))

    request.page_token = first.next_page_token
    second = await desk.stubs.findings.ListFindings(request)

    assert len({each.finding_id for each in [*first.findings, *second.findings]}) == 4
    assert second.next_page_token == ""


async def test_list_large_findings_cuts_page_below_message_limit(desk: Desk, server: Service) -> None:
    """A page ends early where its messages are large; nothing is lost."""
    text = {"text": "x" * 100_000}
    await report(server, *(reported(of_ref(str(number), evidence=text)) for number in range(30)))
    request = pb.ListFindingsRequest(tenant_id="casino", page_size=1_000)

    found = await all_pages(desk.stubs.findings.ListFindings, request, "findings")

    assert len(found) > 1
    assert len({each.finding_id for page in found for each in page}) == 30
    assert max(sum(each.ByteSize() for each in page) for page in found) < 2 * 1024 * 1024


async def test_use_page_token_with_another_filter_is_refused(desk: Desk, server: Service) -> None:
    """A token is of one list and one filter."""
    await report(server, *(reported(of_ref(str(number))) for number in range(2)))
    first = await desk.stubs.findings.ListFindings(pb.ListFindingsRequest(tenant_id="casino", page_size=1))
    other = pb.ListFindingsRequest(tenant_id="casino", states=[OPEN], page_token=first.next_page_token)

    refused = await refusal(desk.stubs.findings.ListFindings(other))

    assert refused.reason == "PAGE_TOKEN_INVALID"


async def test_read_findings_of_other_tenant_makes_no_difference(server: Service, desk: Desk) -> None:
    """What is wrong in one tenant is wrong in no other, and an unknown tenant has no findings."""
    found = await desk.raised()
    other = Desk(await server.new_ledger("other"))
    stranger = Desk(Ledger(desk.ledger.channel, "nobody"))

    assert await other.findings() == []
    assert (await refusal(other.read(found.finding_id))).reason == "FINDING_NOT_FOUND"
    assert (await refusal(other.acknowledge(found))).reason == "FINDING_NOT_FOUND"
    for call in (stranger.findings(), stranger.read(found.finding_id), stranger.acknowledge(found)):
        assert (await refusal(call)).reason == "TENANT_NOT_FOUND"


def test_compare_codes_with_contract_finds_the_same_numbers() -> None:
    """What is stored as a number is sent as the same number."""
    pairs = {
        "FINDING_CLASS": (FindingClass, pb.FindingClass),
        "FINDING_SOURCE": (Source, pb.FindingSource),
        "FINDING_STATE": (FindingState, pb.FindingState),
        "RECORD_KIND": (ProviderRecordKind, pb.RecordKind),
        "RESOLUTION_REASON": (Resolution, pb.ResolutionReason),
        "SEVERITY": (Severity, pb.Severity),
    }
    for prefix, (stored, sent) in pairs.items():
        ours = {f"{prefix}_{each.name}": each.value for each in stored if each.value}
        assert ours == {name: number for name, number in sent.items() if number}
