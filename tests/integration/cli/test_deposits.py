"""Begun deposits whose holds never had an end: an operator ends them, and nothing is lost."""

from __future__ import annotations

import pytest
from defter.payments.v1 import payment_pb2

from ledger_server.domain.payments.commands import InitiateDeposit
from ledger_server.domain.state.commands import Method, RequestKey
from ledger_server.engine.lane.work import Request
from tests.integration.cli.conftest import PROVIDER, TENANT, CommandLine
from tests.support.cashier import CAPTURED, PLAYER, WALLET, Cashier
from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.service import Service
from tests.support.wire import refusal


async def begin_older(service: Service, number: int) -> payment_pb2.Deposit:
    """Begin a deposit as a version did whose holds had no end."""
    command = InitiateDeposit(
        player_id=PLAYER,
        provider=PROVIDER,
        amount=500,
        currency="EUR",
        provider_ref=f"ref-{number}",
        reference="",
        metadata={},
    )
    key = RequestKey(Method.InitiateDeposit, f"older-{number}", PLAYER)
    [outcome] = await service.server.ledger.submit(TENANT, [Request(command, key, b"older")])
    return payment_pb2.Deposit.FromString(outcome.content)


@pytest.mark.parametrize("later", ["captured whole", "captured in part", "failed", "nothing"])
async def test_release_older_deposits_ends_their_holds_alone(
    cli: CommandLine, reconciling: Service, clock: FakeClock, later: str
) -> None:
    """Whatever is told of the deposit later counts as if its hold had ended by time."""
    cashier = Cashier(reconciling.ledger(TENANT))
    old = await begin_older(reconciling, 1)
    new = await cashier.initiate(300, provider_ref="new")
    clock.advance(seconds=86_400)
    young = await begin_older(reconciling, 2)
    words = ("deposits", "release", "--begun-before", "2030-01-02")

    tried = await cli.run(*words, "--dry-run")
    ran = [await cli.run(*words) for _ in range(2)]

    assert ["1 holds to release" in tried.output, *("holds released" in one.output for one in ran)] == [
        True
    ] * 3
    assert [one.output.splitlines()[-1].split()[0] for one in ran] == ["1", "0"]
    open_holds = {hold.hold_id for hold in await cashier.ledger.holds() if hold.remaining_minor}
    assert open_holds == {new.hold_id, young.hold_id}
    amount = {"captured whole": 500, "captured in part": 200}.get(later, 0)
    if amount:
        await cashier.ingest(cashier.event(CAPTURED, old.deposit_id, amount))
    elif later == "failed":
        failed = payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_FAILED
        await cashier.ingest(cashier.event(failed, old.deposit_id))
    assert await cashier.ledger.posted(WALLET) == amount
    refused = await refusal(cashier.ledger.release(new.hold_id))
    assert refused.reason == "HOLD_OWNED_BY_PAYMENT"
    await assert_ledger_coherent(cashier.ledger)
