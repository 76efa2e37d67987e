"""Situations that real providers bring about, as tables: what is reported of each, and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import pytest

from ledger_server.domain.findings.discrepancy import FindingClass, Severity
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import (
    EventType,
    ProviderEvent,
    with_deposit_event,
    with_withdrawal_event,
)
from ledger_server.domain.payments.knowledge import CallState
from ledger_server.domain.payments.withdrawal import WithdrawalState
from ledger_server.domain.reconciliation.booked import Payment
from ledger_server.domain.reconciliation.compare import Comparison, Verdict, compare
from ledger_server.domain.reconciliation.record import ProviderRecord, RecordKind, RemoteState
from tests.support.payments import an_event
from tests.unit.reconciliation.lives import (
    DEPOSIT_ID,
    IDS,
    PAYMENT,
    PAYOUT,
    WITHDRAWAL_ID,
    a_deposit,
    a_scope,
    a_withdrawal,
    an_asked_refund,
    hour,
    read,
)

K, S, F = RecordKind, RemoteState, FindingClass
REFUND_ID = IDS.refund_id(20)
_COUNTER = iter(range(1, 10_000))


def listed(
    kind: RecordKind,
    ref: str,
    amount: int | None,
    at: float = 1,
    *,
    state: RemoteState = S.SUCCEEDED,
    our_id: str = "",
    payment_ref: str = PAYMENT,
    currency: str = "EUR",
) -> ProviderRecord:
    """Return one movement as the provider lists it; `at` in hours."""
    return ProviderRecord(
        kind=kind,
        record_id=f"{ref}#{next(_COUNTER)}",
        provider_ref=ref,
        payment_ref=payment_ref,
        our_id=our_id,
        state=state,
        amount=amount,
        currency=currency,
        create_time=hour(at),
        provider_type=kind.name.lower(),
    )


def took(amount: int | None = 1000, at: float = 1, ref: str = "cap-1", **more: object) -> ProviderRecord:
    """Return a capture as it is listed."""
    return msgspec.structs.replace(listed(K.PAYMENT, ref, amount, at, our_id=DEPOSIT_ID), **more)


def paid_out(amount: int = -500, at: float = 1, ref: str = PAYOUT, **more: object) -> ProviderRecord:
    """Return a payout as it is listed."""
    row = listed(K.PAYOUT, ref, amount, at, our_id=WITHDRAWAL_ID, payment_ref=ref)
    return msgspec.structs.replace(row, **more)


def gave_back(amount: int = -400, at: float = 3, ref: str = "re-1", **more: object) -> ProviderRecord:
    """Return a refund as it is listed."""
    return msgspec.structs.replace(listed(K.REFUND, ref, amount, at), **more)


def disputed(amount: int = -800, at: float = 5, ref: str = "dp-1") -> ProviderRecord:
    """Return a dispute's movement as it is listed."""
    return listed(K.DISPUTE, ref, amount, at, our_id=DEPOSIT_ID)


def kept(amount: int = -30, at: float = 2, ref: str = "fee-1", **more: object) -> ProviderRecord:
    """Return a fee as it is listed."""
    return msgspec.structs.replace(listed(K.FEE, ref, amount, at, our_id=DEPOSIT_ID), **more)


def told(kind: EventType, amount: int | None, ref: str = "", at: float = 1, **more: object) -> ProviderEvent:
    """Return an event; `at` in hours."""
    event = an_event(kind, amount, object_ref=ref, at=round(at * 60))
    return msgspec.structs.replace(event, **{"payment_ref": PAYMENT, **more})


