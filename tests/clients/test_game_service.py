"""The game service keeps its promise: a round ends in one state, whatever comes when, and who dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

import pytest

from defter_client import BlockingLedgerClient
from defter_client import messages as m
from defter_client.reasons import AccountNameReserved
from examples.game_service.rounds import CURRENCY, GAMES, NOBODY, UNCLAIMED, Reply, Rounds, State, wallet
from tests.support.patience import HANG_SECONDS
from tests.support.service import Service

BANK: Final = "bank:main:EUR"
BEGUN: Final = 2_000
STAKE: Final = 500
WON: Final = 1_200
KINDS: Final = ("bet", "win", "rollback")
THREADS: Final = 16


class Table:
    """A tenant with a service on each of two clients, and players who have money."""

    def __init__(self, target: str) -> None:
        self.clients = [
            BlockingLedgerClient(target, tenant="casino", timeout_seconds=HANG_SECONDS) for _ in range(2)
        ]
        self.services = [Rounds(client, "acme") for client in self.clients]
        self._names = itertools.count(1)
        self.rounds: list[Round] = []
        for account, kind in (
            (BANK, m.ACCOUNT_KIND_ASSET),
            (GAMES, m.ACCOUNT_KIND_REVENUE),
            (UNCLAIMED, m.ACCOUNT_KIND_LIABILITY),
        ):
            self.clients[0].accounts.open_account(_opening(account, kind))

    def seat(self, count: int, *, full: bool = False) -> list[Round]:
        """Return a round for each of so many new players; of `full` ones, wallets take no win."""
        rounds = [Round(self, str(next(self._names)), full=full) for _ in range(count)]
        limits = m.AccountLimits(max_balance_minor=BEGUN) if full else None
        for some in (rounds[at : at + 500] for at in range(0, count, 500)):
            self.clients[0].accounts.batch_open_accounts(
                m.BatchOpenAccountsRequest(
                    mode=m.BATCH_MODE_ATOMIC,
                    items=[
                        m.BatchOpenAccountsItem(
                            idempotency_key=each.wallet,
                            account=m.NewAccount(
                                account_id=each.wallet,
                                kind=m.ACCOUNT_KIND_LIABILITY,
                                currency_code=CURRENCY,
                                limits=limits,
                            ),
                        )
                        for each in some
                    ],
                )
            )
            self.clients[0].postings.batch_post_transactions(
                m.BatchPostTransactionsRequest(
                    mode=m.BATCH_MODE_ATOMIC, items=[_money(each.wallet, BEGUN) for each in some]
                )
            )
        self.rounds += rounds
        return rounds

    def balance(self, account_id: str) -> int:
        """Return what an account has."""
        answer = self.clients[0].accounts.get_balance(m.GetBalanceRequest(account_id=account_id))
        return answer.balance.posted_balance_minor

    def check_house(self) -> None:
        """The house has what the players have lost, less what nobody has claimed."""
        lost = sum(BEGUN - each.expected_balance for each in self.rounds)
        unclaimed = sum(WON for each in self.rounds if each.is_unclaimed)
        assert (self.balance(GAMES), self.balance(UNCLAIMED)) == (lost - unclaimed, unclaimed)


class Round:
    """One bet of one player, and what came of it."""

    def __init__(self, table: Table, name: str, *, full: bool) -> None:
        self._table = table
        self.name = name
        self.full = full
        self.wallet = wallet(name)
        self.delivered: set[str] = set()
        self.pending: set[str] = set()

    def deliver(self, kind: str, service: Rounds | None = None) -> Reply:
        """Send a message to a service."""
        self.delivered.add(kind)
        self.pending.add(kind)
        service = service or self._table.services[0]
        if kind == "bet":
            reply = service.bet(self.name, self.name, STAKE)
        else:
            reply = service.win(self.name, WON) if kind == "win" else service.rollback(self.name)
        if reply.state is not State.NOT_YET:
            self.pending.discard(kind)
        return reply

    def settle(self) -> Counter[str]:
        """Send again what has not come to an end, as suppliers do, then all; return what is answered then."""
        for kind in KINDS if self.pending else ():
            if kind in self.pending:
                self.deliver(kind)
        return Counter(f"{kind} {self.deliver(kind).state}" for kind in sorted(self.delivered))

    @property
    def is_won(self) -> bool:
        """Whether the win counts in the end."""
        return self.delivered == {"bet", "win"}

    @property
    def is_unclaimed(self) -> bool:
        """Whether the win counts and the wallet does not take it."""
        return self.is_won and self.full

    @property
    def expected_balance(self) -> int:
        """What the player has in the end."""
        if "rollback" in self.delivered or "bet" not in self.delivered:
            return BEGUN
        return BEGUN - STAKE + (WON if self.is_won and not self.full else 0)

    def check_end(self) -> Counter[str]:
        """The end depends on which messages have come and on nothing else."""
        replies = self.settle()
        if "rollback" in self.delivered:
            state = State.ROLLED_BACK
        else:
            state = State.DONE if "bet" in self.delivered else State.NOT_YET
        assert replies == Counter(f"{kind} {state}" for kind in self.delivered), self.delivered
        assert self._table.balance(self.wallet) == self.expected_balance, self.delivered
        return replies


def _opening(account_id: str, kind: m.AccountKind.ValueType) -> m.OpenAccountRequest:
    new = m.NewAccount(account_id=account_id, kind=kind, currency_code=CURRENCY)
    return m.OpenAccountRequest(account=new)


def _money(account_id: str, amount_minor: int, key: str = "") -> m.PostTransactionItem:
    legs = ((BANK, m.DIRECTION_DEBIT), (account_id, m.DIRECTION_CREDIT))
    postings = [
        m.NewPosting(account_id=account, direction=side, amount_minor=amount_minor, currency_code=CURRENCY)
        for account, side in legs
    ]
    transaction = m.NewTransaction(type=m.TRANSACTION_TYPE_ADJUSTMENT, postings=postings)
    return m.PostTransactionItem(idempotency_key=key or f"money:{account_id}", transaction=transaction)


def orders() -> Iterator[tuple[str, ...]]:
    """Yield all orders of each message none, one or two times."""
    for counts in itertools.product(range(3), repeat=len(KINDS)):
        messages = [kind for kind, count in zip(KINDS, counts, strict=True) for _ in range(count)]
        yield from sorted(set(itertools.permutations(messages)))


def tell(text: str) -> None:
    """Print what was counted; `pytest -s` shows it."""
    print(text)  # noqa: T201


def is_won(order: Sequence[str]) -> bool:
    """Return whether there is a bet and a win, and what follows is short enough to be played once more."""
    return {"bet", "win"} <= set(order) and len(order) <= 4 and order.count("rollback") <= 1


@pytest.fixture
async def table(server: Service) -> AsyncIterator[Table]:
    """A table of a server of its own."""
    await server.new_ledger("casino")
    made = await asyncio.to_thread(Table, f"127.0.0.1:{server.server.port}")
    yield made
    for client in made.clients:
        client.close()


def at_once(work: Callable[..., Counter[str]], cases: Iterable[Sequence[Any]]) -> Counter[str]:
    """Do the work of each case, several at once by threads, and add up what is returned."""
    with ThreadPoolExecutor(THREADS) as threads:
        return sum((done.result() for done in [threads.submit(work, *case) for case in cases]), Counter())


@pytest.mark.parametrize("full", [False, True], ids=["paid", "unclaimed"])
async def test_messages_of_a_round_in_every_order_with_duplicates(table: Table, *, full: bool) -> None:
    """The end follows from which messages have come, not from their order or number."""
    there = [order for order in orders() if not full or is_won(order)]

    def play() -> Counter[str]:
        def one(round_: Round, order: tuple[str, ...]) -> Counter[str]:
            for at, kind in enumerate(order):
                round_.deliver(kind, table.services[at % 2])
            return round_.check_end()

        rounds = table.seat(len(there), full=full)
        found = at_once(one, zip(rounds, there, strict=True))
        table.check_house()
        return found

    found = await asyncio.to_thread(play)
    tell(f"{len(there)} orders, answers in the end: {dict(sorted(found.items()))}")
    assert len(there) == (44 if full else 271)


async def test_messages_of_a_round_all_at_once(table: Table) -> None:
    """Whoever is first in the ledger, the round is void in the end."""
    chance = random.Random(17)

    def deliver(played: Round, kind: str, service: Rounds) -> Counter[str]:
        return Counter([f"{kind} {played.deliver(kind, service).state}"])

    def play() -> Counter[str]:
        rounds = table.seat(30)
        parts = [
            (each, kind, service)
            for each in rounds
            for kind, service in itertools.product(KINDS, table.services)
        ]
        chance.shuffle(parts)
        parts.sort(key=lambda part: int(part[0].name) // 6)  # six rounds at a time, so that they do meet
        met = at_once(deliver, parts)
        for each in rounds:
            each.check_end()
        table.check_house()
        return met

    met = await asyncio.to_thread(play)
    tell(f"first answers: {dict(sorted(met.items()))}")
    assert met.total() == 30 * 6


class Stopped(Exception):
    """A process has died."""


class Interrupted:
    """A client that stands still before one of its calls."""

    def __init__(self, client: Any, at: int, meanwhile: Callable[[], None]) -> None:
        self._client = client
        self._left = [at]
        self._meanwhile = meanwhile
        self.was_interrupted = False

    def __getattr__(self, service: str) -> Any:
        return Interrupted._Service(self, getattr(self._client, service))

    def _before_call(self) -> None:
        self._left[0] -= 1
        if self._left[0] == 0:
            self.was_interrupted = True
            self._meanwhile()

    class _Service:
        def __init__(self, whole: Interrupted, service: Any) -> None:
            self._whole = whole
            self._service = service

        def __getattr__(self, name: str) -> Callable[..., Any]:
            def call(*words: Any, **named: Any) -> Any:
                self._whole._before_call()
                return getattr(self._service, name)(*words, **named)

            return call


BEFORE: Final = ((), ("bet",), ("bet", "win"))
MEANWHILE: Final = ("", "bet", "win", "rollback")


@pytest.mark.parametrize("full", [False, True], ids=["paid", "unclaimed"])
async def test_process_stops_between_any_two_of_its_calls(table: Table, *, full: bool) -> None:
    """It dies there, or goes on after another process has handled other messages: the end is the same."""
    cases = [
        (before, kind, meanwhile, dies)
        for before, kind, meanwhile, dies in itertools.product(BEFORE, KINDS, MEANWHILE, (True, False))
        if (meanwhile or dies) and not (full and "bet" in (kind, meanwhile))
    ]

    def one(before: Iterable[str], kind: str, meanwhile: str, dies: bool) -> Counter[str]:
        """Play the case with a stop before the first call, before the second, until there is no such call."""
        for at in itertools.count(1):
            [played] = table.seat(1, full=full)
            for each in before:
                played.deliver(each)

            def interrupt(played: Round = played) -> None:
                if meanwhile:
                    played.deliver(meanwhile, table.services[1])
                if dies:
                    raise Stopped

            client = Interrupted(table.clients[0], at, interrupt)
            with contextlib.suppress(Stopped):
                played.deliver(kind, Rounds(cast("BlockingLedgerClient", client), "acme"))
            if not client.was_interrupted:
                return Counter({f"{kind} {'dies' if dies else 'goes on'}": at - 1})
            played.check_end()
        raise AssertionError

    def play() -> Counter[str]:
        stops = at_once(one, cases)
        table.check_house()
        return stops

    stops = await asyncio.to_thread(play)
    tell(f"stops: {dict(sorted(stops.items()))}")
    assert stops.total() > 3 * len(cases)


async def test_win_that_is_spent_is_rolled_back_once_it_is_there_again(table: Table) -> None:
    """Till then nothing is given back, and the message is to come again."""

    def play() -> None:
        [played] = table.seat(1)
        played.deliver("bet")
        played.deliver("win")
        spent = BEGUN - STAKE + WON
        assert table.services[0].bet("other", played.name, spent) == Reply(State.DONE)
        assert played.deliver("rollback") == Reply(State.NOT_YET, "INSUFFICIENT_FUNDS")
        assert table.balance(played.wallet) == 0
        table.clients[0].postings.batch_post_transactions(
            m.BatchPostTransactionsRequest(
                mode=m.BATCH_MODE_ATOMIC, items=[_money(played.wallet, WON, key="more")]
            )
        )
        assert played.deliver("rollback") == Reply(State.ROLLED_BACK)
        assert table.balance(played.wallet) == STAKE

    await asyncio.to_thread(play)


async def test_bet_that_is_refused_stays_refused(table: Table) -> None:
    """Its win is not paid, its rollback moves nothing, and money that comes later does not change it."""

    def play() -> None:
        [played] = table.seat(1)
        rounds = table.services[0]
        refused = Reply(State.REFUSED, "INSUFFICIENT_FUNDS")
        for _ in range(2):
            assert rounds.bet("b", played.name, BEGUN + 1) == refused
            assert rounds.win("b", WON) == refused
        table.clients[0].postings.post_transaction(
            m.PostTransactionRequest(transaction=_money(played.wallet, 1).transaction)
        )
        assert rounds.bet("b", played.name, BEGUN + 1) == refused
        assert rounds.rollback("b") == Reply(State.ROLLED_BACK)
        assert table.balance(played.wallet) == BEGUN + 1

    await asyncio.to_thread(play)


async def test_same_message_with_another_amount_moves_nothing(table: Table) -> None:
    """The first one counts, for a bet and for a win; a lost round moves nothing and can be rolled back."""

    def play() -> None:
        [played] = table.seat(1)
        rounds = table.services[0]
        other = Reply(State.CONTRADICTION, "IDEMPOTENCY_KEY_REUSED")
        played.deliver("bet")
        assert rounds.bet(played.name, played.name, STAKE + 1) == other
        assert rounds.win(played.name, 0) == Reply(State.DONE)
        played.deliver("win")
        assert rounds.win(played.name, WON + 1) == other
        played.check_end()
        assert rounds.rollback(played.name) == rounds.win(played.name, 0) == Reply(State.ROLLED_BACK)
        assert rounds.win(played.name, WON + 1) == other

    await asyncio.to_thread(play)


async def test_account_of_tombstones_can_be_opened_by_nobody(table: Table) -> None:
    """Else a tombstone would move money."""
    for kind in (m.ACCOUNT_KIND_LIABILITY, m.ACCOUNT_KIND_ASSET):
        with pytest.raises(AccountNameReserved):
            await asyncio.to_thread(table.clients[0].accounts.open_account, _opening(NOBODY, kind))
