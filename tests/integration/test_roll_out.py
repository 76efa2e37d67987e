"""The roll-out as docs/operations/roll-out.md tells it, from telemetry to ENFORCED, run from its own text.

A legacy system plays all the time: it moves money in its own database and tells the ledger by an outbox. Its
table is tampered with in five ways, each of which must be found before the switch.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shlex
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest
from defter.ledger.v1 import account_pb2, posting_pb2
from defter.payments.v1 import deposit_pb2, payment_pb2

from defter_client import LedgerClient, LedgerError
from ledger_server.providers.mock import MockAdapter
from mock_psp.server import serve
from tests.edge.harness import PROVIDER, SECRET, Edge, an_endpoint, configured, running_edge
from tests.integration.cli.conftest import CommandLine, Ran
from tests.support.clock import FakeClock
from tests.support.ledger import ENFORCED, SHADOW
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import Databases
from tests.support.providers import CURRENCIES
from tests.support.randomness import SEED
from tests.support.requests import CREDIT, DEBIT, LIABILITY
from tests.support.service import Service, serving
from webhook_edge.gateway import LedgerGateway
from webhook_edge.verdicts import Verdict

PAGE = Path(__file__).parents[2] / "docs/operations/roll-out.md"
TENANT = "casino"
TOKEN = "mock-token"
PLAYERS = [f"p{number}" for number in range(20)]
HOUSE = "house:games:EUR"
REVENUE = account_pb2.ACCOUNT_KIND_REVENUE
SNAPSHOT = "SELECT player_id, currency, real, bonus FROM snapshot"
TABLES = """
CREATE TABLE wallets (
    player_id text, currency text, real numeric(20, 2), bonus numeric(20, 2),
    PRIMARY KEY (player_id, currency)
);
CREATE TABLE told_later (id bigint PRIMARY KEY, player_id text, bucket text, amount numeric(20, 2));
"""
# What a hand did to the legacy table past the outbox, and what the comparison has to say of it.
TAMPERINGS = {
    "missing here": "INSERT INTO wallets VALUES ('stranger', 'EUR', 15, 0)",
    "missing there": "DELETE FROM wallets WHERE player_id = 'quiet0'",
    "another amount": "UPDATE wallets SET real = real + 0.01 WHERE player_id = 'quiet1'",
    "buckets swapped": "UPDATE wallets SET real = bonus, bonus = real WHERE player_id = 'quiet2'",
    "wrong currency": "UPDATE wallets SET currency = 'USD' WHERE player_id = 'quiet3'",
}
FOUND = {
    ("stranger", "EUR", "real", "missing here"),
    ("quiet0", "EUR", "real", "missing there"),
    ("quiet0", "EUR", "bonus", "missing there"),
    ("quiet1", "EUR", "real", "drifted"),
    ("quiet2", "EUR", "real", "drifted"),
    ("quiet2", "EUR", "bonus", "drifted"),
    ("quiet3", "EUR", "real", "missing there"),
    ("quiet3", "EUR", "bonus", "missing there"),
    ("quiet3", "USD", "real", "missing here"),
    ("quiet3", "USD", "bonus", "missing here"),
}
# They don't play, so that each kind of drift stands alone.
QUIET = [f"quiet{number}" for number in range(4)]


class Legacy:
    """A running platform: players win and lose in its own database, and an outbox tells of it in order."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], ledger: LedgerClient) -> None:
        self._connection = connection
        self._ledger = ledger
        self._random = random.Random(SEED)
        self._busy = asyncio.Lock()  # one connection
        self._newest = self._told = 0
        self._answered: dict[int, int] = {}
        self._moved = asyncio.Condition()

    @property
    def told(self) -> int:
        """The outbox row that the ledger has answered last."""
        return self._told

    async def open(self) -> None:
        """Make the tables, and give each player something."""
        await self._connection.execute(TABLES)
        await self._connection.executemany(
            "INSERT INTO wallets VALUES ($1, 'EUR', $2, $3)",
            [(player, Decimal(100 + index), Decimal("7.25")) for index, player in enumerate(PLAYERS + QUIET)],
        )

    async def play(self) -> None:
        """Move money for ever: nobody loses more than there is."""
        while True:
            async with self._busy, self._connection.transaction():
                player, bucket = self._random.choice(PLAYERS), self._random.choice(("real", "real", "bonus"))
                amount = Decimal(self._random.randint(-500, 500)) / 100
                moved = amount and await self._connection.fetchval(
                    f"UPDATE wallets SET {bucket} = {bucket} + $2"
                    f" WHERE player_id = $1 AND {bucket} + $2 >= 0 RETURNING 1",
                    player,
                    amount,
                )
                if moved:
                    await self._connection.execute(
                        "INSERT INTO told_later VALUES ($1, $2, $3, $4)",
                        self._newest + 1,
                        player,
                        bucket,
                        amount,
                    )
            if moved:
                self._newest += 1
                async with self._moved:
                    self._moved.notify_all()
            await asyncio.sleep(0.03)

    async def tell(self) -> None:
        """Tell the ledger of each row, in order, twice now and then; go on for ever."""
        while True:
            async with self._moved:
                await self._moved.wait_for(lambda: self._newest > self._told)
            async with self._busy:
                rows = await self._connection.fetch(
                    "SELECT * FROM told_later WHERE id > $1 ORDER BY id LIMIT 20", self._told
                )
            for row in rows:
                self._answered[row["id"]] = await self._tell(row)
                if self._random.random() < 0.3:
                    assert await self._tell(row) == self._answered[row["id"]]
                async with self._moved:
                    self._told = row["id"]
                    self._moved.notify_all()

    async def _tell(self, row: asyncpg.Record) -> int:
        wallet = f"player:{row['player_id']}:{row['bucket']}:EUR"
        for account_id, kind in ((wallet, LIABILITY), (HOUSE, REVENUE)):
            opening = account_pb2.OpenAccountRequest(
                tenant_id=TENANT,
                idempotency_key=f"legacy:open:{account_id}",
                account=account_pb2.NewAccount(account_id=account_id, currency_code="EUR", kind=kind),
            )
            try:
                await self._ledger.accounts.open_account(opening, timeout=HANG_SECONDS)
            except LedgerError as refused:
                # The import of opening balances may have opened it before.
                if refused.reason != "ACCOUNT_ALREADY_EXISTS":
                    raise
        won = row["amount"] > 0
        debit, credit = (HOUSE, wallet) if won else (wallet, HOUSE)
        minor = int(abs(row["amount"]) * 100)
        transaction = posting_pb2.NewTransaction(
            type=account_pb2.TRANSACTION_TYPE_WIN if won else account_pb2.TRANSACTION_TYPE_BET,
            reference=str(row["id"]),
            postings=[
                posting_pb2.NewPosting(
                    account_id=account_id, direction=side, amount_minor=minor, currency_code="EUR"
                )
                for account_id, side in ((debit, DEBIT), (credit, CREDIT))
            ],
        )
        request = posting_pb2.PostTransactionRequest(
            tenant_id=TENANT, idempotency_key=f"legacy:{row['id']}", transaction=transaction
        )
        answer = await self._ledger.postings.post_transaction(request, timeout=HANG_SECONDS)
        return answer.response.transaction.sequence

    async def until_told(self, row: int) -> int:
        """Return the ledger's sequence at which it has exactly what the outbox has up to a row."""
        async with asyncio.timeout(HANG_SECONDS), self._moved:
            await self._moved.wait_for(lambda: self._told >= row)
        return self._answered[row]

    async def snapshot(self, *tamperings: str) -> int:
        """Copy the balances to a table beside the running play; return the outbox row that they include.

        Args:
            tamperings: what a hand has done to the table by then, past the outbox; undone afterwards.
        """
        async with self._busy:
            transaction = self._connection.transaction()
            await transaction.start()
            for tampering in tamperings:
                await self._connection.execute(tampering)
            rows = await self._connection.fetch("SELECT * FROM wallets")
            await transaction.rollback()
            await self._connection.execute("DROP TABLE IF EXISTS snapshot")
            await self._connection.execute("CREATE TABLE snapshot AS SELECT * FROM wallets WHERE false")
            await self._connection.copy_records_to_table("snapshot", records=[tuple(row) for row in rows])
            return self._newest

    async def book_deposit(self) -> None:
        """Book what the ledger has told of: from the switch on it is the one that decides."""
        async with self._busy:
            await self._connection.execute(
                "UPDATE wallets SET real = real + 25 WHERE player_id = $1", PLAYERS[0]
            )

    async def export(self, file: Path) -> Decimal:
        """Write all balances to a file, and return their sum; what happens later is told."""
        async with self._busy:
            rows = await self._connection.fetch("SELECT * FROM wallets ORDER BY player_id")
            self._told = self._newest
        lines = [f"{row['player_id']},{row['currency']},{row['real']},{row['bonus']}" for row in rows]
        await asyncio.to_thread(file.write_text, "\n".join(["player_id,currency,real,bonus", *lines]))
        return sum((row["real"] + row["bonus"] for row in rows), Decimal(0))


