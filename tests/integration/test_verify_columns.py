"""Whichever column of whatever follows from the journal is altered by hand, VerifyJournal says so.

The cases are the tables' own columns, so one that is added is altered too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import asyncpg
from defter.ledger.v1 import journal_pb2
from sqlalchemy import BigInteger, Boolean, Column, DateTime, LargeBinary, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from ledger_server.domain.payments.commands import InitiateDeposit
from ledger_server.domain.state.commands import Method
from ledger_server.engine.verification.verify import verify
from ledger_server.store.reconciliation_tables import finding_versions, findings
from ledger_server.store.tables import (
    TABLES,
    accounts,
    adjustments,
    holds,
    journal,
    outbox,
    payment_refs,
    payments,
    postings,
    provider_events,
    tenants,
)
from tests.support.adjusters import Adjusters
from tests.support.cashier import CAPTURED, Cashier
from tests.support.clock import START, FakeClock
from tests.support.engine import TENANT, asked, engine
from tests.support.requests import limits, timestamp

# What follows from the journal, so that every column of it is altered below.
JOURNALED: Final = (
    tenants,
    accounts,
    journal,
    postings,
    holds,
    payments,
    payment_refs,
    provider_events,
    outbox,
    adjustments,
    findings,
    finding_versions,
)
# What does not, with the reason; a new table is in one of the two.
OF_ITS_OWN: Final = {
    "currencies": "a setting of the whole database, confirmed at the start",
    "history": "which history the database is of; no tenant's journal can say",
    "finding_sightings": "which run saw a finding last: only the newest is kept",
    "reconciliation_runs": "work under way and its result, which no record repeats",
    "provider_records": "what a provider has listed, read again by the next run",
    "player_keys": "keys are outside of the journal; who is forgotten: `tests/wire/test_personal_data.py`",
    "settlement_reports": "files that were imported, which no record repeats",
    "settlement_lines": "as the file has them",
    "settlement_batches": "sums of lines",
}
UNJOURNALED: Final = {
    # The dispatcher's own: how far it has come with a call. What came of it stands in the payment.
    "outbox": {
        "open",
        "try_count",
        "next_try_time",
        "first_try_time",
        "last_error",
        "rest_count",
        "absent_time",
        "stop_reason",
        "maybe_made",
        "named_tries",
    },
    # The sequence once more, which a constraint of the table holds to it; and what readers were told to be
    # final, which no record repeats.
    "tenants": {"named_sequence", "final_time"},
    # No record says where a commit ended; that of the newest record is in `test_verify.py`.
    "journal": {"closes_batch"},
}
# The name of a tenant: another one has no journal, which is told as TENANT_NOT_FOUND. A call that is over
# may be gone; of one in motion see below.
NAMES: Final = {("tenants", "tenant_key"), ("tenants", "tenant_id"), ("outbox", "tenant_key")}


def altered(column: Column[Any]) -> str:
    """Return an expression for another value than the one that is there."""
    name = f'"{column.name}"'
    match column.type:
        case Boolean():
            return f"NOT {name}"
        case SmallInteger():
            # Another member of the list, so that nothing but its being another one gives it away.
            return f"CASE WHEN {name} = 1 THEN 2 ELSE 1 END"
        case BigInteger():
            return f"COALESCE({name} + 1000, 1000)"
        case DateTime():
            return f"COALESCE({name} + interval '1 microsecond', now())"
        case JSONB():
            return f"CASE WHEN {name} IS NULL THEN '{{}}'::jsonb END"
        case LargeBinary():
            return f"COALESCE({name} || '\\x00'::bytea, '\\x00'::bytea)"
        case Text():
            return f"COALESCE({name}, '') || 'x'"
        case other:
            raise AssertionError(f"no other value is known of {other}")


async def everything(cashier: Cashier, clock: FakeClock) -> None:
    """Fill each of these tables: accounts, holds of each end, payments, events, calls, findings, policies."""
    ledger = cashier.ledger
    await ledger.open("ann")
    await ledger.open("bob")
    await ledger.fund("ann", 1000)
    moved = await ledger.post("ann", "bob", 300)
    await ledger.place_hold("ann", "bob", 100)
    released = await ledger.place_hold("ann", "bob", 50)
    await ledger.release(released.hold_id)
    await ledger.set_limits("bob", limits(minimum=0, maximum=5000))
    await ledger.reverse(moved.transaction_id)
    await ledger.place_hold("ann", "bob", 10, expire_time=timestamp(START.replace(second=5)))
    clock.advance(seconds=10)
    await ledger.post("ann", "bob", 1)
    deposit = await cashier.captured(500)
    # No payment of ours was made in that currency: the event is kept, and a finding says why.
    await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 5, currency_code="USD"))
    await cashier.refund(deposit.deposit_id, 50)
    adjusters = Adjusters(ledger)
    await adjusters.set_policy({"EUR": 100})
    await adjusters.request("house", "ann", 5)
    await adjusters.approve((await adjusters.request("house", "ann", 200)).adjustment_id)
    await adjusters.request("house", "ann", 300)
    # Nothing goes on by itself while rows are altered.
    await cashier.until_called()


async def test_verify_names_any_altered_column(cashier: Cashier, clock: FakeClock, database_url: str) -> None:
    """One column of one row is another one: there is a first difference."""
    await everything(cashier, clock)
    untouched = await cashier.ledger.verify()
    assert not untouched.HasField("first_difference"), untouched.first_difference
    unnoticed: list[str] = []
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET session_replication_role = replica")
        for table in JOURNALED:
            for constraint in table.constraints:
                if type(constraint).__name__ == "CheckConstraint":
                    await connection.execute(f"ALTER TABLE {table.name} DROP CONSTRAINT {constraint.name}")
            await connection.execute(f"CREATE TEMPORARY TABLE before AS TABLE {table.name}")
            for column in table.columns:
                if column.name in UNJOURNALED.get(table.name, ()) or (table.name, column.name) in NAMES:
                    continue
                # A row that has a value there, if any has.
                status = await connection.execute(
                    f'UPDATE {table.name} SET "{column.name}" = {altered(column)} WHERE ctid = ('
                    f'SELECT ctid FROM {table.name} ORDER BY "{column.name}" IS NULL, ctid LIMIT 1)'
                )
                assert status == "UPDATE 1", f"{table.name} is empty"
                if not (await cashier.ledger.verify()).HasField("first_difference"):
                    unnoticed.append(f"{table.name}.{column.name}")
                await connection.execute(f"DELETE FROM {table.name}")
                await connection.execute(f"INSERT INTO {table.name} SELECT * FROM before")
            await connection.execute("DROP TABLE before")
    finally:
        await connection.close()

    restored = await cashier.ledger.verify()
    assert not restored.HasField("first_difference"), restored.first_difference
    assert unnoticed == []


async def test_verify_names_payment_whose_call_is_gone(database_url: str, clock: FakeClock) -> None:
    """A call that is owed, and that nobody would make any more, is missing."""
    async with engine(database_url, clock) as running:
        await running.create_tenant()
        command = InitiateDeposit(
            player_id="ann",
            provider="mock",
            amount=100,
            currency="EUR",
            provider_ref="",
            reference="",
            metadata={},
        )
        outcome = await running.ask(asked(command, Method.InitiateDeposit, "key", "ann"))
        assert not outcome.rejected, outcome
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute("DELETE FROM outbox")
        finally:
            await connection.close()

        *_, result = [each async for each in verify(running.pool, TENANT)]

    assert isinstance(result, journal_pb2.VerifyResult)
    assert result.first_difference.subject.startswith("outbox of payment")


def test_every_table_follows_from_the_journal_or_is_named() -> None:
    """A new table is compared with the journal, or somebody says why not."""
    journaled = {table.name for table in JOURNALED}

    assert not journaled & OF_ITS_OWN.keys()
    assert journaled | OF_ITS_OWN.keys() == set(TABLES.tables)
    tables: Mapping[str, Table] = {table.name: table for table in JOURNALED}
    for name, columns in UNJOURNALED.items():
        assert columns <= set(tables[name].columns.keys())
