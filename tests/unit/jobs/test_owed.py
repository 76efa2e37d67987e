"""What an owed call is by its payment's record: what it asks for, and whether it may still be made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pytest
from msgspec.structs import replace

from ledger_server.domain.payments.calls import CallBegun, CallKind
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventType
from ledger_server.engine.records.deposits import deposit_message
from ledger_server.jobs.owed import Owed, owed_of
from ledger_server.store.outbox_store import ClaimedCall
from ledger_server.store.payment_rows import DEPOSIT
from ledger_server.store.payment_store import StoredPayment
from tests.support.payments import PaymentBooks, an_event

AMOUNT: Final = 1000
TRIED: Final = datetime(2030, 1, 1, 13, tzinfo=UTC)


def owed(books: PaymentBooks, deposit: Deposit, subject: int, first_try_time: datetime | None) -> Owed:
    """Return a refund's call as the dispatcher reads it."""
    ids = books.working_set.ids
    body = deposit_message(ids, deposit).SerializeToString()
    call = ClaimedCall(
        number=1,
        kind=CallKind.REFUND,
        provider=deposit.provider,
        payment=deposit.number,
        subject=subject,
        try_count=2,
        rest_count=0,
        first_try_time=first_try_time,
        absent_time=None,
        stop_reason=None,
        claim_time=TRIED,
    )
    found = owed_of(ids, StoredPayment(DEPOSIT, body, findings=()), call)
    assert found is not None
    return found


@pytest.mark.parametrize("first_try_time", [None, TRIED])
@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("later", [(), ("pay-2",), ("pay-0", "pay-2")])
def test_owe_refund_that_an_older_version_has_sent_asks_for_no_other_payment(
    later: tuple[str, ...], noted: bool, first_try_time: datetime | None
) -> None:
    """Where nobody noted which payment the first try named, it is not tried again if there are several."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref="pay-1")
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, ref="pay-1", object_ref="cap-1"))
    subject = books.ask_refund(number, AMOUNT)
    books.report(CallKind.REFUND, number, CallBegun(), subject=subject)
    for ref in later:
        books.ingest(
            an_event(
                EventType.PAYMENT_CAPTURED, AMOUNT, ref=ref, payment=number, object_ref=ref, event_id=ref
            )
        )
    deposit = books.deposit(number)
    if not noted:
        [refund] = deposit.refunds
        deposit = replace(deposit, refunds=(replace(refund, payment_ref=""),))

    found = owed(books, deposit, subject, first_try_time)

    assert found.awaited == (noted or not later or first_try_time is None)
    if found.awaited and first_try_time is not None:
        assert found.call.payment_ref == "pay-1"
