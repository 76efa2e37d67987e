"""Own the way of an adjustment, from the RPC to the disk: who asks, who approves, and what is posted."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import account_pb2, journal_pb2

from tests.support.adjusters import CANCELLED, POSTED, REJECTED, REQUESTED, Adjusters
from tests.support.clock import START, FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import Ledger
from tests.support.requests import CREDIT, DEBIT, leg, timestamp
from tests.support.wire import read_refusal, refusal


@pytest.fixture
async def adjusters(ledger: Ledger) -> Adjusters:
    """People of a tenant whose player ann has 500."""
    await ledger.open("ann")
    await ledger.fund("ann", 500)
    return Adjusters(ledger)


async def test_request_without_policy_waits_for_second_person(adjusters: Adjusters) -> None:
    """Nobody has said what one person may move, so nothing moves until another one approves."""
    asked = await adjusters.request(amount_minor=1, reference="case 7", metadata={"ticket": "4711"})

    assert asked.state == REQUESTED
    assert (asked.requester, asked.reason, asked.transaction_id) == ("ada", "goodwill", "")
    assert [(each.currency_code, each.amount_minor) for each in asked.totals] == [("EUR", 1)]
    assert await adjusters.ledger.posted("ann") == 500
    assert await adjusters.get(asked.adjustment_id) == asked

    posted = await adjusters.approve(asked.adjustment_id, note="seen", expected_state=REQUESTED)

    assert posted.state == POSTED
    assert [(each.reviewer, each.note) for each in posted.approvals] == [("grace", "seen")]
    assert await adjusters.ledger.posted("ann") == 501
    transaction = (await adjusters.ledger.transaction(posted.transaction_id)).transaction
    assert transaction.type == account_pb2.TRANSACTION_TYPE_ADJUSTMENT
    assert transaction.adjustment_id == posted.adjustment_id
    assert (transaction.reference, dict(transaction.metadata)) == ("case 7", {"ticket": "4711"})
    await assert_ledger_coherent(adjusters.ledger)


async def test_request_below_amount_is_posted_in_same_commit(adjusters: Adjusters) -> None:
    """One person is enough below the tenant's amount, and not at it."""
    await adjusters.set_policy({"EUR": 100})

    small = await adjusters.request(amount_minor=99, effective_time=timestamp(START - timedelta(days=1)))
    large = await adjusters.request(amount_minor=100)

    assert (small.state, large.state) == (POSTED, REQUESTED)
    assert await adjusters.ledger.posted("ann") == 599
    transaction = (await adjusters.ledger.transaction(small.transaction_id)).transaction
    assert transaction.effective_time == timestamp(START - timedelta(days=1))
    assert dict((await adjusters.policy()).second_review_from_minor) == {"EUR": 100}
    await assert_ledger_coherent(adjusters.ledger)


async def test_request_in_currency_without_amount_waits(adjusters: Adjusters) -> None:
    """A policy that names one currency says nothing of another, and the debits of all are looked at."""
    ledger = adjusters.ledger
    for name in ("dollars", "dollar-house"):
        await ledger.open(name, currency_code="USD", kind=account_pb2.ACCOUNT_KIND_ASSET)
    await adjusters.set_policy({"EUR": 1_000})

    mixed = await adjusters.request_legs(
        [
            leg("house", DEBIT, 5),
            leg("ann", CREDIT, 5),
            leg("dollars", DEBIT, 1, "USD"),
            leg("dollar-house", CREDIT, 1, "USD"),
        ]
    )
    split = await adjusters.request_legs(
        [leg("house", DEBIT, 600), leg("house", DEBIT, 400), leg("ann", CREDIT, 1_000)]
    )

    assert (mixed.state, split.state) == (REQUESTED, REQUESTED)
    assert [(each.currency_code, each.amount_minor) for each in mixed.totals] == [("EUR", 5), ("USD", 1)]


async def test_same_person_never_approves(adjusters: Adjusters) -> None:
    """Who asked is refused by name, and the adjustment waits on for somebody else."""
    asked = await adjusters.request()

    refused = await refusal(adjusters.approve(asked.adjustment_id, "ada"))

    assert refused.reason == "SECOND_PERSON_REQUIRED"
    assert refused.metadata == {"adjustment_id": asked.adjustment_id, "reviewer": "ada"}
    assert (await adjusters.get(asked.adjustment_id)).state == REQUESTED
    assert (await adjusters.approve(asked.adjustment_id)).state == POSTED
    await assert_ledger_coherent(adjusters.ledger)


