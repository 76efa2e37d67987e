"""The life of findings over several runs: repaired, broken again, accepted, and what only looks repaired."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from defter.payments.v1 import payment_pb2
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2

from ledger_server.domain.findings.commands import ResolveFinding
from ledger_server.domain.findings.finding import Resolution
from ledger_server.domain.ids import finding_fingerprint
from ledger_server.engine.lane.work import Request
from mock_psp.listing import Movement
from tests.edge.harness import TENANT
from tests.integration.reconciliation import faults
from tests.integration.reconciliation.world import PROVIDER, World, until, world_on
from tests.support.cashier import CAPTURED
from tests.support.clock import FakeClock
from tests.support.requests import timestamp

COMPLETE = reconciliation_pb2.RUN_STATE_COMPLETE
OPEN = finding_pb2.FINDING_STATE_OPEN
RESOLVED = finding_pb2.FINDING_STATE_RESOLVED
AUTO_RESOLVED = finding_pb2.FINDING_STATE_AUTO_RESOLVED
REOPENED = finding_pb2.FINDING_STATE_REOPENED
WAITING = "an event waits for its payment"


async def state(world: World) -> finding_pb2.FindingState.ValueType:
    """Run to the end and return where the only finding stands."""
    assert (await world.run()).state == COMPLETE
    [finding] = await world.findings()
    return finding.state


async def misstated(world: World) -> Movement:
    """Have a deposit of 1,000 listed with 900; return its movement."""
    deposit = await world.deposit(1_000)
    movement = world.captured(deposit)
    world.psp.state.books.listing.misstate(movement.id, amount_minor=900)
    await world.later()
    return movement


async def accept(world: World) -> None:
    """Resolve the only finding by hand, as a difference that is as it should be."""
    [finding] = await world.findings()
    command = ResolveFinding(
        finding_id=finding.finding_id,
        fingerprint=finding_fingerprint(finding.finding_id),
        expected_version=finding.version,
        actor="eve",
        note="agreed by telephone",
        resolution=Resolution.ACCEPTED_DIFFERENCE,
        correction="",
        duplicate_of="",
    )
    await world.service.server.ledger.submit(TENANT, [Request(command)])


async def test_repair_of_what_was_found_resolves_it_with_the_next_run(world: World) -> None:
    """The lost webhook arrives after all, and the next complete run says so."""
    await faults.capture_unheard(world)
    await world.later(hours=1)
    assert await state(world) == OPEN

    world.psp.webhooks.resend()
    await world.later()
    run = await world.run()

    assert (run.resolved_count, run.matched_count) == (1, 1)
    [finding] = await world.findings()
    assert (finding.state, finding.run_id, finding.actor) == (AUTO_RESOLVED, run.run_id, "")
    assert (await world.run()).resolved_count == 0
    await world.assert_verified()


@pytest.mark.parametrize("amount", [900, 800])
async def test_fault_that_comes_back_reopens_its_finding(world: World, amount: int) -> None:
    """In the same way or in another one, what had resolved itself is the same finding again."""
    movement = await misstated(world)
    assert await state(world) == OPEN
    world.psp.state.books.listing.misstate(movement.id)
    assert await state(world) == AUTO_RESOLVED

    world.psp.state.books.listing.misstate(movement.id, amount_minor=amount)

    assert await state(world) == REOPENED
    [finding] = await world.findings()
    assert finding.at_provider.amount_minor == amount


async def test_accepted_difference_stays_resolved_while_the_facts_are_the_same(world: World) -> None:
    """Run after run it is seen and adds nothing; with other facts it is back."""
    movement = await misstated(world)
    assert await state(world) == OPEN
    await accept(world)
    rows = await world.row_counts()

    for _ in range(3):
        await world.later()
        assert await state(world) == RESOLVED
    assert await world.row_counts() == rows
    world.psp.state.books.listing.misstate(movement.id, amount_minor=800)

    assert await state(world) == REOPENED


async def test_accepted_difference_that_disappears_stays_resolved_by_hand(world: World) -> None:
    """A run resolves only what is open, so nobody's reason is lost."""
    movement = await misstated(world)
    assert await state(world) == OPEN
    await accept(world)

    world.psp.state.books.listing.misstate(movement.id)

    assert await state(world) == RESOLVED
    [finding] = await world.findings()
    assert finding.actor == "eve"


