"""Own hundreds of thousands of payments, as the ledger knows them and as a provider lists them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
from msgspec.structs import replace

from ledger_server.domain.ids import TenantIds, TenantKey
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import (
    EventType,
    ProviderEvent,
    with_deposit_event,
    with_withdrawal_event,
)
from ledger_server.domain.payments.knowledge import CallState
from ledger_server.domain.payments.withdrawal import Approval, Withdrawal, WithdrawalState
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.domain.state.facts import DepositChanged, FactKind, WithdrawalChanged
from ledger_server.engine.records.payments import payment_content
from ledger_server.store.payment_rows import PAYMENT_TABLES, PaymentRows
from tests.support.payments import an_event

PROVIDER: Final = "mock"
CURRENCY: Final = "EUR"
_SKEW: Final = 45

_KINDS: Final = {
    EventType.PAYMENT_CAPTURED: (ProviderRecordKind.PAYMENT, 1),
    EventType.CAPTURE_FAILED: (ProviderRecordKind.PAYMENT, -1),
    EventType.REFUND_SUCCEEDED: (ProviderRecordKind.REFUND, -1),
    EventType.REFUND_FAILED: (ProviderRecordKind.REFUND, 1),
    EventType.DISPUTE_FUNDS_WITHDRAWN: (ProviderRecordKind.DISPUTE, -1),
    EventType.DISPUTE_FUNDS_REINSTATED: (ProviderRecordKind.DISPUTE, 1),
    EventType.FEE_CHARGED: (ProviderRecordKind.FEE, -1),
    EventType.PAYOUT_PAID: (ProviderRecordKind.PAYOUT, -1),
    EventType.PAYOUT_FAILED: (ProviderRecordKind.PAYOUT, 1),
}
_FAILURES: Final = frozenset({EventType.CAPTURE_FAILED, EventType.REFUND_FAILED, EventType.PAYOUT_FAILED})


@dataclass
class Life:
    """One payment as it happened at the provider.

    Attributes:
        events: what happened, in order; the ledger hears of all events except those in `unheard`.
        unheard: positions of events that the ledger has not heard of.
        records: the provider's list; made from the events, and then changed by tests.
    """

    number: int
    withdrawal: bool
    amount: int
    begin_time: datetime
    ref: str
    events: list[ProviderEvent] = field(default_factory=list)
    unheard: set[int] = field(default_factory=set)
    records: list[ProviderRecord] = field(default_factory=list)


class Mirror:
    """Makes lives that both sides agree on."""

    def __init__(self, key: TenantKey, *, seed: str) -> None:
        self.ids = TenantIds(key)
        self.key = key
        self.random = random.Random(seed)
        self._made = 0

    def lives(self, count: int, from_time: datetime, to_time: datetime) -> Iterator[Life]:
        """Yield lives that begin evenly over a stretch of time."""
        step = (to_time - from_time) / count
        for place in range(count):
            yield self.life(from_time + place * step)

    def life(self, begin_time: datetime) -> Life:
        """Make a life: mostly a deposit captured at once, sometimes everything that can happen to one."""
        chance = self.random.random()
        amount = self.random.randint(500, 50_000)
        life = self.begin(begin_time, amount, withdrawal=chance < 0.2)
        minutes = self.random.uniform(0.1, 10)
        if life.withdrawal:
            self.happen(life, EventType.PAYOUT_PAID, amount, minutes)
            if chance < 0.02:
                self.happen(life, EventType.PAYOUT_FAILED, amount, minutes + 60)
            return life
        capture = self.new_ref("cap")
        if chance < 0.25:
            part = amount // 3
            self.happen(life, EventType.PAYMENT_CAPTURED, part, minutes, object_ref=capture)
            rest = self.new_ref("cap")
            self.happen(life, EventType.PAYMENT_CAPTURED, amount - part, minutes + 1, object_ref=rest)
        else:
            self.happen(life, EventType.PAYMENT_CAPTURED, amount, minutes, object_ref=capture)
        if chance > 0.6:
            self.happen(life, EventType.FEE_CHARGED, 25, minutes + 1, object_ref=self.new_ref("fee"))
        if 0.3 < chance < 0.35:
            refund = self.new_ref("ref")
            self.happen(life, EventType.REFUND_SUCCEEDED, amount // 4, minutes + 20, object_ref=refund)
            if chance < 0.31:
                self.happen(life, EventType.REFUND_FAILED, amount // 4, minutes + 40, object_ref=refund)
        if 0.35 < chance < 0.37:
            dispute = self.new_ref("dsp")
            self.happen(life, EventType.DISPUTE_FUNDS_WITHDRAWN, amount, minutes + 30, object_ref=dispute)
            if chance < 0.36:
                self.happen(
                    life, EventType.DISPUTE_FUNDS_REINSTATED, amount, minutes + 50, object_ref=dispute
                )
        if 0.37 < chance < 0.375:
            self.happen(life, EventType.CAPTURE_FAILED, amount, minutes + 15, object_ref=capture)
        return life

    def begin(self, begin_time: datetime, amount: int, *, withdrawal: bool = False) -> Life:
        """Make a payment that nothing has happened to."""
        self._made += 1
        number = 10 * self._made
        ref = self.new_ref("po" if withdrawal else "pay")
        return Life(number=number, withdrawal=withdrawal, amount=amount, begin_time=begin_time, ref=ref)

    def new_ref(self, prefix: str) -> str:
        """Return an id of the provider."""
        return f"{prefix}_{self.random.getrandbits(64):016x}"

    def payment_id(self, life: Life) -> str:
        """Return our id of a payment."""
        return (self.ids.withdrawal_id if life.withdrawal else self.ids.deposit_id)(life.number)

    def happen(
        self, life: Life, kind: EventType, amount: int, minutes: float, *, object_ref: str = ""
    ) -> None:
        """Add an event so many minutes after the beginning; both sides know of it."""
        time = life.begin_time + timedelta(minutes=minutes)
        event = replace(
            an_event(
                kind,
                amount,
                event_id=f"evt_{life.number}_{len(life.events)}",
                ref=life.ref,
                object_ref=object_ref,
                payment=life.number,
                provider=PROVIDER,
                currency=CURRENCY,
            ),
            occur_time=time,
        )
        life.events.append(event)
        record_kind, sign = _KINDS[kind]
        skew = timedelta(seconds=self.random.uniform(-_SKEW, _SKEW))
        own = record_kind in {ProviderRecordKind.PAYMENT, ProviderRecordKind.PAYOUT, ProviderRecordKind.FEE}
        if kind in _FAILURES:
            life.records = [
                replace(each, state=RemoteState.FAILED)
                if each.kind is record_kind and each.provider_ref == (object_ref or life.ref)
                else each
                for each in life.records
            ]
        life.records.append(
            ProviderRecord(
                kind=record_kind,
                record_id=self.new_ref("mov"),
                provider_ref=object_ref or life.ref,
                payment_ref=life.ref,
                our_id=self.payment_id(life) if own else "",
                state=RemoteState.FAILED if kind in _FAILURES else RemoteState.SUCCEEDED,
                amount=sign * amount,
                currency=CURRENCY,
                create_time=time + skew,
                provider_type=kind.name.lower(),
                batch="",
            )
        )

    def payment(self, life: Life) -> Deposit | Withdrawal:
        """Return what the ledger knows of a payment."""
        heard = [event for place, event in enumerate(life.events) if place not in life.unheard]
        update_time = max([life.begin_time, *(event.occur_time for event in heard)])
        if life.withdrawal:
            withdrawal = Withdrawal(
                number=life.number,
                player_id=f"p{life.number % 1000}",
                provider=PROVIDER,
                provider_ref=life.ref,
                amount=life.amount,
                currency=CURRENCY,
                destination="bank",
                hold=life.number - 1,
                review=WithdrawalState.APPROVED,
                call_state=CallState.ACCEPTED,
                reference="",
                metadata={},
                request_time=life.begin_time,
                update_time=update_time,
                balance_after=0,
                approvals=(Approval(reviewer="ada", time=life.begin_time, note="", identity=""),),
                reviewer="",
                reason="",
                paid=0,
                paid_time=None,
                fail_time=None,
                payouts=(),
                hold_ended=False,
                fees=(),
                personal=b"",
                claim=None,
                notes=(),
            )
            for event in heard:
                withdrawal = with_withdrawal_event(withdrawal, event)
            return withdrawal
        deposit = Deposit(
            number=life.number,
            player_id=f"p{life.number % 1000}",
            provider=PROVIDER,
            provider_ref=life.ref,
            amount=life.amount,
            currency=CURRENCY,
            hold=life.number - 1,
            call_state=CallState.ACCEPTED,
            reference="",
            metadata={},
            initiate_time=life.begin_time,
            update_time=update_time,
            balance_after=0,
            authorized=False,
            closed=False,
            failed=False,
            failure_reason="",
            payment_url="",
            payment_ref="",
            attempts=(),
            captures=(),
            refunds=(),
            disputes=(),
            fees=(),
            personal=b"",
        )
        for event in heard:
            deposit = with_deposit_event(deposit, event)
        return deposit


async def write_payments(database_url: str, mirror: Mirror, lives: list[Life]) -> None:
    """Write the payments as rows of the ledger; they have no journal."""
    connection = await asyncpg.connect(database_url)
    try:
        for start in range(0, len(lives), 5_000):
            rows = PaymentRows()
            for life in lives[start : start + 5_000]:
                payment = mirror.payment(life)
                fact: DepositChanged | WithdrawalChanged
                if isinstance(payment, Deposit):
                    fact = DepositChanged(FactKind.DEPOSIT_CHANGED, payment, owed=None, discrepancies=())
                else:
                    fact = WithdrawalChanged(
                        FactKind.WITHDRAWAL_CHANGED, payment, owed=None, discrepancies=()
                    )
                content = payment_content(mirror.ids, fact, payment.update_time)
                rows.add(
                    fact, life.number, payment.update_time, content.SerializeToString(deterministic=True)
                )
            for table in ("payments", "payment_refs"):
                await _upsert(connection, mirror.key, table, rows.tables[table])
        await connection.execute("ANALYZE payments, payment_refs")
    finally:
        await connection.close()


async def _upsert(connection: Any, key: TenantKey, table: str, rows: list[tuple[Any, ...]]) -> None:
    columns = ("tenant_key", *PAYMENT_TABLES[table])
    await connection.execute(f"CREATE TEMP TABLE given (LIKE {table} INCLUDING DEFAULTS)")
    await connection.copy_records_to_table("given", records=[(key, *row) for row in rows], columns=columns)
    changing = {
        "payments": "(tenant_key, payment_number) DO UPDATE SET state = excluded.state, body = excluded.body,"
        " update_time = excluded.update_time",
        "payment_refs": "(tenant_key, provider, provider_ref) DO NOTHING",
    }[table]
    names = ", ".join(columns)
    await connection.execute(
        f"INSERT INTO {table} ({names}) SELECT {names} FROM given ON CONFLICT {changing}; DROP TABLE given"
    )
