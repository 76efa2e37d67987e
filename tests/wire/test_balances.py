"""Own what balances promise: now, at a time, at a sequence, and several from one moment."""

from __future__ import annotations

import asyncio

import pytest
from defter.ledger.v1 import account_pb2, hold_pb2

from tests.support.clock import START, FakeClock
from tests.support.coherence import assert_ledger_coherent, counters_of
from tests.support.ledger import ENFORCED, SHADOW, Ledger
from tests.support.requests import CREDIT, DEBIT, leg, limits, timestamp, transaction, transfer
from tests.support.service import Service, serving
from tests.support.wire import refusal


async def test_get_balance_at_sequence_returns_what_was_then(ledger: Ledger) -> None:
    """Every sequence of the past has its balance, whichever record stands there."""
    await ledger.open("ann")
    amounts = [3, 4, 5]
    sequences = [(await ledger.post("house", "ann", amount)).sequence for amount in amounts]
    await ledger.open("bob")
    head = await ledger.head()

    found = [(await ledger.balance("ann", sequence=n)).posted_balance_minor for n in sequences]
    between = await ledger.balance("ann", sequence=head)
    opened = await ledger.balance("ann", sequence=3)
    before = await refusal(ledger.balance("ann", sequence=2))

    assert found == [3, 7, 12]
    assert between.posted_balance_minor == 12
    assert (opened.posted_balance_minor, opened.version) == (0, 0)
    assert before.reason == "ACCOUNT_NOT_FOUND"


async def test_get_balance_at_time_returns_what_was_then(ledger: Ledger, clock: FakeClock) -> None:
    """A record counts from its record time on, to the microsecond."""
    await ledger.open("ann")
    await ledger.fund("ann", 3)
    clock.advance(seconds=10)
    await ledger.fund("ann", 4)
    clock.advance(seconds=10)

    async def at(seconds: float) -> int:
        moment = FakeClock().advance(seconds=seconds)
        return (await ledger.balance("ann", time=timestamp(moment))).posted_balance_minor

    assert await at(0) == 3
    assert await at(9.999999) == 3
    assert await at(10) == 7
    assert await at(20) == 7
    assert (await refusal(at(-1))).reason == "ACCOUNT_NOT_FOUND"


async def test_get_balance_in_future_is_refused(ledger: Ledger, clock: FakeClock) -> None:
    """What is yet to come is not known, by time or by sequence."""
    later = timestamp(FakeClock(clock.now).advance(seconds=1))

    by_time = await refusal(ledger.balance("house", time=later))
    by_sequence = await refusal(ledger.balance("house", sequence=3))

    assert by_time.reason == by_sequence.reason == "NOT_YET_RECORDED"
    assert by_time.metadata == by_sequence.metadata == {"head_sequence": "2"}


async def test_get_balance_says_what_it_includes(ledger: Ledger) -> None:
    """The answer names the account, its currency and the newest record that counted."""
    await ledger.open("ann")
    posted = await ledger.post("house", "ann", 5)
    request = account_pb2.GetBalanceRequest(tenant_id=ledger.tenant_id, account_id="ann")

    response = await ledger.stubs.accounts.GetBalance(request)

    assert (response.account_id, response.currency_code) == ("ann", "EUR")
    assert response.sequence == posted.sequence
    assert response.balance == posted.postings[1].balance


