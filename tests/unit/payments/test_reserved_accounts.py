"""Reserved names and what payments do where an older account does not keep to them, as tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ledger_server.domain.errors import AccountKindMismatch, AccountNameReserved
from ledger_server.domain.ledger.accounts import AccountKind
from ledger_server.domain.payments.accounts import (
    bank_account,
    bonus_account,
    check_name,
    clearing_account,
    fee_account,
    player_account,
)
from ledger_server.domain.payments.events import EventState, EventType, ProviderEvent
from tests.support.payments import CLEARING, FEES, PLAYER, REF, WALLET, PaymentBooks, an_event

NAMES = {
    player_account("42", "EUR"): AccountKind.LIABILITY,
    bonus_account("a.b@c", "USDT"): AccountKind.LIABILITY,
    clearing_account("mock", "JPY"): AccountKind.ASSET,
    fee_account("stripe-eu", "EUR"): AccountKind.EXPENSE,
    bank_account("main", "EUR"): AccountKind.ASSET,
}


@pytest.mark.parametrize("kind", AccountKind)
@pytest.mark.parametrize("name", NAMES)
def test_open_reserved_name_takes_one_kind_and_one_currency(name: str, kind: AccountKind) -> None:
    """Every name times every kind, with its own currency, another one, and another spelling."""
    currency = name.rpartition(":")[2]
    if kind is NAMES[name]:
        check_name(name, kind, currency)
    else:
        with pytest.raises(AccountNameReserved):
            check_name(name, kind, currency)
    for account_id, of in ((name, "CHF"), (name.title(), currency), (f"{name}@2", currency)):
        with pytest.raises(AccountNameReserved):
            check_name(account_id, kind, of)
    with pytest.raises(AccountNameReserved):
        check_name(name[: -len(currency)] + currency.lower(), kind, currency)


@pytest.mark.parametrize("kind", AccountKind)
@pytest.mark.parametrize(
    "name",
    ["house", "player:1", "player:1:bets:EUR", "players:1:real:EUR", "psp:mock:other:EUR", "bank:main"],
)
def test_open_any_other_name_takes_every_kind(name: str, kind: AccountKind) -> None:
    """Only what payments derive is reserved."""
    check_name(name, kind, "EUR")


def of_kind(books: PaymentBooks, account_id: str, kind: AccountKind) -> None:
    """Let an account be of a kind, as one that was opened before names were reserved."""
    entry = books.working_set.account(account_id)
    assert entry is not None
    assert entry.account is not None
    entry.account = replace(entry.account, kind=kind)


STEPS: dict[str, Callable[[PaymentBooks, int, int], object]] = {
    "initiate": lambda books, _deposit, _withdrawal: books.initiate(10, ref="other"),
    "refund": lambda books, deposit, _withdrawal: books.ask_refund(deposit, 10),
    "request": lambda books, _deposit, _withdrawal: books.request(10),
    "approve": lambda books, _deposit, withdrawal: books.approve(withdrawal),
    "mark paid": lambda books, _deposit, withdrawal: books.mark_paid(withdrawal),
}


@pytest.mark.parametrize(
    ("account_id", "kind"),
    [(WALLET, AccountKind.ASSET), (WALLET, AccountKind.EXPENSE), (CLEARING, AccountKind.EQUITY)],
)
@pytest.mark.parametrize("step", STEPS)
def test_ask_with_account_of_another_kind_changes_nothing(
    step: str, account_id: str, kind: AccountKind
) -> None:
    """Everything that is asked from the inside is refused, whichever account is wrong."""
    books = PaymentBooks()
    deposit = books.initiate(1000)
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, 1000, object_ref="cap", at=1))
    withdrawal = books.request(400)
    if step == "mark paid":
        books.approve(withdrawal)
    of_kind(books, account_id, kind)
    before = books.snapshot()._replace(refs={})

    with pytest.raises(AccountKindMismatch):
        STEPS[step](books, deposit, withdrawal)

    # Refs that were only looked up are known not to exist afterwards.
    assert books.snapshot()._replace(refs={}) == before


FACTS: dict[str, ProviderEvent] = {
    "captured": an_event(EventType.PAYMENT_CAPTURED, 500, object_ref="cap-2", at=2),
    "refunded": an_event(EventType.REFUND_SUCCEEDED, 100, object_ref="re", at=2),
    "fee": an_event(EventType.FEE_CHARGED, 30, object_ref="fee", at=2),
}
WRONG = {"captured": WALLET, "refunded": WALLET, "fee": FEES}


@pytest.mark.parametrize("fact", FACTS)
def test_fact_on_account_of_another_kind_waits_with_a_finding_and_is_booked_once(fact: str) -> None:
    """It is parked, told at once, and takes effect as soon as the account is what it should be."""
    books, twin = PaymentBooks(), PaymentBooks()
    for each in (books, twin):
        each.initiate(1000)
        each.ingest(an_event(EventType.PAYMENT_CAPTURED, 500, object_ref="cap-1", at=1))
    right = books.working_set.accounts[WRONG[fact]].account
    assert right is not None
    of_kind(books, WRONG[fact], AccountKind.REVENUE)
    before = books.counters(WRONG[fact])

    stored = books.ingest(FACTS[fact])

    assert (stored.state, books.finding_names()) == (EventState.PARKED, ["STATUS_MISMATCH"])
    assert stored.payment is not None
    assert books.counters(WRONG[fact]) == before
    books.working_set.accounts[WRONG[fact]].account = right
    for _ in range(2):
        assert books.replay(stored.number).state is EventState.APPLIED
    twin.ingest(FACTS[fact])
    assert books.balances() == twin.balances()


def test_fact_beyond_what_counters_hold_waits_with_a_finding() -> None:
    """A full clearing account delays the fact and loses nothing; others go on."""
    books = PaymentBooks()
    books.initiate(1000)
    books.initiate(1000, ref="pay-2", player="bob")

    stored = books.ingest(an_event(EventType.PAYMENT_CAPTURED, 2**63 - 1, ref=REF, object_ref="cap", at=1))

    assert (stored.state, books.finding_names()) == (EventState.PARKED, ["STATUS_MISMATCH"])
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, 1000, ref="pay-2", object_ref="cap-b", at=1))
    assert books.balances("bob").posted == 1000
    assert books.balances(PLAYER).posted == 0
