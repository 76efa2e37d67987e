"""What becomes of an event that fits no payment, or not the one that it names."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ledger_server.domain.decisions.payments.decide import store_undecided
from ledger_server.domain.errors import ProviderEventNotFound
from ledger_server.domain.payments.calls import CallBegun, CallKind, CallRejected
from ledger_server.domain.payments.commands import IngestEvent, ReplayEvent
from ledger_server.domain.payments.deposit import DepositState
from ledger_server.domain.payments.events import EventState, EventType, ProviderEvent
from ledger_server.domain.state.facts import EventRecorded
from tests.support.payments import Balances, PaymentBooks, an_event

EXPECTED = Balances(incoming=1000)
ALL = Balances(posted=1000, available=1000, clearing=1000)
CAPTURE = an_event(EventType.PAYMENT_CAPTURED, 1000, object_ref="cap-1", at=1)


@pytest.mark.parametrize(
    ("event", "finding"),
    [
        pytest.param(
            an_event(EventType.PAYMENT_CAPTURED, 1000, currency="USD"),
            "CURRENCY_MISMATCH",
            id="other currency",
        ),
        pytest.param(
            an_event(EventType.PAYMENT_CAPTURED, None, problem="10.005 EUR"),
            "AMOUNT_MISMATCH",
            id="not exact",
        ),
        pytest.param(an_event(EventType.PAYMENT_CAPTURED, 0), "STATUS_MISMATCH", id="captured nothing"),
        pytest.param(
            an_event(EventType.PAYMENT_CAPTURED, -5), "STATUS_MISMATCH", id="captured less than nothing"
        ),
        pytest.param(
            an_event(EventType.REFUND_SUCCEEDED, None, object_ref="re-1", problem="0.5"),
            "AMOUNT_MISMATCH",
            id="refund not exact",
        ),
        pytest.param(
            an_event(EventType.DISPUTE_FUNDS_WITHDRAWN, None, object_ref="dp-1"),
            "STATUS_MISMATCH",
            id="took what",
        ),
        pytest.param(
            an_event(EventType.DISPUTE_FUNDS_REINSTATED, None, object_ref="dp-1"),
            "STATUS_MISMATCH",
            id="gave what",
        ),
        pytest.param(an_event(EventType.FEE_CHARGED, None), "STATUS_MISMATCH", id="fee of what"),
        pytest.param(an_event(EventType.PAYOUT_PAID, 1000), "STATUS_MISMATCH", id="event of a payout"),
    ],
)
def test_ingest_what_contradicts_the_deposit_moves_nothing_and_raises_a_finding(
    event: ProviderEvent, finding: str
) -> None:
    """It is stored as CONTRADICTED with a note, for somebody to look at."""
    books = PaymentBooks()
    number = books.initiate()
    before = books.deposit(number)
    stored = books.ingest(event)
    assert (stored.state, stored.payment) == (EventState.CONTRADICTED, number)
    assert stored.note
    assert books.finding_names() == [finding]
    assert books.deposit(number) == before
    assert books.balances() == EXPECTED


@pytest.mark.parametrize(
    "event",
    [
        an_event(EventType.PAYOUT_PAID, 400, currency="USD"),
        an_event(EventType.PAYOUT_PAID, problem="0.5"),
        an_event(EventType.PAYOUT_PAID, 0),
        an_event(EventType.FEE_CHARGED),
        an_event(EventType.PAYMENT_CAPTURED, 400),
        an_event(EventType.REFUND_SUCCEEDED, 400),
    ],
)
def test_ingest_what_contradicts_the_withdrawal_moves_nothing(event: ProviderEvent) -> None:
    """As for a deposit."""
    books = PaymentBooks()
    books.fund(1000)
    number = books.request(400)
    before = books.withdrawal(number), books.balances()
    stored = books.ingest(replace(event, payment=number))
    assert (stored.state, stored.withdrawal) == (EventState.CONTRADICTED, True)
    assert len(books.findings) == 1
    assert (books.withdrawal(number), books.balances()) == before


def test_ingest_unknown_payment_is_parked_and_applied_when_it_is_known() -> None:
    """The event may come before the payment; replaying it afterwards books it once."""
    books = PaymentBooks()
    early = books.ingest(CAPTURE)
    assert (early.state, early.payment) == (EventState.PARKED, None)
    assert books.replay(early.number).state is EventState.PARKED
    number = books.initiate()
    for _ in range(2):
        again = books.replay(early.number)
        assert (again.state, again.payment, again.note) == (EventState.APPLIED, number, "")
        assert books.balances() == ALL


@pytest.mark.parametrize("known", [True, False])
def test_ingest_unknown_type_is_ignored(known: bool) -> None:
    """It is stored, whether or not it names a payment of ours, and never looked at again."""
    books = PaymentBooks()
    if known:
        books.initiate()
    stored = books.ingest(an_event(EventType.UNKNOWN, 1000))
    assert stored.state is EventState.IGNORED
    assert books.balances().posted == 0


def test_ingest_echoed_id_finds_the_payment_and_learns_its_ref() -> None:
    """Our own id is believed; from then on the provider's ref will do."""
    books = PaymentBooks()
    number = books.initiate(ref="")
    books.ingest(an_event(EventType.PAYMENT_AUTHORIZED, payment=number, ref="pay-9"))
    assert books.deposit(number).known_ref == "pay-9"
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, 1000, ref="pay-9", at=1))
    assert books.balances() == ALL