@pytest.fixture
def legacy_url(databases: Databases) -> Iterator[str]:
    """A database of the legacy system's own."""
    with databases.fresh() as url:
        yield url


class WallClock(FakeClock):
    """The real time."""

    def __call__(self) -> datetime:
        """Return the present instant."""
        return datetime.now(UTC)


class Webhooks:
    """Hands a provider's webhooks to an edge that starts later."""

    def __init__(self) -> None:
        self.edge: Edge | None = None

    async def deliver(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Post a webhook; without an edge nobody answers."""
        if self.edge is None:
            return 0
        return (await self.edge.deliver(body, headers)).status_code


class Platform:
    """All that runs: provider, edge, ledger, and the legacy system beside."""

    def __init__(self, service: Service, edge: Edge, legacy: Legacy, phases: Phases) -> None:
        self.service = service
        self.edge = edge
        self.legacy = legacy
        self.phases = phases
        self.ledger = service.ledger(TENANT)


class Phases:
    """The commands of the page, by phase, run in its order with what they find in the environment."""

    def __init__(self, cli: CommandLine, **environment: str) -> None:
        self._cli = cli
        self.environment = environment
        each_phase = r"^## (Phase \d).*?\n(.*?)(?=^## |\Z)"
        phases = re.findall(each_phase, PAGE.read_text(), re.MULTILINE | re.DOTALL)
        self._phases = {
            name: re.findall(r"^```sh\n(.*?)^```", body, re.MULTILINE | re.DOTALL) for name, body in phases
        }

    async def run(self, phase: int) -> list[Ran]:
        """Run the next block of commands of a phase."""
        block = self._phases[f"Phase {phase}"].pop(0)
        environment = {**os.environ, **self.environment}
        ran = []
        for line in block.splitlines():
            words = [
                re.sub(r"\$(\w+)", lambda name: environment[name[1]], word) for word in shlex.split(line)
            ]
            assert words[0] == "defter"
            print(f"phase {phase}: {shlex.join(words)}")  # noqa: T201
            ran.append(await self._cli.run(*words[1:], **self.environment))
            print(ran[-1])  # noqa: T201
        return ran

    @property
    def left(self) -> list[str]:
        """What was not run."""
        return [block for blocks in self._phases.values() for block in blocks]


def codes(ran: list[Ran]) -> list[int]:
    """Return exit codes."""
    return [each.code for each in ran]


async def deposit(service: Service, key: str) -> str:
    """Begin a deposit at the provider, which captures it by itself; return its id."""
    request = deposit_pb2.InitiateDepositRequest(
        tenant_id=TENANT,
        idempotency_key=key,
        player_id=PLAYERS[0],
        provider=PROVIDER,
        amount_minor=2_500,
        currency_code="EUR",
    )
    async with LedgerClient(f"127.0.0.1:{service.server.port}") as ledger:
        begun = await ledger.deposits.initiate_deposit(request, timeout=HANG_SECONDS)
    return begun.response.deposit.deposit_id


async def is_captured(service: Service, deposit_id: str) -> bool:
    """Return whether the player was credited with a deposit."""
    request = deposit_pb2.GetDepositRequest(tenant_id=TENANT, deposit_id=deposit_id)
    async with LedgerClient(f"127.0.0.1:{service.server.port}") as ledger:
        read = await ledger.deposits.get_deposit(request, timeout=HANG_SECONDS)
    return read.deposit.state == payment_pb2.DEPOSIT_STATE_CAPTURED


async def snapshot(platform: Platform, *tamperings: str) -> None:
    """Take a snapshot of the legacy balances, and name the ledger's sequence that goes with it."""
    row = await platform.legacy.snapshot(*tamperings)
    platform.phases.environment["SEQUENCE"] = str(await platform.legacy.until_told(row))


def found(compared: Ran) -> set[tuple[str, ...]]:
    """Return player, currency, bucket and kind of each difference that a comparison has told."""
    rows = [re.split(r" {2,}", line.strip()) for line in compared.output.splitlines()]
    return {tuple(row[:4]) for row in rows if len(row) > 4 and row[0] != "player"}


@pytest.fixture
async def platform(database_url: str, legacy_url: str) -> AsyncIterator[Platform]:
    """Everything runs; the edge observes, and the legacy system has players and plays with them."""
    webhooks = Webhooks()
    async with AsyncExitStack() as stack:
        psp = await stack.enter_async_context(
            serve(token=TOKEN, deliver=webhooks.deliver, webhook_secrets=[SECRET])
        )
        adapter = await stack.enter_async_context(
            aclosing_adapter(MockAdapter(base_address=psp.url, api_key=TOKEN, currencies=CURRENCIES))
        )
        service = await stack.enter_async_context(serving(database_url, providers={PROVIDER: adapter}))
        target = f"127.0.0.1:{service.server.port}"
        gateway = LedgerGateway(target)
        stack.push_async_callback(gateway.close)
        edge = await stack.enter_async_context(
            running_edge(an_endpoint(observes=True), ledger=gateway, clock=WallClock())
        )
        webhooks.edge = edge
        client = await stack.enter_async_context(LedgerClient(target))
        connection = await asyncpg.connect(legacy_url)
        stack.push_async_callback(connection.close)
        legacy = Legacy(connection, client)
        await legacy.open()
        environment = {
            "DEFTER_TENANT": TENANT,
            "DEFTER_DATABASE_URL": database_url,
            "DEFTER_LEGACY_SQL_URL": legacy_url,
            "SNAPSHOT": SNAPSHOT,
        }
        yield Platform(service, edge, legacy, Phases(CommandLine(service.server.port), **environment))


@asynccontextmanager
async def aclosing_adapter(adapter: MockAdapter) -> AsyncIterator[MockAdapter]:
    """Close an adapter at the end."""
    yield adapter
    await adapter.close()


@asynccontextmanager
async def running(*coroutines: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Let things run beside; whatever ends one of them fails the test."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        yield
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in ended:
            task.result()


async def test_page_is_run_from_telemetry_to_enforcement_and_back(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each phase's exit criterion holds; planted drift is found; switched under load, no call fails."""
    legacy, phases, edge, service = platform.legacy, platform.phases, platform.edge, platform.service
    monkeypatch.chdir(tmp_path)
    assert codes(await phases.run(1)) == [0, 0, 0, 0]

    async with running(legacy.play(), legacy.tell()):
        # Shadow: the export comes first, then what happened after it is told.
        control = await legacy.export(tmp_path / "opening.csv")
        await legacy.until_told(await legacy.snapshot() + 20)
        # Opening balances are missing, so players spend what is not there.
        assert codes(await phases.run(2)) == [1]

        phases.environment["CONTROL_EUR"] = str(control)
        dry, first, second = await phases.run(3)
        assert codes([dry, first, second]) == [0, 0, 0]

        # Compare: the table was tampered with in five ways, all of which stand against the switch.
        await snapshot(platform, *TAMPERINGS.values())
        compared, listed, refused = await phases.run(4)
        assert codes([compared, listed, refused]) == [1, 0, 1]
        assert found(compared) == FOUND
        assert "BLOCKING_FINDINGS_OPEN" in refused.errors
        assert (await platform.ledger.tenant()).balance_enforcement == SHADOW
        await snapshot(platform)
        assert codes(await phases.run(4)) == [0, 0]

        # Webhooks are verified and forwarded to nobody.
        observed = await deposit(service, "observed")
        async with asyncio.timeout(HANG_SECONDS):
            while not edge.count(Verdict.OBSERVED):  # noqa: ASYNC110  # a metric
                await asyncio.sleep(0.05)
        assert edge.count(Verdict.TAKEN) == 0

        # Enforcement while everybody plays; then the edge is live, and a deposit is the ledger's to book.
        shown, _, switched = await phases.run(6)
        assert codes([shown, switched]) == [0, 0]
        assert (await platform.ledger.tenant()).balance_enforcement == ENFORCED
        edge.configuration = configured(an_endpoint())
        live = await deposit(service, "live")
        async with asyncio.timeout(HANG_SECONDS):
            while not await is_captured(service, live):  # noqa: ASYNC110  # by another process
                await asyncio.sleep(0.05)
        assert edge.count(Verdict.TAKEN)
        assert not await is_captured(service, observed)
        await legacy.book_deposit()

        # The way back is taken once, and the switch again; the books are whole, and nobody was refused.
        assert codes(await phases.run(6)) == [0, 0]
        await legacy.until_told(legacy.told + 20)
        await snapshot(platform)
        assert codes(await phases.run(6)) == [0, 0, 0]
    assert (await platform.ledger.tenant()).balance_enforcement == ENFORCED
    assert phases.left == []
