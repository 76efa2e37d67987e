"""Owns what can be known of a payment beside its state: calls, fees, captures, refunds, disputes.

Everything here only ever grows: a later event adds an entry, a later time or a larger amount, and never
takes one back. So any order and any repetition of the same events ends in the same knowledge, and
whatever follows from the knowledge is the same as well.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
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
    charge_time: datetime | None = None


class Capture(Struct, frozen=True, kw_only=True):
    """One capture; minor units. `fail_time` alone: its failure was heard of first."""

    provider_ref: str
    amount: int
    capture_time: datetime | None = None
    fail_time: datetime | None = None


class Refund(Struct, frozen=True, kw_only=True):
    """One refund; minor units.

    Ours has a number (the record that asked for it), a hold and a call. `amount` is what was asked for; of
    one that was made at the provider, what was told of it. `told` is what the provider says that it refunds,
    0 while no event has told.
    """

    number: int | None
    provider_ref: str
    amount: int
    told: int = 0
    hold: int | None = None
    call_state: CallState = CallState.NONE
    reason: str = ""
    succeed_time: datetime | None = None
    fail_time: datetime | None = None

    @property
    def moved(self) -> int:
        """What leaves by it: the provider's word, and until there is one, what was asked for."""
        return self.told or self.amount

    @property
    def state(self) -> RefundState:
        """What the later of success and failure says; of two at once, the failure."""
        if happened(self.succeed_time, self.fail_time):
            return RefundState.SUCCEEDED
        # A refused call did nothing; should the provider report a success all the same, that counts.
        failed = self.fail_time is not None or self.call_state is CallState.REJECTED
        return RefundState.FAILED if failed else RefundState.PENDING


class Movement(Struct, frozen=True, kw_only=True):
    """Money that a dispute took (or gave back: `reinstated`) at one stage; minor units."""

    stage: str
    reinstated: bool
    amount: int
    move_time: datetime | None = None


class Dispute(Struct, frozen=True, kw_only=True):
    """One dispute with at most one movement for each stage and direction."""

    provider_ref: str
    state: DisputeState
    movements: tuple[Movement, ...] = ()
    reason: str = ""

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


_Entry = TypeVar("_Entry", Fee, Capture, Dispute)


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
    """Return the fees with one more; the same fee told twice counts once, with the larger amount."""
    known = entry_of(fees, fee.provider_ref) or fee
    return with_entry(
        fees,
        replace(
            fee,
            amount=max(fee.amount, known.amount),
            charge_time=later(fee.charge_time, known.charge_time),
        ),
    )


def with_movement(dispute: Dispute, movement: Movement) -> Dispute:
    """Return the dispute with one more movement; told twice it counts once, with the larger amount."""
    place = (movement.stage, movement.reinstated)
    others = [each for each in dispute.movements if (each.stage, each.reinstated) != place]
    known = [each for each in dispute.movements if (each.stage, each.reinstated) == place]
    for each in known:
        movement = replace(
            movement,
            amount=max(movement.amount, each.amount),
            move_time=later(movement.move_time, each.move_time),
        )
    movements = sorted([*others, movement], key=lambda each: (each.stage, each.reinstated))
    return replace(dispute, movements=tuple(movements))