def test_ingest_echoed_id_of_another_provider_accounts_payment_is_not_believed() -> None:
    """Who signs for one account can't touch the payments of another."""
    books = PaymentBooks()
    number = books.initiate()
    stored = books.ingest(
        an_event(EventType.PAYMENT_CAPTURED, 1000, payment=number, ref="theirs", provider="other")
    )
    assert (stored.state, stored.payment) == (EventState.PARKED, None)
    assert books.balances() == EXPECTED


def test_ingest_foreign_echoed_id_falls_back_to_the_ref() -> None:
    """An id that proves nothing leaves the provider's own ref."""
    books = PaymentBooks()
    theirs = books.initiate(provider="other", ref="pay-x")
    number = books.initiate()
    stored = books.ingest(an_event(EventType.PAYMENT_CAPTURED, 1000, payment=theirs))
    assert (stored.state, stored.payment) == (EventState.APPLIED, number)


def test_ingest_same_content_under_another_id_moves_nothing() -> None:
    """A provider may tell one thing in two events."""
    books = PaymentBooks()
    number = books.initiate()
    books.ingest(CAPTURE)
    before = books.deposit(number), books.balances()
    stored = books.ingest(replace(CAPTURE, event_id="another"))
    assert stored.state is EventState.APPLIED
    assert (books.deposit(number), books.balances()) == before


def test_replay_unknown_event_is_refused() -> None:
    """Neither a foreign id nor a number of nothing can be replayed."""
    for number in (None, 77):
        with pytest.raises(ProviderEventNotFound):
            PaymentBooks().do(ReplayEvent(provider_event_id="evt_x", number=number))


def test_replay_by_the_sweeper_without_news_records_nothing() -> None:
    """Trying parked events again and again must not fill the journal."""
    books = PaymentBooks()
    early = books.ingest(CAPTURE)
    assert books.do(ReplayEvent(provider_event_id="", number=early.number)) == ()


def test_store_undecided_keeps_the_event_and_moves_nothing() -> None:
    """Whatever is wrong with booking it, it is parked, and a later replay applies it."""
    books = PaymentBooks()
    books.initiate()
    [fact] = store_undecided(books.working_set, IngestEvent(event=CAPTURE), books.now)
    assert isinstance(fact, EventRecorded)
    books.working_set.apply(fact)
    books.check()
    assert (fact.stored.state, fact.stored.payment) == (EventState.PARKED, None)
    assert books.balances() == EXPECTED
    assert books.replay(fact.stored.number).state is EventState.APPLIED
    assert books.balances() == ALL


def test_refuse_create_payment_call_fails_the_deposit() -> None:
    """What the provider would not begin is expected no longer."""
    books = PaymentBooks()
    number = books.initiate(ref="")
    books.rejected(CallKind.CREATE_PAYMENT, number)
    assert books.deposit(number).state is DepositState.FAILED
    assert books.deposit(number).failure_reason == "declined"
    assert books.balances() == Balances()


def test_capture_after_refused_call_is_booked_with_a_finding() -> None:
    """The provider took money for a payment that it had refused; it is the player's."""
    books = PaymentBooks()
    number = books.initiate(ref="")
    books.rejected(CallKind.CREATE_PAYMENT, number)
    books.ingest(replace(CAPTURE, payment=number))
    assert books.deposit(number).state is DepositState.CAPTURED
    assert books.balances() == ALL
    assert books.finding_names() == ["STATUS_MISMATCH"]


def test_refuse_call_after_capture_keeps_the_money_with_a_finding() -> None:
    """The answer of the call came after the event that it contradicts: the same end."""
    books = PaymentBooks()
    number = books.initiate(ref="")
    books.report(CallKind.CREATE_PAYMENT, number, CallBegun())
    books.ingest(replace(CAPTURE, payment=number))
    books.report(CallKind.CREATE_PAYMENT, number, CallRejected(reason="declined"))
    assert books.balances() == ALL
    assert books.finding_names() == ["STATUS_MISMATCH"]


@pytest.mark.parametrize("kind", list(EventType))
def test_ingest_any_type_on_any_payment_never_raises(kind: EventType) -> None:
    """Facts from the outside are recorded, never refused."""
    books = PaymentBooks()
    books.fund(1000)
    deposit, withdrawal = books.initiate(ref="d"), books.request(400)
    for number in (deposit, withdrawal):
        for amount in (None, 0, 400):
            event = an_event(kind, amount, payment=number, ref="", event_id=f"{number}-{amount}")
            assert books.ingest(event).state in set(EventState)
