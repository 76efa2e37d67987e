"""Owns WalletService."""

from collections.abc import Sequence

from defter.payments.v1 import wallet_pb2

from ledger_server.domain.ledger.accounts import (
    AccountKind,
    available_balance,
    committed_balance,
    posted_balance,
)
from ledger_server.engine.reads.payments import PaymentReads
from ledger_server.rpc.page_token import page_position, page_size, page_token
from ledger_server.rpc.payment_requests import player_id
from ledger_server.rpc.read_requests import tenant_violations
from ledger_server.rpc.serving import Context
from ledger_server.store.queries.accounts import AccountNow
from ledger_server.store.queries.wallets import WalletAccount


class WalletServicer:
    """Reads the wallets of players."""

    def __init__(self, reads: PaymentReads) -> None:
        self._reads = reads

    async def GetWallet(
        self, request: wallet_pb2.GetWalletRequest, _: Context
    ) -> wallet_pb2.GetWalletResponse:
        """Read one player's wallet."""
        violations = tenant_violations(request)
        player_id(violations, request.player_id)
        violations.check()
        found, newest = await self._reads.wallet(request.tenant_id, request.player_id)
        return wallet_pb2.GetWalletResponse(wallet=_wallet(found), sequence=newest)

    async def ListWallets(
        self, request: wallet_pb2.ListWalletsRequest, _: Context
    ) -> wallet_pb2.ListWalletsResponse:
        """List the wallets of all players in the order of their accounts' ids."""
        violations = tenant_violations(request)
        size = page_size(request, violations)
        position = page_position(request, violations, like=("",))
        violations.check()
        page = await self._reads.list_wallets(
            request.tenant_id, after=str(position[0]) if position else "", size=size
        )
        return wallet_pb2.ListWalletsResponse(
            wallets=[_wallet(found) for found in page.items],
            next_page_token="" if page.next is None else page_token(request, (page.next,)),
            sequence=page.sequence or 0,
        )


def _wallet(found: Sequence[WalletAccount]) -> wallet_pb2.Wallet:
    """Return the wallet that consists of these accounts of one player."""
    balances: dict[str, wallet_pb2.WalletBalance] = {}
    for account in found:
        currency = account.now.account.currency
        balance = balances.setdefault(currency, wallet_pb2.WalletBalance(currency_code=currency))
        money = balance.bonus if account.bonus else balance.real
        # An account and those that continue it are one purse: money held on the old account is not available
        # on the new one.
        _add(money, _money(account.now))
    return wallet_pb2.Wallet(
        player_id=found[0].player_id, balances=[balances[currency] for currency in sorted(balances)]
    )


def _add(money: wallet_pb2.WalletMoney, more: wallet_pb2.WalletMoney) -> None:
    money.posted_minor += more.posted_minor
    money.available_minor += more.available_minor
    money.pending_in_minor += more.pending_in_minor
    money.pending_out_minor += more.pending_out_minor


def _money(now: AccountNow) -> wallet_pb2.WalletMoney:
    # Money left on a continued account counts by its successor's kind, even if its own kind was wrong.
    kind = AccountKind.LIABILITY if now.account.continued_by else now.account.kind
    counters = now.counters
    posted = posted_balance(kind, counters)
    available = available_balance(kind, counters)
    return wallet_pb2.WalletMoney(
        posted_minor=posted,
        available_minor=available,
        pending_in_minor=committed_balance(kind, counters) - posted,
        pending_out_minor=posted - available,
    )
