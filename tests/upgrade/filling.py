"""Own what a database has in it before it is upgraded: records of every kind that callers cause.

Servers of earlier versions write them, asked by their RPCs: the first version of all writes the journal, and
the first ones that have any write payments, findings and settlements. Migrations bring them to the revision
where an upgrade begins.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from defter.ledger.v1 import account_pb2, posting_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.cashier import CAPTURED, Cashier
from tests.support.ledger import ENFORCED, SHADOW, Ledger
from tests.support.requests import (
    CREDIT,
    DEBIT,
    item,
    leg,
    limits,
    new_account,
    timestamp,
    transaction,
    transfer,
)
from tests.support.settlement import Settler, charge, paid, stripe_file
from tests.upgrade.books import Books

TENANT: Final = "casino"
HOUSE: Final = "house"
FEES: Final = "fees"
_BATCHES_AT_ONCE: Final = 4
_CALLS_AT_ONCE: Final = 16
_BATCH: Final = 500
_ROUND: Final = 40 * _BATCH
# A call on a hold makes one record, and takes as long as many postings of a batch do.
_HOLDS_A_ROUND: Final = 100
_HOLD_DAYS: Final = 1000
# Nobody answers owed calls, so servers make them again and again: a few are enough.
_OWED: Final = 20
_LINES: Final = 100
_REPORTS: Final = 10

T = TypeVar("T")
Tell = Callable[[str], None]


def wallet_of(player_id: str) -> str:
    """Return the account of a player's real money."""
    return f"player:{player_id}:real:EUR"


def in_days(count: int) -> Timestamp:
    """Return the time so many days from now."""
    return timestamp(datetime.now(UTC) + timedelta(days=count))


