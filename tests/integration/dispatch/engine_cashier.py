"""Own a cashier: payments asked of a ledger's engine, and what became of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from defter.ledger.v1 import journal_pb2
from defter.payments.v1 import payment_pb2
from msgspec.structs import replace

from ledger_server.domain.clock import system_clock
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import AccountKind, Direction, Limits
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.payments.accounts import player_account
from ledger_server.domain.payments.commands import (
    ApproveWithdrawal,
    IngestEvent,
    InitiateDeposit,
    MarkWithdrawalPaid,
    RefundDeposit,
    RequestWithdrawal,
)
from ledger_server.domain.payments.events import EventType
from ledger_server.domain.state.commands import (
    Command,
    CreateTenant,
    Enforcement,
    Method,
    OpenAccount,
    PostTransaction,
    RequestKey,
)
from ledger_server.engine.lane.lane_limits import LaneLimits
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.verification.verify import verify
from ledger_server.store.database import Pool, open_pool
from ledger_server.store.migrate import APPLICATION_ROLE
from tests.support.payments import an_event

TENANT = "casino"
PLAYER = "42"
OPENING = 100_000
DIGEST = bytes(16)


class EngineCashier:
    """One tenant, one player, one provider account named `mock`."""

    def __init__(self, database_url: str, ledger: Ledger, pool: Pool, tenant_id: str = TENANT) -> None:
        self.database_url = database_url
        self.ledger = ledger
        self.pool = pool
        self.tenant_id = tenant_id
        self.key = tenant_key(TenantId(tenant_id))
        self.ids = TenantIds(self.key)

    async def ask(self, command: Command, method: Method = Method.PostTransaction) -> Outcome:
        """Decide one command under a new key."""
        request = Request(command, RequestKey(method, uuid.uuid4().hex, player_id=""), DIGEST)
        [outcome] = await self.ledger.submit(self.tenant_id, [request])
        assert outcome.refused is None, outcome.refused
        return outcome

    async def other_tenant(self, tenant_id: str) -> EngineCashier:
        """Open another tenant with the same player and money."""
        other = EngineCashier(self.database_url, self.ledger, self.pool, tenant_id)
        await other.open()
        return other

    async def open(self) -> None:
        """Create the tenant and give the player money."""
        create = CreateTenant(tenant_id=self.tenant_id, enforcement=Enforcement.ENFORCED)
        request = Request(create, RequestKey(Method.CreateTenant, "create", player_id=""), DIGEST)
        await self.ledger.create_tenant(self.tenant_id, request)
        wallet = player_account(PLAYER, "EUR")
        for account_id, kind in ((wallet, AccountKind.LIABILITY), ("bank", AccountKind.ASSET)):
            limits = Limits(min_available=0 if kind is AccountKind.LIABILITY else None, max_balance=None)
            await self.ask(
                OpenAccount(account_id=account_id, kind=kind, currency="EUR", limits=limits, metadata={}),
                Method.OpenAccount,
            )
        postings = (
            NewPosting("bank", Direction.DEBIT, OPENING, "EUR"),
            NewPosting(wallet, Direction.CREDIT, OPENING, "EUR"),
        )
        await self.ask(PostTransaction(TransactionType.OPENING_BALANCE, postings, "", None, {}))

    async def approved_withdrawal(self, amount: int = 2_500, *, provider: str = "mock") -> int:
        """Ask for a withdrawal and let it pass; return its number."""
        asked = await self.ask(
            RequestWithdrawal(
                player_id=PLAYER,
                provider=provider,
                amount=amount,
                currency="EUR",
                destination="iban:DE02",
                reference="",
                metadata={},
            ),
            Method.RequestWithdrawal,
        )
        number = asked.sequence
        await self.approve(number)
        return number

    async def approve(self, number: int) -> None:
        """Let a withdrawal pass."""
        await self.ask(
            ApproveWithdrawal(
                withdrawal_id=self.ids.withdrawal_id(number),
                number=number,
                reviewer="ada",
                note="",
                identity="",
            ),
            Method.ApproveWithdrawal,
        )

    async def mark_paid(self, number: int, *, provider_ref: str = "") -> Outcome:
        """Record by hand that a withdrawal is paid."""
        command = MarkWithdrawalPaid(
            withdrawal_id=self.ids.withdrawal_id(number),
            number=number,
            provider_ref=provider_ref,
            reviewer="ada",
        )
        request = Request(
            command, RequestKey(Method.MarkWithdrawalPaid, uuid.uuid4().hex, player_id=""), DIGEST
        )
        [outcome] = await self.ledger.submit(self.tenant_id, [request])
        return outcome

    async def captured_deposit(self, provider_ref: str, amount: int = 5_000) -> int:
        """Begin a deposit that the caller made at the provider, and capture it; return its number."""
        number = await self.asked_deposit(amount, provider_ref=provider_ref)
        await self.tell(EventType.PAYMENT_CAPTURED, provider_ref, amount=amount, final=True)
        return number

    async def tell(
        self,
        kind: EventType,
        payment_ref: str,
        *,
        amount: int | None = None,
        object_ref: str = "",
        payment: int | None = None,
        our_id: str = "",
        final: bool = False,
    ) -> int:
        """Take in an event of the provider, which echoes our id of `payment` or not; return its number."""
        event = replace(
            an_event(
                kind,
                amount,
                event_id=uuid.uuid4().hex,
                ref=payment_ref,
                object_ref=object_ref,
                payment=payment,
                final=final,
            ),
            payment_id=our_id,
            occur_time=datetime.now(UTC),
        )
        return (await self.ask(IngestEvent(event=event), Method.IngestProviderEvents)).sequence

    async def event_state(self, number: int) -> int:
        """Return where a stored event stands."""
        found: int = await self.pool.fetchval(
            "SELECT state FROM provider_events WHERE tenant_key = $1 AND event_number = $2", self.key, number
        )
        return found

    async def finding_classes(self) -> list[int]:
        """Return the classes of all findings."""
        rows = await self.pool.fetch(
            "SELECT class FROM reconciliation_findings WHERE tenant_key = $1 ORDER BY class", self.key
        )
        return [row["class"] for row in rows]

    async def asked_deposit(self, amount: int = 5_000, *, provider_ref: str = "") -> int:
        """Begin a deposit, which the provider has to be told of unless it has a ref; return its number."""
        begun = await self.ask(
            InitiateDeposit(
                player_id=PLAYER,
                provider="mock",
                amount=amount,
                currency="EUR",
                provider_ref=provider_ref,
                reference="",
                metadata={},
            ),
            Method.InitiateDeposit,
        )
        return begun.sequence

    async def asked_refund(self, number: int, amount: int) -> int:
        """Ask for a refund of a deposit; return the refund's number."""
        command = RefundDeposit(deposit_id=self.ids.deposit_id(number), number=number, amount=amount)
        return (await self.ask(command, Method.RefundDeposit)).sequence

    async def withdrawal(self, number: int) -> payment_pb2.Withdrawal:
        """Read a withdrawal."""
        return payment_pb2.Withdrawal.FromString(await self._body(number))

    async def deposit(self, number: int) -> payment_pb2.Deposit:
        """Read a deposit."""
        return payment_pb2.Deposit.FromString(await self._body(number))

    async def withdrawal_until(self, number: int, *states: int) -> str:
        """Wait until a withdrawal stands in one of these states; return which."""
        for _ in range(600):
            state = (await self.withdrawal(number)).state
            if state in states:
                return payment_pb2.WithdrawalState.Name(state)
            await asyncio.sleep(0.05)
        raise AssertionError("it reached none of these states")

    async def player_money(self) -> tuple[int, int]:
        """Return the player's posted and pending-out money, minor units."""
        row = await self.pool.fetchrow(
            "SELECT posted_credits - posted_debits AS posted, pending_debits FROM postings"
            " JOIN accounts USING (tenant_key, account_number) WHERE tenant_key = $1 AND account_id = $2"
            " ORDER BY sequence DESC, leg DESC LIMIT 1",
            self.key,
            player_account(PLAYER, "EUR"),
        )
        assert row is not None
        return row["posted"], row["pending_debits"]

    async def open_calls(self) -> int:
        """Return how many calls are still owed."""
        found: int = await self.pool.fetchval(
            "SELECT count(*) FROM outbox WHERE tenant_key = $1 AND open", self.key
        )
        return found

    async def longest_rest(self) -> timedelta:
        """Return for how long the call rests that rests longest."""
        found: timedelta = await self.pool.fetchval(
            "SELECT max(next_try_time) - now() FROM outbox WHERE tenant_key = $1 AND open", self.key
        )
        return found

    async def hurry(self) -> None:
        """Let every owed call be due, as if its lease or its pause were over."""
        await self.pool.execute(
            "UPDATE outbox SET next_try_time = now() - interval '1 hour' WHERE tenant_key = $1", self.key
        )

    async def assert_sound(self) -> None:
        """Check that the journal, the rules and what is stored agree."""
        messages = [message async for message in verify(self.pool, self.tenant_id)]
        result = messages[-1]
        assert isinstance(result, journal_pb2.VerifyResult)
        assert not result.HasField("first_difference"), result.first_difference

    async def _body(self, number: int) -> bytes:
        body: bytes = await self.pool.fetchval(
            "SELECT body FROM payments WHERE tenant_key = $1 AND payment_number = $2", self.key, number
        )
        return body


@asynccontextmanager
async def cashier_on(database_url: str) -> AsyncIterator[EngineCashier]:
    """Open the tenant and give the player money."""
    async with ledger_on(database_url) as (ledger, pool):
        cashier = EngineCashier(database_url, ledger, pool)
        await cashier.open()
        yield cashier


@asynccontextmanager
async def ledger_on(database_url: str) -> AsyncIterator[tuple[Ledger, Pool]]:
    """Run a ledger's engine on a database, as a process of its own would."""
    pool = await open_pool(database_url, role=APPLICATION_ROLE, size=8)
    ledger = Ledger(pool, system_clock, LaneLimits())
    try:
        yield ledger, pool
    finally:
        await ledger.drain()
        await pool.close()
