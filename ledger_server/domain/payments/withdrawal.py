"""Owns withdrawals: the review, what the provider said, and the state and the money that follow."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.code import Code
from ledger_server.domain.payments.knowledge import CallState, Fee, happened, later
from ledger_server.domain.payments.reviewers import may_be_one


class WithdrawalState(Code):
    """Where a withdrawal stands."""

    REQUESTED = 1
    APPROVED = 2
    PAID = 3
    REJECTED = 4
    CANCELLED = 5
    FAILED = 6
    REVERSED = 7


REVIEW_STEPS: Final[Mapping[WithdrawalState, frozenset[WithdrawalState]]] = {
    WithdrawalState.REQUESTED: frozenset(
        {WithdrawalState.APPROVED, WithdrawalState.REJECTED, WithdrawalState.CANCELLED}
    ),
    WithdrawalState.APPROVED: frozenset({WithdrawalState.PAID}),
}
"""The steps that callers may ask for; PAID is a reviewer's word that the provider has paid.

What the provider says is recorded in any state: APPROVED → PAID or FAILED, PAID → REVERSED, and
anything else with a finding. Source: decision 7.
"""


class WithdrawalPolicy(Struct, frozen=True, kw_only=True):
    """What a tenant demands of withdrawals; amounts in minor units by currency."""

    player_may_cancel: bool
    second_review_from: Mapping[str, int]


NO_POLICY: Final = WithdrawalPolicy(player_may_cancel=False, second_review_from={})
"""Until a tenant sets one."""


class Approval(Struct, frozen=True, kw_only=True):
    """Somebody who let a withdrawal pass; `identity` proved who, and is empty where nothing did."""

    reviewer: str
    time: datetime
    note: str
    identity: str

    def is_of(self, reviewer: str) -> bool:
        """Whether it may be of a reviewer, whose name was proved if the approval's was.

        Names that may be of one person count as one: see `reviewers.py`.
        """
        return may_be_one(self.reviewer, reviewer)


def counted(approvals: tuple[Approval, ...], *, proved: bool) -> tuple[Approval, ...]:
    """Return the approvals that count for the next one.

    Args:
        proved: whether the next one comes from a person who was proved. Then a name that somebody has only
            typed, on a server without identities, does not count: it may be of the same person.
    """
    return tuple(each for each in approvals if each.identity) if proved else approvals


class Claim(Struct, frozen=True, kw_only=True):
    """Somebody who works on a withdrawal, until a time; `identity` as of an approval."""

    reviewer: str
    identity: str
    time: datetime
    expire_time: datetime

    def holds_against(self, reviewer: str, now: datetime) -> bool:
        """Whether it is somebody else's and has not expired."""
        return now < self.expire_time and not may_be_one(self.reviewer, reviewer)


MAX_NOTES: Final = 64
"""Of one withdrawal: each of its records has them all."""


class ReviewNote(Struct, frozen=True, kw_only=True):
    """What somebody has noted; `identity` as of an approval."""

    reviewer: str
    identity: str
    time: datetime
    text: str


class Payout(Struct, frozen=True, kw_only=True):
    """One payout at the provider, or one that a person has made by other means; minor units.

    Attributes:
        amount: what the payout is said to have paid, 0 until then.
        paid_time, fail_time: the latest of each.
        answered: whether our call was answered with it.
        by_hand: whether a person named it.
    """

    provider_ref: str
    amount: int
    paid_time: datetime | None
    fail_time: datetime | None
    answered: bool
    by_hand: bool

    @property
    def stands(self) -> bool:
        """Whether the payout was paid and has not come back."""
        return happened(self.paid_time, self.fail_time)


NO_PAYOUT: Final = Payout(
    provider_ref="", amount=0, paid_time=None, fail_time=None, answered=False, by_hand=False
)
"""Of which nothing is known."""


