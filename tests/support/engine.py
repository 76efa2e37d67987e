"""Own engines without a server: lanes on a real database that take commands directly."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg
from defter.ledger.v1 import journal_pb2
from defter.payments.v1 import payment_pb2

from ledger_server.domain.clock import Clock
from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import Counters
from ledger_server.domain.payments.commands import (
    IngestEvent,
    InitiateDeposit,
    ReplayEvent,
    RequestWithdrawal,
)
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventType, ProviderEvent
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.domain.state.commands import Command, CreateTenant, Enforcement, Method, RequestKey
from ledger_server.engine.lane.lane_limits import LaneLimits
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.records.deposits import deposit_of
from ledger_server.engine.records.withdrawals import withdrawal_of
from ledger_server.engine.verification.verify import verify
from ledger_server.process.settings import Settings
from ledger_server.store.database import Pool, open_pool
from tests.support.coherence import assert_ledger_coherent, assert_tables_coherent
from tests.support.payments import an_event
from tests.support.service import serving

TENANT = "casino"
KEY = tenant_key(TenantId(TENANT))
IDS = TenantIds(KEY)


class Engine:
    """All lanes of one pretended process."""

    def __init__(self, pool: Pool, clock: Clock, limits: LaneLimits) -> None:
        self.pool = pool
        self.ledger = Ledger(pool, clock, limits)

    async def create_tenant(self) -> None:
        """Create the tenant, which enforces limits."""
        command = CreateTenant(tenant_id=TENANT, enforcement=Enforcement.ENFORCED)
        key = RequestKey(Method.CreateTenant, "create", player_id="")
        await self.ledger.create_tenant(TENANT, Request(command, key, b"create"))

    async def ask(self, request: Request) -> Outcome:
        """Submit one request and return its outcome."""
        [outcome] = await self.ledger.submit(TENANT, [request])
        return outcome

    async def deliver(self, event: ProviderEvent) -> payment_pb2.RecordedProviderEvent:
        """Deliver an event, and return the event in the answer."""
        outcome = await self.ask(delivery(event))
        assert not outcome.rejected, outcome
        return payment_pb2.RecordedProviderEvent.FromString(outcome.content)


def delivery(event: ProviderEvent) -> Request:
    """Return the request that ingests an event; each delivery of the event has the same key."""
    key = RequestKey(Method.IngestProviderEvents, f"{event.provider}/{event.event_id}", player_id="")
    return Request(IngestEvent(event=event), key, _digest(event.event_id))


def replay(number: int) -> Request:
    """Return the request that tries a stored event again, as the sweeper asks for it."""
    return Request(ReplayEvent(provider_event_id="", number=number))


def asked(command: Command, method: Method, key: str, player_id: str = "") -> Request:
    """Return a keyed request."""
    return Request(command, RequestKey(method, key, player_id), _digest(key))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


@asynccontextmanager
async def engine(
    database_url: str,
    clock: Clock,
    *,
    cache_size: int = 10_000,
    expiry_size: int = 1_000,
    batch_bytes: int = LaneLimits().batch_bytes,
    connections: int = 4,
) -> AsyncIterator[Engine]:
    """Run an engine; work under way at the end is dropped as in a crash."""
    role = Settings(database_url=database_url).application_role
    pool = await open_pool(database_url, role=role, size=connections)
    limits = LaneLimits(cache_size=cache_size, expiry_size=expiry_size, batch_bytes=batch_bytes)
    running = Engine(pool, clock, limits)
    try:
        yield running
    finally:
        running.ledger.abort()
        pool.terminate()


async def assert_coherent(database_url: str, clock: Clock) -> None:
    """Check the tables, VerifyJournal, and the answers to callers."""
    await assert_tables_coherent(database_url, TENANT)
    async with serving(database_url, clock=clock) as service:
        results = [each async for each in verify(service.server.ledger._pool, TENANT)]
        assert isinstance(results[-1], journal_pb2.VerifyResult)
        assert not results[-1].HasField("first_difference"), results[-1].first_difference
        await assert_ledger_coherent(service.ledger(TENANT))


async def payment_of(pool: Pool, number: int) -> Deposit | Withdrawal:
    """Return a payment as it is stored."""
    row = await pool.fetchrow(
        "SELECT kind, body FROM payments WHERE tenant_key = $1 AND payment_number = $2", KEY, number
    )
    assert row is not None
    if row["kind"] == 1:
        return deposit_of(IDS, payment_pb2.Deposit.FromString(row["body"]))
    return withdrawal_of(IDS, payment_pb2.Withdrawal.FromString(row["body"]))


async def findings_of(pool: Pool, number: int) -> set[str]:
    """Return the classes of a payment's findings."""
    rows = await pool.fetch(
        "SELECT class FROM reconciliation_findings WHERE tenant_key = $1 AND payment_number = $2",
        KEY,
        number,
    )
    return {FindingClass(row["class"]).name for row in rows}


class StoredEvents(NamedTuple):
    """How many events of a provider account are stored, and the numbers of those that are parked."""

    stored_count: int
    parked: Sequence[int]


async def events_of(pool: Pool, provider: str) -> StoredEvents:
    """Return the stored events of a provider account, the oldest first."""
    rows = await pool.fetch(
        "SELECT event_number, state FROM provider_events WHERE tenant_key = $1 AND provider = $2"
        " ORDER BY event_number",
        KEY,
        provider,
    )
    return StoredEvents(len(rows), [row["event_number"] for row in rows if row["state"] == 2])


async def counters_of(database_url: str) -> dict[str, Counters]:
    """Return the newest counters of every account that has any line."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT DISTINCT ON (account_number) account_id, posted_debits, posted_credits,"
            " pending_debits, pending_credits, version"
            " FROM postings JOIN accounts USING (tenant_key, account_number)"
            " WHERE tenant_key = $1 ORDER BY account_number, sequence DESC, leg DESC",
            KEY,
        )
    finally:
        await connection.close()
    return {row["account_id"]: Counters(*list(row)[1:]) for row in rows}


async def wallet_of(database_url: str, player_id: str = "ann") -> Counters:
    """Return the counters of a player's wallet in EUR."""
    return (await counters_of(database_url)).get(
        f"player:{player_id}:real:EUR",
        Counters(posted_debits=0, posted_credits=0, pending_debits=0, pending_credits=0, version=0),
    )


def deposit(
    ref: str, amount: int = 1000, *, player_id: str = "ann", provider_ref: str | None = None
) -> Request:
    """Return the request that begins a deposit which the provider knows by a ref, unless by another one."""
    command = InitiateDeposit(
        player_id=player_id,
        provider="mock",
        amount=amount,
        currency="EUR",
        provider_ref=ref if provider_ref is None else provider_ref,
        reference="",
        metadata={},
    )
    return asked(command, Method.InitiateDeposit, ref, player_id)


def withdrawal(key: str, amount: int = 100, *, player_id: str = "ann") -> Request:
    """Return the request for a withdrawal."""
    command = RequestWithdrawal(
        player_id=player_id,
        provider="mock",
        amount=amount,
        currency="EUR",
        destination="iban",
        reference="",
        metadata={},
    )
    return asked(command, Method.RequestWithdrawal, key, player_id)


async def fund(running: Engine, amount: int) -> int:
    """Give the player money by a captured deposit; return its number."""
    outcome = await running.ask(deposit("fund", amount))
    await running.deliver(an_event(EventType.PAYMENT_CAPTURED, amount, ref="fund", event_id="fund"))
    return outcome.sequence