class Filling:
    """Fills one tenant; a stage is called on a server of the first version that has what it writes."""

    def __init__(self, ledger: Ledger, *, records: int, tell: Tell) -> None:
        self._ledger = ledger
        self._records = records
        self._tell = tell
        self._players = [f"p{number:06}" for number in range(max(20, records // 200))]
        self._randomness = random.Random(records)

    async def journal(self) -> None:
        """Open accounts, and post until the journal is as long as is wanted; holds are among it.

        Raises:
            AssertionError: the trial balance is not what was sent.
        """
        ledger, sent = self._ledger, Books()
        await self._open_accounts()
        head, told = await ledger.head(), 0
        while head < self._records:
            count = min(_ROUND, self._records - head)
            holds = -(-count * _HOLDS_A_ROUND // _ROUND)
            batches = [self._items(size) for size in _sizes(count)]
            await _each(batches, lambda items: self._post(items, sent), at_once=_BATCHES_AT_ONCE)
            await _each(range(holds), lambda number: self._hold(number, sent), at_once=_CALLS_AT_ONCE)
            head = await ledger.head()
            if head * 10 // self._records > told:
                told = head * 10 // self._records
                self._tell(f"{head:,} of {self._records:,} records")
        assert await Books.of(ledger) == sent, "the trial balance is what was sent"

    async def payments(self) -> None:
        """Make deposits with events, refunds, and withdrawals in the states that need no provider."""
        cashier = Cashier(self._ledger)
        await cashier.set_policy(player_may_cancel=True)
        count = max(2 * _OWED, self._records // 400)
        await _each(range(count), lambda number: self._pay(cashier, number), at_once=_CALLS_AT_ONCE)
        # An event of a payment that nobody knows is parked.
        await cashier.ingest(*(cashier.event(CAPTURED, payment_ref=f"lost-{n}") for n in range(_OWED)))

    async def findings(self) -> None:
        """Import settlement reports: one is confirmed, and findings are raised about the others' sums."""
        settler = Settler(self._ledger)
        for number in range(_REPORTS):
            name = f"po_{number}"
            rows = [charge(700, 20, batch=name) for _ in range(_LINES)]
            await settler.send(stripe_file([*rows, paid(680 * _LINES - number, batch=name)]))
        await settler.confirm("po_0")

    async def _open_accounts(self) -> None:
        ledger = self._ledger
        await ledger.create()
        await ledger.open_house(HOUSE)
        await ledger.open(FEES)
        accounts = [new_account(wallet_of(name), bounds=limits(minimum=0)) for name in self._players]
        for start in range(0, len(accounts), _BATCH):
            await ledger.stubs.accounts.BatchOpenAccounts(
                account_pb2.BatchOpenAccountsRequest(
                    tenant_id=TENANT,
                    mode=account_pb2.BATCH_MODE_INDEPENDENT,
                    items=[
                        account_pb2.BatchOpenAccountsItem(idempotency_key=ledger.new_key(), account=account)
                        for account in accounts[start : start + _BATCH]
                    ],
                )
            )
        first, second = map(wallet_of, self._players[:2])
        await ledger.set_limits(first, limits(minimum=0, maximum=10**12))
        await ledger.freeze(second)
        await ledger.unfreeze(second)
        await ledger.open("closed")
        await ledger.close("closed")
        await ledger.enforce(SHADOW)
        await ledger.enforce(ENFORCED)

    def _items(self, count: int) -> list[posting_pb2.PostTransactionItem]:
        """Return transactions: most pay players, some move money between them, which not all of them have."""
        made = []
        for number in range(count):
            one, other = map(wallet_of, self._randomness.sample(self._players, 2))
            amount = self._randomness.randint(1, 1000)
            wanted = transfer(HOUSE, one, amount)
            if number % 4 == 1:
                wanted = transfer(one, other, amount)
            elif number % 20 == 0:
                wanted = transaction(
                    *(leg(one, DEBIT, amount + 1), leg(other, CREDIT, amount), leg(FEES, CREDIT, 1)),
                    reference=f"game-{number}",
                    metadata={"table": str(number)},
                )
            made.append(item(self._ledger.new_key(), wanted))
        return made

    async def _post(self, items: Sequence[posting_pb2.PostTransactionItem], sent: Books) -> None:
        wanted = {one.idempotency_key: one.transaction for one in items}
        for result in await self._ledger.batch(*items):
            if result.HasField("transaction"):
                sent.post(wanted[result.idempotency_key])

    async def _hold(self, number: int, sent: Books) -> None:
        """Place a hold and end it in one of several ways, or leave it open and reverse a posting."""
        ledger, amount = self._ledger, 5 + number % 7
        player = wallet_of(self._randomness.choice(self._players))
        hold = await ledger.place_hold(HOUSE, player, amount, expire_time=in_days(_HOLD_DAYS))
        sent.hold(amount)
        if number % 4 == 0:
            await ledger.capture(hold.hold_id, amount - 1, final=True)
            sent.capture(amount, moved=amount - 1)
        elif number % 4 == 1:
            await ledger.increase(hold.hold_id, 2)
            await ledger.release(hold.hold_id)
            sent.hold(-amount)
        elif number % 4 == 2:
            await ledger.capture(hold.hold_id, 3)
            sent.capture(3, moved=3)
        else:
            await ledger.extend(hold.hold_id, in_days(_HOLD_DAYS + number))
            posted = await ledger.post(HOUSE, FEES, amount)
            await ledger.reverse(posted.transaction_id)
            sent.posted += 2 * amount

    async def _pay(self, cashier: Cashier, number: int) -> None:
        player = self._players[number % len(self._players)]
        deposit = await cashier.captured(900 + number % 100, player_id=player)
        if number < _OWED:
            await cashier.refund(deposit.deposit_id, 100)
            withdrawal = await cashier.request(200, player_id=player)
            await cashier.approve(withdrawal.withdrawal_id)
        elif number % 3 == 0:
            withdrawal = await cashier.request(300, player_id=player)
            if number % 2:
                await cashier.cancel(withdrawal.withdrawal_id)
            elif number % 4:
                await cashier.reject(withdrawal.withdrawal_id, reason="no")
        elif number % 3 == 1:
            await cashier.initiate(400, player_id=player, provider_ref="")


def _sizes(count: int) -> Iterator[int]:
    for start in range(0, count, _BATCH):
        yield min(_BATCH, count - start)


async def _each(things: Iterable[T], work: Callable[[T], Awaitable[None]], *, at_once: int) -> None:
    """Do some work for each thing, a few at a time."""
    waiting = iter(things)

    async def some() -> None:
        for thing in waiting:
            await work(thing)

    await asyncio.gather(*(some() for _ in range(at_once)))
