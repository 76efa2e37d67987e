"""When an adjustment needs a second person, who is one, and what no decision can have led to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.adjustments.adjustment import (
    NO_ADJUSTMENT_POLICY,
    Adjustment,
    AdjustmentPolicy,
    AdjustmentState,
    approved,
    contradiction,
    needs_second,
    totals_of,
)
from ledger_server.domain.ledger.accounts import Direction
from ledger_server.domain.ledger.transactions import NewPosting
from ledger_server.domain.payments.withdrawal import Approval
from tests.unit.books import NOW

State = AdjustmentState
IDENTITY: Final = "spiffe://defter.example/console"


def legs(*moves: tuple[int, str]) -> tuple[NewPosting, ...]:
    """Return balanced postings that move these amounts."""
    return tuple(
        posting
        for amount, currency in moves
        for posting in (
            NewPosting(f"house:{currency}", Direction.DEBIT, amount, currency),
            NewPosting(f"ann:{currency}", Direction.CREDIT, amount, currency),
        )
    )


def asked(**fields: Any) -> Adjustment:
    """Return an adjustment of 500 euros cents that ada has asked for."""
    wanted: dict[str, Any] = {
        "number": 101,
        "state": State.REQUESTED,
        "postings": legs((500, "EUR")),
        "reason": "goodwill",
        "description": "",
        "reference": "",
        "metadata": {},
        "effective_time": None,
        "requester": "ada",
        "requester_identity": "",
        "request_time": NOW,
        "update_time": NOW,
        "approvals": (),
        "rejected_by": "",
        "end_reason": "",
        "transaction": None,
    }
    return Adjustment(**{**wanted, **fields})


def approval(reviewer: str, *, proved: bool = False) -> Approval:
    """Return somebody's approval."""
    return Approval(
        reviewer=reviewer, time=NOW + timedelta(hours=1), note="", identity=IDENTITY if proved else ""
    )


@pytest.mark.parametrize(
    ("amounts", "moves", "needed"),
    [
        pytest.param({}, [(1, "EUR")], True, id="no policy"),
        pytest.param({"USD": 10**9}, [(1, "EUR")], True, id="another currency alone"),
        pytest.param({"EUR": 500}, [(499, "EUR")], False, id="below"),
        pytest.param({"EUR": 500}, [(500, "EUR")], True, id="at the amount"),
        pytest.param({"EUR": 500}, [(501, "EUR")], True, id="above"),
        pytest.param({"EUR": 500}, [(250, "EUR"), (250, "EUR")], True, id="split over legs"),
        pytest.param({"EUR": 500, "USD": 500}, [(499, "EUR"), (499, "USD")], False, id="each below"),
        pytest.param({"EUR": 500, "USD": 500}, [(1, "EUR"), (500, "USD")], True, id="one of two"),
        pytest.param({"EUR": 500}, [(1, "EUR"), (1, "USD")], True, id="one of two has no amount"),
    ],
)
def test_second_person_is_needed_from_an_amount_on(
    amounts: dict[str, int], moves: list[tuple[int, str]], needed: bool
) -> None:
    """What is not said gives no credit: a currency without an amount always needs two."""
    assert needs_second(AdjustmentPolicy(second_review_from=amounts), legs(*moves)) is needed


@given(st.lists(st.tuples(st.integers(1, 10**15), st.sampled_from(["EUR", "USD", "JPY"])), max_size=8))
def test_totals_are_those_of_either_side(moves: list[tuple[int, str]]) -> None:
    """The debits are what counts, and they equal the credits."""
    postings = legs(*moves)
    mirrored = [
        replace(each, direction=Direction.CREDIT if each.direction is Direction.DEBIT else Direction.DEBIT)
        for each in postings
    ]

    assert totals_of(postings) == totals_of(mirrored)
    assert list(totals_of(postings)) == sorted(totals_of(postings))


