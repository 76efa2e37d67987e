"""Own what counts promise: what is open whole, what has ended within a window, and an end of counting."""

from __future__ import annotations

from typing import Any

import pytest
from defter.payments.v1 import deposit_pb2, payment_pb2, withdrawal_pb2
from defter.reconciliation.v1 import finding_pb2 as pb

from ledger_server.store.queries import counts
from tests.support.cashier import CAPTURED, Cashier
from tests.support.clock import START, FakeClock
from tests.support.fake_provider import PROVIDER, SILENT_PROVIDER
from tests.support.findings import Desk
from tests.support.ledger import Ledger
from tests.support.postgres import run_sql
from tests.support.requests import timestamp
from tests.support.service import Service
from tests.support.wire import refusal

LATER = timestamp(FakeClock(START).advance(seconds=10))
TOMORROW = timestamp(FakeClock(START).advance(seconds=86_400))


async def deposits(cashier: Cashier, **window: Any) -> list[deposit_pb2.DepositCount]:
    """Return the counts of deposits."""
    request = deposit_pb2.CountDepositsRequest(tenant_id=cashier.ledger.tenant_id, **window)
    return list((await cashier.stubs.deposits.CountDeposits(request)).counts)


async def withdrawals(cashier: Cashier, **window: Any) -> list[withdrawal_pb2.WithdrawalCount]:
    """Return the counts of withdrawals."""
    request = withdrawal_pb2.CountWithdrawalsRequest(tenant_id=cashier.ledger.tenant_id, **window)
    return list((await cashier.stubs.withdrawals.CountWithdrawals(request)).counts)


async def findings(ledger: Ledger, **window: Any) -> list[pb.FindingCount]:
    """Return the counts of findings."""
    request = pb.CountFindingsRequest(tenant_id=ledger.tenant_id, **window)
    return list((await Desk(ledger).stubs.findings.CountFindings(request)).counts)


async def test_count_withdrawals_tells_number_amount_and_age(cashier: Cashier, clock: FakeClock) -> None:
    """By state, currency and provider account; what has ended only where a window asks for it."""
    await cashier.captured(10_000)
    first = await cashier.request(100)
    clock.advance(seconds=10)
    await cashier.request(300)
    await cashier.request(200, provider=SILENT_PROVIDER)
    await cashier.reject((await cashier.request(400)).withdrawal_id)

    open_ = await withdrawals(cashier)
    ended = await withdrawals(cashier, from_time=timestamp(START))

    assert [(each.state, each.provider, each.count, each.amount_minor) for each in open_] == [
        (payment_pb2.WITHDRAWAL_STATE_REQUESTED, PROVIDER, 2, 400),
        (payment_pb2.WITHDRAWAL_STATE_REQUESTED, SILENT_PROVIDER, 1, 200),
    ]
    assert {each.currency_code for each in open_} == {"EUR"}
    assert [each.oldest_time for each in open_] == [first.request_time, LATER]
    assert [each.state for each in ended[len(open_) :]] == [payment_pb2.WITHDRAWAL_STATE_REJECTED]
    assert ended[: len(open_)] == open_
    assert await withdrawals(cashier, from_time=timestamp(START), to_time=LATER) == open_
    assert await deposits(cashier) == []


async def test_count_deposits_ends_with_its_window(cashier: Cashier, clock: FakeClock) -> None:
    """Those that are open count whenever they were begun; those that have ended by their beginning."""
    early = await cashier.initiate(100)
    clock.advance(seconds=10)
    await cashier.captured(200)
    clock.advance(seconds=10)

    both = await deposits(cashier, from_time=LATER)
    none_ended = await deposits(cashier, from_time=timestamp(clock.now))

    assert [(each.state, each.count, each.amount_minor) for each in both] == [
        (payment_pb2.DEPOSIT_STATE_INITIATED, 1, 100),
        (payment_pb2.DEPOSIT_STATE_CAPTURED, 1, 200),
    ]
    assert both[0].oldest_time == early.initiate_time
    assert none_ended == both[:1]
    assert (await refusal(deposits(cashier, from_time=TOMORROW))).reason == "NOT_YET_RECORDED"