async def test_read_balance_after_expiry_shows_hold_released(ledger: Ledger, clock: FakeClock) -> None:
    """At its very instant a hold is dead for every reader; a microsecond before, it is not."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    expire_time = timestamp(FakeClock(clock.now).advance(seconds=60))
    hold = await ledger.place_hold("ann", "house", 4, expire_time=expire_time)

    clock.advance(seconds=60, microseconds=-1)
    before = (await ledger.available("ann"), (await ledger.hold(hold.hold_id)).state)
    clock.advance(microseconds=1)
    after = (await ledger.available("ann"), (await ledger.hold(hold.hold_id)).state)

    assert before == (6, hold_pb2.HOLD_STATE_OPEN)
    assert after == (10, hold_pb2.HOLD_STATE_EXPIRED)
    dead = await ledger.hold(hold.hold_id)
    assert (dead.remaining_minor, dead.released_minor) == (0, 4)
    assert dead.end_time == expire_time
    assert (await ledger.account("ann")).balance.pending_debits_minor == 0
    await assert_ledger_coherent(ledger)


async def test_spend_money_of_dead_hold_succeeds_at_its_instant(ledger: Ledger, clock: FakeClock) -> None:
    """The lane records the expiry before it decides what touches the account."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    expire_time = timestamp(FakeClock(clock.now).advance(seconds=60))
    hold = await ledger.place_hold("ann", "house", 10, expire_time=expire_time)
    clock.advance(seconds=60)

    posted = await ledger.post("ann", "house", 10)

    (expired,) = await ledger.records("hold_expired")
    assert expired.sequence < posted.sequence
    assert expired.hold_expired.hold.hold_id == hold.hold_id
    assert expired.hold_expired.hold.end_time == expire_time
    assert not expired.HasField("request")
    await assert_ledger_coherent(ledger)