async def test_contradiction_is_over_when_the_provider_lists_what_is_booked(world: World) -> None:
    """A capture told in another currency is a finding of its payment until the right one was booked."""
    world.psp.knobs.wrong_currency = "USD"
    deposit = await world.begin(1_000)
    payment = await world.charged(deposit.deposit_id)
    await world.later(hours=1)
    await world.run()
    assert await world.classes() == ["CURRENCY_MISMATCH", "STATUS_MISMATCH"]

    capture = payment.captures[0]
    event = world.cashier.event(
        CAPTURED,
        deposit.deposit_id,
        1_000,
        provider=PROVIDER,
        payment_ref=payment.id,
        object_ref=capture.id,
        occur_time=timestamp(world.movement(capture.id).created_at),
    )
    await world.cashier.ingest(event)
    run = await world.run()

    assert run.resolved_count == 2
    assert await world.classes() == []


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "in transit"])
async def test_more_than_was_asked_for_stays_with_a_person(world: World, *, listed: bool) -> None:
    """Books that agree with the provider do not settle whether the player is owed the difference."""
    deposit = await world.deposit(1_000)
    world.psp.state.payments.capture(deposit.payment_ref, amount_minor=300)
    await world.later(hours=1)
    if not listed:
        world.psp.state.books.listing.vanish(world.captured(deposit).id)

    assert (await world.run()).state == COMPLETE

    [found] = [
        each
        for each in await world.findings()
        if each.finding_class == finding_pb2.FINDING_CLASS_AMOUNT_MISMATCH
    ]
    assert found.state == OPEN
    assert found.source == finding_pb2.FINDING_SOURCE_PAYMENT


@pytest.fixture
async def sweeping(database_url: str, clock: FakeClock) -> AsyncIterator[World]:
    """A world whose server looks at parked events all the time."""
    async with world_on(database_url, clock, parked_sweep_seconds=0.05) as opened:
        yield opened


async def test_parked_event_is_over_once_it_was_applied(sweeping: World) -> None:
    """A run while it still waits leaves its finding alone."""
    world = sweeping
    await world.deposit()
    # Only the capture is told, so that one event waits.
    world.psp.knobs.lose_webhooks = 1
    payment = world.psp.state.payments.create(reference="page-1", amount_minor=1_000, currency="EUR")
    await world.later(hours=2)
    await until(lambda: described(world, WAITING, OPEN))
    await world.run()
    assert await described(world, WAITING, OPEN)

    deposit = await world.cashier.initiate(1_000, provider=PROVIDER, provider_ref=payment.id)
    await world.until_deposit(deposit, payment_pb2.DEPOSIT_STATE_CAPTURED)
    await world.run()

    assert await described(world, WAITING, AUTO_RESOLVED)
    assert await world.classes() == []


async def described(
    world: World, text: str, state: finding_pb2.FindingState.ValueType
) -> finding_pb2.Finding | None:
    """Return the finding with a description, if there is one and it stands there."""
    found = [each for each in await world.findings() if (each.description, each.state) == (text, state)]
    return found[0] if found else None


async def test_settlement_is_over_when_its_batch_was_moved_to_the_bank(world: World) -> None:
    """A payout to our own bank is a finding after five days, until somebody has confirmed its batch."""
    await world.deposit()
    settled = world.psp.state.account.settle(currency="EUR")
    await world.later(hours=120)
    assert await state(world) == OPEN

    await confirm(world, settled)

    assert await state(world) == AUTO_RESOLVED


async def confirm(world: World, settled: Movement) -> None:
    """Write the batch of a settlement as one that was moved to the bank."""
    connection = await asyncpg.connect(world.service.database_url)
    try:
        await connection.execute(
            "INSERT INTO settlement_batches"
            " (tenant_key, provider, batch_id, currency_code, state, version, told_version, open_time, body)"
            " SELECT tenant_key, provider, $1, 'EUR', 4, 1, 1, now(), '' FROM reconciliation_runs LIMIT 1",
            settled.object_id,
        )
    finally:
        await connection.close()


async def test_wallet_that_is_overdrawn_is_no_matter_of_a_run(world: World) -> None:
    """No listing proves that a balance is right again."""
    deposit = await world.deposit(1_000)
    await world.withdrawal(900)
    world.psp.state.payments.capture_fail(deposit.payment_ref)
    await world.later(hours=2)
    assert await world.classes() == ["WALLET_OVERDRAWN"]

    assert await state(world) == OPEN
