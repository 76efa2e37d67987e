"""Own what payments do with accounts that were opened under their names before these were reserved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from defter.ledger.v1 import posting_pb2
from defter.payments.v1 import payment_pb2

from ledger_server.domain.decisions.payments import booking
from ledger_server.domain.ledger.accounts import AccountKind, Direction, Limits
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.state.commands import Method, OpenAccount, PostTransaction, RequestKey
from ledger_server.engine.lane.work import Request
from tests.support.cashier import CAPTURED, PLAYER, WALLET, Cashier
from tests.support.coherence import assert_ledger_coherent
from tests.support.fake_provider import PROVIDER
from tests.support.requests import transfer
from tests.support.service import Service
from tests.support.wire import refusal

WAIT_SECONDS = 60
LARGEST = 2**63 - 1
CLEARING = f"psp:{PROVIDER}:clearing:EUR"
ASKED: dict[str, Callable[[Cashier], Awaitable[object]]] = {
    "deposit": lambda cashier: cashier.initiate(500),
    "withdrawal": lambda cashier: cashier.request(100_000),
}
WRONG = [
    *[(WALLET, kind, "LIABILITY") for kind in AccountKind if kind is not AccountKind.LIABILITY],
    *[(CLEARING, kind, "ASSET") for kind in AccountKind if kind is not AccountKind.ASSET],
]


async def open_older(server: Service, account_id: str, kind: AccountKind, currency: str = "EUR") -> None:
    """Open an account as a server did that reserved no names: past the border."""
    command = OpenAccount(
        account_id=account_id,
        kind=kind,
        currency=currency,
        limits=Limits(min_available=None, max_balance=None),
        metadata={},
    )
    key = RequestKey(Method.OpenAccount, f"older-{account_id}", player_id="")
    [outcome] = await server.server.ledger.submit("casino", [Request(command, key, b"older")])
    assert not outcome.rejected


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(("account_id", "kind", "needed"), WRONG)
async def test_ask_with_wallet_of_another_kind_is_refused(
    server: Service, cashier: Cashier, asked: str, account_id: str, kind: AccountKind, needed: str
) -> None:
    """Whatever is asked and whichever of the two accounts is wrong: refused by name, and nothing moves."""
    await open_older(server, account_id, kind)
    if account_id != WALLET:
        await cashier.ledger.open(WALLET)

    refused = await refusal(ASKED[asked](cashier))

    assert refused.reason == "ACCOUNT_KIND_MISMATCH"
    assert refused.metadata == {"account_id": account_id, "kind": kind.name, "needed_kind": needed}
    assert await cashier.ledger.holds() == []
    assert await cashier.ledger.posted(account_id) == 0
    await assert_ledger_coherent(cashier.ledger)


@pytest.mark.parametrize("asked", ASKED)
async def test_ask_with_wallet_of_another_currency_is_refused(
    server: Service, cashier: Cashier, asked: str
) -> None:
    """The name says EUR, the account is in USD."""
    await open_older(server, WALLET, AccountKind.LIABILITY, "USD")

    refused = await refusal(ASKED[asked](cashier))

    assert refused.reason == "CURRENCY_MISMATCH"
    await assert_ledger_coherent(cashier.ledger)


async def test_open_every_reserved_name_by_payments_is_as_reserved(cashier: Cashier) -> None:
    """What payments open themselves passes the rule that callers are held to."""
    deposit = await cashier.captured(500)

    assert deposit.state == payment_pb2.DEPOSIT_STATE_CAPTURED
    kinds = {one.account.account_id: AccountKind(one.account.kind) for one in await cashier.ledger.accounts()}
    assert kinds[f"player:{PLAYER}:real:EUR"] == AccountKind.LIABILITY
    assert kinds[CLEARING] == AccountKind.ASSET
    assert kinds[f"psp:{PROVIDER}:fees:EUR"] == AccountKind.EXPENSE


async def test_reverse_older_transaction_of_an_account_against_itself_verifies(
    server: Service, cashier: Cashier
) -> None:
    """What was recorded before it was refused is decided again as it was, and can be taken back."""
    legs = tuple(NewPosting("house", direction, 7, "EUR") for direction in Direction)
    command = PostTransaction(TransactionType.TRANSFER, legs, "", None, {})
    key = RequestKey(Method.PostTransaction, "older", player_id="")
    [outcome] = await server.server.ledger.submit("casino", [Request(command, key, b"older")])
    posted = posting_pb2.Transaction.FromString(outcome.content)

    reversal = await cashier.ledger.reverse(posted.transaction_id)

    assert reversal.reverses_transaction_id == posted.transaction_id
    await open_older(server, WALLET, AccountKind.ASSET)
    assert not (await cashier.ledger.verify()).HasField("first_difference")
    await assert_ledger_coherent(cashier.ledger)


@pytest.mark.parametrize("captured", [0, 200])
@pytest.mark.parametrize(("account_id", "kind", "needed"), WRONG)
async def test_continue_account_of_another_kind_books_what_waited_for_it(
    server: Service,
    cashier: Cashier,
    monkeypatch: pytest.MonkeyPatch,
    account_id: str,
    kind: AccountKind,
    needed: str,
    captured: int,
) -> None:
    """Its successor is what its name says; what it had goes on side by side, and parked facts follow."""
    with monkeypatch.context() as older:
        # As a version that did not look at kinds.
        older.setattr(booking, "check_use", lambda *_: None)
        await open_older(server, account_id, kind)
        deposit = await cashier.initiate(500)
        if captured:
            await cashier.ingest(
                cashier.event(CAPTURED, deposit.deposit_id, captured, payment_ref="p", object_ref="one")
            )
    capture = cashier.event(
        CAPTURED, deposit.deposit_id, 500 - captured, payment_ref="p", object_ref="two", final=True
    )
    [parked] = await cashier.ingest(capture)
    assert parked.event.state == payment_pb2.PROVIDER_EVENT_STATE_PARKED

    continued = await cashier.ledger.continue_account(account_id)
    await until_applied(cashier, parked.event.provider_event_id)

    assert AccountKind(continued.successor.kind).name == needed
    real = (await cashier.wallet()).balances[0].real
    assert (real.posted_minor, real.available_minor, real.pending_in_minor) == (500, 500, 0)
    assert (await refusal(cashier.request(600))).reason == "INSUFFICIENT_FUNDS"
    clearing = [one for one in await cashier.ledger.accounts() if one.account.account_id.startswith(CLEARING)]
    assert clearing[-1].balance.posted_balance_minor == 500
    await assert_ledger_coherent(cashier.ledger)


async def test_continue_account_of_another_currency_has_that_of_its_name(
    server: Service, cashier: Cashier
) -> None:
    """Only once it is empty: nothing can turn dollars into euros."""
    ledger = cashier.ledger
    await open_older(server, WALLET, AccountKind.ASSET, "USD")
    await ledger.open_house("dollars", currency_code="USD")
    await ledger.submit(transfer("dollars", WALLET, 7, currency_code="USD"))
    refused = await refusal(ledger.continue_account(WALLET))
    await ledger.submit(transfer(WALLET, "dollars", 7, currency_code="USD"))

    continued = await ledger.continue_account(WALLET)
    await cashier.captured(500)

    assert refused.reason == "ACCOUNT_NOT_EMPTY"
    assert AccountKind(continued.successor.kind) is AccountKind.LIABILITY
    assert continued.successor.currency_code == "EUR"
    assert continued.successor.limits.min_available_minor == 0
    assert await ledger.posted(f"{WALLET}@2") == 500
    await assert_ledger_coherent(ledger)


async def test_continue_full_clearing_account_books_what_had_no_room(cashier: Cashier) -> None:
    """What was parked for want of room follows by itself, as does what an unfit account kept waiting."""
    ledger = cashier.ledger
    deposit = await cashier.initiate(500)
    await ledger.post(CLEARING, "house", LARGEST - 500)
    await ledger.open_house("sink")
    await ledger.post("sink", CLEARING, LARGEST - 500)
    [parked] = await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 900))
    assert parked.event.state == payment_pb2.PROVIDER_EVENT_STATE_PARKED

    await ledger.continue_account(CLEARING)
    await until_applied(cashier, parked.event.provider_event_id)

    assert await ledger.posted(WALLET) == 900
    await assert_ledger_coherent(ledger)


async def until_applied(cashier: Cashier, provider_event_id: str) -> None:
    """Wait until an event has had its effect, by nothing but the server's own work."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            stored = await cashier.stored_event(provider_event_id)
            if stored.state == payment_pb2.PROVIDER_EVENT_STATE_APPLIED:
                return
