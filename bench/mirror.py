"""Own payments that both sides agree on, told apart by their place alone: what is booked, what is listed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from bench.payloads import CURRENCY_CODE, TENANT_ID
from ledger_server.domain.ids import TenantId, TenantIds, TenantKey, tenant_key
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.knowledge import CallState, Capture
from ledger_server.domain.state.facts import DepositChanged, FactKind
from ledger_server.engine.records.payments import payment_content
from ledger_server.store.payment_rows import PAYMENT_TABLES, PaymentRows

AMOUNT_MINOR = 1_234
PROVIDER = "listed"
# Payments are begun, held and captured by records of their own.
_RECORDS_A_PAYMENT = 4
# Far behind whatever the ledger itself writes meanwhile.
_FIRST_NUMBER = 1_000_000_000
_ROWS_AT_ONCE = 20_000

__all__ = ["AMOUNT_MINOR", "CURRENCY_CODE", "PROVIDER", "Mirror", "write_payments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Captured deposits, numbered from 1 and made evenly over a stretch of time."""

    count: int
    begin: datetime
    span: timedelta
    ids: TenantIds = field(default_factory=lambda: TenantIds(tenant_key(TenantId(TENANT_ID))))

    def time_of(self, place: int) -> datetime:
        """Return when a deposit was captured."""
        return self.begin + self.span * place / (self.count + 1)

    def place_before(self, time: datetime) -> int:
        """Return the newest deposit that was captured before a time; 0 for none."""
        place = round((time - self.begin) / self.span * (self.count + 1))
        while place > 0 and self.time_of(place) >= time:
            place -= 1
        while place < self.count and self.time_of(place + 1) < time:
            place += 1
        return max(0, min(place, self.count))

    def number(self, place: int) -> int:
        """Return the number of a deposit in the ledger."""
        return _FIRST_NUMBER + place * _RECORDS_A_PAYMENT

    def deposit_id(self, place: int) -> str:
        """Return our id of a deposit."""
        return self.ids.deposit_id(self.number(place))

    def payment_ref(self, place: int) -> str:
        """Return the provider's id of the payment."""
        return f"pay_{place:012}"

    def capture_ref(self, place: int) -> str:
        """Return the provider's id of the capture."""
        return f"cap_{place:012}"

    def deposit(self, place: int) -> Deposit:
        """Return what the ledger knows of a deposit."""
        time = self.time_of(place)
        return Deposit(
            number=self.number(place),
            player_id=str(place % 1_000),
            provider=PROVIDER,
            provider_ref=self.payment_ref(place),
            amount=AMOUNT_MINOR,
            currency=CURRENCY_CODE,
            hold=self.number(place) - 1,
            call_state=CallState.NONE,
            reference="",
            metadata={},
            initiate_time=time,
            update_time=time,
            balance_after=0,
            captures=(
                Capture(
                    provider_ref=self.capture_ref(place),
                    amount=AMOUNT_MINOR,
                    capture_time=time,
                    payment_ref="",
                    fail_time=None,
                ),
            ),
            authorized=False,
            closed=False,
            failed=False,
            failure_reason="",
            payment_url="",
            payment_ref="",
            attempts=(),
            refunds=(),
            disputes=(),
            fees=(),
            personal=b"",
        )


async def write_payments(database_url: str, mirror: Mirror) -> None:
    """Write the ledger's side as rows, without a journal: what is measured reads the rows alone."""
    key = tenant_key(TenantId(TENANT_ID))
    connection = await asyncpg.connect(database_url)
    try:
        for rows in _rows(mirror):
            for table in ("payments", "payment_refs"):
                await connection.copy_records_to_table(
                    table,
                    records=_with_key(key, rows.tables[table]),
                    columns=("tenant_key", *PAYMENT_TABLES[table]),
                )
        await connection.execute("VACUUM ANALYZE payments, payment_refs")
    finally:
        await connection.close()


def _rows(mirror: Mirror) -> Iterator[PaymentRows]:
    for start in range(1, mirror.count + 1, _ROWS_AT_ONCE):
        rows = PaymentRows()
        for place in range(start, min(start + _ROWS_AT_ONCE, mirror.count + 1)):
            deposit = mirror.deposit(place)
            fact = DepositChanged(FactKind.DEPOSIT_CHANGED, deposit, owed=None, discrepancies=())
            content = payment_content(mirror.ids, fact, deposit.update_time)
            rows.add(fact, deposit.number, deposit.update_time, content.SerializeToString(deterministic=True))
        yield rows


def _with_key(key: TenantKey, rows: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    return ((key, *row) for row in rows)
