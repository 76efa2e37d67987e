"""Switching a tenant to ENFORCED: what stands against it, what force records, and what is told of it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from defter.ledger.v1 import tenant_pb2

from tests.support.clock import START, FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.findings import Desk
from tests.support.ledger import ENFORCED, SHADOW, Ledger
from tests.support.randomness import SEED
from tests.support.requests import ASSET, LIABILITY, limits, timestamp
from tests.support.wire import refusal

Break = Callable[[Ledger, FakeClock], Awaitable[object]]


async def now_of(ledger: Ledger) -> tenant_pb2.GetBalanceEnforcementResponse:
    """Return what is told of the tenant's mode."""
    request = tenant_pb2.GetBalanceEnforcementRequest(tenant_id=ledger.tenant_id)
    return await ledger.stubs.tenants.GetBalanceEnforcement(request)


async def spent(ledger: Ledger, _: FakeClock) -> None:
    """More is posted than there is."""
    await ledger.post("ann", "house", 1)


async def held(ledger: Ledger, _: FakeClock) -> None:
    """More is held than there is."""
    await ledger.place_hold("ann", "house", 1)


async def increased(ledger: Ledger, _: FakeClock) -> None:
    """A hold grows beyond what there is."""
    await ledger.post("house", "ann", 1)
    await ledger.increase((await ledger.place_hold("ann", "house", 1)).hold_id, 1)


async def limited(ledger: Ledger, _: FakeClock) -> None:
    """The limit is raised above the balance."""
    await ledger.set_limits("ann", limits(minimum=1))


async def opened_below(ledger: Ledger, _: FakeClock) -> None:
    """An account begins below its limit."""
    await ledger.open("bob", bounds=limits(minimum=1))


async def reversed_(ledger: Ledger, _: FakeClock) -> None:
    """What was spent meanwhile is taken back."""
    won = await ledger.post("house", "ann", 5)
    await ledger.post("ann", "house", 5)
    await ledger.reverse(won.transaction_id)


async def of_an_asset(ledger: Ledger, _: FakeClock) -> None:
    """Credits lower an account that debits raise."""
    await ledger.open("till", kind=ASSET, bounds=limits(minimum=0))
    await ledger.post("house", "till", 1)


BREAKS: list[Break] = [spent, held, increased, limited, opened_below, reversed_, of_an_asset]


@pytest.mark.parametrize("break_limit", BREAKS, ids=lambda each: each.__name__)
async def test_enforce_while_accounts_stand_below_is_refused_with_count_and_examples(
    ledger: Ledger, clock: FakeClock, break_limit: Break
) -> None:
    """However the account came below its limit; nothing is switched, and all of it is told."""
    await ledger.enforce(SHADOW)
    await ledger.open("ann")
    await break_limit(ledger, clock)

    refused = await refusal(ledger.enforce(ENFORCED, reason="phase 4"))

    now = await now_of(ledger)
    assert (refused.reason, refused.metadata["count"]) == ("ACCOUNTS_BELOW_LIMIT", "1")
    assert [refused.metadata["account_ids"]] == list(now.below_limit_account_ids)
    assert (now.tenant.balance_enforcement, now.below_limit_count) == (SHADOW, 1)
    await assert_ledger_coherent(ledger)


async def back(ledger: Ledger) -> None:
    """The overdraft is repaid."""
    await ledger.post("house", "ann", 1)


async def other_limit(ledger: Ledger) -> None:
    """The player gets credit."""
    await ledger.set_limits("ann", limits(minimum=-1))


@pytest.mark.parametrize("mend", [back, other_limit], ids=lambda each: each.__name__)
async def test_enforce_once_nothing_stands_below_is_done(
    ledger: Ledger, mend: Callable[[Ledger], Awaitable[None]]
) -> None:
    """What stood against it is gone; what has been broken since is still counted."""
    await ledger.enforce(SHADOW, reason="moving in")
    await ledger.open("ann")
    await ledger.post("ann", "house", 1)
    before = await now_of(ledger)
    await mend(ledger)

    switched = await ledger.enforce(ENFORCED)

    assert switched.balance_enforcement == ENFORCED
    assert (before.newest_switch.reason, before.breached_transaction_count) == ("moving in", 1)
    assert (await now_of(ledger)).breached_transaction_count == 0
    assert (await refusal(ledger.post("ann", "house", 1))).reason == "INSUFFICIENT_FUNDS"
    await assert_ledger_coherent(ledger)


