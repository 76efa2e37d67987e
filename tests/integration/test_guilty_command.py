"""Own the promise that a command which the database refuses fails alone."""

from __future__ import annotations

import asyncio

import grpc
from defter.ledger.v1 import account_pb2, posting_pb2

from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import alter
from tests.support.requests import CREDIT, DEBIT, leg, transaction
from tests.support.tenant_lock import head_locked, wait_until_lane_waits
from tests.support.wire import refusal

POISON = "poison"
NEIGHBOURS = 20


async def refuse_poison(database_url: str) -> None:
    """Let the database refuse records with a certain reference, as no rule of the ledger does."""
    constraint = f"CHECK (reference IS DISTINCT FROM '{POISON}') NOT VALID"
    await alter(database_url, f"ALTER TABLE journal ADD CONSTRAINT guilty {constraint}")


async def allow_poison(database_url: str) -> None:
    """Take the constraint away."""
    await alter(database_url, "ALTER TABLE journal DROP CONSTRAINT guilty")


def poisoned() -> posting_pb2.NewTransaction:
    """Return a transaction that the database will refuse."""
    return transaction(leg("house", DEBIT, 1), leg("ann", CREDIT, 1), reference=POISON)


async def test_refuse_rows_of_one_command_fails_that_command_alone(database_url: str, ledger: Ledger) -> None:
    """Its neighbours in the batch succeed; its key stays unused and works once the cause is gone."""
    await ledger.open("ann")
    await refuse_poison(database_url)
    async with head_locked(database_url, ledger.tenant_id):
        before = [asyncio.ensure_future(ledger.post("house", "ann", 1)) for _ in range(NEIGHBOURS)]
        await wait_until_lane_waits(database_url)
        guilty = asyncio.ensure_future(refusal(ledger.submit(poisoned(), key="guilty")))
        after = [asyncio.ensure_future(ledger.post("house", "ann", 1)) for _ in range(NEIGHBOURS)]
        # A read over the same connection: when it is answered, the posts before it have arrived.
        await ledger.tenant()
    refused = await guilty
    await asyncio.gather(*before, *after)

    assert (refused.code, refused.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert set(refused.metadata) == {"error_id"}
    assert "guilty" not in refused.message
    unused = await refusal(ledger.outcome("PostTransaction", "guilty"))
    assert unused.reason == "OUTCOME_NOT_FOUND"
    assert await ledger.posted("ann") == 2 * NEIGHBOURS
    await allow_poison(database_url)
    await ledger.submit(poisoned(), key="guilty")
    assert await ledger.posted("ann") == 2 * NEIGHBOURS + 1
    await assert_ledger_coherent(ledger)


async def test_refuse_rows_of_atomic_batch_fails_the_whole_batch(database_url: str, ledger: Ledger) -> None:
    """All or none holds for faults as well."""
    await ledger.open("ann")
    await refuse_poison(database_url)
    items = [
        ledger.transfer_item("house", "ann", 1),
        posting_pb2.PostTransactionItem(idempotency_key="guilty", transaction=poisoned()),
    ]

    refused = await refusal(ledger.batch(*items, mode=account_pb2.BATCH_MODE_ATOMIC))

    assert refused.reason == "INTERNAL"
    assert await ledger.posted("ann") == 0
    await allow_poison(database_url)
    await ledger.batch(*items, mode=account_pb2.BATCH_MODE_ATOMIC)
    assert await ledger.posted("ann") == 2
    await assert_ledger_coherent(ledger)


async def test_go_on_after_guilty_command_serves_as_before(database_url: str, ledger: Ledger) -> None:
    """Guilty commands, one after the other, leave the lane in order."""
    await ledger.open("ann")
    await refuse_poison(database_url)

    for _ in range(3):
        assert (await refusal(ledger.submit(poisoned()))).reason == "INTERNAL"
        await ledger.post("house", "ann", 1)

    assert await ledger.posted("ann") == 3
    await assert_ledger_coherent(ledger)


async def test_refuse_what_an_index_forbids_fails_that_command_alone(
    database_url: str, ledger: Ledger
) -> None:
    """An index that no retry explains is a fault like any other: the lane must not try it for ever."""
    await ledger.open("ann")
    index = f"CREATE UNIQUE INDEX guilty ON journal (tenant_key, reference) WHERE reference = '{POISON}'"
    await alter(database_url, index)
    await ledger.submit(poisoned())

    async with asyncio.timeout(HANG_SECONDS):
        refused = await refusal(ledger.submit(poisoned()))

    assert refused.reason == "INTERNAL"
    await ledger.post("house", "ann", 1)
    assert await ledger.posted("ann") == 2
    await assert_ledger_coherent(ledger)
