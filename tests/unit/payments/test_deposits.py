"""The life of a deposit as tables: what each event leaves on the accounts."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ledger_server.domain.errors import BalanceLimitExceeded, ProviderRefTaken
from ledger_server.domain.ledger.accounts import Limits
from ledger_server.domain.ledger.holds import HoldState
from ledger_server.domain.payments.calls import CallKind
from ledger_server.domain.payments.deposit import DepositState
from ledger_server.domain.payments.events import EventState, EventType, ProviderEvent
from tests.support.payments import WALLET, Balances, PaymentBooks, an_event

AUTHORIZED = an_event(EventType.PAYMENT_AUTHORIZED, 1000, at=1)
ATTEMPT_FAILED = an_event(EventType.PAYMENT_ATTEMPT_FAILED, at=1)
CANCELLED = an_event(EventType.PAYMENT_FAILED, at=3, reason="expired")
FEE = an_event(EventType.FEE_CHARGED, 30, object_ref="fee-1", at=2)
EXPECTED = Balances(incoming=1000)
NOTHING = Balances()
ALL = Balances(posted=1000, available=1000, clearing=1000)


def captured(
    amount: int | None = 1000, ref: str = "cap-1", *, at: int = 2, final: bool = False
) -> ProviderEvent:
    """Return a capture."""
    return an_event(EventType.PAYMENT_CAPTURED, amount, object_ref=ref, at=at, final=final)


def capture_failed(ref: str = "cap-1", *, at: int = 10) -> ProviderEvent:
    """Return the failure of a capture."""
    return an_event(EventType.CAPTURE_FAILED, object_ref=ref, at=at)


def refunded(amount: int, ref: str = "re-1", *, at: int = 5) -> ProviderEvent:
    """Return a refund that was made at the provider."""
    return an_event(EventType.REFUND_SUCCEEDED, amount, object_ref=ref, at=at)


def wallet(amount: int, *, incoming: int = 0, fees: int = 0) -> Balances:
    """Return balances of which the player can spend everything."""
    return Balances(posted=amount, available=amount, incoming=incoming, clearing=amount - fees, fees=fees)


@pytest.mark.parametrize(
    ("given", "when", "state", "after"),
    [
        pytest.param([], None, DepositState.INITIATED, EXPECTED, id="initiated"),
        pytest.param([], AUTHORIZED, DepositState.AUTHORIZED, EXPECTED, id="authorized"),
        pytest.param([], ATTEMPT_FAILED, DepositState.INITIATED, EXPECTED, id="attempt failed"),
        pytest.param(
            [AUTHORIZED], ATTEMPT_FAILED, DepositState.AUTHORIZED, EXPECTED, id="authorized, attempt failed"
        ),
        pytest.param([ATTEMPT_FAILED], captured(), DepositState.CAPTURED, ALL, id="captured at second try"),
        pytest.param([], CANCELLED, DepositState.FAILED, NOTHING, id="failed"),
        pytest.param([AUTHORIZED], CANCELLED, DepositState.FAILED, NOTHING, id="authorized, failed"),
        pytest.param([CANCELLED], AUTHORIZED, DepositState.FAILED, NOTHING, id="failed, authorized"),
        pytest.param([], captured(), DepositState.CAPTURED, ALL, id="captured, never authorized"),
        pytest.param([], captured(None), DepositState.CAPTURED, ALL, id="captured without an amount"),
        pytest.param([AUTHORIZED], captured(), DepositState.CAPTURED, ALL, id="captured"),
        pytest.param([captured()], AUTHORIZED, DepositState.CAPTURED, ALL, id="authorized after capture"),
        pytest.param(
            [], captured(700), DepositState.CAPTURED, wallet(700, incoming=300), id="captured in part"
        ),
        pytest.param(
            [],
            captured(700, final=True),
            DepositState.CAPTURED,
            wallet(700),
            id="final capture, rest released",
        ),
        pytest.param(
            [captured(700)],
            captured(200, "cap-2"),
            DepositState.CAPTURED,
            wallet(900, incoming=100),
            id="captured twice",
        ),
        pytest.param(
            [captured(700)],
            captured(200, "cap-2", final=True),
            DepositState.CAPTURED,
            wallet(900),
            id="captured twice, the last one final",
        ),
        pytest.param(
            [captured(700, final=True)],
            captured(200, "cap-2"),
            DepositState.CAPTURED,
            wallet(900),
            id="captured again after the final one",
        ),
        pytest.param(
            [captured(700)],
            captured(800),
            DepositState.CAPTURED,
            wallet(800, incoming=200),
            id="larger amount told",
        ),
        pytest.param(
            [captured(800)],
            captured(700),
            DepositState.CAPTURED,
            wallet(800, incoming=200),
            id="smaller amount told",
        ),
        pytest.param(
            [captured(700)],
            CANCELLED,
            DepositState.CAPTURED,
            wallet(700),
            id="failed after a part was captured",
        ),
        pytest.param(
            [captured(600), captured(400, "cap-2")],
            captured(1000, ""),
            DepositState.CAPTURED,
            ALL,
            id="captured in parts, told as a whole too",
        ),
        pytest.param(
            [captured(1000, "")], captured(), DepositState.CAPTURED, ALL, id="told as a whole first"
        ),
        pytest.param([captured()], CANCELLED, DepositState.CAPTURED, ALL, id="failed late"),
        pytest.param([CANCELLED], captured(), DepositState.CAPTURED, ALL, id="captured after cancel"),
        pytest.param([], captured(1500), DepositState.CAPTURED, wallet(1500), id="captured more than asked"),
        pytest.param([captured()], capture_failed(), DepositState.REVERSED, NOTHING, id="capture failed"),
        pytest.param(
            [captured()], capture_failed(""), DepositState.REVERSED, NOTHING, id="failure names no capture"
        ),
        pytest.param(
            [capture_failed()], captured(), DepositState.REVERSED, NOTHING, id="failure heard before capture"
        ),
        pytest.param(
            [captured(), capture_failed()],
            captured(at=20),
            DepositState.CAPTURED,
            ALL,
            id="captured again, same ref",
        ),
        pytest.param(
            [captured(), capture_failed()],
            captured(1000, "cap-2", at=20),
            DepositState.CAPTURED,
            ALL,
            id="captured again, other ref",
        ),
        pytest.param(
            [captured(600)],
            capture_failed(),
            DepositState.REVERSED,
            Balances(incoming=400),
            id="capture of a part failed",
        ),
        pytest.param(
            [capture_failed()],
            captured(600),
            DepositState.REVERSED,
            Balances(incoming=400),
            id="capture of a part failed, heard first",
        ),
        pytest.param(
            [captured(600), capture_failed()],
            captured(600, at=20),
            DepositState.CAPTURED,
            wallet(600, incoming=400),
            id="a part captured again",
        ),
        pytest.param(
            [captured(600), captured(400, "cap-2")],
            capture_failed("cap-2"),
            DepositState.CAPTURED,
            wallet(600),
            id="one of two captures failed",
        ),
        pytest.param(
            [captured()], refunded(300), DepositState.PARTIALLY_REFUNDED, wallet(700), id="refunded in part"
        ),
        pytest.param(
            [captured(), refunded(300)],
            refunded(700, "re-2"),
            DepositState.REFUNDED,
            NOTHING,
            id="refunded in two parts",
        ),
        pytest.param(
            [captured()],
            FEE,
            DepositState.CAPTURED,
            Balances(posted=1000, available=1000, clearing=970, fees=30),
            id="fee",
        ),
        pytest.param(
            [], FEE, DepositState.INITIATED, Balances(incoming=1000, clearing=-30, fees=30), id="fee first"
        ),
        pytest.param(
            [captured(), FEE],
            an_event(EventType.FEE_CHARGED, 20, object_ref="fee-2", at=9),
            DepositState.CAPTURED,
            wallet(1000, fees=50),
            id="two fees",
        ),
        pytest.param(
            [captured(), FEE],
            an_event(EventType.FEE_CHARGED, 30, object_ref="fee-1", at=9),
            DepositState.CAPTURED,
            wallet(1000, fees=30),
            id="one fee told twice",
        ),
        pytest.param(
            [captured()],
            an_event(EventType.FEE_CHARGED, 0, object_ref="fee-1"),
            DepositState.CAPTURED,
            ALL,
            id="fee of nothing",
        ),
    ],
)
def test_hear_of_deposit_moves_what_the_event_means(
    given: list[ProviderEvent], when: ProviderEvent | None, state: DepositState, after: Balances
) -> None:
    """A deposit of 1000, the events before, one event, and what the accounts hold then."""
    books = PaymentBooks()
    number = books.initiate(1000)
    books.ingest_all(given)
    if when is not None:
        assert books.ingest(when).state is EventState.APPLIED
    assert books.balances() == after
    assert books.deposit(number).state is state
    assert books.deposit(number).balance_after == after.available


@pytest.mark.parametrize(
    ("events", "names"),
    [
        ([captured()], []),
        ([captured(), capture_failed(), captured(at=20)], []),
        ([captured(), CANCELLED], ["STATUS_MISMATCH"]),
        ([CANCELLED, captured()], ["STATUS_MISMATCH"]),
        ([captured(1500)], ["AMOUNT_MISMATCH"]),
        ([captured(), refunded(1200)], ["AMOUNT_MISMATCH", "WALLET_OVERDRAWN"]),
    ],
)
def test_hear_of_contradicting_events_raises_findings(events: list[ProviderEvent], names: list[str]) -> None:
    """What happened is booked all the same, and somebody is told."""
    books = PaymentBooks()
    books.initiate(1000)
    books.ingest_all(events)
    assert books.finding_names() == names


@pytest.mark.parametrize(
    ("events", "ended"),
    [
        ([captured(400)], HoldState.OPEN),
        ([captured(1000)], HoldState.CAPTURED),
        ([captured(400, final=True)], HoldState.CAPTURED),
        ([CANCELLED], HoldState.RELEASED),
        ([captured(400), CANCELLED], HoldState.RELEASED),
        ([capture_failed(), captured(1000)], HoldState.CAPTURED),
    ],
)
def test_hear_of_deposit_ends_its_hold_as_it_happened(events: list[ProviderEvent], ended: HoldState) -> None:
    """The hold of a deposit is captured by captures and released by failures."""
    books = PaymentBooks()
    number = books.initiate(1000)
    books.ingest_all(events)
    assert books.hold(books.deposit(number).hold).state is ended


def test_initiate_without_provider_ref_owes_a_call() -> None:
    """The provider is asked to create the payment, once."""
    books = PaymentBooks()
    number = books.initiate(ref="")
    assert [(call.kind, call.payment, call.subject) for call in books.owed] == [
        (CallKind.CREATE_PAYMENT, number, number)
    ]


def test_initiate_with_provider_ref_owes_no_call() -> None:
    """Whoever has a ref has created the payment already."""
    books = PaymentBooks()
    books.initiate()
    assert books.owed == []


def test_initiate_with_taken_provider_ref_is_refused() -> None:
    """Two deposits can't share one payment of a provider."""
    books = PaymentBooks()
    books.initiate()
    with pytest.raises(ProviderRefTaken):
        books.initiate()
    assert books.balances() == EXPECTED


