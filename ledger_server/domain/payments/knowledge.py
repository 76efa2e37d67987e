"""Owns the knowledge of a payment from which its state follows: calls, fees, captures, refunds, disputes.

Knowledge only grows: an event adds an entry, a later time or a larger amount, and never takes one back. So
the same events in any order, repeated or not, lead to the same knowledge, and so to the same state and money.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.code import Code


class CallState(Code):
    """How far a call that is owed to a provider has come."""

    NONE = 0
    PENDING = 1
    ACCEPTED = 2
    REJECTED = 3
    UNDER_WAY = 4
    DROPPED = 5


CALL_STEPS: Final[Mapping[CallState, frozenset[CallState]]] = {
    CallState.NONE: frozenset(),
    CallState.PENDING: frozenset({CallState.UNDER_WAY, CallState.DROPPED}),
    CallState.UNDER_WAY: frozenset({CallState.ACCEPTED, CallState.REJECTED}),
    CallState.ACCEPTED: frozenset(),
    CallState.REJECTED: frozenset(),
    CallState.DROPPED: frozenset(),
}
"""The states that may follow each state. ACCEPTED and REJECTED are the provider's final answers."""


class RefundState(Code):
    """Where a refund stands."""

    PENDING = 1
    SUCCEEDED = 2
    FAILED = 3


class DisputeState(Code):
    """Where a dispute stands; of two contradicting decisions the worse one counts."""

    OPEN = 1
    WON = 2
    LOST = 3


class Fee(Struct, frozen=True, kw_only=True):
    """What a provider has kept; minor units."""

    provider_ref: str
    amount: int
    charge_time: datetime | None


class Capture(Struct, frozen=True, kw_only=True):
    """One capture; minor units. With a `fail_time` alone, only its failure was heard of so far.

    Without a `provider_ref` the entry is about its payment as a whole; without a `payment_ref` as well, about
    the whole deposit. A named capture without a `payment_ref` is part of a payment that nobody has named.
    """

    provider_ref: str
    amount: int
    payment_ref: str
    capture_time: datetime | None
    fail_time: datetime | None


class Attempt(Struct, frozen=True, kw_only=True):
    """One payment at the provider that was made for a deposit: a try of the player, by one means.

    Attributes:
        authorized: whether its money was reserved.
        final: whether the provider has said that nothing more will be captured of it.
        end_time: the latest time at which it was cancelled or expired; what is not captured by then never
            will be.
        answered: whether our call was answered with it.
    """

    payment_ref: str
    authorized: bool
    final: bool
    end_time: datetime | None
    reason: str
    answered: bool


NO_ATTEMPT: Final = Attempt(
    payment_ref="", authorized=False, final=False, end_time=None, reason="", answered=False
)
"""Of which nothing is known."""


class RefundObject(Struct, frozen=True, kw_only=True):
    """One refund object at the provider; several may have been made for one refund of ours."""

    provider_ref: str
    told: int
    succeed_time: datetime | None
    fail_time: datetime | None
    reason: str


NO_REFUND_OBJECT: Final = RefundObject(provider_ref="", told=0, succeed_time=None, fail_time=None, reason="")
"""Of which nothing is known."""


class Refund(Struct, frozen=True, kw_only=True):
    """One refund; minor units.

    A refund of ours has a number (the record that asked for it), a hold and a call, and `amount` is what was
    asked for. A refund made at the provider has none of these, and `amount` is what the provider told. `told`
    is what the provider says that it refunds, 0 while no event has said so.

    Attributes:
        others: further objects that the provider has made for the same refund of ours.
        hold_ended: whether the hold is over for good.
        payment_ref: the provider's payment that is refunded. For a refund of ours it is set when the call is
            begun and never changes: every try names the same payment. For a refund made at the provider it is
            what events have told.
    """

    number: int | None
    provider_ref: str
    amount: int
    told: int
    hold: int | None
    call_state: CallState
    reason: str
    succeed_time: datetime | None
    fail_time: datetime | None
    others: tuple[RefundObject, ...]
    hold_ended: bool
    payment_ref: str

    @property
    def first(self) -> RefundObject:
        """The refund's first object at the provider."""
        return RefundObject(
            provider_ref=self.provider_ref,
            told=self.told,
            succeed_time=self.succeed_time,
            fail_time=self.fail_time,
            reason=self.reason,
        )

    @property
    def refs(self) -> tuple[str, ...]:
        """All ids that the provider has for it."""
        return tuple(each.provider_ref for each in (self.first, *self.others) if each.provider_ref)

    @property
    def heard(self) -> bool:
        """Whether the provider has told anything of the refund, so that it exists there."""
        return bool(self.refs or self.told or self.succeed_time or self.fail_time)

    @property
    def awaits_call(self) -> bool:
        """Whether the provider still has to be asked: the refund is not over, and has no known object."""
        return self.state is RefundState.PENDING and not self.heard

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The refs of the refund's objects at the provider whose end is not known."""
        return tuple(
            each.provider_ref
            for each in (self.first, *self.others)
            if each.provider_ref and each.succeed_time is None and each.fail_time is None
        )

    @property
    def moved(self) -> int:
        """What leaves by the first object: what the provider said; until it has, what was asked for."""
        return self.told or self.amount

    @property
    def moved_by_all(self) -> int:
        """What leaves by all known objects, in whatever state; if none is known, what was asked for."""
        heard = [
            each.told or self.amount
            for each in (self.first, *self.others)
            if each.told or each.succeed_time is not None or each.fail_time is not None
        ]
        return sum(heard) or self.amount

    @property
    def out(self) -> int:
        """What has left by all objects and not come back."""
        return sum(
            each.told or self.amount
            for each in (self.first, *self.others)
            if happened(each.succeed_time, each.fail_time)
        )

    @property
    def state(self) -> RefundState:
        """What the later of success and failure says; of two at once, the failure."""
        objects = (self.first, *self.others)
        if any(happened(each.succeed_time, each.fail_time) for each in objects):
            return RefundState.SUCCEEDED
        # A refused call did nothing; if the provider reports a success all the same, the success counts.
        failed = self.call_state is CallState.REJECTED or self.hold_ended
        failed = failed or all(each.fail_time is not None for each in objects)
        return RefundState.FAILED if failed else RefundState.PENDING


