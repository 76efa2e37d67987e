"""Owns the demo for newcomers: a player deposits and withdraws, and every balance on the way is shown.

The demo calls the server like any other service. Tenant and accounts are opened with fixed keys, so a second
run finds them; the deposit and the withdrawal are new each time.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from defter.ledger.v1 import account_pb2, tenant_pb2
from defter.payments.v1 import deposit_pb2, payment_pb2, wallet_pb2, withdrawal_pb2

from defter_client import LedgerClient, LedgerError
from ledger_server.cli.local_access import PERSON, Ways

TENANT: Final = "demo"
PLAYER: Final = "42"
WALLET: Final = f"player:{PLAYER}:real:EUR"
GAMES: Final = "house:games:EUR"
PROVIDER: Final = "mock"

_DEPOSIT: Final = 2_500
_WITHDRAWAL: Final = 1_000
_PATIENCE_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.05
_Payment = TypeVar("_Payment", payment_pb2.Deposit, payment_pb2.Withdrawal)


class DemoFailed(Exception):
    """A webhook or a payout did not come in time."""


async def run_demo(ways: Ways, psp_url: str, say: Callable[[str], None]) -> None:
    """Let a player deposit and withdraw through the local provider, and say what happens.

    Raises:
        DemoFailed: a webhook or a payout did not come.
        LedgerError: the ledger refused a step.
    """
    async with (
        LedgerClient(ways.target, proof=ways.proof) as ledger,
        LedgerClient(ways.person_target, proof=ways.person_proof) as reviewers_ledger,
    ):
        await _ensure_tenant(ledger)
        say(f"tenant {TENANT}, player {PLAYER}; the wallet is {WALLET}")
        say("")
        say(f"{'step':46} {'balance':>10} {'available':>10} {'coming in':>10} {'going out':>10}")
        await _deposit(ledger, say)
        await _withdraw(ledger, reviewers_ledger, say)
    say("")
    say(f"The provider listens on {psp_url}; go on with grpcurl (it learns the contract by reflection):")
    for line in _hints(ways):
        say(f"  {line}")


async def _deposit(ledger: LedgerClient, say: Callable[[str], None]) -> None:
    begun = await ledger.deposits.initiate_deposit(
        deposit_pb2.InitiateDepositRequest(
            tenant_id=TENANT,
            idempotency_key=f"demo-{uuid.uuid4()}",
            player_id=PLAYER,
            provider=PROVIDER,
            amount_minor=_DEPOSIT,
            currency_code="EUR",
        ),
    )
    deposit_id = begun.response.deposit.deposit_id
    await _show(ledger, say, f"deposit of {_eur(_DEPOSIT)} begun")

    async def read() -> payment_pb2.Deposit:
        request = deposit_pb2.GetDepositRequest(tenant_id=TENANT, deposit_id=deposit_id)
        return (await ledger.deposits.get_deposit(request)).deposit

    await _until(read, payment_pb2.DEPOSIT_STATE_CAPTURED)
    await _show(ledger, say, "webhook: the provider has captured it")


async def _withdraw(ledger: LedgerClient, reviewers_ledger: LedgerClient, say: Callable[[str], None]) -> None:
    asked = await ledger.withdrawals.request_withdrawal(
        withdrawal_pb2.RequestWithdrawalRequest(
            tenant_id=TENANT,
            idempotency_key=f"demo-{uuid.uuid4()}",
            player_id=PLAYER,
            provider=PROVIDER,
            amount_minor=_WITHDRAWAL,
            currency_code="EUR",
            destination="bank-account-of-42",
        ),
    )
    withdrawal_id = asked.response.withdrawal.withdrawal_id
    await _show(ledger, say, f"withdrawal of {_eur(_WITHDRAWAL)} asked for")
    await reviewers_ledger.withdrawals.approve_withdrawal(
        withdrawal_pb2.ApproveWithdrawalRequest(
            tenant_id=TENANT,
            idempotency_key=f"demo-{uuid.uuid4()}",
            withdrawal_id=withdrawal_id,
            reviewer=PERSON,
        ),
    )
    await _show(ledger, say, f"approved by {PERSON}; the provider is called")

    async def read() -> payment_pb2.Withdrawal:
        request = withdrawal_pb2.GetWithdrawalRequest(tenant_id=TENANT, withdrawal_id=withdrawal_id)
        return (await ledger.withdrawals.get_withdrawal(request)).withdrawal

    await _until(read, payment_pb2.WITHDRAWAL_STATE_PAID)
    await _show(ledger, say, "webhook: the provider has paid it")


async def _ensure_tenant(ledger: LedgerClient) -> None:
    request = tenant_pb2.CreateTenantRequest(tenant_id=TENANT, idempotency_key="demo-tenant")
    try:
        await ledger.tenants.create_tenant(request)
    except LedgerError as refused:
        if refused.reason != "TENANT_ALREADY_EXISTS":
            raise
    for account_id, kind in (
        (WALLET, account_pb2.ACCOUNT_KIND_LIABILITY),
        (GAMES, account_pb2.ACCOUNT_KIND_REVENUE),
    ):
        await ledger.accounts.open_account(
            account_pb2.OpenAccountRequest(
                tenant_id=TENANT,
                idempotency_key=f"demo-open-{account_id}",
                account=account_pb2.NewAccount(account_id=account_id, kind=kind, currency_code="EUR"),
            ),
        )


async def _until(read: Callable[[], Awaitable[_Payment]], state: int) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (await read()).state != state:  # noqa: ASYNC110  # another process brings it about
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise DemoFailed("the provider's webhook did not come in time") from None


async def _show(ledger: LedgerClient, say: Callable[[str], None], step: str) -> None:
    request = wallet_pb2.GetWalletRequest(tenant_id=TENANT, player_id=PLAYER)
    wallet = (await ledger.wallets.get_wallet(request)).wallet
    money = next(balance.real for balance in wallet.balances if balance.currency_code == "EUR")
    columns = (money.posted_minor, money.available_minor, money.pending_in_minor, money.pending_out_minor)
    say(f"{step:46} " + " ".join(f"{_eur(amount):>10}" for amount in columns))


def _eur(minor: int) -> str:
    sign = "-" if minor < 0 else ""
    return f"{sign}{abs(minor) // 100}.{abs(minor) % 100:02} EUR"


def _hints(ways: Ways) -> list[str]:
    calls: list[tuple[str, dict[str, str]]] = [
        ("payments.v1.WalletService/GetWallet", {"tenant_id": TENANT, "player_id": PLAYER}),
        ("payments.v1.ProviderEventService/ListProviderEvents", {"tenant_id": TENANT}),
        ("ledger.v1.AccountService/ListPostings", {"tenant_id": TENANT, "account_id": WALLET}),
        ("ledger.v1.JournalService/WatchJournal", {"tenant_id": TENANT}),
    ]
    hints = [f"{ways.grpcurl} {ways.target} list"]
    for method, request in calls:
        body = json.dumps(request, separators=(",", ":"))
        hints.append(f"{ways.grpcurl} -d '{body}' {ways.target} defter.{method}")
    return hints
