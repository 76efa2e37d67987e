"""A webhook that was lost: found by a run, booked from the provider's record or by the webhook itself."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from defter.payments.v1 import payment_pb2
from defter.reconciliation.v1 import finding_pb2
from defter.reconciliation.v1.finding_pb2_grpc import FindingServiceStub

from tests.edge.harness import TENANT
from tests.integration.reconciliation.world import World, until

AUTO_RESOLVED = finding_pb2.FINDING_STATE_AUTO_RESOLVED
WALLET = "player:ann:real:EUR"


def repair_request(finding: finding_pb2.Finding, actor: str = "ada") -> finding_pb2.RepairFindingRequest:
    """Return the request to book what the provider lists."""
    return finding_pb2.RepairFindingRequest(tenant_id=TENANT, finding_id=finding.finding_id, actor=actor)


async def repair(world: World, finding: finding_pb2.Finding) -> finding_pb2.RepairFindingResponse:
    """Book what the provider lists for a finding."""
    return await FindingServiceStub(world.service.channel).RepairFinding(repair_request(finding))


async def lost_capture(world: World, amount: int = 1_000) -> payment_pb2.Deposit:
    """Have a deposit captured at the provider, and its webhooks lost."""
    world.psp.knobs.auto_complete = False
    deposit = await world.begin(amount)

    async def made() -> str | None:
        return next(iter(world.psp.state.payments.all), None)

    await until(made)
    [payment] = world.psp.state.payments.all.values()
    world.psp.knobs.lose_webhooks = 10
    world.psp.state.payments.authorize(payment.id)
    world.psp.state.payments.capture(payment.id)
    await world.later(hours=2)
    world.psp.knobs.lose_webhooks = 0
    return await world.cashier.deposit(deposit.deposit_id)


async def test_repair_lost_capture_books_it_once_and_next_run_resolves(world: World) -> None:
    """The record goes the way of an event; the webhook that comes after all changes nothing."""
    deposit = await lost_capture(world)
    assert deposit.state == payment_pb2.DEPOSIT_STATE_INITIATED
    await world.run()
    [finding] = await world.findings()
    assert finding.finding_class == finding_pb2.FINDING_CLASS_STATUS_MISMATCH
    assert (finding.payment_id, finding.at_provider.amount_minor) == (deposit.deposit_id, 1_000)

    answers = await asyncio.gather(*(repair(world, finding) for _ in range(5)))

    assert [answer.duplicate for answer in answers].count(False) == 1
    assert {answer.event.state for answer in answers} == {payment_pb2.PROVIDER_EVENT_STATE_APPLIED}
    assert await world.cashier.ledger.posted(WALLET) == 1_000
    await world.run()
    assert [each.state for each in await world.findings()] == [AUTO_RESOLVED]
    world.psp.webhooks.resend()
    await world.later()
    captured = await world.cashier.deposit(deposit.deposit_id)
    assert captured.state == payment_pb2.DEPOSIT_STATE_CAPTURED
    assert await world.cashier.ledger.posted(WALLET) == 1_000
    await world.run()
    assert await world.classes() == []
    await world.assert_verified()


async def test_webhook_that_comes_late_resolves_by_itself(world: World) -> None:
    """The provider sends it again; nobody has to book anything."""
    await lost_capture(world)
    await world.run()
    assert await world.classes() == ["STATUS_MISMATCH"]
    world.psp.webhooks.resend()
    await world.later()

    await world.run()

    assert [each.state for each in await world.findings()] == [AUTO_RESOLVED]
    assert await world.cashier.ledger.posted(WALLET) == 1_000


async def test_repair_returned_payout_and_refund_made_at_the_provider(world: World) -> None:
    """What came back is credited, what was given back is debited; each once."""
    deposit = await world.deposit(2_000)
    withdrawal = await world.withdrawal(500)
    await world.later()
    world.psp.knobs.lose_webhooks = 10
    world.psp.state.payouts.return_(withdrawal.provider_ref)
    refund = world.psp.state.refunds.create(deposit.payment_ref, amount_minor=300)
    await world.later(hours=2)
    world.psp.knobs.lose_webhooks = 0
    await world.run()
    findings = await world.findings(unresolved=True)
    assert sorted(each.at_provider.ref for each in findings) == sorted([withdrawal.provider_ref, refund.id])

    for finding in findings:
        await repair(world, finding)

    assert await world.cashier.ledger.posted(WALLET) == 2_000 - 300
    assert (await world.cashier.withdrawal(withdrawal.withdrawal_id)).state == (
        payment_pb2.WITHDRAWAL_STATE_REVERSED
    )
    await world.run()
    assert await world.classes() == []
    await world.assert_verified()


async def test_repair_what_no_record_can_put_right_is_refused(world: World) -> None:
    """A record that belongs to nobody, and one in another currency, say nothing that could be booked."""
    deposit = await world.deposit(2_000)
    await world.later()
    [capture] = [row for row in world.psp.state.books.movements if row.payment_id == deposit.payment_ref]
    world.psp.state.books.listing.misstate(capture.id, amount_minor=2_000, currency="USD")
    world.psp.state.account.correct(currency="EUR", amount_minor=55)
    await world.later(hours=2)
    await world.run()
    findings = await world.findings()
    assert len(findings) == 2
    before = await world.row_counts()

    for finding in findings:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await repair(world, finding)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert "FINDING_NOT_REPAIRABLE" in str(refused.value.trailing_metadata())

    assert await world.row_counts() == before