async def test_get_balance_in_past_of_hold_shows_it_as_it_was(ledger: Ledger, clock: FakeClock) -> None:
    """A hold counts at a time within its life, and no longer from its expire time on."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    expire_time = timestamp(FakeClock(clock.now).advance(seconds=60))
    await ledger.place_hold("ann", "house", 4, expire_time=expire_time)
    clock.advance(seconds=100)
    await ledger.post("ann", "house", 1)

    async def available_at(seconds: int) -> int:
        moment = timestamp(FakeClock(START).advance(seconds=seconds))
        return (await ledger.balance("ann", time=moment)).available_balance_minor

    assert await available_at(0) == 6
    assert await available_at(59) == 6
    assert await available_at(60) == 10
    assert await available_at(100) == 9


async def test_batch_get_balances_keeps_order_and_repeats(ledger: Ledger) -> None:
    """One balance for each id asked for, in the same order, all from one record."""
    await ledger.open("ann")
    await ledger.fund("ann", 5)
    request = account_pb2.BatchGetBalancesRequest(
        tenant_id=ledger.tenant_id, account_ids=["house", "ann", "house"]
    )

    balances = (await ledger.stubs.accounts.BatchGetBalances(request)).balances

    assert [one.account_id for one in balances] == ["house", "ann", "house"]
    assert [one.balance.posted_balance_minor for one in balances] == [5, 5, 5]
    assert len({one.sequence for one in balances}) == 1


async def test_batch_get_balances_of_unknown_account_is_refused(ledger: Ledger) -> None:
    """An account that is missing is named, not left out."""
    request = account_pb2.BatchGetBalancesRequest(tenant_id=ledger.tenant_id, account_ids=["house", "nobody"])

    refused = await refusal(ledger.stubs.accounts.BatchGetBalances(request))

    assert refused.reason == "ACCOUNT_NOT_FOUND"
    assert refused.metadata["account_id"] == "nobody"


async def test_batch_get_balances_under_writers_is_one_moment(ledger: Ledger) -> None:
    """Money that moves between two accounts is seen on one of them, never on both or on none."""
    await ledger.open("ann")
    await ledger.open("bob")
    await ledger.fund("ann", 100)
    request = account_pb2.BatchGetBalancesRequest(tenant_id=ledger.tenant_id, account_ids=["ann", "bob"])
    done = asyncio.Event()

    async def write() -> None:
        for n in range(100):
            debit, credit = ("ann", "bob") if n % 2 == 0 else ("bob", "ann")
            await ledger.post(debit, credit, 100)
        done.set()

    writing = asyncio.create_task(write())
    sums = set()
    while not done.is_set():
        balances = (await ledger.stubs.accounts.BatchGetBalances(request)).balances
        sums.add(sum(one.balance.posted_balance_minor for one in balances))
    await writing

    assert sums == {100}


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        (("ann", "house", 1), "INSUFFICIENT_FUNDS"),
        (("house", "ann", 1), ""),
        (("house", "bob", 1), "BALANCE_LIMIT_EXCEEDED"),
        (("bob", "house", 1), ""),
    ],
)
async def test_move_account_outside_its_limits_may_only_go_back(
    ledger: Ledger, move: tuple[str, str, int], reason: str
) -> None:
    """An account that lies outside already may move towards its limits, step by step."""
    await ledger.enforce(SHADOW)
    await ledger.open("ann")
    await ledger.open("bob", bounds=limits(maximum=10))
    overdraft = await ledger.post("ann", "house", 50)
    await ledger.post("house", "bob", 50)
    await ledger.enforce(ENFORCED, reason="to see what moves", force=True)

    if reason:
        refused = await refusal(ledger.post(*move))
        assert refused.reason == reason
    else:
        await ledger.post(*move)

    assert overdraft.limit_breached
    await assert_ledger_coherent(ledger)


async def test_break_limit_in_shadow_is_marked_and_listed(ledger: Ledger) -> None:
    """SHADOW lets an overdraft pass; the transaction and the hold carry the mark."""
    await ledger.open("ann")
    await ledger.enforce(SHADOW)

    fine = await ledger.post("house", "ann", 5)
    breaking = await ledger.post("ann", "house", 6)
    hold = await ledger.place_hold("ann", "house", 1)

    assert not fine.limit_breached
    assert breaking.limit_breached
    assert hold.limit_breached
    assert await ledger.available("ann") == -2


async def test_hold_towards_account_raises_nothing_that_can_be_spent(ledger: Ledger) -> None:
    """Pending money in is not available, but takes room below the upper limit."""
    await ledger.open("ann", bounds=limits(minimum=0, maximum=10))
    hold = await ledger.place_hold("house", "ann", 8)

    spend = await refusal(ledger.post("ann", "house", 1))
    above = await refusal(ledger.submit(transfer("house", "ann", 3)))
    captured = await ledger.capture(hold.hold_id)

    assert spend.reason == "INSUFFICIENT_FUNDS"
    assert above.reason == "BALANCE_LIMIT_EXCEEDED"
    balance = captured.transaction.postings[1].balance
    assert counters_of(balance) == (0, 8, 0, 0)


async def test_capture_in_parts_then_release_ends_hold_once(ledger: Ledger) -> None:
    """Parts add up; what is left goes back."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    hold = await ledger.place_hold("ann", "house", 10)

    first = await ledger.capture(hold.hold_id, 3)
    second = await ledger.capture(hold.hold_id, 4)
    released = await ledger.release(hold.hold_id)

    assert (first.hold.state, first.hold.remaining_minor) == (hold_pb2.HOLD_STATE_OPEN, 7)
    assert second.transaction.hold_id == hold.hold_id
    assert released.state == hold_pb2.HOLD_STATE_RELEASED
    assert (released.captured_minor, released.released_minor) == (7, 3)
    assert await ledger.available("ann") == 3
    await assert_ledger_coherent(ledger)