class Withdrawal(Struct, frozen=True, kw_only=True):
    """Money on its way out of a wallet. Amounts in minor units.

    Its number is the sequence of the record in which it was asked for. `review` is the word of our own side:
    REQUESTED, APPROVED, REJECTED or CANCELLED.

    Attributes:
        provider_ref: the payout that a person says paid the withdrawal, else the payout that our call has
            made.
        paid, paid_time, fail_time: what was told without naming a payout. It is about the payout that our
            call has made, never about one that a person has made by other means.
        payouts: what was told of each named payout; there should be one at most.
        hold_ended: whether the hold is over, for good.
    """

    number: int
    player_id: str
    provider: str
    provider_ref: str
    amount: int
    currency: str
    destination: str
    hold: int
    review: WithdrawalState
    call_state: CallState
    reference: str
    metadata: Mapping[str, str]
    request_time: datetime
    update_time: datetime
    balance_after: int
    approvals: tuple[Approval, ...]
    reviewer: str
    reason: str
    paid: int
    paid_time: datetime | None
    fail_time: datetime | None
    payouts: tuple[Payout, ...]
    hold_ended: bool
    fees: tuple[Fee, ...]
    personal: bytes
    claim: Claim | None
    notes: tuple[ReviewNote, ...]

    @property
    def known_ref(self) -> str:
        """The provider's id of the payout as far as it is known."""
        return self.provider_ref

    @property
    def refs(self) -> tuple[str, ...]:
        """All ids that the provider has for it."""
        named = (self.provider_ref, *(each.provider_ref for each in self.payouts))
        return tuple(ref for ref in dict.fromkeys(named) if ref)

    @property
    def own_ref(self) -> str:
        """The provider's id of the payout that our call has made, as far as it is known.

        It is the payout that the call was answered with; before the answer, the one that events have named.
        """
        if not self.payouts:
            return self.provider_ref
        own = [each for each in self.payouts if each.answered or not each.by_hand]
        return min(own, key=_own_first).provider_ref if own else ""

    @property
    def heard(self) -> bool:
        """Whether any payout is known, at the provider or by other means."""
        return bool(self.objects)

    @property
    def awaits_call(self) -> bool:
        """Whether the provider still has to be asked to pay: the money is held, and no payout is known."""
        return self.state is WithdrawalState.APPROVED and not self.heard

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The refs of payouts at the provider whose end is not known, ours first."""
        left = [each for each in self.objects if each.paid_time is None and each.fail_time is None]
        ordered = sorted((each for each in left if each.provider_ref and not each.by_hand), key=_own_first)
        return tuple(each.provider_ref for each in ordered)

    @property
    def unnamed(self) -> Payout:
        """What was told without naming a payout."""
        return Payout(
            provider_ref="",
            amount=self.paid,
            paid_time=self.paid_time,
            fail_time=self.fail_time,
            answered=False,
            by_hand=False,
        )

    @property
    def objects(self) -> tuple[Payout, ...]:
        """All known payouts, each with what is known of it."""
        unnamed = self.unnamed
        if not self.refs:
            return () if unnamed == NO_PAYOUT else (unnamed,)
        named = {each.provider_ref: each for each in self.payouts}
        if self.own_ref:
            own = named.get(
                self.own_ref,
                replace(NO_PAYOUT, provider_ref=self.own_ref),
            )
            named[self.own_ref] = _joined(own, replace(unnamed, provider_ref=self.own_ref))
        elif unnamed != NO_PAYOUT:
            named[""] = unnamed
        return tuple(named[ref] for ref in sorted(named))

    @property
    def state(self) -> WithdrawalState:
        """The state by review and provider: the first row of `STATES` that holds, else the review's."""
        return next((state for state, holds in STATES if holds(self)), self.review)

    @property
    def refused(self) -> bool:
        """Whether all known payouts have failed, or the provider has refused the call and done nothing.

        The failure of one payout says nothing about another one.
        """
        if self.call_state is CallState.REJECTED:
            return True
        return bool(self.objects) and all(each.fail_time is not None for each in self.objects)

    @property
    def paid_in_all(self) -> int:
        """What all payouts are said to have paid, whether or not it came back."""
        return sum(each.amount for each in self.objects)

    @property
    def approve_time(self) -> datetime | None:
        """When the last approval that was needed came."""
        if not self.approvals or self.review is not WithdrawalState.APPROVED:
            return None
        return self.approvals[-1].time

    @property
    def debited(self) -> int:
        """What has left the wallet and not come back: the sum over all payouts that stand."""
        return sum(each.amount for each in self.objects if each.stands)

    @property
    def pending(self) -> int:
        """What must be held."""
        return self.amount if self.state in _HELD and not self.hold_ended else 0

    @property
    def fee(self) -> int:
        """What the provider has kept."""
        return sum(fee.amount for fee in self.fees)


_ENDED_BY_REVIEW: Final = frozenset({WithdrawalState.REJECTED, WithdrawalState.CANCELLED})
STATES: Final[tuple[tuple[WithdrawalState, Callable[[Withdrawal], bool]], ...]] = (
    (WithdrawalState.PAID, lambda it: any(each.stands for each in it.objects)),
    (WithdrawalState.REVERSED, lambda it: any(each.paid_time is not None for each in it.objects)),
    # If the provider reports a payment all the same, a row above holds.
    (
        WithdrawalState.FAILED,
        lambda it: (it.refused or it.hold_ended) and it.review not in _ENDED_BY_REVIEW,
    ),
)
"""The states by what the provider said, as one table; before that, review decides (`REVIEW_STEPS`)."""

_HELD: Final = frozenset({WithdrawalState.REQUESTED, WithdrawalState.APPROVED})


def with_payout(withdrawal: Withdrawal, told: Payout) -> Withdrawal:
    """Return the withdrawal with what was told of one payout."""
    if not told.provider_ref:
        return replace(
            withdrawal,
            paid=max(withdrawal.paid, told.amount),
            paid_time=later(withdrawal.paid_time, told.paid_time),
            fail_time=later(withdrawal.fail_time, told.fail_time),
        )
    payouts = {each.provider_ref: each for each in withdrawal.payouts}
    if withdrawal.provider_ref:
        # This ref was recorded before payouts were told apart, when there was only one.
        known = replace(NO_PAYOUT, provider_ref=withdrawal.provider_ref, answered=True)
        payouts.setdefault(withdrawal.provider_ref, known)
    payouts[told.provider_ref] = _joined(payouts.get(told.provider_ref, told), told)
    ordered = tuple(payouts[ref] for ref in sorted(payouts))
    # The payout that a person named gives the withdrawal its ref.
    known_by = min(ordered, key=lambda each: (not each.by_hand, *_own_first(each)))
    return replace(withdrawal, payouts=ordered, provider_ref=known_by.provider_ref)


def _own_first(payout: Payout) -> tuple[bool, str]:
    return not payout.answered, payout.provider_ref


def _joined(one: Payout, other: Payout) -> Payout:
    return replace(
        one,
        amount=max(one.amount, other.amount),
        paid_time=later(one.paid_time, other.paid_time),
        fail_time=later(one.fail_time, other.fail_time),
        answered=one.answered or other.answered,
        by_hand=one.by_hand or other.by_hand,
    )
