"""Own short words for what a provider lists and tells, and what a run makes of the two."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import pytest

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import (
    EventType,
    ProviderEvent,
    with_deposit_event,
    with_withdrawal_event,
)
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.domain.reconciliation.ledger_side import Payment
from ledger_server.domain.reconciliation.payment_comparison import Comparison, compare
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

K, S, F = ProviderRecordKind, RemoteState, FindingClass
REFUND_ID = IDS.refund_id(20)
_COUNTER = iter(range(1, 10_000))


def listed(
    kind: ProviderRecordKind,
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
        batch="",
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