async def test_count_findings_by_class_severity_state_and_provider(ledger: Ledger, clock: FakeClock) -> None:
    """Those that are not resolved; with a window also those that were opened in it and are."""
    desk, cashier = Desk(ledger), Cashier(ledger)
    assert await findings(ledger) == []
    resolved = await desk.raised()
    clock.advance(seconds=10)
    more = await cashier.initiate(500, provider_ref="more")
    await cashier.ingest(cashier.event(CAPTURED, more.deposit_id, 600))
    await desk.resolve(await desk.acknowledge(resolved), reason=pb.RESOLUTION_REASON_TIMING)

    open_ = await findings(ledger)
    all_ = await findings(ledger, from_time=timestamp(START))
    later = await findings(ledger, from_time=LATER)

    assert [(each.finding_class, each.state, each.count) for each in open_] == [
        (pb.FINDING_CLASS_AMOUNT_MISMATCH, pb.FINDING_STATE_OPEN, 1)
    ]
    assert (open_[0].severity, open_[0].provider, open_[0].oldest_time) == (pb.SEVERITY_HIGH, PROVIDER, LATER)
    assert sum(each.count for each in all_) == 2
    assert pb.FINDING_STATE_RESOLVED in {each.state for each in all_}
    assert later == open_
    assert await findings(ledger, from_time=timestamp(START), to_time=timestamp(START)) == open_


async def test_count_in_an_unknown_tenant_is_refused(cashier: Cashier) -> None:
    """As every read of a tenant."""
    stranger = Ledger(cashier.ledger.channel, "nobody")
    for call in (deposits(Cashier(stranger)), withdrawals(Cashier(stranger)), findings(stranger)):
        assert (await refusal(call)).reason == "TENANT_NOT_FOUND"


@pytest.mark.parametrize("begun", [2, 3, 4])
async def test_count_of_more_than_is_counted_says_at_least(
    server: Service, cashier: Cashier, monkeypatch: pytest.MonkeyPatch, begun: int
) -> None:
    """The oldest of a state are counted; another state is counted whole."""
    monkeypatch.setattr(counts, "COUNT_LIMIT", 3)
    for amount in range(1, begun + 1):
        await cashier.initiate(amount)
    await cashier.captured(100)

    open_, ended = await deposits(cashier, from_time=timestamp(START))

    assert (open_.count, open_.amount_minor, open_.at_least) == (
        min(begun, 3),
        sum(range(1, min(begun, 3) + 1)),
        begun >= 3,
    )
    assert (ended.count, ended.at_least) == (1, False)


async def test_count_of_more_findings_than_are_counted_says_at_least(
    server: Service, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open ones and those of a window have bounds of their own."""
    desk = Desk(ledger)
    for _ in range(2):
        await desk.raised()
    whole = await findings(ledger, from_time=timestamp(START))
    monkeypatch.setattr(counts, "COUNT_LIMIT", 2)

    cut = await findings(ledger, from_time=timestamp(START))

    assert not any(each.at_least for each in whole)
    assert all(each.at_least for each in cut)
    assert sum(each.count for each in whole) == sum(each.count for each in cut) == 2


async def test_count_of_amounts_beyond_a_field_is_cut_and_says_so(server: Service, cashier: Cashier) -> None:
    """A sum that is too large for its field is the largest that fits, at least."""
    for _ in range(2):
        await cashier.initiate(1)
    run_sql(server.database_url, "UPDATE payments SET amount = 9223372036854775807")

    [found] = await deposits(cashier)

    assert (found.count, found.amount_minor, found.at_least) == (2, 2**63 - 1, True)