@pytest.mark.parametrize(
    ("requester", "before", "reviewer", "enough"),
    [
        pytest.param(("ada", False), [], ("grace", False), True, id="two typed names"),
        pytest.param(("ada", False), [], ("ada", False), None, id="one typed name"),
        pytest.param(("ada", True), [], ("grace", True), True, id="two proved persons"),
        pytest.param(("ada", True), [], ("ada", True), None, id="one proved person"),
        pytest.param(("ada", True), [], ("ADA", True), None, id="one proved person in another case"),
        pytest.param(("ada", False), [], ("grace", True), False, id="who asked was not proved"),
        pytest.param(("ada", False), [], ("ada", True), False, id="nor told apart by their name"),
        pytest.param(("ada", False), [("grace", True)], ("joan", True), True, id="two proved others"),
        pytest.param(("ada", False), [("grace", True)], ("Grace", True), None, id="one other twice"),
        pytest.param(("ada", True), [], ("grace", False), True, id="proved, then typed on an open server"),
    ],
)
def test_who_counts_as_another_person(
    requester: tuple[str, bool],
    before: list[tuple[str, bool]],
    reviewer: tuple[str, bool],
    enough: bool | None,
) -> None:
    """Each doubt is decided so that the adjustment waits for one person more; of names, whether proved."""
    name, proved = requester
    adjustment = asked(
        requester=name,
        requester_identity=IDENTITY if proved else "",
        approvals=tuple(approval(each, proved=known) for each, known in before),
    )

    result = approved(adjustment, approval(reviewer[0], proved=reviewer[1]))

    assert (None if result is None else result[1]) is enough
    if result is not None:
        assert result[0].approvals[:-1] == adjustment.approvals
        assert result[0].postings == adjustment.postings


POSTED: Final = asked(
    state=State.POSTED, approvals=(approval("grace"),), transaction=150, update_time=approval("grace").time
)
LATER: Final = POSTED.update_time


def test_what_decisions_lead_to_contradicts_nothing() -> None:
    """Each step as it is decided."""
    small = AdjustmentPolicy(second_review_from={"EUR": 501})
    steps: list[tuple[Adjustment | None, Adjustment, AdjustmentPolicy]] = [
        (None, asked(), NO_ADJUSTMENT_POLICY),
        (None, asked(state=State.POSTED, transaction=100), small),
        (asked(), POSTED, NO_ADJUSTMENT_POLICY),
        (asked(), POSTED, small),
        (asked(), asked(state=State.REJECTED, rejected_by="ada", end_reason="no"), small),
        (asked(), asked(state=State.CANCELLED, end_reason=""), small),
    ]

    assert [contradiction(*step) for step in steps] == [""] * len(steps)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(None, asked(state=State.POSTED, transaction=100), id="posted at once above the amount"),
        pytest.param(None, asked(state=State.REJECTED, rejected_by="grace"), id="begun at its end"),
        pytest.param(None, asked(approvals=(approval("grace"),)), id="begun with an approval"),
        pytest.param(None, asked(end_reason="no"), id="begun with an end"),
        pytest.param(asked(), asked(transaction=150), id="a transaction of one that waits"),
        pytest.param(asked(), replace(POSTED, transaction=None), id="posted without a transaction"),
        pytest.param(asked(), replace(POSTED, approvals=()), id="posted without an approval"),
        pytest.param(asked(), replace(POSTED, approvals=(approval("ada"),)), id="approved by who asked"),
        pytest.param(
            asked(), replace(POSTED, approvals=(approval("grace"), approval("joan"))), id="two at once"
        ),
        pytest.param(asked(), replace(POSTED, postings=legs((501, "EUR"))), id="another amount"),
        pytest.param(asked(), replace(POSTED, requester="mallory"), id="another requester"),
        pytest.param(asked(), replace(POSTED, reason="fraud"), id="another reason"),
        pytest.param(asked(), replace(POSTED, rejected_by="eve"), id="posted and rejected"),
        pytest.param(
            asked(), asked(approvals=(approval("grace"),), update_time=LATER), id="approved, not posted"
        ),
        pytest.param(asked(), asked(state=State.REJECTED), id="rejected by nobody"),
        pytest.param(asked(), asked(state=State.CANCELLED, rejected_by="eve"), id="cancelled by a reviewer"),
        pytest.param(
            asked(),
            asked(state=State.REJECTED, rejected_by="eve", approvals=(approval("eve"),)),
            id="rejected and approved",
        ),
        pytest.param(asked(requester_identity=""), replace(POSTED, approvals=()), id="nobody else"),
        pytest.param(POSTED, POSTED, id="posted twice"),
        pytest.param(
            asked(state=State.CANCELLED), asked(state=State.REJECTED, rejected_by="eve"), id="ended twice"
        ),
        pytest.param(
            asked(), replace(POSTED, approvals=(approval("grace", proved=True),)), id="one proved is too few"
        ),
    ],
)
def test_what_no_decision_leads_to_is_named(before: Adjustment | None, after: Adjustment) -> None:
    """VerifyJournal says so of a journal in which it stands."""
    assert contradiction(before, after, AdjustmentPolicy(second_review_from={"EUR": 500}))