def test_initiate_with_ref_of_other_provider_account_is_accepted() -> None:
    """A ref means something only within its provider account."""
    books = PaymentBooks()
    first = books.initiate()
    second = books.initiate(provider="other")
    assert first != second


def test_initiate_above_the_upper_limit_is_refused() -> None:
    """A wallet's maximum counts what is expected to come in."""
    books = PaymentBooks()
    books.initiate(1000)
    entry = books.working_set.account(WALLET)
    assert entry is not None
    assert entry.account is not None
    entry.account = replace(entry.account, limits=Limits(min_available=0, max_balance=1500))
    with pytest.raises(BalanceLimitExceeded):
        books.initiate(501, ref="pay-2")
    books.initiate(500, ref="pay-2")
    assert books.balances() == Balances(incoming=1500)


def test_capture_above_the_upper_limit_is_booked() -> None:
    """What has happened is never refused by a limit."""
    books = PaymentBooks()
    books.initiate(1000)
    books.ingest(captured(5_000_000))
    assert books.balances() == wallet(5_000_000)


@pytest.mark.parametrize("amount_first", [True, False])
def test_refund_whose_amount_another_event_tells_is_booked_in_any_order(*, amount_first: bool) -> None:
    """A success without an amount is kept, reported, and booked as soon as the amount is told."""
    books = PaymentBooks()
    number = books.initiate()
    books.ingest(captured())
    told = an_event(EventType.REFUND_PENDING, 300, object_ref="re-1", at=4)
    done = an_event(EventType.REFUND_SUCCEEDED, None, object_ref="re-1", at=5)
    for event in (told, done) if amount_first else (done, told):
        books.ingest(event)
    assert books.deposit(number).refunded == 300
    assert books.balances() == wallet(700)
    assert books.finding_names() == ([] if amount_first else ["STATUS_MISMATCH"])
