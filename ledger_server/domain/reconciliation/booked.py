"""Owns what the ledger has booked of a payment, line by line, as a provider would list it."""

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.findings import begin_time, refund_ref
from ledger_server.domain.payments.knowledge import (
    Capture,
    Fee,
    Refund,
    RefundState,
    entry_of,
    happened,
    later,
)
from ledger_server.domain.payments.withdrawal import Withdrawal, WithdrawalState
from ledger_server.domain.reconciliation.listed import Level, level_of
from ledger_server.domain.reconciliation.record import RecordKind

Payment = Deposit | Withdrawal


class Moved(Struct, frozen=True):
    """One movement and its time at the provider; minor units, signed as seen from our account there."""

    amount: int
    time: datetime | None


class Booked(Struct, frozen=True, kw_only=True):
    """One thing that a provider lists movements of: a capture, payout, refund, dispute or fee.

    Attributes:
        ref: our name for it.
        remote_refs: ids under which the provider may list it.
        our_id: what the provider echoes; empty where it was made at the provider.
        moved: what the ledger has booked of it, in order; nothing while nothing has happened.
        pending: whether it may still come to something; `since` tells from when on.
        waiting: whether it was told of, but is not booked before a capture of its deposit is known.
    """

    kind: RecordKind
    ref: str
    remote_refs: tuple[str, ...]
    our_id: str
    state: str
    moved: tuple[Moved, ...] = ()
    pending: bool = False
    waiting: bool = False
    since: datetime

    @property
    def amount(self) -> int:
        """What stands."""
        return sum(moved.amount for moved in self.moved)

    @property
    def level(self) -> Level:
        """What was taken and what stands."""
        return level_of(self.kind, [moved.amount for moved in self.moved])

    @property
    def time(self) -> datetime | None:
        """When it moved last, as far as is known."""
        return max((moved.time for moved in self.moved if moved.time is not None), default=None)


def booked_of(ids: TenantIds, payment: Payment) -> tuple[Booked, ...]:
    """Return all that the ledger knows of a payment, line by line; the payment itself comes first."""
    if isinstance(payment, Deposit):
        return (
            *_captures(ids, payment),
            *(_refund(ids, payment, refund) for refund in payment.refunds),
            *_disputes(ids, payment),
            *_fees(ids.deposit_id(payment.number), payment.fees, payment),
        )
    return (
        _payout(ids, payment),
        *_fees(ids.withdrawal_id(payment.number), payment.fees, payment),
    )


def _captures(ids: TenantIds, deposit: Deposit) -> Iterator[Booked]:
    our_id = ids.deposit_id(deposit.number)
    whole = entry_of(deposit.captures, "") or Capture(provider_ref="", amount=0)
    parts = [each for each in deposit.captures if each.provider_ref and each.capture_time is not None]
    standing = 0
    for part in parts:
        moved = _taken(part, part.amount, later(part.fail_time, whole.fail_time))
        standing += sum(each.amount for each in moved)
        yield _capture(deposit, our_id, part, moved)
    # What was told of the payment as a whole, beyond what was told of its parts: it stands as long as the
    # whole does, whichever parts of it have failed.
    rest = 0
    if happened(whole.capture_time, whole.fail_time):
        rest = deposit.captured - standing
    elif whole.capture_time is not None:
        rest = max(0, whole.amount - sum(part.amount for part in parts))
    if rest > 0 or not parts:
        yield _capture(deposit, our_id, whole, _taken(whole, rest, whole.fail_time))


def _taken(capture: Capture, amount: int, fail_time: datetime | None) -> tuple[Moved, ...]:
    if capture.capture_time is None:
        return ()
    taken = Moved(amount, capture.capture_time)
    if happened(capture.capture_time, fail_time):
        return (taken,)
    return (taken, Moved(-amount, fail_time))


def _capture(deposit: Deposit, our_id: str, capture: Capture, moved: tuple[Moved, ...]) -> Booked:
    ref = capture.provider_ref
    return Booked(
        kind=RecordKind.PAYMENT,
        ref=f"{our_id}/captures/{ref}" if ref else our_id,
        remote_refs=(ref,) if ref else deposit.refs,
        our_id=our_id,
        state=deposit.state.name,
        moved=moved,
        pending=not moved and not deposit.over and not deposit.closed,
        since=deposit.initiate_time,
    )


def _refund(ids: TenantIds, deposit: Deposit, refund: Refund) -> Booked:
    moved = []
    # Before a capture is known nothing was booked.
    if refund.succeed_time is not None and deposit.known_captured:
        moved.append(Moved(-refund.moved, refund.succeed_time))
        if refund.state is RefundState.FAILED:
            moved.append(Moved(refund.moved, refund.fail_time))
    return Booked(
        kind=RecordKind.REFUND,
        ref=refund_ref(ids, deposit, refund),
        remote_refs=(refund.provider_ref,) if refund.provider_ref else (),
        our_id="" if refund.number is None else ids.refund_id(refund.number),
        state=refund.state.name,
        moved=tuple(moved),
        pending=refund.state is RefundState.PENDING,
        waiting=refund.succeed_time is not None and not deposit.known_captured,
        since=refund.succeed_time or deposit.update_time,
    )


def _disputes(ids: TenantIds, deposit: Deposit) -> Iterator[Booked]:
    for dispute in deposit.disputes:
        moved = [
            Moved(each.amount if each.reinstated else -each.amount, each.move_time)
            for each in sorted(dispute.movements, key=lambda each: each.move_time or deposit.initiate_time)
        ]
        # What it has given back beyond what it is known to have taken is not booked.
        surplus = sum(each.amount for each in moved) + dispute.taken
        if surplus:
            moved.append(Moved(-surplus, None))
        yield Booked(
            kind=RecordKind.DISPUTE,
            ref=f"{ids.deposit_id(deposit.number)}/disputes/{dispute.provider_ref}",
            remote_refs=(dispute.provider_ref,) if dispute.provider_ref else (),
            our_id="",
            state=dispute.state.name,
            moved=tuple(moved) if deposit.known_captured else (),
            waiting=bool(moved) and not deposit.known_captured,
            since=deposit.initiate_time,
        )


def _payout(ids: TenantIds, withdrawal: Withdrawal) -> Booked:
    our_id = ids.withdrawal_id(withdrawal.number)
    moved = []
    if withdrawal.paid_time is not None:
        moved.append(Moved(-withdrawal.paid, withdrawal.paid_time))
        if not happened(withdrawal.paid_time, withdrawal.fail_time):
            moved.append(Moved(withdrawal.paid, withdrawal.fail_time))
    return Booked(
        kind=RecordKind.PAYOUT,
        ref=our_id,
        remote_refs=withdrawal.refs,
        our_id=our_id,
        state=withdrawal.state.name,
        moved=tuple(moved),
        # What nobody has approved yet is no matter of the provider's.
        pending=withdrawal.state is WithdrawalState.APPROVED,
        since=withdrawal.approve_time or begin_time(withdrawal),
    )


def _fees(payment_id: str, fees: tuple[Fee, ...], payment: Payment) -> Iterator[Booked]:
    for fee in fees:
        yield Booked(
            kind=RecordKind.FEE,
            ref=f"{payment_id}/fees",
            remote_refs=(fee.provider_ref,) if fee.provider_ref else (),
            our_id="",
            state="KEPT",
            moved=(Moved(-fee.amount, fee.charge_time),),
            since=begin_time(payment),
        )
