"""Owns what a withdrawal is: its way through review, what the provider said, and what follows."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from ledger_server.domain.code import Code
from ledger_server.domain.payments.knowledge import CallState, Fee, happened


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
"""What may be asked from the inside; PAID is a reviewer's word that the provider has paid.

What the provider says is recorded in any state: APPROVED → PAID or FAILED, PAID → REVERSED, and
anything else with a finding. Source: decision 7.
"""


class WithdrawalPolicy(Struct, frozen=True, kw_only=True):
    """What a tenant demands of withdrawals; amounts in minor units by currency."""

    player_may_cancel: bool = False
    second_review_from: Mapping[str, int] = {}


NO_POLICY: Final = WithdrawalPolicy()
"""Until a tenant sets one."""


class Approval(Struct, frozen=True, kw_only=True):
    """Somebody who let a withdrawal pass."""

    reviewer: str
    time: datetime
    note: str


class Withdrawal(Struct, frozen=True, kw_only=True):
    """Money on its way out of a wallet. Amounts in minor units.

    Its number is the sequence of the record in which it was asked for. `review` is how far it has come
    from the inside: REQUESTED, APPROVED, REJECTED or CANCELLED.
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
    approvals: tuple[Approval, ...] = ()
    reviewer: str = ""
    reason: str = ""
    paid: int = 0
    paid_time: datetime | None = None
    fail_time: datetime | None = None
    fees: tuple[Fee, ...] = ()

    @property
    def known_ref(self) -> str:
        """The provider's id of the payout as far as it is known."""
        return self.provider_ref

    @property
    def refs(self) -> tuple[str, ...]:
        """All ids that the provider has for it."""
        return (self.provider_ref,) if self.provider_ref else ()

    @property
    def state(self) -> WithdrawalState:
        """What review and provider amount to: the first row of `STATES` that holds, else the review's."""
        return next((state for state, holds in STATES if holds(self)), self.review)

    @property
    def refused(self) -> bool:
        """Whether the provider has failed or refused it. What refused a call did nothing."""
        return self.fail_time is not None or self.call_state is CallState.REJECTED

    @property
    def approve_time(self) -> datetime | None:
        """When the last approval that was needed came."""
        if not self.approvals or self.review is not WithdrawalState.APPROVED:
            return None
        return self.approvals[-1].time

    @property
    def debited(self) -> int:
        """What has left the wallet and not come back."""
        return self.paid if self.state is WithdrawalState.PAID else 0

    @property
    def pending(self) -> int:
        """What must be held."""
        return self.amount if self.state in _HELD else 0

    @property
    def fee(self) -> int:
        """What the provider has kept."""
        return sum(fee.amount for fee in self.fees)


_ENDED_BY_REVIEW: Final = frozenset({WithdrawalState.REJECTED, WithdrawalState.CANCELLED})
STATES: Final[tuple[tuple[WithdrawalState, Callable[[Withdrawal], bool]], ...]] = (
    (WithdrawalState.PAID, lambda it: happened(it.paid_time, it.fail_time)),
    (WithdrawalState.REVERSED, lambda it: it.paid_time is not None),
    # Should the provider report a payment all the same, the rows above hold.
    (WithdrawalState.FAILED, lambda it: it.refused and it.review not in _ENDED_BY_REVIEW),
)
"""What the provider says, as one table; until it says something, review tells the state (`REVIEW_STEPS`)."""

_HELD: Final = frozenset({WithdrawalState.REQUESTED, WithdrawalState.APPROVED})