async def test_hold_that_is_due_stands_against_nothing(ledger: Ledger, clock: FakeClock) -> None:
    """A due hold counts as released at its instant, whether or not the sweeper has come by."""
    await ledger.enforce(SHADOW)
    await ledger.open("ann")
    hold = await ledger.place_hold("ann", "house", 1, expire_time=timestamp(START + timedelta(hours=1)))
    clock.advance(seconds=3_600)

    assert hold.limit_breached
    assert (await ledger.enforce(ENFORCED)).balance_enforcement == ENFORCED
    await assert_ledger_coherent(ledger)


async def test_enforce_while_findings_block_is_refused_until_they_are_resolved(ledger: Ledger) -> None:
    """An acknowledged finding is still open."""
    desk = Desk(ledger)
    found = await desk.raised()
    await ledger.enforce(SHADOW)
    refused = await refusal(ledger.enforce(ENFORCED))
    found = await desk.acknowledge(found)
    again = await refusal(ledger.enforce(ENFORCED))
    told = await now_of(ledger)
    await desk.resolve(found)

    assert (refused.reason, refused.metadata) == (
        "BLOCKING_FINDINGS_OPEN",
        {"count": "1", "finding_ids": found.finding_id},
    )
    assert again.reason == "BLOCKING_FINDINGS_OPEN"
    assert list(told.blocking_finding_ids) == [found.finding_id]
    assert (await ledger.enforce(ENFORCED)).balance_enforcement == ENFORCED
    await assert_ledger_coherent(ledger)


async def test_force_switches_and_records_what_stood_against_it(ledger: Ledger) -> None:
    """The record says why, that it was forced, and how much was overridden; a retry hears the same."""
    await Desk(ledger).raised()
    await ledger.enforce(SHADOW)
    await ledger.open("ann")
    await ledger.post("ann", "house", 1)

    answers = [
        await ledger.enforce(ENFORCED, key="forced", reason="known: ticket 7", force=True) for _ in range(2)
    ]

    switch = answers[0].balance_enforcement_switch
    assert answers[0] == answers[1]
    assert (switch.reason, switch.forced) == ("known: ticket 7", True)
    assert (switch.below_limit_count, switch.blocking_finding_count) == (1, 1)
    now = await now_of(ledger)
    assert now.newest_switch == switch
    assert now.switch_sequence == answers[0].head_sequence
    await assert_ledger_coherent(ledger)


@pytest.mark.parametrize("reason", ["", "  "])
async def test_force_without_reason_is_refused(ledger: Ledger, reason: str) -> None:
    """Whoever overrides a rule says why."""
    await ledger.enforce(SHADOW)

    refused = await refusal(ledger.enforce(ENFORCED, reason=reason, force=True))

    assert (refused.reason, (await ledger.tenant()).balance_enforcement) == ("FIELD_MISSING", SHADOW)


async def test_enforced_again_is_no_switch(ledger: Ledger) -> None:
    """From ENFORCED to ENFORCED nothing changes for anybody, so nothing stands against it."""
    await ledger.open("ann", bounds=limits(minimum=1))

    assert (await ledger.enforce(ENFORCED)).balance_enforcement == ENFORCED
    await assert_ledger_coherent(ledger)


async def test_survey_counts_what_balances_show(ledger: Ledger) -> None:
    """The database's rule is the domain's, whatever kind, limit, state and money an account has."""
    chance = random.Random(SEED)
    await ledger.enforce(SHADOW)
    names = [f"account-{number:02}" for number in range(40)]
    for name in names:
        await ledger.open(
            name,
            kind=chance.choice([LIABILITY, ASSET]),
            bounds=chance.choice([None, limits(minimum=chance.randint(-3, 3)), limits(maximum=99)]),
        )
    for _ in range(120):
        one, other = chance.sample(names, 2)
        if chance.random() < 0.5:
            await ledger.post(one, other, chance.randint(1, 4))
        else:
            await ledger.place_hold(one, other, chance.randint(1, 2))
    for name in names:
        if await ledger.available(name) == 0:
            await ledger.freeze(name)

    now = await now_of(ledger)

    below = [
        item.account.account_id
        for item in await ledger.accounts()
        if item.account.limits.HasField("min_available_minor")
        and item.balance.available_balance_minor < item.account.limits.min_available_minor
    ]
    assert 0 < len(below) < len(names)
    assert now.below_limit_count == len(below)
    assert set(now.below_limit_account_ids) <= set(below)
    refused = await refusal(ledger.enforce(ENFORCED))
    assert refused.metadata["count"] == str(len(below))