class Movement(Struct, frozen=True, kw_only=True):
    """Money that a dispute took (or gave back: `reinstated`) at one stage; minor units."""

    stage: str
    reinstated: bool
    amount: int
    move_time: datetime | None


class Dispute(Struct, frozen=True, kw_only=True):
    """One dispute with at most one movement for each stage and direction."""

    provider_ref: str
    state: DisputeState
    movements: tuple[Movement, ...]
    reason: str

    @property
    def taken(self) -> int:
        """What the dispute has taken and not given back, minor units; never negative."""
        sums = {False: 0, True: 0}
        for movement in self.movements:
            sums[movement.reinstated] += movement.amount
        return max(0, sums[False] - sums[True])


def happened(success: datetime | None, failure: datetime | None) -> bool:
    """Whether something has succeeded and not failed afterwards."""
    return success is not None and (failure is None or success > failure)


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the later of two times, where None is before all."""
    if one is None or other is None:
        return one or other
    return max(one, other)


_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)
_Entry = TypeVar("_Entry", Capture, Dispute)


def entry_of(entries: Sequence[_Entry], provider_ref: str) -> _Entry | None:
    """Return the entry with that ref."""
    return next((entry for entry in entries if entry.provider_ref == provider_ref), None)


def with_entry(entries: tuple[_Entry, ...], entry: _Entry) -> tuple[_Entry, ...]:
    """Return the entries, ordered by ref, with the given one in place of an entry with the same ref."""
    merged = [other for other in entries if other.provider_ref != entry.provider_ref]
    merged.append(entry)
    merged.sort(key=lambda each: each.provider_ref)
    return tuple(merged)


def with_fee(fees: tuple[Fee, ...], fee: Fee) -> tuple[Fee, ...]:
    """Return the fees with one more; the same fee told twice counts once, with the larger amount.

    A fee without a ref is identified by its amount and its time.
    """
    known = next((each for each in fees if _is_same_fee(each, fee)), fee)
    told = replace(
        fee,
        amount=max(fee.amount, known.amount),
        charge_time=later(fee.charge_time, known.charge_time),
    )
    merged = [each for each in fees if not _is_same_fee(each, fee)]
    return tuple(sorted([*merged, told], key=_fee_order))


def _is_same_fee(one: Fee, other: Fee) -> bool:
    if one.provider_ref or other.provider_ref:
        return one.provider_ref == other.provider_ref
    return one == other


def _fee_order(fee: Fee) -> tuple[str, datetime, int]:
    return fee.provider_ref, fee.charge_time or _BEFORE_ALL, fee.amount


def with_movement(dispute: Dispute, movement: Movement) -> Dispute:
    """Return the dispute with one more movement; told twice it counts once, with the larger amount.

    Disputes without a ref share one entry, so their movements are identified by amount and time as well.
    """

    def is_same(each: Movement) -> bool:
        if not dispute.provider_ref:
            return each == movement
        return (each.stage, each.reinstated) == (movement.stage, movement.reinstated)

    others = [each for each in dispute.movements if not is_same(each)]
    known = next((each for each in dispute.movements if is_same(each)), movement)
    told = replace(
        movement,
        amount=max(movement.amount, known.amount),
        move_time=later(movement.move_time, known.move_time),
    )
    return replace(dispute, movements=tuple(sorted([*others, told], key=_movement_order)))


def _movement_order(movement: Movement) -> tuple[str, bool, datetime, int]:
    return movement.stage, movement.reinstated, movement.move_time or _BEFORE_ALL, movement.amount