async def test_refused_approval_leaves_it_requested(adjusters: Adjusters) -> None:
    """The accounts of the moment decide: limits, frozen and closed accounts, each by its name."""
    ledger = adjusters.ledger
    asked = await adjusters.request("ann", "house", 600)

    poor = await refusal(adjusters.approve(asked.adjustment_id))
    await ledger.fund("ann", 100)
    await ledger.freeze("ann")
    frozen = await refusal(adjusters.approve(asked.adjustment_id))
    await ledger.unfreeze("ann")
    posted = await adjusters.approve(asked.adjustment_id)
    late = await adjusters.request("house", "ann", 50)
    await ledger.close("ann")
    closed = await refusal(adjusters.approve(late.adjustment_id))

    assert [poor.reason, frozen.reason] == ["INSUFFICIENT_FUNDS", "ACCOUNT_FROZEN"]
    assert (posted.state, len(posted.approvals)) == (POSTED, 1)
    assert closed.reason == "ACCOUNT_CLOSED"
    assert (await adjusters.get(late.adjustment_id)).state == REQUESTED
    await assert_ledger_coherent(ledger)


async def test_rejected_and_cancelled_are_over(adjusters: Adjusters) -> None:
    """Nothing is posted, and no step follows; only who asked takes it back."""
    first, second = await adjusters.request(), await adjusters.request()

    rejected = await adjusters.reject(first.adjustment_id, reason="wrong player")
    foreign = await refusal(adjusters.cancel(second.adjustment_id, "grace"))
    cancelled = await adjusters.cancel(second.adjustment_id, reason="twice")

    assert (rejected.state, rejected.rejected_by, rejected.end_reason) == (REJECTED, "grace", "wrong player")
    assert foreign.reason == "REQUESTER_REQUIRED"
    assert (cancelled.state, cancelled.rejected_by, cancelled.end_reason) == (CANCELLED, "", "twice")
    for step in (adjusters.approve, adjusters.reject, adjusters.cancel):
        for adjustment in (first, second):
            again = await refusal(step(adjustment.adjustment_id))
            assert again.reason == "ILLEGAL_TRANSITION"
    assert await adjusters.ledger.posted("ann") == 500
    await assert_ledger_coherent(adjusters.ledger)


async def test_other_state_than_expected_is_refused(adjusters: Adjusters) -> None:
    """Who has seen it REQUESTED does not decide about one that a colleague has posted."""
    asked = await adjusters.request()
    await adjusters.approve(asked.adjustment_id)

    refused = await refusal(adjusters.reject(asked.adjustment_id, expected_state=REQUESTED))

    assert refused.reason == "ADJUSTMENT_STATE_MISMATCH"
    assert refused.metadata == {
        "adjustment_id": asked.adjustment_id,
        "state": "POSTED",
        "expected_state": "REQUESTED",
    }


async def test_request_that_can_never_be_posted_is_refused_at_once(adjusters: Adjusters) -> None:
    """Nobody waits in vain for a second person."""
    ledger = adjusters.ledger
    await ledger.open("gone")
    await ledger.close("gone")

    refused = [
        (await refusal(adjusters.request("house", "nobody"))).reason,
        (await refusal(adjusters.request("house", "gone"))).reason,
        (
            await refusal(
                adjusters.request_legs([leg("house", DEBIT, 5, "USD"), leg("ann", CREDIT, 5, "USD")])
            )
        ).reason,
    ]

    assert refused == ["ACCOUNT_NOT_FOUND", "ACCOUNT_CLOSED", "CURRENCY_MISMATCH"]
    assert await adjusters.listed() == []
    await assert_ledger_coherent(ledger)


async def test_many_approve_at_once_and_it_is_posted_once(adjusters: Adjusters) -> None:
    """Of twenty people one posts it; the others are told that it is over."""
    asked = await adjusters.request()

    answers = await asyncio.gather(
        *(adjusters.approve(asked.adjustment_id, f"person-{number}") for number in range(20)),
        return_exceptions=True,
    )

    refused = [read_refusal(each).reason for each in answers if isinstance(each, grpc.aio.AioRpcError)]
    assert Counter(refused) == {"ILLEGAL_TRANSITION": 19}
    assert await adjusters.ledger.posted("ann") == 600
    await assert_ledger_coherent(adjusters.ledger)