async def test_capture_from_frozen_account_is_refused_but_release_is_not(ledger: Ledger) -> None:
    """A capture lowers the account, a release does not."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    hold = await ledger.place_hold("ann", "house", 4)
    await ledger.freeze("ann")

    refused = await refusal(ledger.capture(hold.hold_id))
    await ledger.fund("ann", 1)
    await ledger.release(hold.hold_id)

    assert refused.reason == "ACCOUNT_FROZEN"
    assert await ledger.available("ann") == 11


async def test_extend_hold_keeps_it_alive_beyond_first_expiry(ledger: Ledger, clock: FakeClock) -> None:
    """The old expire time means nothing any more."""
    await ledger.open("ann")
    first = timestamp(FakeClock(clock.now).advance(seconds=10))
    second = timestamp(FakeClock(clock.now).advance(seconds=20))
    hold = await ledger.place_hold("house", "ann", 4, expire_time=first)
    await ledger.extend(hold.hold_id, second)

    clock.advance(seconds=15)
    captured = await ledger.capture(hold.hold_id, 1)
    clock.advance(seconds=5)
    refused = await refusal(ledger.capture(hold.hold_id, 1))

    assert captured.hold.expire_time == second
    assert refused.reason == "HOLD_EXPIRED"


async def test_extend_endless_hold_is_refused(ledger: Ledger, clock: FakeClock) -> None:
    """Nothing is later than never."""
    await ledger.open("ann")
    hold = await ledger.place_hold("house", "ann", 4)

    later = timestamp(FakeClock(clock.now).advance(seconds=10))
    refused = await refusal(ledger.extend(hold.hold_id, later))

    assert refused.reason == "EXPIRE_TIME_NOT_LATER"


async def test_close_account_with_dead_hold_succeeds(ledger: Ledger, clock: FakeClock) -> None:
    """A dead hold keeps nobody's account open."""
    await ledger.open("ann")
    expire_time = timestamp(FakeClock(clock.now).advance(seconds=10))
    await ledger.place_hold("house", "ann", 4, expire_time=expire_time)
    held = await refusal(ledger.close("ann"))
    clock.advance(seconds=10)

    closed = await ledger.close("ann")

    assert held.reason == "ACCOUNT_NOT_EMPTY"
    assert closed.state == account_pb2.ACCOUNT_STATE_CLOSED
    await assert_ledger_coherent(ledger)


async def test_post_after_clock_went_back_keeps_time_in_order(ledger: Ledger, clock: FakeClock) -> None:
    """A record is never earlier than the one before, whatever the clock says."""
    await ledger.open("ann")
    before = await ledger.post("house", "ann", 1)
    clock.advance(seconds=-3600)

    after = await ledger.post("house", "ann", 1)

    assert after.record_time == before.record_time
    await assert_ledger_coherent(ledger)


async def test_capture_hold_that_a_faster_clock_ended_is_refused(
    database_url: str, ledger: Ledger, clock: FakeClock
) -> None:
    """What one server has recorded as expired is so for all, also for one whose clock is behind."""
    await ledger.open("ann")
    expire_time = timestamp(FakeClock(clock.now).advance(seconds=60))
    hold = await ledger.place_hold("house", "ann", 4, expire_time=expire_time)
    ahead = FakeClock(clock.now)
    ahead.advance(seconds=60)
    async with serving(database_url, clock=ahead) as second:
        await second.ledger(key_prefix="ahead").post("house", "ann", 1)

    refused = await refusal(ledger.capture(hold.hold_id))

    assert refused.reason == "HOLD_EXPIRED"
    assert (await ledger.hold(hold.hold_id)).state == hold_pb2.HOLD_STATE_EXPIRED
    await assert_ledger_coherent(ledger)


async def test_post_to_tenant_created_elsewhere_is_taken(database_url: str, server: Service) -> None:
    """That a tenant did not exist a moment ago is not remembered."""
    ledger = server.ledger()
    before = await refusal(ledger.open_house())
    async with serving(database_url) as second:
        await second.new_ledger()

    await ledger.open_house()

    assert before.reason == "TENANT_NOT_FOUND"
    assert await ledger.head() == 2


async def test_reverse_widest_transaction_mirrors_every_leg(ledger: Ledger) -> None:
    """A thousand legs are mirrored in their order."""
    await ledger.open("ann")
    legs = (leg("ann", CREDIT, n) for n in range(1, 1000))
    posted = await ledger.submit(transaction(leg("house", DEBIT, sum(range(1000))), *legs))

    reversal = await ledger.reverse(posted.transaction_id)

    assert [one.amount_minor for one in reversal.postings] == [one.amount_minor for one in posted.postings]
    assert await ledger.posted("ann") == await ledger.posted("house") == 0
    await assert_ledger_coherent(ledger)
