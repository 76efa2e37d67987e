"""Disputes as tables: which of their events move money, and what a short wallet may still do."""

from __future__ import annotations

import pytest

from ledger_server.domain.errors import InsufficientFunds
from ledger_server.domain.payments.deposit import DepositState
from ledger_server.domain.payments.events import EventState, EventType, ProviderEvent
from ledger_server.domain.payments.knowledge import DisputeState
from tests.support.payments import HOUSE, PLAYER, WALLET, Balances, PaymentBooks, an_event

ALL = Balances(posted=1000, available=1000, clearing=1000)
NOTHING = Balances()
CAPTURE = an_event(EventType.PAYMENT_CAPTURED, 1000, object_ref="cap-1", at=1)
OPENED = an_event(EventType.DISPUTE_OPENED, 1000, object_ref="dp-1", at=2, reason="fraud")
WON = an_event(EventType.DISPUTE_WON, 1000, object_ref="dp-1", at=8)
LOST = an_event(EventType.DISPUTE_LOST, 1000, object_ref="dp-1", at=8)


def taken(amount: int = 1000, stage: str = "chargeback", *, at: int = 3, ref: str = "dp-1") -> ProviderEvent:
    """Return money that a dispute took."""
    return an_event(
        EventType.DISPUTE_FUNDS_WITHDRAWN,
        amount,
        object_ref=ref,
        at=at,
        stage=stage,
        event_id=f"taken-{ref}-{stage}-{at}-{amount}",
    )


def given_back(
    amount: int = 1000, stage: str = "chargeback", *, at: int = 7, ref: str = "dp-1"
) -> ProviderEvent:
    """Return money that a dispute gave back."""
    return an_event(
        EventType.DISPUTE_FUNDS_REINSTATED,
        amount,
        object_ref=ref,
        at=at,
        stage=stage,
        event_id=f"back-{ref}-{stage}-{at}-{amount}",
    )


@pytest.mark.parametrize(
    ("events", "dispute", "state", "after"),
    [
        pytest.param([OPENED], DisputeState.OPEN, DepositState.CAPTURED, ALL, id="inquiry moves nothing"),
        pytest.param([LOST], DisputeState.LOST, DepositState.CAPTURED, ALL, id="lost before opened"),
        pytest.param([OPENED, WON], DisputeState.WON, DepositState.CAPTURED, ALL, id="inquiry won"),
        pytest.param([OPENED, taken()], DisputeState.OPEN, DepositState.REVERSED, NOTHING, id="taken"),
        pytest.param([taken(), LOST], DisputeState.LOST, DepositState.REVERSED, NOTHING, id="lost"),
        pytest.param(
            [taken(), WON], DisputeState.WON, DepositState.REVERSED, NOTHING, id="won, money not back yet"
        ),
        pytest.param([taken(), WON, given_back()], DisputeState.WON, DepositState.CAPTURED, ALL, id="won"),
        pytest.param(
            [given_back(), taken()],
            DisputeState.OPEN,
            DepositState.CAPTURED,
            ALL,
            id="reinstated before withdrawn",
        ),
        pytest.param(
            [given_back()], DisputeState.OPEN, DepositState.CAPTURED, ALL, id="reinstated, never withdrawn"
        ),
        pytest.param(
            [taken(), given_back(), taken(1000, "second_chargeback", at=9)],
            DisputeState.OPEN,
            DepositState.REVERSED,
            NOTHING,
            id="second stage",
        ),
        pytest.param(
            [taken(1000, "second_chargeback", at=9), given_back(), taken()],
            DisputeState.OPEN,
            DepositState.REVERSED,
            NOTHING,
            id="second stage first",
        ),
        pytest.param(
            [WON, LOST], DisputeState.LOST, DepositState.CAPTURED, ALL, id="of two decisions the worse"
        ),
        pytest.param(
            [taken(400)],
            DisputeState.OPEN,
            DepositState.REVERSED,
            Balances(posted=600, available=600, clearing=600),
            id="taken in part",
        ),
        pytest.param(
            [taken(400), taken(400, at=5)],
            DisputeState.OPEN,
            DepositState.REVERSED,
            Balances(posted=600, available=600, clearing=600),
            id="taken told twice",
        ),
        pytest.param(
            [taken(), given_back(700)],
            DisputeState.OPEN,
            DepositState.REVERSED,
            Balances(posted=700, available=700, clearing=700),
            id="given back in part",
        ),
    ],
)
def test_hear_of_dispute_moves_money_by_its_movements_alone(
    events: list[ProviderEvent], dispute: DisputeState, state: DepositState, after: Balances
) -> None:
    """One dispute on a captured deposit of 1000."""
    books = PaymentBooks()
    number = books.initiate()
    books.ingest_all([CAPTURE, *events])
    [known] = books.deposit(number).disputes
    assert known.state is dispute
    assert books.deposit(number).state is state
    assert books.balances() == after


def test_hear_of_two_disputes_takes_money_for_each() -> None:
    """Disputes are told apart by the provider's ref."""
    books = PaymentBooks()
    number = books.initiate()
    books.ingest_all([CAPTURE, taken(300), taken(200, ref="dp-2")])
    assert books.deposit(number).disputed == 500
    assert books.balances() == Balances(posted=500, available=500, clearing=500)


def test_dispute_before_capture_is_parked_and_books_with_the_capture() -> None:
    """Money that never came can't be taken back; both are booked when the capture is known."""
    books = PaymentBooks()
    number = books.initiate()
    early = books.ingest(taken(400))
    assert (early.state, early.payment) == (EventState.PARKED, number)
    assert books.balances() == Balances(incoming=1000)
    books.ingest(CAPTURE)
    assert books.balances() == Balances(posted=600, available=600, clearing=600)
    assert books.replay(early.number).state is EventState.APPLIED


def short_wallet() -> PaymentBooks:
    """Return books whose player has played 900 of 1000 away before a dispute took it all."""
    books = PaymentBooks()
    books.initiate()
    books.ingest(CAPTURE)
    books.open_house()
    books.spend(900)
    books.ingest(taken())
    return books


def test_dispute_larger_than_the_balance_leaves_the_wallet_negative_with_a_finding() -> None:
    """A chargeback happened, whatever the player has left."""
    books = short_wallet()
    assert books.balances() == Balances(posted=-900, available=-900, clearing=0)
    assert books.finding_names() == ["WALLET_OVERDRAWN"]
    [finding] = books.findings.values()
    assert finding.evidence["available_balance_minor"] == "-900"
    assert finding.evidence["player_id"] == PLAYER


def test_request_withdrawal_from_a_negative_wallet_is_refused() -> None:
    """Nothing leaves a wallet that is short."""
    with pytest.raises(InsufficientFunds):
        short_wallet().request(1)


def test_bet_from_a_negative_wallet_is_refused() -> None:
    """A player who owes can't play."""
    with pytest.raises(InsufficientFunds):
        short_wallet().spend(1)


def test_deposit_into_a_negative_wallet_repays_it_first() -> None:
    """The next money in fills the hole; what is beyond can be spent."""
    books = short_wallet()
    books.initiate(1500, ref="pay-2")
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, 1500, ref="pay-2", object_ref="cap-2", at=30))
    assert books.balances().available == 600
    books.request(600)
    with pytest.raises(InsufficientFunds):
        books.request(1)


def test_win_into_a_negative_wallet_is_accepted() -> None:
    """Money in is never refused for being too little."""
    books = short_wallet()
    books.post(HOUSE, WALLET, 100)
    assert books.balances().available == -800