async def test_retries_get_the_first_answer(adjusters: Adjusters) -> None:
    """A key of each RPC means the same for ever; GetOutcome tells it."""
    ledger = adjusters.ledger
    asked = await adjusters.request(key="ask")
    refused = await refusal(adjusters.approve(asked.adjustment_id, "ada", key="self"))
    posted = await adjusters.approve(asked.adjustment_id, key="approve")

    assert await adjusters.request(key="ask") == asked
    again = await refusal(adjusters.approve(asked.adjustment_id, "ada", key="self"))
    assert (again.reason, again.metadata, again.replayed) == (refused.reason, refused.metadata, True)
    assert await adjusters.approve(asked.adjustment_id, key="approve") == posted
    outcome = await ledger.stubs.journal.GetOutcome(
        journal_pb2.GetOutcomeRequest(
            tenant_id=ledger.tenant_id, method="ApproveAdjustment", idempotency_key="approve"
        )
    )
    assert outcome.entry.record.adjustment_changed == posted
    assert await ledger.posted("ann") == 600


async def test_list_by_state_time_and_order(adjusters: Adjusters, clock: FakeClock) -> None:
    """Each filter lets pass what it says, over pages of any size."""
    await adjusters.set_policy({"EUR": 100})
    first = await adjusters.request(amount_minor=1)
    begin = clock.now
    clock.advance(seconds=10)
    waiting = [await adjusters.request(amount_minor=100 + number) for number in range(5)]
    clock.advance(seconds=10)
    rejected = await adjusters.reject(waiting[1].adjustment_id)
    everything = [first, waiting[0], rejected, *waiting[2:]]
    ids = [each.adjustment_id for each in everything]

    async def found(**filters: Any) -> list[str]:
        return [each.adjustment_id for each in await adjusters.listed(**filters)]

    assert await adjusters.listed() == everything
    for size in (1, 2, 5, 6):
        assert await found(page_size=size) == ids
        assert await found(page_size=size, newest_first=True) == ids[::-1]
        assert await found(page_size=size, states=[POSTED, REJECTED], newest_first=True) == [ids[2], ids[0]]
    assert await found(states=[REQUESTED]) == [ids[1], *ids[3:]]
    assert await found(states=[0, POSTED]) == ids
    assert await found(from_time=timestamp(begin + timedelta(seconds=1))) == ids[1:]
    assert await found(to_time=timestamp(begin + timedelta(seconds=1))) == ids[:1]


async def test_read_unknown_adjustment_is_refused(adjusters: Adjusters) -> None:
    """Neither an id of nobody, nor one of something else, nor of another tenant's form names anything."""
    asked = await adjusters.request()
    for wrong in ("adj_x", "tx_1", asked.adjustment_id + "0", asked.adjustment_id[:-1] + "99999"):
        assert (await refusal(adjusters.get(wrong))).reason == "ADJUSTMENT_NOT_FOUND"
        assert (await refusal(adjusters.approve(wrong))).reason == "ADJUSTMENT_NOT_FOUND"


async def test_posted_adjustment_is_reversed_as_any_transaction(adjusters: Adjusters) -> None:
    """The adjustment stays POSTED; its transaction says what took it back."""
    asked = await adjusters.request()
    posted = await adjusters.approve(asked.adjustment_id)

    await adjusters.ledger.reverse(posted.transaction_id)

    assert await adjusters.ledger.posted("ann") == 500
    assert (await adjusters.get(asked.adjustment_id)).state == POSTED
    found = await adjusters.ledger.transaction(posted.transaction_id)
    assert found.reversed_by_transaction_id
    await assert_ledger_coherent(adjusters.ledger)


async def test_verify_counts_adjustments(adjusters: Adjusters) -> None:
    """What is stored of each is compared with the journal."""
    await adjusters.request()
    await adjusters.reject((await adjusters.request()).adjustment_id)

    result = await adjusters.ledger.verify()

    assert not result.HasField("first_difference")
    assert result.adjustment_count == 2
