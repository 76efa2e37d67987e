"""Owns adjustments: what was asked for by hand, who has approved it, and which steps may follow.

What an adjustment moves never changes once it was asked for, so who approves it approves what they have seen.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.code import Code
from ledger_server.domain.ledger.accounts import Direction
from ledger_server.domain.ledger.transactions import NewPosting
from ledger_server.domain.payments.withdrawal import Approval, counted


class AdjustmentState(Code):
    """Where an adjustment stands."""

    REQUESTED = 1
    POSTED = 2
    REJECTED = 3
    CANCELLED = 4


STEPS: Final[Mapping[AdjustmentState, frozenset[AdjustmentState]]] = {
    AdjustmentState.REQUESTED: frozenset(
        {AdjustmentState.POSTED, AdjustmentState.REJECTED, AdjustmentState.CANCELLED}
    ),
    AdjustmentState.POSTED: frozenset(),
    AdjustmentState.REJECTED: frozenset(),
    AdjustmentState.CANCELLED: frozenset(),
}
"""The steps that callers may ask for."""

PERSONS: Final = 2
"""How many persons an adjustment takes from a tenant's amount on: who asks, and another one."""


class AdjustmentPolicy(Struct, frozen=True, kw_only=True):
    """From which debits a tenant wants a second person: minor units by currency, each at least 1."""

    second_review_from: Mapping[str, int]


NO_ADJUSTMENT_POLICY: Final = AdjustmentPolicy(second_review_from={})
"""Until a tenant sets one: a second person is always needed, as nobody has said what one may move alone."""


class Adjustment(Struct, frozen=True, kw_only=True):
    """A transaction that somebody has asked for by hand. Amounts in minor units.

    Its number is the sequence of the record in which it was asked for.

    Attributes:
        effective_time: None: when it is posted.
        requester_identity: what proved who asked; empty where nothing did.
        rejected_by, end_reason: of one that came to nothing.
        transaction: the sequence of the record that posted it.
    """

    number: int
    state: AdjustmentState
    postings: tuple[NewPosting, ...]
    reason: str
    description: str
    reference: str
    metadata: Mapping[str, str]
    effective_time: datetime | None
    requester: str
    requester_identity: str
    request_time: datetime
    update_time: datetime
    approvals: tuple[Approval, ...]
    rejected_by: str
    end_reason: str
    transaction: int | None

    @property
    def persons(self) -> tuple[Approval, ...]:
        """Who stands behind it so far: who asked, and who has approved."""
        asked = Approval(
            reviewer=self.requester, time=self.request_time, note="", identity=self.requester_identity
        )
        return (asked, *self.approvals)

    def is_of(self, actor: str) -> bool:
        """Whether a person asked for it."""
        return self.persons[0].is_of(actor)


def totals_of(postings: Sequence[NewPosting]) -> dict[str, int]:
    """Return what postings move: the sum of the debits by currency, in alphabetical order."""
    sums: dict[str, int] = {}
    for posting in postings:
        if posting.direction is Direction.DEBIT:
            sums[posting.currency] = sums.get(posting.currency, 0) + posting.amount
    return dict(sorted(sums.items()))


def needs_second(policy: AdjustmentPolicy, postings: Sequence[NewPosting]) -> bool:
    """Whether postings need a second person: one of their currencies reaches its amount, or has none."""
    amounts = policy.second_review_from
    return any(
        amounts.get(currency) is None or total >= amounts[currency]
        for currency, total in totals_of(postings).items()
    )


def approved(adjustment: Adjustment, approval: Approval) -> tuple[Adjustment, bool] | None:
    """Return an adjustment with one more approval, and whether that is enough; None: of the same person.

    Persons are told apart as reviewers of withdrawals are. To one who was proved nobody counts whose name was
    only typed: it may be theirs. So where who asked was not proved, two others have to be.
    """
    others = counted(adjustment.persons, proved=bool(approval.identity))
    if any(person.is_of(approval.reviewer) for person in others):
        return None
    after = replace(adjustment, approvals=(*adjustment.approvals, approval), update_time=approval.time)
    return after, len(others) + 1 >= PERSONS


def contradiction(before: Adjustment | None, after: Adjustment, policy: AdjustmentPolicy) -> str:
    """Return what no decision can have made of an adjustment; empty if all is right.

    Args:
        before: how it was; None: it was asked for just now.
        policy: the tenant's at that moment.
    """
    if (after.transaction is not None) != (after.state is AdjustmentState.POSTED):
        return "it has a transaction if and only if it is posted"
    if before is None:
        return _wrong_request(after, policy)
    if not STEPS[before.state]:
        return f"nothing follows {before.state.name}"
    if after != _with_changes_of(before, after):
        return "what was asked for has changed"
    if after.state in {AdjustmentState.REJECTED, AdjustmentState.CANCELLED}:
        ended_by_other = bool(after.rejected_by) == (after.state is AdjustmentState.REJECTED)
        return "" if ended_by_other and after.approvals == before.approvals else "its end is another one's"
    expected = approved(before, after.approvals[-1]) if after.approvals else None
    if expected is None or expected[0].approvals != after.approvals or after.rejected_by or after.end_reason:
        return "nobody else has approved it"
    if expected[1] != (after.state is AdjustmentState.POSTED):
        return "it is posted once enough persons have approved it, and not before"
    return ""


def _wrong_request(asked: Adjustment, policy: AdjustmentPolicy) -> str:
    if asked.approvals or asked.rejected_by or asked.end_reason:
        return "it begins without approvals and without an end"
    awaited = AdjustmentState.REQUESTED if needs_second(policy, asked.postings) else AdjustmentState.POSTED
    return "" if asked.state is awaited else f"the tenant's policy makes it {awaited.name}"


def _with_changes_of(before: Adjustment, after: Adjustment) -> Adjustment:
    """Return an adjustment with all that a step may change taken from a later one."""
    return replace(
        before,
        state=after.state,
        update_time=after.update_time,
        approvals=after.approvals,
        rejected_by=after.rejected_by,
        end_reason=after.end_reason,
        transaction=after.transaction,
    )