CAPTURED = told(EventType.PAYMENT_CAPTURED, 1000, "cap-1", 1)
CAPTURE_FAILED = told(EventType.CAPTURE_FAILED, 1000, "cap-1", 10)
RECAPTURED = told(EventType.PAYMENT_CAPTURED, 1000, "cap-1", 20)
WHOLE = told(EventType.PAYMENT_CAPTURED, 1000, "", 1)
REFUNDED = told(EventType.REFUND_SUCCEEDED, 400, "re-1", 3)
REFUND_FAILED = told(EventType.REFUND_FAILED, 400, "re-1", 9)
OPENED = told(EventType.DISPUTE_OPENED, 800, "dp-1", 4)
WITHDRAWN = told(EventType.DISPUTE_FUNDS_WITHDRAWN, 800, "dp-1", 5, stage="chargeback")
REINSTATED = told(EventType.DISPUTE_FUNDS_REINSTATED, 800, "dp-1", 15, stage="chargeback")
SECOND = told(EventType.DISPUTE_FUNDS_WITHDRAWN, 800, "dp-1", 25, stage="second")
FEE = told(EventType.FEE_CHARGED, 30, "fee-1", 2)
PAID = told(EventType.PAYOUT_PAID, 500, "", 1, payment_ref=PAYOUT)
RETURNED = told(EventType.PAYOUT_FAILED, None, "", 10, payment_ref=PAYOUT)
PARTS = [
    told(EventType.PAYMENT_CAPTURED, 600, "cap-1", 1),
    told(EventType.PAYMENT_CAPTURED, 400, "cap-2", 30),
]
LISTED_PARTS = [took(600), took(400, 30, "cap-2")]
OURS = a_deposit(refunds=(an_asked_refund(20, 400),))


def knowing(payment: Payment, events: Sequence[ProviderEvent]) -> Payment:
    """Return a payment that has heard of events."""
    for event in events:
        if isinstance(payment, Deposit):
            payment = with_deposit_event(payment, event)
        else:
            payment = with_withdrawal_event(payment, event)
    return payment


def compared(
    events: Sequence[ProviderEvent],
    records: Sequence[ProviderRecord],
    *,
    start: Payment | None = None,
    window: tuple[float, float] = (-24, 900),
    now: datetime | None = None,
    complete: bool = True,
) -> Comparison:
    """Return what a run says of what was heard and what is listed."""
    payment = start if start is not None else a_deposit()
    scope = a_scope(*window, complete=complete)
    if now is not None:
        scope = msgspec.structs.replace(scope, now=now)
    return compare(IDS, knowing(payment, events), read(records, scope), scope)


def row(name: str, *values: object, **options: object) -> object:
    """Return a row of a table: its situation, then what is given and expected."""
    return pytest.param(*values, options, id=name)


W = a_withdrawal()
UNREFERRED = a_withdrawal(ref="")
JUST_NOW = hour(1.5)
PENDING, FAILED = S.PENDING, S.FAILED

