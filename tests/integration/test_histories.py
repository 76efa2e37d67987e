"""Test that a ledger in another epoch neither hands out nor takes an id of another history."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from defter.payments.v1 import outbound_pb2

from ledger_server.domain.findings.discrepancy import FindingClass
from tests.support.cashier import CAPTURED, Cashier
from tests.support.fake_provider import fake_providers
from tests.support.ledger import Ledger
from tests.support.postgres import alter
from tests.support.service import serving
from tests.support.wire import refusal

FIRST, SECOND, FOREIGN = "k3x9abcd", "m0m0m0m0", "zzzzzzzz"


BEGIN = """
UPDATE history SET epoch = '{epoch}', version = version + 1,
    row_transaction = pg_current_xact_id()::text::bigint
"""


@asynccontextmanager
async def in_epoch(database_url: str, epoch: str) -> AsyncIterator[Cashier]:
    """Serve the tenant after its database has got another epoch, as whoever notices a restore gives it."""
    await alter(database_url, BEGIN.format(epoch=epoch))
    async with serving(database_url, providers=fake_providers()) as service:
        yield Cashier(service.ledger(key_prefix=f"in-{epoch}"), first=100 if epoch == FIRST else 200)


async def test_begin_epochs_makes_ids_of_the_newest(database_url: str) -> None:
    """What was begun before goes on under its old id; the journal tells where each epoch began."""
    async with serving(database_url, providers=fake_providers()) as service:
        plain = await Cashier(await service.new_ledger()).captured(500)
    async with in_epoch(database_url, FIRST) as cashier:
        named = await cashier.captured(700)
    async with in_epoch(database_url, SECOND) as cashier:
        newest = await cashier.captured(900)

        assert plain.deposit_id.count("_") == 2
        assert f"_{FIRST}_" in named.deposit_id
        assert f"_{SECOND}_" in newest.deposit_id
        for deposit in (plain, named, newest):
            refunded = await cashier.refund(deposit.deposit_id, 100)
            assert refunded.deposit_id == deposit.deposit_id
            assert f"_{SECOND}_" in refunded.refunds[0].refund_id
        ledger = cashier.ledger
        assert [each.epoch_begun.epoch for each in await ledger.records("epoch_begun")] == [FIRST, SECOND]
        assert not (await ledger.verify()).HasField("first_difference")


async def test_verify_reads_each_id_by_the_epoch_of_its_record(database_url: str) -> None:
    """Also where epochs begin within what is read in one go: reversals, holds and corrections of each."""
    left: list[tuple[str, str]] = []  # transactions and holds of this epoch and of the one before

    async def live(ledger: Ledger) -> None:
        moved, kept = [(await ledger.post("house", "ann", 9)).transaction_id for _ in range(2)]
        left.append((kept, (await ledger.place_hold("ann", "house", 2)).hold_id))
        await ledger.reverse(moved)
        if len(left) == 2:
            kept_before, held_before = left.pop(0)
            await ledger.capture(held_before, 1)
            await ledger.reverse(kept_before)

    async with serving(database_url, providers=fake_providers()) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        await live(ledger)
    for epoch in (FIRST, SECOND):
        async with in_epoch(database_url, epoch) as cashier:
            await live(cashier.ledger)
            result = await cashier.ledger.verify()
            assert not result.HasField("first_difference"), result


@pytest.mark.parametrize("made", ["plain", FOREIGN])
async def test_name_an_id_of_another_history_finds_nothing_and_parks_its_event(
    database_url: str, made: str
) -> None:
    """Neither a read nor a command nor an event takes the number in it for ours; the event is a finding."""
    async with serving(database_url, providers=fake_providers()) as service:
        await Cashier(await service.new_ledger()).initiate()
    async with in_epoch(database_url, FIRST) as cashier:
        ours = await cashier.initiate(700)
        foreign = ours.deposit_id.replace(f"{FIRST}_", "" if made == "plain" else f"{made}_")

        assert (await refusal(cashier.deposit(foreign))).reason == "DEPOSIT_NOT_FOUND"
        assert (await refusal(cashier.refund(foreign, 1))).reason == "DEPOSIT_NOT_FOUND"
        await cashier.ingest(cashier.event(CAPTURED, foreign, 700))

        assert (await cashier.deposit(ours.deposit_id)).captured_minor == 0
        [stored] = await cashier.stored_events()
        assert stored.note == "it names an id of another history"
        ledger = cashier.ledger
        [found] = await ledger.records("finding_changed")
        assert FindingClass(found.finding_changed.finding_class) is FindingClass.UNKNOWN_HISTORY
        assert found.finding_changed.evidence["named_id"] == foreign
        assert not (await ledger.verify()).HasField("first_difference")


# What the version before wrote, as it stood there; it knows no epochs.
MOVE_HEAD = """
UPDATE tenants SET sequence = sequence + 1, chain_hash = decode(repeat('00', 32), 'hex'),
    record_time = defter_now()
"""
CLAIM = """
UPDATE outbox SET try_count = try_count + 1, next_try_time = clock.now + interval '90 s'
FROM (SELECT defter_now() AS now) clock
WHERE open AND next_try_time <= clock.now
"""


async def test_deploy_beside_the_version_before_keeps_it_from_what_it_would_name_otherwise(
    database_url: str,
) -> None:
    """It goes on with a tenant without an epoch, and neither writes nor calls under plain ids after it."""
    async with serving(database_url, providers=fake_providers()) as service:
        stop = outbound_pb2.StopOutboundRequest(note="so that the call waits", actor="ada")
        await service.stubs.outbound.StopOutbound(stop)
        cashier = Cashier(await service.new_ledger())
        await cashier.captured(5_000)
    await alter(database_url, f"BEGIN; {MOVE_HEAD}; ROLLBACK")
    async with in_epoch(database_url, FIRST) as cashier:
        withdrawal = await cashier.request(2_000)
        await cashier.approve(withdrawal.withdrawal_id)
        assert f"_{FIRST}_" in withdrawal.withdrawal_id
        for statement in (MOVE_HEAD, CLAIM):
            with pytest.raises(asyncpg.CheckViolationError):
                await alter(database_url, statement)
