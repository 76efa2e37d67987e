"""One fault between a provider and a ledger amid good payments, and exactly what a run says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2

from ledger_server.domain.findings.discrepancy import FindingClass, Severity
from tests.integration.reconciliation import faults
from tests.integration.reconciliation.good_payments import a_dozen
from tests.integration.reconciliation.world import World

COMPLETE = reconciliation_pb2.RUN_STATE_COMPLETE
OPEN = finding_pb2.FINDING_STATE_OPEN


class Found(NamedTuple):
    """A finding: its class, its severity, and what each side says in minor units; None: it says nothing."""

    kind: FindingClass
    severity: Severity
    ledger: int | None
    provider: int | None


class Fault(NamedTuple):
    """A fault, how many hours its movements may be in transit, how many these are, and the findings."""

    make: Callable[[World], Awaitable[str]]
    grace_hours: int
    found: tuple[Found, ...]
    in_transit: int | None = None

    @property
    def first_in_transit(self) -> int:
        """Unless the table says otherwise, one where there is a grace, and none where there is none."""
        return int(self.grace_hours > 0) if self.in_transit is None else self.in_transit


AT_ONCE, HOUR, DAY, FIVE_DAYS = 0, 1, 24, 120
C, S = FindingClass, Severity
TABLE = (
    # What the ledger has not heard of.
    Fault(faults.capture_unheard, HOUR, (Found(C.STATUS_MISMATCH, S.HIGH, 0, 1_000),)),
    Fault(faults.capture_failure_unheard, HOUR, (Found(C.STATUS_MISMATCH, S.HIGH, 1_000, 0),)),
    Fault(faults.payout_unheard, HOUR, (Found(C.STATUS_MISMATCH, S.HIGH, 0, -400),)),
    Fault(faults.return_unheard, HOUR, (Found(C.STATUS_MISMATCH, S.HIGH, -400, 0),)),
    Fault(faults.refund_unheard, HOUR, (Found(C.MISSING_IN_LEDGER, S.HIGH, None, -200),)),
    Fault(faults.refund_return_unheard, HOUR, (Found(C.STATUS_MISMATCH, S.HIGH, -200, 0),)),
    Fault(faults.dispute_unheard, HOUR, (Found(C.MISSING_IN_LEDGER, S.HIGH, None, -1_000),)),
    Fault(faults.fee_unheard, DAY, (Found(C.FEE_MISMATCH, S.LOW, 0, -30),)),
    # What the provider does not list.
    Fault(faults.capture_vanished, HOUR, (Found(C.MISSING_AT_PROVIDER, S.HIGH, 1_000, None),)),
    Fault(faults.payout_vanished, HOUR, (Found(C.MISSING_AT_PROVIDER, S.CRITICAL, -400, None),)),
    Fault(faults.paid_by_hand, HOUR, (Found(C.MISSING_AT_PROVIDER, S.CRITICAL, -400, None),)),
    Fault(faults.refund_vanished, HOUR, (Found(C.MISSING_AT_PROVIDER, S.HIGH, -200, None),)),
    Fault(faults.dispute_vanished, HOUR, (Found(C.MISSING_AT_PROVIDER, S.HIGH, -1_000, None),)),
    Fault(faults.fee_vanished, DAY, (Found(C.FEE_MISMATCH, S.LOW, -30, 0),)),
    # What both have, differently.
    Fault(faults.capture_misstated, AT_ONCE, (Found(C.AMOUNT_MISMATCH, S.HIGH, 1_000, 900),)),
    Fault(faults.payout_misstated, AT_ONCE, (Found(C.AMOUNT_MISMATCH, S.HIGH, -400, -4_000),)),
    Fault(faults.currency_misstated, AT_ONCE, (Found(C.CURRENCY_MISMATCH, S.CRITICAL, 1_000, 1_000),)),
    Fault(faults.currency_unknown, AT_ONCE, (Found(C.CURRENCY_MISMATCH, S.CRITICAL, 1_000, None),)),
    Fault(faults.fee_misstated, DAY, (Found(C.FEE_MISMATCH, S.LOW, -30, -31),), in_transit=2),
    Fault(faults.fee_in_another_currency, DAY, (Found(C.FEE_MISMATCH, S.LOW, -30, -30),), in_transit=2),
    # What was done twice.
    Fault(faults.payout_twice, AT_ONCE, (Found(C.DUPLICATE_AT_PROVIDER, S.CRITICAL, -400, -400),)),
    Fault(faults.charged_twice_unheard, AT_ONCE, (Found(C.DUPLICATE_AT_PROVIDER, S.CRITICAL, 1_000, 1_000),)),
    Fault(
        faults.charged_twice,
        AT_ONCE,
        (
            # The payment says itself that more came in than was asked for.
            Found(C.AMOUNT_MISMATCH, S.HIGH, 1_000, None),
            Found(C.DUPLICATE_AT_PROVIDER, S.CRITICAL, 1_000, 1_000),
        ),
    ),
    # The event says so at once, and the run by what is listed.
    Fault(
        faults.ref_taken,
        AT_ONCE,
        (
            Found(C.DUPLICATE_IN_LEDGER, S.CRITICAL, 1_000, None),
            Found(C.DUPLICATE_IN_LEDGER, S.CRITICAL, 0, None),
        ),
        in_transit=1,
    ),
    # What belongs to nobody.
    Fault(faults.payment_of_nobody, HOUR, (Found(C.MISSING_IN_LEDGER, S.HIGH, None, 1_000),)),
    Fault(faults.payout_of_nobody, HOUR, (Found(C.MISSING_IN_LEDGER, S.HIGH, None, -400),)),
    Fault(faults.refund_of_nobody, HOUR, (Found(C.ORPHAN_REFUND, S.HIGH, None, -200),)),
    Fault(faults.dispute_of_nobody, HOUR, (Found(C.ORPHAN_REFUND, S.HIGH, None, -1_000),)),
    Fault(faults.unknown_type, AT_ONCE, (Found(C.UNKNOWN_RECORD_TYPE, S.MEDIUM, None, -70),)),
    Fault(faults.correction, HOUR, (Found(C.MISSING_IN_LEDGER, S.MEDIUM, None, 50),)),
    Fault(faults.account_fee, DAY, (Found(C.MISSING_IN_LEDGER, S.MEDIUM, None, -25),)),
    Fault(faults.settlement, FIVE_DAYS, (Found(C.MISSING_IN_LEDGER, S.MEDIUM, None, -14_440),)),
    # What does not come to its end.
    Fault(faults.deposit_left, DAY, (Found(C.STALE_PENDING, S.MEDIUM, 0, None),)),
    Fault(faults.payout_left, DAY, (Found(C.STALE_PENDING, S.MEDIUM, 0, None),)),
    Fault(faults.refund_left, DAY, (Found(C.STALE_PENDING, S.MEDIUM, 0, None),)),
)

# Sums of settlement reports, balances of wallets, stopped calls and unread events are seen by whoever changes
# or takes them in, and drifted balances by comparisons with a snapshot, not by a run.
OF_OTHERS = {
    FindingClass.SETTLEMENT_TOTAL_MISMATCH,
    FindingClass.WALLET_OVERDRAWN,
    FindingClass.OBJECT_NOT_OURS,
    FindingClass.UNKNOWN_HISTORY,
    FindingClass.UNREAD_EVENT,
    FindingClass.BALANCE_DRIFT,
}


def test_table_of_faults_has_every_class_that_a_run_can_raise() -> None:
    """A class without a fault would be one that nobody has ever seen raised."""
    assert {found.kind for fault in TABLE for found in fault.found} == set(FindingClass) - OF_OTHERS


@pytest.mark.parametrize("fault", TABLE, ids=lambda fault: fault.make.__name__)
async def test_fault_amid_good_payments_is_exactly_its_findings(world: World, fault: Fault) -> None:
    """In transit until its grace has passed, then found as both sides tell it; a second run adds nothing."""
    await a_dozen(world)
    payment_id = await fault.make(world)
    await world.later(minutes=5)

    run = await world.run()
    assert run.in_transit_count == fault.first_in_transit
    if fault.grace_hours:
        assert await world.classes() == []
        await world.later(hours=fault.grace_hours)
        run = await world.run()
        assert run.in_transit_count == 0

    assert run.state == COMPLETE
    findings = await world.findings()
    assert [seen(finding) for finding in findings] == list(fault.found)
    assert {(finding.payment_id, finding.state) for finding in findings} == {(payment_id, OPEN)}
    await assert_run_adds_nothing(world)


async def assert_run_adds_nothing(world: World) -> None:
    """Run once more over the same."""
    before, rows = await world.findings(), await world.row_counts()
    again = await world.run()
    assert (again.state, again.opened_count, again.reopened_count, again.resolved_count) == (
        COMPLETE,
        0,
        0,
        0,
    )
    assert (await world.findings(), await world.row_counts()) == (before, rows)


def seen(finding: finding_pb2.Finding) -> Found:
    """Return what a finding says as the table has it."""
    return Found(
        FindingClass(finding.finding_class),
        Severity(finding.severity),
        amount(finding, "ledger"),
        amount(finding, "at_provider"),
    )


def amount(finding: finding_pb2.Finding, side: str) -> int | None:
    """Return what a side says; None where it says nothing."""
    said: finding_pb2.Side = getattr(finding, side)
    return said.amount_minor if said.HasField("amount_minor") else None
