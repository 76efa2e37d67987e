"""Own what a wallet shows: a player's accounts as they stand now, read together."""

from __future__ import annotations

from defter.payments.v1 import wallet_pb2

from ledger_server.domain.ledger.accounts import AccountKind
from tests.integration.payments.test_older_accounts import open_older
from tests.support.cashier import Cashier
from tests.support.clock import FakeClock
from tests.support.requests import limits, timestamp, transfer
from tests.support.service import Service
from tests.support.wire import refusal

# In the order of their accounts' ids, which is not that of the bare ids: a colon follows each of them.
PLAYERS = ("a-b", "a.b", "a1", "a", "a@b.c", "a_b", "b")


def money(posted: int, available: int, pending_in: int = 0, pending_out: int = 0) -> wallet_pb2.WalletMoney:
    """Return what an account has."""
    return wallet_pb2.WalletMoney(
        posted_minor=posted,
        available_minor=available,
        pending_in_minor=pending_in,
        pending_out_minor=pending_out,
    )


async def open_and_fund(cashier: Cashier, account_id: str, amount_minor: int) -> None:
    """Open an account and give it money."""
    await cashier.ledger.open(account_id)
    await cashier.ledger.fund(account_id, amount_minor)


async def wallets(cashier: Cashier, *, page_size: int) -> list[list[wallet_pb2.Wallet]]:
    """Return all pages of wallets."""
    request = wallet_pb2.ListWalletsRequest(tenant_id=cashier.ledger.tenant_id, page_size=page_size)
    pages = []
    while True:
        response = await cashier.stubs.wallets.ListWallets(request)
        pages.append(list(response.wallets))
        if not response.next_page_token:
            return pages
        request.page_token = response.next_page_token


async def test_read_wallet_shows_real_and_bonus_by_currency(cashier: Cashier) -> None:
    """Each currency once, in order; what is on its way is not spendable."""
    ledger = cashier.ledger
    await open_and_fund(cashier, "player:ann:real:EUR", 500)
    await open_and_fund(cashier, "player:ann:bonus:EUR", 70)
    await ledger.open_house("house-chf", currency_code="CHF")
    await ledger.open("player:ann:real:CHF", currency_code="CHF")
    await ledger.submit(transfer("house-chf", "player:ann:real:CHF", 9, "CHF"))
    await ledger.place_hold("player:ann:real:EUR", "house", 200)
    await ledger.place_hold("house", "player:ann:real:EUR", 30)

    wallet = await cashier.wallet("ann")

    assert wallet == wallet_pb2.Wallet(
        player_id="ann",
        balances=[
            wallet_pb2.WalletBalance(currency_code="CHF", real=money(9, 9)),
            wallet_pb2.WalletBalance(currency_code="EUR", real=money(500, 300, 30, 200), bonus=money(70, 70)),
        ],
    )


async def test_read_wallet_shows_due_hold_as_released(cashier: Cashier, clock: FakeClock) -> None:
    """A hold is dead at its expire time, whether or not that is recorded."""
    await open_and_fund(cashier, "player:ann:real:EUR", 500)
    soon = timestamp(FakeClock(clock.now).advance(seconds=5))
    await cashier.ledger.place_hold("player:ann:real:EUR", "house", 200, expire_time=soon)
    before = await cashier.wallet("ann")

    clock.advance(seconds=5)
    after = await cashier.wallet("ann")

    assert before.balances[0].real == money(500, 300, 0, 200)
    assert after.balances[0].real == money(500, 500)


async def test_read_wallet_ignores_accounts_of_others(server: Service, cashier: Cashier) -> None:
    """Neither a longer player id, nor another kind of account, nor a name in another currency is it."""
    await open_and_fund(cashier, "player:ann:real:EUR", 5)
    for other in ("player:ann2:real:EUR", "player:ann.b:real:EUR", "player:ann:bets:EUR", "player:ann"):
        await open_and_fund(cashier, other, 1)
    await open_older(server, "player:ann:real:USD", AccountKind.LIABILITY)
    await cashier.ledger.open("player:ann:real:EUR:old")

    wallet = await cashier.wallet("ann")

    assert [(one.currency_code, one.real) for one in wallet.balances] == [("EUR", money(5, 5))]


async def test_read_wallet_of_unknown_player_is_refused(cashier: Cashier) -> None:
    """A player without an account has no wallet, and neither has one whose accounts are of another kind."""
    await cashier.ledger.open("player:bob:bets:EUR")

    for player in ("nobody", "bob"):
        refused = await refusal(cashier.wallet(player))
        assert (refused.reason, refused.metadata) == ("WALLET_NOT_FOUND", {"player_id": player})


async def test_read_overdrawn_wallet_shows_negative_money(cashier: Cashier) -> None:
    """What the outside took is shown as it is."""
    await cashier.ledger.open("player:ann:real:EUR", bounds=limits(minimum=-5))
    await cashier.ledger.post("player:ann:real:EUR", "house", 5)

    assert (await cashier.wallet("ann")).balances[0].real == money(-5, -5)


async def test_page_through_wallets_returns_each_player_once(cashier: Cashier) -> None:
    """Pages end between players, whatever their accounts, and all ids that players may have are found."""
    for player in PLAYERS:
        await open_and_fund(cashier, f"player:{player}:real:EUR", 1)
        await open_and_fund(cashier, f"player:{player}:bonus:EUR", 2)
    for stray in ("player", "player:", "player:a", "player:a:", "player::real:EUR", "player:c:bets:EUR"):
        await cashier.ledger.open(stray)
    await cashier.ledger.open("players:d:real:EUR")

    for size in (1, 2, 100):
        pages = await wallets(cashier, page_size=size)
        found = [wallet for page in pages for wallet in page]
        assert tuple(wallet.player_id for wallet in found) == PLAYERS
        assert all(len(page) <= size for page in pages)
        assert found == [await cashier.wallet(player) for player in PLAYERS]


async def test_list_wallets_of_tenant_without_players_is_empty(cashier: Cashier) -> None:
    """One page, with nothing on it."""
    assert await wallets(cashier, page_size=10) == [[]]
