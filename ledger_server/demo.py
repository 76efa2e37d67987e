"""Owns the first thing that a newcomer sees: a tenant, three accounts and a visible transaction.

It calls the server like any other service. All its keys are fixed, so a second run replays the first.
"""

import json
from collections.abc import Callable
from typing import Final

from defter.ledger.v1 import account_pb2, posting_pb2, tenant_pb2

from defter_client import LedgerClient, LedgerError

TENANT: Final = "demo"
CLEARING: Final = "psp:mock:clearing"
PLAYER: Final = "player:42:real:EUR"
GAMES: Final = "house:games:EUR"


async def run_demo(target: str, say: Callable[[str], None]) -> None:
    """Open a demo tenant, let a first deposit arrive and say what happened."""
    async with LedgerClient(target) as ledger:
        await _ensure_tenant(ledger)
        for account_id, kind in (
            (CLEARING, account_pb2.ACCOUNT_KIND_ASSET),
            (PLAYER, account_pb2.ACCOUNT_KIND_LIABILITY),
            (GAMES, account_pb2.ACCOUNT_KIND_REVENUE),
        ):
            await ledger.call(
                ledger.accounts.OpenAccount,
                account_pb2.OpenAccountRequest(
                    tenant_id=TENANT,
                    idempotency_key=f"demo-open-{account_id}",
                    account=account_pb2.NewAccount(account_id=account_id, kind=kind, currency_code="EUR"),
                ),
            )
        response = await ledger.call(ledger.postings.PostTransaction, _first_deposit())
    transaction = response.transaction
    say(f"tenant {TENANT}: {transaction.transaction_id}, a deposit of EUR 25.00")
    for posting in transaction.postings:
        side = account_pb2.Direction.Name(posting.direction).removeprefix("DIRECTION_").lower()
        available = posting.balance.available_balance_minor
        say(
            f"  {side:6} {posting.account_id:20} EUR 25.00"
            f"   available after it: EUR {available // 100}.{available % 100:02}"
        )
    say("")
    say("Go on with grpcurl (the server tells it the contract by reflection):")
    for line in _hints(target):
        say(f"  {line}")


async def _ensure_tenant(ledger: LedgerClient) -> None:
    request = tenant_pb2.CreateTenantRequest(tenant_id=TENANT, idempotency_key="demo-tenant")
    try:
        await ledger.call(ledger.tenants.CreateTenant, request)
    except LedgerError as refused:
        if refused.reason != "TENANT_ALREADY_EXISTS":
            raise


def _first_deposit() -> posting_pb2.PostTransactionRequest:
    def leg(account_id: str, direction: account_pb2.Direction.ValueType) -> posting_pb2.NewPosting:
        return posting_pb2.NewPosting(
            account_id=account_id, direction=direction, amount_minor=2500, currency_code="EUR"
        )

    return posting_pb2.PostTransactionRequest(
        tenant_id=TENANT,
        idempotency_key="demo-deposit-1",
        transaction=posting_pb2.NewTransaction(
            type=account_pb2.TRANSACTION_TYPE_DEPOSIT,
            postings=[
                leg(CLEARING, account_pb2.DIRECTION_DEBIT),
                leg(PLAYER, account_pb2.DIRECTION_CREDIT),
            ],
        ),
    )


def _hints(target: str) -> list[str]:
    account = {"tenant_id": TENANT, "account_id": PLAYER}
    calls: list[tuple[str, dict[str, str]]] = [
        ("AccountService/GetBalance", account),
        ("AccountService/ListPostings", account),
        ("JournalService/WatchJournal", {"tenant_id": TENANT}),
    ]
    hints = [f"grpcurl -plaintext {target} list"]
    for method, request in calls:
        body = json.dumps(request, separators=(",", ":"))
        hints.append(f"grpcurl -plaintext -d '{body}' {target} defter.ledger.v1.{method}")
    return hints
