"""Own what several reviewers of withdrawals are promised: claims, notes, one decision about what was seen."""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
from defter.payments.v1 import payment_pb2

from tests.support.cashier import CAPTURED, Cashier
from tests.support.clock import START, FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.service import Service
from tests.support.wire import read_refusal, refusal

REQUESTED = payment_pb2.WITHDRAWAL_STATE_REQUESTED
APPROVED = payment_pb2.WITHDRAWAL_STATE_APPROVED
PAID = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID


async def asked(cashier: Cashier) -> str:
    """Ask for a withdrawal and return its id."""
    await cashier.captured(500)
    return (await cashier.request(100)).withdrawal_id


@pytest.mark.parametrize(("seconds", "lasts"), [(0, 900), (60, 60), (86_400, 86_400)])
async def test_claim_lasts_as_long_as_was_said(
    cashier: Cashier, clock: FakeClock, seconds: int, lasts: int
) -> None:
    """From the record's time on; who reads it meanwhile sees it, by each way to read."""
    withdrawal_id = await asked(cashier)

    claimed = await cashier.claim(withdrawal_id, "ada", claim_seconds=seconds)

    claim = claimed.claim
    assert (claim.reviewer, claim.identity) == ("ada", "")
    assert claim.claim_time.ToDatetime(UTC) == clock.now
    assert claim.expire_time.ToDatetime(UTC) == clock.now + timedelta(seconds=lasts)
    assert (claimed.state, claimed.update_time) == (REQUESTED, claim.claim_time)
    assert await cashier.withdrawal(withdrawal_id) == claimed
    assert await cashier.withdrawals() == [claimed]
    clock.advance(seconds=lasts, microseconds=-1)
    assert (await refusal(cashier.claim(withdrawal_id, "bob"))).reason == "WITHDRAWAL_CLAIMED"
    clock.advance(microseconds=1)
    assert (await cashier.claim(withdrawal_id, "bob")).claim.reviewer == "bob"
    await assert_ledger_coherent(cashier.ledger)


async def test_claim_is_taken_over_or_given_back(cashier: Cashier) -> None:
    """Nobody has to wait for a colleague who went home; what nobody claims can be given back, too."""
    withdrawal_id = await asked(cashier)
    await cashier.claim(withdrawal_id, "ada")

    refused = [
        (await refusal(cashier.claim(withdrawal_id, "bob", release=release))).reason
        for release in (False, True)
    ]
    taken = await cashier.claim(withdrawal_id, "bob", take_over=True)
    back = await cashier.claim(withdrawal_id, "ada", take_over=True, release=True)
    again = await cashier.claim(withdrawal_id, "ada", release=True)

    assert refused == ["WITHDRAWAL_CLAIMED"] * 2
    assert taken.claim.reviewer == "bob"
    assert not back.HasField("claim")
    assert not again.HasField("claim")


async def test_claim_forbids_no_decision(cashier: Cashier) -> None:
    """It is a word among colleagues: money never waits for whoever has claimed it."""
    rejected, approved = await asked(cashier), await asked(cashier)
    for each in (rejected, approved):
        await cashier.claim(each, "somebody else")

    assert (await cashier.reject(rejected)).state == payment_pb2.WITHDRAWAL_STATE_REJECTED
    assert (await cashier.approve(approved, "ada")).state == APPROVED
    assert (await refusal(cashier.claim(rejected, "ada"))).reason == "ILLEGAL_TRANSITION"
    assert (await cashier.claim(approved, "ada", take_over=True)).claim.reviewer == "ada"


async def test_notes_stay_in_their_order_whatever_happens(
    server: Service, cashier: Cashier, clock: FakeClock
) -> None:
    """Before and after the decision, through a restart, an event and the end of the withdrawal."""
    withdrawal_id = await asked(cashier)
    await cashier.add_note(withdrawal_id, "who is that?", "ada")
    clock.advance(seconds=5)
    await cashier.approve(withdrawal_id, "bob")
    await cashier.until_called()
    await server.crash()
    await server.restart()
    cashier = Cashier(server.ledger("casino", key_prefix="later"), first=1_000)
    await cashier.add_note(withdrawal_id, "ñ" * 512, "bob")
    await cashier.ingest(cashier.event(PAID, withdrawal_id, 100))
    noted = await cashier.add_note(withdrawal_id, "paid", "ada")

    assert [(each.reviewer, each.text) for each in noted.notes] == [
        ("ada", "who is that?"),
        ("bob", "ñ" * 512),
        ("ada", "paid"),
    ]
    assert [each.note_time.ToDatetime(UTC) - START for each in noted.notes] == [
        timedelta(0),
        timedelta(seconds=5),
        timedelta(seconds=5),
    ]
    assert noted.state == payment_pb2.WITHDRAWAL_STATE_PAID
    await assert_ledger_coherent(cashier.ledger)


