"""A page of a list and the place where the next one begins are told from one moment of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from defter.payments.v1 import payment_pb2

from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.domain.payments.deposit import DepositState
from ledger_server.store.payment_rows import DEPOSIT
from ledger_server.store.queries import rendering
from ledger_server.store.queries.payments import PaymentFilter, list_payments
from ledger_server.store.queries.transactions import TransactionFilter, list_transactions
from tests.support.cashier import CAPTURED, Cashier
from tests.support.fake_provider import SILENT_PROVIDER
from tests.support.ledger import Ledger
from tests.support.requests import BET, CREDIT, DEBIT, leg, transaction

KEY = tenant_key(TenantId("casino"))
BETS = TransactionFilter(account_id="house", type=TransactionType(BET))
SCAN = 3


class Interrupted:
    """A connection behind whose first statement somebody else commits."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._connection = connection
        self.then: Callable[[], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetch(self, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement; let the other one write behind it."""
        rows = await self._connection.fetch(*arguments)
        then, self.then = self.then, None
        if then is not None:
            await then()
        return rows


@pytest.fixture
async def connection(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Interrupted]:
    """Such a connection; a page looks at three rows."""
    monkeypatch.setattr(rendering, "SCAN_LIMIT", SCAN)
    found = await asyncpg.connect(database_url)
    yield Interrupted(found)
    await found.close()


async def bet(ledger: Ledger) -> int:
    """Post what the list asks for and return its sequence."""
    posted = await ledger.submit(transaction(leg("house", DEBIT, 1), leg("ann", CREDIT, 1), type_=BET))
    return posted.sequence


async def bets(connection: Any, *, newest_first: bool) -> list[int]:
    """Page through the bets of the house."""
    after, before = 0, 2**63 - 1
    found: list[int] = []
    while True:
        page = await list_transactions(
            connection, KEY, BETS, after=after, before=before, newest_first=newest_first, size=2
        )
        found += [each.sequence for each in page.items]
        if page.next is None:
            return found
        after, before = (after, page.next) if newest_first else (page.next, before)


async def test_list_transactions_that_grow_while_page_is_read_skips_none(
    ledger: Ledger, connection: Interrupted
) -> None:
    """A list may end before what comes while it is read, but does not go on behind it."""
    await ledger.open("ann")
    for _ in range(SCAN - 1):
        await ledger.post("house", "ann", 1)

    async def post_bets() -> None:
        for _ in range(2):
            await bet(ledger)

    connection.then = post_bets

    assert await bets(connection, newest_first=False) == []


async def test_list_newest_transactions_that_grow_while_page_is_read_repeats_none(
    ledger: Ledger, connection: Interrupted
) -> None:
    """The next page begins behind the rows that the page has looked at, not behind as many of now."""
    await ledger.open("ann")
    for _ in range(2):
        await ledger.post("house", "ann", 1)
    placed = await bet(ledger)
    await ledger.post("house", "ann", 1)

    async def post_more() -> None:
        for _ in range(2):
            await ledger.post("house", "ann", 1)

    connection.then = post_more

    assert await bets(connection, newest_first=True) == [placed]


async def test_list_payments_that_change_while_page_is_read_skips_none(
    cashier: Cashier, connection: Interrupted
) -> None:
    """A payment that leaves the state asked for does not move the end of the page over another one."""
    first, *_ = [await cashier.initiate(1) for _ in range(SCAN)]
    await cashier.initiate(100, provider=SILENT_PROVIDER)
    await cashier.initiate(1)
    silent = PaymentFilter(DEPOSIT, states=frozenset({int(DepositState.INITIATED)}), provider=SILENT_PROVIDER)

    async def capture() -> None:
        await cashier.ingest(cashier.event(CAPTURED, first.deposit_id, 1))

    connection.then = capture
    found: list[bytes] = []
    after: int | None = 0
    while after is not None:
        page = await list_payments(connection, KEY, silent, after=after, before=2**63 - 1, size=2)  # type: ignore[arg-type]  # it stands in for one
        found += page.items
        after = page.next

    assert [payment_pb2.Deposit.FromString(body).amount_minor for body in found] == [100]
