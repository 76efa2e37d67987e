"""What goes wrong with real providers, as a table: what is reported of it, and nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest

from ledger_server.domain.findings.discrepancy import FindingClass, Severity
from ledger_server.domain.payments.events import (
    EventType,
    ProviderEvent,
)
from ledger_server.domain.payments.knowledge import CallState
from ledger_server.domain.payments.withdrawal import WithdrawalState
from ledger_server.domain.provider_record import ProviderRecord
from ledger_server.domain.reconciliation.payment_comparison import compare
from tests.unit.reconciliation.lives import (
    IDS,
    PAYMENT,
    a_deposit,
    a_scope,
    a_withdrawal,
    hour,
)
from tests.unit.reconciliation.situations import (
    CAPTURE_FAILED,
    CAPTURED,
    FAILED,
    FEE,
    JUST_NOW,
    LISTED_PARTS,
    OPENED,
    OURS,
    PAID,
    PARTS,
    PENDING,
    REFUND_ID,
    REFUNDED,
    REINSTATED,
    RETURNED,
    SECOND,
    WHOLE,
    WITHDRAWN,
    F,
    K,
    W,
    compared,
    disputed,
    gave_back,
    kept,
    knowing,
    listed,
    paid_out,
    row,
    told,
    took,
)

WRONG = [
    row("capture unheard", [], [took()], [F.STATUS_MISMATCH]),
    row("one of two captures unheard", PARTS[:1], LISTED_PARTS, [F.MISSING_IN_LEDGER]),
    row(
        "one of two captures unheard, alone in the window",
        PARTS[:1],
        LISTED_PARTS,
        [F.MISSING_IN_LEDGER],
        window=(20, 40),
    ),
    row("capture not listed", [CAPTURED], [], [F.MISSING_AT_PROVIDER]),
    row("one of two captures not listed", PARTS, LISTED_PARTS[:1], [F.MISSING_AT_PROVIDER]),
    row("one minor unit more", [CAPTURED], [took(1001)], [F.AMOUNT_MISMATCH]),
    row("one minor unit less", [CAPTURED], [took(999)], [F.AMOUNT_MISMATCH]),
    row("one minor unit less, at once", [CAPTURED], [took(999)], [F.AMOUNT_MISMATCH], now=JUST_NOW),
    row(
        "one minor unit, the record just inside the window",
        [CAPTURED],
        [took(999, 1.2)],
        [F.AMOUNT_MISMATCH],
        window=(1.1, 20),
    ),
    row(
        "one minor unit, the record just outside the window",
        [CAPTURED],
        [took(999, 1.2)],
        [F.AMOUNT_MISMATCH],
        window=(0, 1.1),
    ),
    row("whole of another amount", [WHOLE], [took(999, ref=PAYMENT)], [F.AMOUNT_MISMATCH]),
    row("whole of less than its parts", [WHOLE], [took(600), took(401, 2, "cap-2")], [F.AMOUNT_MISMATCH]),
    row("no exact value", [CAPTURED], [took(None)], [F.AMOUNT_MISMATCH]),
    row("another currency", [CAPTURED], [took(currency="USD")], [F.CURRENCY_MISMATCH]),
    row(
        "refund in another currency, unheard",
        [CAPTURED],
        [took(), gave_back(currency="USD")],
        [F.CURRENCY_MISMATCH],
    ),
    row("failure unheard", [CAPTURED], [took(), took(-1000, 10, state=FAILED)], [F.STATUS_MISMATCH]),
    row(
        "failure unheard, alone in the window",
        [CAPTURED],
        [took(), took(-1000, 10, state=FAILED)],
        [F.STATUS_MISMATCH],
        window=(5, 15),
    ),
    row("failure heard, not listed", [CAPTURED, CAPTURE_FAILED], [took()], [F.STATUS_MISMATCH]),
    row(
        "captured again unheard, alone in the window",
        [CAPTURED, CAPTURE_FAILED],
        [took(), took(-1000, 10), took(1000, 20)],
        [F.STATUS_MISMATCH],
        window=(15, 25),
    ),
    row("failed here, captured there", [told(EventType.PAYMENT_FAILED, None)], [took()], [F.STATUS_MISMATCH]),
    row("refund at the provider unheard", [CAPTURED], [took(), gave_back()], [F.MISSING_IN_LEDGER]),
    row(
        "one of two equal refunds unheard",
        [CAPTURED, REFUNDED],
        [took(), gave_back(), gave_back(ref="re-2")],
        [F.MISSING_IN_LEDGER],
    ),
    row("refund that the provider never made", [CAPTURED, REFUNDED], [took()], [F.MISSING_AT_PROVIDER]),
    row("refund of another amount", [CAPTURED, REFUNDED], [took(), gave_back(-401)], [F.AMOUNT_MISMATCH]),
    row(
        "refund's failure unheard",
        [CAPTURED, REFUNDED],
        [took(), gave_back(state=FAILED), gave_back(400, 9, state=FAILED)],
        [F.STATUS_MISMATCH],
    ),
    row(
        "our refund done, unheard",
        [CAPTURED],
        [took(), gave_back(our_id=REFUND_ID)],
        [F.STATUS_MISMATCH],
        start=OURS,
    ),
    row("our refund never ended", [CAPTURED], [took()], [F.STALE_PENDING], start=OURS),
    row(
        "our refund done twice",
        [CAPTURED, msgspec.structs.replace(REFUNDED, refund=20)],
        [took(), gave_back(our_id=REFUND_ID), gave_back(ref="re-2", our_id=REFUND_ID)],
        [F.DUPLICATE_AT_PROVIDER],
        start=OURS,
    ),
    row(
        "capture and its refund unheard: the refund waits",
        [REFUNDED],
        [took(), gave_back()],
        [F.STATUS_MISMATCH],
        transit=1,
    ),
    row("dispute unheard", [CAPTURED], [took(), disputed()], [F.MISSING_IN_LEDGER]),
    row("dispute heard, its money unheard", [CAPTURED, OPENED], [took(), disputed()], [F.STATUS_MISMATCH]),
    row(
        "dispute given back unheard",
        [CAPTURED, WITHDRAWN],
        [took(), disputed(), disputed(800, 15)],
        [F.STATUS_MISMATCH],
    ),
    row("dispute not listed", [CAPTURED, WITHDRAWN], [took()], [F.MISSING_AT_PROVIDER]),
    row("dispute of another amount", [CAPTURED, WITHDRAWN], [took(), disputed(-801)], [F.AMOUNT_MISMATCH]),
    row(
        "second stage unheard, alone in the window",
        [CAPTURED, WITHDRAWN, REINSTATED],
        [took(), disputed(), disputed(800, 15), disputed(-800, 25)],
        [F.STATUS_MISMATCH],
        window=(20, 30),
    ),
    row("fee differs by one", [CAPTURED, FEE], [took(), kept(-31)], [F.FEE_MISMATCH]),
    row("fee unheard", [CAPTURED], [took(), kept()], [F.FEE_MISMATCH]),
    row("fee not listed", [CAPTURED, FEE], [took()], [F.FEE_MISMATCH]),
    row(
        "fee of another day unheard",
        [CAPTURED, FEE],
        [took(), kept(), kept(ref="fee-2", at=40)],
        [F.FEE_MISMATCH],
        window=(30, 50),
    ),
    row(
        "two fees wrong are one finding",
        [CAPTURED, FEE],
        [took(), kept(-31), kept(-5, 9, "fee-2")],
        [F.FEE_MISMATCH],
    ),
    row("fee in another currency", [CAPTURED, FEE], [took(), kept(currency="USD")], [F.FEE_MISMATCH]),
    row("payout unheard", [], [paid_out()], [F.STATUS_MISMATCH], start=W),
    row("payout not listed", [PAID], [], [F.MISSING_AT_PROVIDER], start=W),
    row("payout of another amount", [PAID], [paid_out(-501)], [F.AMOUNT_MISMATCH], start=W),
    row(
        "payout came back, paid here",
        [PAID],
        [paid_out(state=FAILED), paid_out(500, 10, state=FAILED)],
        [F.STATUS_MISMATCH],
        start=W,
    ),
    row("payout failed here, paid there", [RETURNED], [paid_out()], [F.STATUS_MISMATCH], start=W),
    row("payout returned here, paid there", [PAID, RETURNED], [paid_out()], [F.STATUS_MISMATCH], start=W),
    row(
        "payout returned here, nothing listed of it in that window",
        [PAID, RETURNED],
        [paid_out()],
        [F.MISSING_AT_PROVIDER],
        start=W,
        window=(5, 15),
    ),
    row("payout paid here, pending there", [PAID], [paid_out(state=PENDING)], [F.STATUS_MISMATCH], start=W),
    row(
        "payout refused here, paid there",
        [],
        [paid_out()],
        [F.STATUS_MISMATCH],
        start=msgspec.structs.replace(W, call_state=CallState.REJECTED),
    ),
    row(
        "payout rejected here, paid there",
        [],
        [paid_out()],
        [F.STATUS_MISMATCH],
        start=a_withdrawal(review=WithdrawalState.REJECTED),
    ),
    row("payout pending for long", [], [paid_out(state=PENDING)], [F.STALE_PENDING], start=W),
    row(
        "payout failed there, waited for here",
        [],
        [paid_out(state=FAILED), paid_out(500, 10, state=FAILED)],
        [F.STALE_PENDING],
        start=W,
    ),
    row("payout twice", [PAID], [paid_out(), paid_out(ref="po-2")], [F.DUPLICATE_AT_PROVIDER], start=W),
    row(
        "payout twice, at once",
        [PAID],
        [paid_out(), paid_out(ref="po-2")],
        [F.DUPLICATE_AT_PROVIDER],
        start=W,
        now=JUST_NOW,
    ),
    row(
        "payout again in a later window",
        [PAID],
        [paid_out(), paid_out(at=50, ref="po-2")],
        [F.DUPLICATE_AT_PROVIDER],
        start=W,
        window=(40, 60),
    ),
    row(
        "payout twice, the second one of another amount",
        [PAID],
        [paid_out(), paid_out(-499, ref="po-2")],
        [F.DUPLICATE_AT_PROVIDER],
        start=W,
    ),
    row(
        "deposit charged twice",
        [CAPTURED],
        [took(), took(1000, 2, "cap-2", payment_ref="pay-2")],
        [F.DUPLICATE_AT_PROVIDER],
    ),
    row(
        "deposit charged twice, both booked",
        [CAPTURED, told(EventType.PAYMENT_CAPTURED, 1000, "cap-2", 2, payment_ref="pay-2")],
        [took(), took(1000, 2, "cap-2", payment_ref="pay-2")],
        [F.DUPLICATE_AT_PROVIDER],
    ),
    row(
        "deposit charged twice through a link, both booked",
        [CAPTURED, told(EventType.PAYMENT_CAPTURED, 1000, "cap-2", 2, payment_ref="pay-2")],
        [took(), took(1000, 2, "cap-2", payment_ref="pay-2")],
        [F.DUPLICATE_AT_PROVIDER],
        start=a_deposit(ref="link-1"),
    ),
    row(
        "deposit charged twice, the second time in a later window",
        [CAPTURED],
        [took(), took(1000, 50, "cap-2", payment_ref="pay-2")],
        [F.DUPLICATE_AT_PROVIDER],
        window=(40, 60),
    ),
    row("deposit never ended", [], [], [F.STALE_PENDING]),
    row(
        "movement that no payment has",
        [CAPTURED],
        [took(), listed(K.OTHER, "adj-1", 5, 3)],
        [F.MISSING_IN_LEDGER],
    ),
    row(
        "type that nobody knows",
        [CAPTURED],
        [took(), listed(K.UNKNOWN, "x-1", 5, 3)],
        [F.UNKNOWN_RECORD_TYPE],
    ),
    row(
        "extra money proves itself in an incomplete listing",
        [CAPTURED],
        [took(), gave_back()],
        [F.MISSING_IN_LEDGER],
        complete=False,
    ),
    row(
        "wrong amount in an incomplete listing", [CAPTURED], [took(999)], [F.AMOUNT_MISMATCH], complete=False
    ),
    row("two faults", [CAPTURED, FEE], [took(999), kept(-31)], [F.AMOUNT_MISMATCH, F.FEE_MISMATCH]),
    row(
        "captured again unheard, the window begins with the failure",
        [CAPTURED, CAPTURE_FAILED],
        [took(), took(-1000, 10), took(1000, 20)],
        [F.STATUS_MISMATCH],
        window=(5, 25),
    ),
    row(
        "parts unheard, the last one of which failed",
        [],
        [took(600), took(400, 2, "cap-2"), took(-400, 3, "cap-2", state=FAILED)],
        [F.STATUS_MISMATCH],
    ),
    row(
        "refund without a ref, and another one unheard",
        [CAPTURED, told(EventType.REFUND_SUCCEEDED, 400, "", 3)],
        [took(), gave_back(-300, ref="re-9"), gave_back(-400, 3.5)],
        [F.MISSING_IN_LEDGER],
    ),
    row(
        "payout paid here, pending there, in an incomplete listing",
        [PAID],
        [paid_out(at=0.5, state=PENDING)],
        [F.STATUS_MISMATCH],
        start=W,
        complete=False,
    ),
]


@pytest.mark.parametrize(("events", "records", "expected", "options"), WRONG)
def test_compare_wrong_situation_reports_its_class(
    events: Sequence[ProviderEvent],
    records: Sequence[ProviderRecord],
    expected: list[FindingClass],
    options: dict[str, object],
) -> None:
    """Each discrepancy is found once, by its class, and nothing is found beside it."""
    given = dict(options)
    transit = given.pop("transit", 0)

    result = compared(events, records, **given)  # type: ignore[arg-type]  # Rows name options.

    assert [each.kind for each in result.discrepancies] == expected
    assert result.in_transit == transit
    assert len({each.fingerprint for each in result.discrepancies}) == len(expected)


def test_compare_discrepancy_tells_both_sides_and_verdicts() -> None:
    """A finding says what either side has, and its records are marked; the others are counted as matched."""
    result = compared([CAPTURED, REFUNDED], [took(), gave_back(-401), kept()], now=hour(4))

    found = result.discrepancies[0]
    assert found.ledger is not None
    assert found.remote is not None
    assert (found.ledger.amount, found.remote.amount) == (-400, -401)
    assert (found.remote.ref, found.subject_time, found.payment) == ("re-1", hour(3), 7)
    assert sorted(verdict.name for verdict in result.verdicts.values()) == ["DISCREPANT", "IN_TRANSIT"]
    assert (result.matched, result.in_transit) == (1, 1)


def test_compare_adds_up_each_side_within_window() -> None:
    """Totals are of the window alone, of the ledger and of the provider, by currency."""
    records = [took(), took(), gave_back(), kept(currency="USD"), disputed(at=90)]

    result = compared([CAPTURED, FEE, REFUNDED, SECOND], records[1:], window=(0, 20))

    assert result.ledger_total == {"EUR": 1000 - 30 - 400}
    assert result.remote_total == {"EUR": 1000 - 400, "USD": -30}


def test_compare_record_listed_twice_counts_once() -> None:
    """A listing that moves while it is read shows a record twice: it is one."""
    record = took()

    result = compared([CAPTURED], [record, record])

    assert (result.matched, result.remote_total) == (1, {"EUR": 1000})


@pytest.mark.parametrize("newest_first", [False, True])
def test_compare_record_listed_in_two_states_counts_as_the_later(newest_first: bool) -> None:
    """While a page is read, a payout may go from pending to paid: it is paid, whichever was read first."""
    paid = paid_out()
    records = [msgspec.structs.replace(paid, state=PENDING), paid]

    result = compared([PAID], records[::-1] if newest_first else records, start=W)

    assert (result.discrepancies, result.matched) == ([], 1)


STRAY = [took(500, 0.5, "cap-2", payment_ref="pay-2"), took(500, 9, "cap-3", payment_ref="pay-2")]
STRAY_BOOKED = [
    told(EventType.PAYMENT_CAPTURED, 500, "cap-2", 0.5, payment_ref="pay-2"),
    told(EventType.PAYMENT_CAPTURED, 500, "cap-3", 9, payment_ref="pay-2"),
]


@pytest.mark.parametrize(
    ("begun", "events", "duplicate"),
    [
        pytest.param(PAYMENT, [CAPTURED], "cap-2", id="our own call's payment is the first"),
        pytest.param(PAYMENT, [CAPTURED, *STRAY_BOOKED], "cap-2", id="our own call's, both booked"),
        pytest.param("link-1", [CAPTURED], "cap-2", id="what the ledger has booked is the first"),
        pytest.param("link-1", [CAPTURED, *STRAY_BOOKED], "cap-1", id="both booked: the oldest is the first"),
    ],
)
def test_compare_charged_twice_names_the_second(
    begun: str, events: list[ProviderEvent], duplicate: str
) -> None:
    """Of two payments for one deposit, the one beside the first is the duplicate, by its oldest capture."""
    result = compared(events, [took(), *STRAY], start=a_deposit(ref=begun))

    (found,) = result.discrepancies
    assert found.remote is not None
    assert (found.kind, found.remote.ref) == (F.DUPLICATE_AT_PROVIDER, duplicate)


def test_compare_missing_payout_is_critical() -> None:
    """A payout that the provider does not have may have been lost on its way: nothing is more urgent."""
    found = compared([PAID], [], start=W).discrepancies[0]

    assert (found.kind, found.severity, found.withdrawal) == (F.MISSING_AT_PROVIDER, Severity.CRITICAL, True)


def test_compare_twin_out_of_window_reports_nothing() -> None:
    """Two payments of one provider ref are a finding in the windows that they lie in."""
    scope = a_scope(100, 200)

    assert compare(IDS, a_deposit(), [], scope, twin=3).discrepancies == []
    assert [each.kind for each in compare(IDS, a_deposit(), [], a_scope(), twin=3).discrepancies] == [
        F.DUPLICATE_IN_LEDGER
    ]


def test_compare_kind_that_is_not_listed_proves_no_absence() -> None:
    """A provider that lists no refunds can't be missing one."""
    scope = msgspec.structs.replace(a_scope(), listed=frozenset({K.PAYMENT}))

    result = compare(IDS, knowing(a_deposit(), [CAPTURED, REFUNDED]), [took()], scope)

    assert result.discrepancies == []


def test_compare_grace_of_run_replaces_each_kinds_own() -> None:
    """A run may be told to be more patient."""
    scope = msgspec.structs.replace(a_scope(), now=hour(11), grace=timedelta(hours=12))

    result = compare(IDS, a_deposit(), [took()], scope)

    assert (result.discrepancies, result.in_transit) == ([], 1)