@pytest.mark.parametrize(
    ("seen", "fits"),
    [
        ({}, True),
        ({"expected_state": REQUESTED}, True),
        ({"expected_approvals": 1}, True),
        ({"expected_state": REQUESTED, "expected_approvals": 1}, True),
        ({"expected_approvals": 0}, False),
        ({"expected_state": APPROVED}, False),
        ({"expected_state": APPROVED, "expected_approvals": 1}, False),
    ],
)
@pytest.mark.parametrize("step", ["approve", "reject"])
async def test_decide_what_a_colleague_has_decided_meanwhile(
    cashier: Cashier, step: str, seen: dict[str, Any], *, fits: bool
) -> None:
    """An expected number of nought is one, and not left out."""
    await cashier.set_policy(second_review_from_minor={"EUR": 1})
    withdrawal_id = await asked(cashier)
    await cashier.approve(withdrawal_id, "ada")
    before = await cashier.withdrawal(withdrawal_id)

    call = (
        cashier.approve(withdrawal_id, "bob", **seen)
        if step == "approve"
        else cashier.reject(withdrawal_id, **seen)
    )
    if fits:
        assert (await call).state != REQUESTED
        return
    refused = await refusal(call)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "WITHDRAWAL_STATE_MISMATCH")
    assert await cashier.withdrawal(withdrawal_id) == before
    await assert_ledger_coherent(cashier.ledger)


async def test_many_who_have_seen_the_same_decide_once(cashier: Cashier) -> None:
    """Of ten clicks at one moment, by ten people who saw no approval, one counts."""
    await cashier.set_policy(second_review_from_minor={"EUR": 1})
    withdrawal_id = await asked(cashier)

    answers = await asyncio.gather(
        *(
            cashier.approve(withdrawal_id, f"reviewer {n}", expected_state=REQUESTED, expected_approvals=0)
            for n in range(10)
        ),
        return_exceptions=True,
    )

    refused = [read_refusal(each).reason for each in answers if isinstance(each, grpc.aio.AioRpcError)]
    assert refused == ["WITHDRAWAL_STATE_MISMATCH"] * 9
    withdrawal = await cashier.withdrawal(withdrawal_id)
    assert (withdrawal.state, len(withdrawal.approvals)) == (REQUESTED, 1)


@pytest.mark.parametrize("second", ["Ada", " ADA", "а\u200bda", "ａｄａ", "adá"])
async def test_approve_twice_in_two_spellings_is_refused(cashier: Cashier, second: str) -> None:
    """Two spellings of one name are one person, who can't pay out alone."""
    await cashier.set_policy(second_review_from_minor={"EUR": 1})
    withdrawal_id = await asked(cashier)
    await cashier.approve(withdrawal_id, "ada")

    refused = await refusal(cashier.approve(withdrawal_id, second))

    assert refused.reason == "SECOND_REVIEWER_REQUIRED"
    assert (await cashier.approve(withdrawal_id, "grace")).state == APPROVED


async def test_find_payments_by_ref_at_any_provider(cashier: Cashier) -> None:
    """Whoever has the ref alone finds the payment; other refs that were told of it lead there, too."""
    deposit = await cashier.initiate(100, provider_ref="first")
    await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 100, payment_ref="second"))
    withdrawal_id = await asked(cashier)
    await cashier.approve(withdrawal_id)
    await cashier.until_called()

    for ref in ("first", "second"):
        found = await cashier.deposits(provider_ref=ref)
        assert [each.deposit_id for each in found] == [deposit.deposit_id]
        assert await cashier.withdrawals(provider_ref=ref) == []
    [withdrawal] = await cashier.withdrawals(provider_ref=f"at-{withdrawal_id}")
    assert withdrawal.withdrawal_id == withdrawal_id
    assert await cashier.deposits(provider_ref="third") == []