NORMAL = [
    row("captured", [CAPTURED], [took()]),
    row("webhook on its way", [], [took()], now=JUST_NOW, transit=1),
    row("record on its way", [CAPTURED], [], now=JUST_NOW, transit=1),
    row("begun an hour ago", [], [], now=hour(1), transit=1),
    row(
        "begun, and failed at the provider",
        [],
        [took(state=FAILED), took(-1000, 2, state=FAILED)],
        now=hour(5),
    ),
    row("captured in parts", PARTS, LISTED_PARTS),
    row("captured in parts, the first one before the window", PARTS, LISTED_PARTS, window=(20, 40)),
    row("captured in parts, the second one after the window", PARTS, LISTED_PARTS, window=(0, 10)),
    row("whole heard, whole listed", [WHOLE], [took(ref=PAYMENT)]),
    row("whole heard, parts listed", [WHOLE], [took(600), took(400, 2, "cap-2")]),
    row(
        "whole heard, parts listed, the first one before the window",
        [msgspec.structs.replace(WHOLE, occur_time=hour(30))],
        LISTED_PARTS,
        window=(20, 40),
    ),
    row("parts heard, whole listed", PARTS, [took(600, ref=PAYMENT), took(400, 30, ref=PAYMENT)]),
    row("parts heard, listed as one", PARTS, [took(1000, 30, ref=PAYMENT)]),
    row("parts and whole heard, parts listed", [*PARTS, WHOLE], LISTED_PARTS),
    row("parts by other names", [CAPTURED], [took(ref="txn-9")]),
    row("capture failed", [CAPTURED, CAPTURE_FAILED], [took(), took(-1000, 10, state=FAILED)]),
    row(
        "capture failed and captured again",
        [CAPTURED, CAPTURE_FAILED, RECAPTURED],
        [took(), took(-1000, 10), took(1000, 20)],
    ),
    row(
        "capture failed and captured again, only the failure in the window",
        [CAPTURED, CAPTURE_FAILED, RECAPTURED],
        [took(), took(-1000, 10, state=FAILED), took(1000, 20)],
        window=(5, 15),
    ),
    row(
        "capture failed and captured again, the window begins with the failure",
        [CAPTURED, CAPTURE_FAILED, RECAPTURED],
        [took(), took(-1000, 10), took(1000, 20)],
        window=(5, 30),
    ),
    row(
        "capture failed twice, the window begins with the first failure",
        [CAPTURED, CAPTURE_FAILED, RECAPTURED, told(EventType.CAPTURE_FAILED, None, "cap-1", 30)],
        [took(), took(-1000, 10), took(1000, 20), took(-1000, 30, state=FAILED)],
        window=(5, 40),
    ),
    row("in and out unheard", [CAPTURED], [took(), gave_back(), gave_back(400, 9, state=FAILED)]),
    row(
        "going out unheard, and it came back after the window",
        [CAPTURED],
        [took(), gave_back(state=FAILED), gave_back(400, 90, state=FAILED)],
        window=(0, 24),
        transit=1,
    ),
    row("payment link of another id", [CAPTURED], [took()], start=a_deposit(ref="link-1")),
    row(
        "first attempt failed under another id",
        [CAPTURED],
        [
            took(ref="cap-0", payment_ref="pay-0", state=FAILED),
            took(-1000, 1, "cap-0", payment_ref="pay-0", state=FAILED),
            took(),
        ],
        start=a_deposit(ref=""),
    ),
    row("refunded at the provider", [CAPTURED, REFUNDED], [took(), gave_back()]),
    row("refund pending at the provider, unheard", [CAPTURED], [took(), gave_back(state=PENDING)], transit=1),
    row(
        "refund failed after success",
        [CAPTURED, REFUNDED, REFUND_FAILED],
        [took(), gave_back(state=FAILED), gave_back(400, 9, state=FAILED)],
    ),
    row(
        "refund failed after success, only the failure in the window",
        [CAPTURED, REFUNDED, REFUND_FAILED],
        [took(), gave_back(state=FAILED), gave_back(400, 9, state=FAILED)],
        window=(7, 12),
    ),
    row(
        "two equal partial refunds",
        [CAPTURED, REFUNDED, told(EventType.REFUND_SUCCEEDED, 400, "re-2", 4)],
        [took(), gave_back(ref="re-2", at=4), gave_back()],
    ),
    row(
        "our refund, its ref not known yet",
        [CAPTURED, told(EventType.REFUND_SUCCEEDED, 400, "", 3, refund=20)],
        [took(), gave_back(our_id=REFUND_ID)],
        start=OURS,
    ),
    row(
        "our refund, heard of before it was known to be ours",
        [CAPTURED, REFUNDED],
        [took(), gave_back(our_id=REFUND_ID)],
        start=OURS,
        now=hour(20),
        transit=1,
    ),
    row(
        "refund without a ref",
        [CAPTURED, told(EventType.REFUND_SUCCEEDED, 400, "", 3)],
        [took(), gave_back()],
    ),
    row("dispute opened", [CAPTURED, OPENED], [took()]),
    row("dispute lost", [CAPTURED, WITHDRAWN], [took(), disputed()]),
    row("dispute won", [CAPTURED, WITHDRAWN, REINSTATED], [took(), disputed(), disputed(800, 15)]),
    row(
        "dispute of two stages, only the second in the window",
        [CAPTURED, WITHDRAWN, REINSTATED, SECOND],
        [took(), disputed(), disputed(800, 15), disputed(-800, 25)],
        window=(20, 30),
    ),
    row(
        "dispute given back, its beginning unheard",
        [CAPTURED, REINSTATED],
        [took(), disputed(), disputed(800, 15)],
    ),
    row("dispute's webhook on its way", [CAPTURED], [took(), disputed()], now=hour(5.5), transit=1),
    row("fee", [CAPTURED, FEE], [took(), kept()]),
    row("fee of another name", [CAPTURED, FEE], [took(), kept(ref="txn-1")]),
    row("fee without a ref", [CAPTURED, told(EventType.FEE_CHARGED, 30, "", 2)], [took(), kept()]),
    row(
        "several fees",
        [CAPTURED, FEE, told(EventType.FEE_CHARGED, 30, "fee-2", 7)],
        [took(), kept(at=7, ref="fee-2"), kept()],
    ),
    row(
        "one fee booked that is listed in two",
        [CAPTURED, FEE],
        [took(), kept(-10, 2, "a"), kept(-20, 2, "b")],
    ),
    row("fee on its way for most of a day", [CAPTURED], [took(), kept()], now=hour(20), transit=1),
    row("paid out", [PAID], [paid_out()], start=W),
    row("paid out, ref unknown", [PAID], [paid_out()], start=UNREFERRED),
    row("payout submitted and pending", [], [paid_out(state=PENDING)], start=W, now=hour(20), transit=1),
    row(
        "payout listed days before it was paid",
        [msgspec.structs.replace(PAID, occur_time=hour(70))],
        [paid_out()],
        start=W,
    ),
    row(
        "payout returned",
        [PAID, RETURNED],
        [paid_out(state=FAILED), paid_out(500, 10, state=FAILED)],
        start=W,
    ),
    row(
        "payout returned, only the return in the window",
        [PAID, RETURNED],
        [paid_out(state=FAILED), paid_out(500, 10, state=FAILED)],
        start=W,
        window=(5, 15),
    ),
    row(
        "payout returned after the window",
        [PAID],
        [paid_out(state=FAILED), paid_out(500, 30, state=FAILED)],
        start=W,
        window=(0, 10),
    ),
    row(
        "payout's return on its way",
        [PAID],
        [paid_out(state=FAILED), paid_out(500, 10, state=FAILED)],
        start=W,
        now=hour(10.5),
        transit=1,
    ),
    row(
        "payout failed and was made again under another id",
        [PAID, RETURNED, msgspec.structs.replace(PAID, occur_time=hour(20))],
        [paid_out(state=FAILED), paid_out(500, 10, state=FAILED), paid_out(-500, 20, "po-2")],
        start=W,
    ),
    row("payout not approved yet", [], [], start=a_withdrawal(review=WithdrawalState.REQUESTED)),
    row("refused by the provider", [], [], start=msgspec.structs.replace(W, call_state=CallState.REJECTED)),
    row("nothing listed of a window before it", [CAPTURED], [], window=(-20, -10)),
    row("nothing missing in an incomplete listing", [CAPTURED, FEE, REFUNDED], [], complete=False),
    row("a move at the very end of the window is the next one's", [], [took()], window=(-24, 1), now=hour(8)),
    row(
        "whole heard, listed in two by its own id, the first one before the window",
        [msgspec.structs.replace(WHOLE, occur_time=hour(30))],
        [took(600, ref=PAYMENT), took(400, 30, ref=PAYMENT)],
        window=(20, 40),
    ),
    row(
        "listed days before it was captured",
        [msgspec.structs.replace(CAPTURED, occur_time=hour(70))],
        [took(ref=PAYMENT)],
        window=(0, 10),
    ),
    row(
        "second part on its way",
        [told(EventType.PAYMENT_CAPTURED, 600, "", 1)],
        [took(600), took(400, 1.2, "cap-2")],
        now=hour(2.1),
        transit=1,
    ),
    row(
        "failure unheard, alone in the window, and captured again since",
        [CAPTURED],
        [took(), took(-1000, 10), took(1000, 20)],
        window=(5, 15),
    ),
    row("dispute opened, in and out unheard", [CAPTURED, OPENED], [took(), disputed(), disputed(800, 15)]),
    row(
        "payout paid again, its return left out of an incomplete listing",
        [PAID, RETURNED, msgspec.structs.replace(PAID, occur_time=hour(20))],
        [paid_out(), paid_out(-500, 20)],
        start=W,
        complete=False,
    ),
    row(
        "payout's return left out of an incomplete listing",
        [PAID, RETURNED],
        [paid_out()],
        start=W,
        complete=False,
    ),
]


@pytest.mark.parametrize(("events", "records", "options"), NORMAL)
def test_compare_normal_situation_reports_nothing(
    events: Sequence[ProviderEvent], records: Sequence[ProviderRecord], options: dict[str, object]
) -> None:
    """What happens every day is no finding: it matches, or it is counted as in transit."""
    expected = dict(options)
    transit = expected.pop("transit", 0)

    result = compared(events, records, **expected)  # type: ignore[arg-type]  # Rows name options.

    assert [(each.kind.name, each.description) for each in result.discrepancies] == []
    assert result.in_transit == transit
    assert set(result.verdicts.values()) <= {Verdict.IN_TRANSIT}


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
        [paid_out(state=PENDING)],
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
