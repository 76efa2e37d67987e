"""Own the traffic of an upgrade: callers of several kinds, who ask again until they are answered.

Each call goes to one of the servers that the route names at that moment, as behind a load balancer, and a
retry goes to the next one.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, cast

import grpc
from defter.ledger.v1 import journal_pb2, posting_pb2

from tests.support.cashier import Cashier
from tests.support.ledger import Ledger
from tests.support.load import CALL_TIMEOUT_SECONDS, COME_BACK
from tests.support.wire import REPLAYED, Stubs, read_refusal
from tests.upgrade.books import Books
from tests.upgrade.filling import FEES, HOUSE, TENANT, in_days, wallet_of

PREFIX: Final = "up-"
_EXPECTED: Final = frozenset({"INSUFFICIENT_FUNDS"})
_TOO_MUCH: Final = 10**9
_BATCH: Final = 20
# Every so many keyed calls one is kept, to be asked once more after the upgrade.
_KEPT_EVERY: Final = 20
# The names of payments and events begin far from those of the fill.
_FIRST: Final = 10**9


class Target(NamedTuple):
    """A server.

    Attributes:
        refuses_whole: whether it is from before epochs: once the tenant has one, its writes are refused with
            INTERNAL, and their keys stay free (decision 19).
    """

    channel: grpc.aio.Channel
    refuses_whole: bool


class Kept(NamedTuple):
    """A call that was answered."""

    service: str
    method: str
    request: Any


class Traffic:
    """What callers ask of one tenant, and what they have heard.

    Attributes:
        route: the servers that may be asked now.
        phase: what is going on.
        longest: seconds of the longest call that was under way in a phase, with all its retries.
        answered: how often each key had an answer that the journal must have.
        posted: what was answered to single postings, by key.
        retries: calls that were asked again, by status code.
        wrong: what must not be.
    """

    def __init__(self) -> None:
        self.route: Sequence[Target] = []
        self.phase = ""
        self.longest: dict[str, float] = {}
        self.call_count = 0
        self.answered: Counter[str] = Counter()
        self.posted: dict[str, posting_pb2.Transaction] = {}
        self.kept: list[Kept] = []
        self.retries: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.sent = Books()
        self._stopping = False
        self._numbers = itertools.count()

    @asynccontextmanager
    async def going_on(self, *, payments: bool) -> AsyncIterator[None]:
        """Let callers of all kinds ask; at the end each one finishes what it has begun."""
        kinds: list[Callable[[Ledger], AsyncIterator[None]]] = [
            self._pay,
            self._pay,
            self._batches,
            self._holds,
            self._reads,
        ]
        if payments:
            kinds.append(self._payments)
        tasks = [asyncio.create_task(self._call_on(kind, f"{n}")) for n, kind in enumerate(kinds)]
        try:
            yield
        finally:
            self._stopping = True
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, BaseException):
                    self.wrong.append(f"a caller ended: {result!r}")

    def ledger(self, name: str) -> Ledger:
        """Return the tenant as callers see it: each call takes the route of its moment."""
        ledger = Ledger(self.route[0].channel, TENANT, key_prefix=f"{PREFIX}{name}")
        ledger.stubs = cast("Stubs", _Routed(self))
        return ledger

    async def ask(self, service: str, method: str, request: Any) -> Any:
        """Ask until there is an answer, and return it.

        Raises:
            AioRpcError: it was refused, in a way that is noted.
        """
        begun, phase = time.monotonic(), self.phase
        self.call_count += 1
        while True:
            target = self.route[next(self._numbers) % len(self.route)]
            stub = getattr(getattr(Stubs.over(target.channel), service), method)
            try:
                answer = await stub(request, timeout=CALL_TIMEOUT_SECONDS)
            except grpc.aio.AioRpcError as error:
                whole = target.refuses_whole and error.code() is grpc.StatusCode.INTERNAL
                if whole or error.code() in COME_BACK:
                    self.retries["INTERNAL" if whole else error.code().name] += 1
                    await asyncio.sleep(0.01)  # lets others call
                    continue
                self._heard(begun, phase)
                refusal = read_refusal(error)
                if refusal.reason not in _EXPECTED:
                    self.wrong.append(f"{method} {error.code().name} {refusal.reason}: {refusal.message}")
                elif request.idempotency_key:
                    self.answered[request.idempotency_key] += 1
                raise
            self._heard(begun, phase)
            self._keep(service, method, request, answer)
            return answer

    async def check(self, ledger: Ledger, *, after_sequence: int) -> None:
        """Compare what callers have heard with the journal behind a record, and ask some of it again."""
        records: dict[str, journal_pb2.JournalRecord] = {}
        written: Counter[str] = Counter()
        for entry in await ledger.entries(after_sequence=after_sequence):
            key = entry.record.request.idempotency_key
            if key.startswith(PREFIX):
                written[key] += 1
                records[key] = entry.record
        self._expect("keys with more than one record", [key for key, count in written.items() if count > 1])
        self._expect("answered and not in the journal", self.answered.keys() - written.keys())
        self._expect("in the journal and not answered", written.keys() - self.answered.keys())
        self._expect(
            "answers that the journal has otherwise",
            [key for key, answer in self.posted.items() if records[key].transaction_posted != answer],
        )
        for kept in self.kept:
            call = getattr(getattr(Stubs.over(ledger.channel), kept.service), kept.method)(kept.request)
            # All of them were accepted, so a refusal is another outcome.
            accepted = await call.code() is grpc.StatusCode.OK
            if not accepted or REPLAYED not in tuple(await call.trailing_metadata() or ()):
                self.wrong.append(f"{kept.method} {kept.request.idempotency_key} was decided again")

    def _expect(self, what: str, found: Any) -> None:
        if found:
            self.wrong.append(f"{what}: {len(found)}, as {sorted(found)[:3]}")

    def _heard(self, begun: float, begun_in: str) -> None:
        seconds = time.monotonic() - begun
        for phase in (begun_in, self.phase):
            self.longest[phase] = max(self.longest.get(phase, 0.0), seconds)

    def _keep(self, service: str, method: str, request: Any, answer: Any) -> None:
        keys = [each.idempotency_key for each in getattr(request, "items", ())]
        key = getattr(request, "idempotency_key", "")
        if method.startswith("Get"):
            return  # GetOutcome has a key as well
        if key:
            keys.append(key)
            if len(self.answered) % _KEPT_EVERY == 0:
                self.kept.append(Kept(service, method, request))
        self.answered.update(keys)
        if method == "PostTransaction":
            self.posted[key] = answer.transaction

    async def _call_on(self, kind: Callable[[Ledger], AsyncIterator[None]], name: str) -> None:
        steps = kind(self.ledger(name))
        while not self._stopping:
            await anext(steps)
            await asyncio.sleep(0)

    async def _pay(self, ledger: Ledger) -> AsyncIterator[None]:
        """Move money to and fro, and read one's own writes."""
        name = wallet_of(ledger.new_key())
        await ledger.open(name)
        balance = 0
        for number in itertools.count(1):
            await self._post(ledger, HOUSE, name, number % 50 + 2)
            await self._post(ledger, name, FEES, 1)
            balance += number % 50 + 1
            if number % 9 == 0:
                with suppress(grpc.aio.AioRpcError):
                    await ledger.post(name, FEES, _TOO_MUCH)
                    self.wrong.append("what nobody has was paid")
            if number % 5 == 0:
                found = await ledger.posted(name)
                if found != balance:
                    self.wrong.append(f"{name} has {found}, not {balance}")
            yield

    async def _post(self, ledger: Ledger, debit: str, credit: str, amount: int) -> None:
        await ledger.post(debit, credit, amount)
        self.sent.posted += amount

    async def _batches(self, ledger: Ledger) -> AsyncIterator[None]:
        """Pay players of before, many at once."""
        for number in itertools.count():
            players = [wallet_of(f"p{(number * _BATCH + n) % 20:06}") for n in range(_BATCH)]
            items = [ledger.transfer_item(HOUSE, player, 3) for player in players]
            for result in await ledger.batch(*items):
                if result.HasField("transaction"):
                    self.sent.posted += 3
                else:
                    self.wrong.append(f"an item was refused: {result.rejection}")
            yield

    async def _holds(self, ledger: Ledger) -> AsyncIterator[None]:
        """Place holds, and end them in all ways."""
        name = wallet_of(ledger.new_key())
        await ledger.open(name)
        for number in itertools.count():
            amount = 10 + number % 5
            hold = await ledger.place_hold(HOUSE, name, amount, expire_time=in_days(100))
            self.sent.hold(amount)
            if number % 3 == 0:
                await ledger.extend(hold.hold_id, in_days(200))
                await ledger.capture(hold.hold_id, 4, final=True)
                self.sent.capture(amount, moved=4)
            elif number % 3 == 1:
                await ledger.increase(hold.hold_id, 2)
                await ledger.release(hold.hold_id)
                self.sent.hold(-amount)
            yield

    async def _payments(self, ledger: Ledger) -> AsyncIterator[None]:
        """Deposit, and ask for withdrawals that are taken back."""
        cashier = Cashier(ledger, first=_FIRST)
        for number in itertools.count():
            player = f"p{number % 20:06}"
            deposit = await cashier.captured(500 + number % 9, player_id=player)
            self.sent.posted += deposit.captured_minor
            withdrawal = await cashier.request(100, player_id=player)
            self.sent.hold(100)
            await cashier.cancel(withdrawal.withdrawal_id)
            self.sent.hold(-100)
            yield

    async def _reads(self, ledger: Ledger) -> AsyncIterator[None]:
        """Read what was there before and what has just come."""
        for number in itertools.count():
            name = wallet_of(f"p{number % 20:06}")
            await ledger.account(name)
            await ledger.tenant()
            await ledger.stubs.journal.ListJournal(
                journal_pb2.ListJournalRequest(tenant_id=TENANT, after_sequence=number * 7, page_size=20)
            )
            if self.posted:
                key = random.choice(tuple(itertools.islice(self.posted, 100)))
                entry = await ledger.outcome("PostTransaction", key)
                if entry.record.transaction_posted != self.posted[key]:
                    self.wrong.append(f"the outcome of {key} is another")
            yield


class _Routed:
    """Stands for the stubs of a channel, and has each call take the route of its moment."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def __getattr__(self, service: str) -> _RoutedService:
        return _RoutedService(self._traffic, service)


class _RoutedService:
    def __init__(self, traffic: Traffic, service: str) -> None:
        self._traffic, self._service = traffic, service

    def __getattr__(self, method: str) -> Callable[[Any], Awaitable[Any]]:
        def ask(request: Any) -> Awaitable[Any]:
            return self._traffic.ask(self._service, method, request)

        return ask
