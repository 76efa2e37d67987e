"""Owns what can be known of a payment beside its state: calls, fees, captures, refunds, disputes.

Everything here only ever grows: a later event adds an entry, a later time or a larger amount, and never
takes one back. So any order and any repetition of the same events ends in the same knowledge, and
whatever follows from the knowledge is the same as well.
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
"""Which states may follow which. ACCEPTED and REJECTED are what the provider has said, for ever."""


class RefundState(Code):
    """Where a refund stands."""

    PENDING = 1
    SUCCEEDED = 2
    FAILED = 3


class DisputeState(Code):
    """Where a dispute stands; of two decisions the worse one is believed."""

    OPEN = 1
    WON = 2
    LOST = 3


class Fee(Struct, frozen=True, kw_only=True):
    """What a provider has kept; minor units."""

    provider_ref: str
    amount: int
    charge_time: datetime | None


class Capture(Struct, frozen=True, kw_only=True):
    """One capture; minor units. `fail_time` alone: its failure was heard of first.

    Without a `provider_ref` it tells of its payment as a whole, and without a `payment_ref` as well of the
    whole deposit. A named one without a `payment_ref` is a part of a payment that nobody has named.
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
        end_time: when it was cancelled or has expired, the latest; that ends what is not captured of it.
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
    """One refund at the provider beside the first one that was made for the same one of ours."""

    provider_ref: str
    told: int
    succeed_time: datetime | None
    fail_time: datetime | None
    reason: str


NO_REFUND_OBJECT: Final = RefundObject(provider_ref="", told=0, succeed_time=None, fail_time=None, reason="")
"""Of which nothing is known."""


class Refund(Struct, frozen=True, kw_only=True):
    """One refund; minor units.

    Ours has a number (the record that asked for it), a hold and a call. `amount` is what was asked for; of
    one that was made at the provider, what was told of it. `told` is what the provider says that it refunds,
    0 while no event has told.

    Attributes:
        others: what the provider has made besides for the same one of ours, each by itself.
        hold_ended: whether its hold is over, for good.
        payment_ref: the provider's payment that it is of. Of ours it is set when the call is begun, and never
            changes: every try names the same one. Of the provider's own it is what events have told.
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
        """The first one at the provider, by itself."""
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
        """Whether the provider has told anything of it: then there is one at the provider."""
        return bool(self.refs or self.told or self.succeed_time or self.fail_time)

    @property
    def awaits_call(self) -> bool:
        """Whether the provider still has to be asked for it: it is not over, and nothing is there yet."""
        return self.state is RefundState.PENDING and not self.heard

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The refs of those at the provider of which no end is known."""
        return tuple(
            each.provider_ref
            for each in (self.first, *self.others)
            if each.provider_ref and each.succeed_time is None and each.fail_time is None
        )

    @property
    def moved(self) -> int:
        """What leaves by the first one: the provider's word, and until there is one, what was asked for."""
        return self.told or self.amount

    @property
    def moved_by_all(self) -> int:
        """What leaves by all of them that were told of, whatever became of each; else what was asked for."""
        heard = [
            each.told or self.amount
            for each in (self.first, *self.others)
            if each.told or each.succeed_time is not None or each.fail_time is not None
        ]
        return sum(heard) or self.amount

    @property
    def out(self) -> int:
        """What has left by all of them and not come back."""
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
        # A refused call did nothing; should the provider report a success all the same, that counts.
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
        """What it has taken and not given back, minor units; never negative, whatever came first."""
        sums = {False: 0, True: 0}
        for movement in self.movements:
            sums[movement.reinstated] += movement.amount
        return max(0, sums[False] - sums[True])


def happened(success: datetime | None, failure: datetime | None) -> bool:
    """Whether something that succeeded has not failed since."""
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
    """Return the entries with that one in place of the one with its ref, ordered by ref."""
    merged = [other for other in entries if other.provider_ref != entry.provider_ref]
    merged.append(entry)
    merged.sort(key=lambda each: each.provider_ref)
    return tuple(merged)


def with_fee(fees: tuple[Fee, ...], fee: Fee) -> tuple[Fee, ...]:
    """Return the fees with one more; the same fee told twice counts once, with the larger amount.

    One without a ref is told apart from others by its amount and its time.
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

    Movements of disputes without a ref are told apart by their amount and their time as well, since they
    may be of several.
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
