"""Test that a ledger in another epoch neither hands out nor takes an id of another history."""

from __future__ import annotations

import pytest

from ledger_server.domain.findings.discrepancy import FindingClass
from tests.support.cashier import CAPTURED, Cashier
from tests.support.ledger import Ledger
from tests.support.postgres import run_sql
from tests.support.wire import refusal

FIRST, SECOND, FOREIGN = "k3x9abcd", "m0m0m0m0", "zzzzzzzz"


def begin(database_url: str, epoch: str) -> None:
    """Give the database another epoch, as whoever notices a restore does, while servers run."""
    run_sql(database_url, f"UPDATE history SET epoch = '{epoch}', version = version + 1")


async def test_begin_epochs_while_lanes_are_warm_makes_ids_of_the_newest(
    database_url: str, ledger: Ledger, cashier: Cashier
) -> None:
    """What was begun before goes on under its old id; the journal tells where each epoch began."""
    plain = await cashier.captured(500)
    begin(database_url, FIRST)
    named = await cashier.captured(700)
    begin(database_url, SECOND)
    newest = await cashier.captured(900)

    assert plain.deposit_id.count("_") == 2
    assert f"_{FIRST}_" in named.deposit_id
    assert f"_{SECOND}_" in newest.deposit_id
    for deposit in (plain, named, newest):
        refunded = await cashier.refund(deposit.deposit_id, 100)
        assert refunded.deposit_id == deposit.deposit_id
        assert f"_{SECOND}_" in refunded.refunds[0].refund_id
    assert [each.epoch_begun.epoch for each in await ledger.records("epoch_begun")] == [FIRST, SECOND]
    assert not (await ledger.verify()).HasField("first_difference")


@pytest.mark.parametrize("made", ["plain", FOREIGN])
async def test_name_an_id_of_another_history_finds_nothing_and_parks_its_event(
    database_url: str, ledger: Ledger, cashier: Cashier, made: str
) -> None:
    """Neither a read nor a command nor an event takes the number in it for ours; the event is a finding."""
    await cashier.initiate()
    begin(database_url, FIRST)
    ours = await cashier.initiate(700)
    foreign = ours.deposit_id.replace(f"{FIRST}_", "" if made == "plain" else f"{made}_")

    assert (await refusal(cashier.deposit(foreign))).reason == "DEPOSIT_NOT_FOUND"
    assert (await refusal(cashier.refund(foreign, 1))).reason == "DEPOSIT_NOT_FOUND"
    await cashier.ingest(cashier.event(CAPTURED, foreign, 700))

    assert (await cashier.deposit(ours.deposit_id)).captured_minor == 0
    [stored] = await cashier.stored_events()
    assert stored.note == "it names an id of another history"
    [found] = await ledger.records("finding_changed")
    assert FindingClass(found.finding_changed.finding_class) is FindingClass.UNKNOWN_HISTORY
    assert found.finding_changed.evidence["named_id"] == foreign
    assert not (await ledger.verify()).HasField("first_difference")
