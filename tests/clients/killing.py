"""Own a thousand keyed calls to a server that is killed ten times meanwhile, by either client."""

from __future__ import annotations

import asyncio
import itertools
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from defter_client import BlockingLedgerClient, LedgerClient
from defter_client import messages as m
from tests.support.patience import HANG_SECONDS

CALLS: Final = 1_000
KILLS: Final = 10
_AT_ONCE: Final = 64
_THREADS: Final = 16
_BETWEEN: Final = CALLS // (KILLS + 1)


class Killer:
    """Kills the server each time so many calls have been answered."""

    def __init__(self, control: str) -> None:
        self._control = control
        self._answered = itertools.count(1)
        self._turn = threading.Lock()
        self.kill_count = 0

    def answered(self) -> None:
        """Count an answer, and kill if it is time."""
        with self._turn:
            if next(self._answered) % _BETWEEN or self.kill_count == KILLS:
                return
            self.kill_count += 1
        with urllib.request.urlopen(urllib.request.Request(f"{self._control}/kill", method="POST")):
            pass


def opening(account_id: str, kind: m.AccountKind.ValueType) -> m.OpenAccountRequest:
    """Return the request that opens an account."""
    return m.OpenAccountRequest(account=m.NewAccount(account_id=account_id, kind=kind, currency_code="EUR"))


def payment(number: int) -> m.PostTransactionRequest:
    """Return a request that moves a cent and names its number."""
    legs = (("house", m.DIRECTION_DEBIT), ("ann", m.DIRECTION_CREDIT))
    postings = [
        m.NewPosting(account_id=account, direction=side, amount_minor=1, currency_code="EUR")
        for account, side in legs
    ]
    return m.PostTransactionRequest(
        transaction=m.NewTransaction(
            type=m.TRANSACTION_TYPE_ADJUSTMENT, reference=str(number), postings=postings
        )
    )


def posted(entry: m.JournalEntry) -> str | None:
    """Return the number of the payment that a record posts, if it does."""
    return (
        entry.record.transaction_posted.reference
        if entry.record.WhichOneof("fact") == "transaction_posted"
        else None
    )


async def by_async(target: str, tenant: str, killed: Callable[[], None]) -> tuple[list[str], int]:
    """Make the calls; return the numbers in the order in which a watch has seen them, and the balance."""
    async with LedgerClient(target, tenant=tenant, timeout_seconds=HANG_SECONDS) as ledger:
        await ledger.tenants.create_tenant(m.CreateTenantRequest())
        await ledger.accounts.open_account(opening("house", m.ACCOUNT_KIND_ASSET))
        await ledger.accounts.open_account(opening("ann", m.ACCOUNT_KIND_LIABILITY))
        room = asyncio.Semaphore(_AT_ONCE)

        async def pay(number: int) -> None:
            async with room:
                answer = await ledger.postings.post_transaction(payment(number))
            assert answer.response.transaction.reference == str(number)
            await asyncio.to_thread(killed)

        async def follow() -> list[str]:
            seen: list[str] = []
            async for entry in ledger.watch(verify=True, heartbeat_seconds=1):
                if (number := posted(entry)) is not None:
                    seen.append(number)
                    if len(seen) == CALLS:
                        break
            return seen

        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(follow())
            for number in range(CALLS):
                tasks.create_task(pay(number))
        balance = await ledger.accounts.get_balance(m.GetBalanceRequest(account_id="ann"))
        return following.result(), balance.balance.posted_balance_minor


def by_blocking(target: str, tenant: str, killed: Callable[[], None]) -> tuple[list[str], int]:
    """Make the calls with threads, as `by_async`."""
    with (
        BlockingLedgerClient(target, tenant=tenant, timeout_seconds=HANG_SECONDS) as ledger,
        ThreadPoolExecutor(_THREADS + 1) as threads,
    ):
        ledger.tenants.create_tenant(m.CreateTenantRequest())
        ledger.accounts.open_account(opening("house", m.ACCOUNT_KIND_ASSET))
        ledger.accounts.open_account(opening("ann", m.ACCOUNT_KIND_LIABILITY))

        def pay(number: int) -> None:
            answer = ledger.postings.post_transaction(payment(number))
            assert answer.response.transaction.reference == str(number)
            killed()

        def follow() -> list[str]:
            watch = ledger.watch(verify=True, heartbeat_seconds=1)
            seen = list(itertools.islice((n for entry in watch if (n := posted(entry)) is not None), CALLS))
            watch.close()
            return seen

        following = threads.submit(follow)
        for paid in [threads.submit(pay, number) for number in range(CALLS)]:
            paid.result()
        balance = ledger.accounts.get_balance(m.GetBalanceRequest(account_id="ann"))
        return following.result(), balance.balance.posted_balance_minor
