"""Owns the ledger's side of a comparison: the booked lines of a payment, as a provider would list them."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.decisions.payments.findings import begin_time, refund_ref
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.captures import fail_time_of
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.knowledge import (
    Capture,
    Fee,
    Refund,
    RefundObject,
    RefundState,
    happened,
)
from ledger_server.domain.payments.withdrawal import NO_PAYOUT, Payout, Withdrawal, WithdrawalState
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.reconciliation.provider_side import Level, level_of

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
        moved: the movements that the ledger has booked, in order; empty while nothing has happened.
        pending: whether the thing may still succeed; `since` is when it began.
        waiting: whether the provider has told of it, but it is booked only once a capture of its deposit is
            known.
        payment_ref: of a capture, the provider's id of its payment, where that is known.
        again: whether it is a further object at the provider for one thing of ours.
    """

    kind: ProviderRecordKind
    ref: str
    remote_refs: tuple[str, ...]
    our_id: str
    state: str
    moved: tuple[Moved, ...] = ()
    pending: bool = False
    waiting: bool = False
    payment_ref: str = ""
    again: bool = False
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
            *(line for refund in payment.refunds for line in _refunds(ids, payment, refund)),
            *_disputes(ids, payment),
            *_fees(ids.deposit_id(payment.number), payment.fees, payment),
        )
    return (
        *_payouts(ids, payment),
        *_fees(ids.withdrawal_id(payment.number), payment.fees, payment),
    )


def _captures(ids: TenantIds, deposit: Deposit) -> Iterator[Booked]:
    our_id = ids.deposit_id(deposit.number)
    parts = [each for each in deposit.captures if each.provider_ref and each.capture_time is not None]
    wholes = [each for each in deposit.captures if not each.provider_ref]
    # The whole deposit comes last: its line has only what the other lines lack.
    wholes.sort(key=lambda each: (not each.payment_ref, each.payment_ref != deposit.provider_ref))
    standing = {part.provider_ref: _standing(deposit, part) for part in parts}
    for part in parts:
        moved = _taken(part, part.amount, fail_time_of(deposit.captures, part))
        yield _capture(deposit, our_id, part, moved)
    booked, stray = sum(standing.values()), _Stray(deposit, parts)
    rests = []
    for whole in wholes:
        # The amount told of a payment as a whole, beyond what was told of its parts. This amount stands as
        # long as the whole does, whichever parts have failed.
        own = [part for part in parts if part.payment_ref == whole.payment_ref]
        rest = 0
        if happened(whole.capture_time, fail_time_of(deposit.captures, whole)):
            if whole.payment_ref:
                rest = stray.beyond(whole.amount - sum(standing[part.provider_ref] for part in own))
            else:
                rest = deposit.captured - booked
            booked += max(0, rest)
        elif whole.capture_time is not None:
            rest = max(0, whole.amount - sum(part.amount for part in (own if whole.payment_ref else parts)))
        if rest > 0:
            rests.append((whole, rest))
    for place, (whole, rest) in enumerate(rests):
        moved = _taken(whole, rest, fail_time_of(deposit.captures, whole))
        yield _capture(deposit, our_id, whole, moved, is_only=len(rests) == 1, is_first=place == 0)
    if not parts and not rests:
        nothing = (
            replace(wholes[0], amount=0)
            if wholes
            else Capture(provider_ref="", amount=0, payment_ref="", capture_time=None, fail_time=None)
        )
        yield _capture(deposit, our_id, nothing, _taken(nothing, 0, fail_time_of(deposit.captures, nothing)))


class _Stray:
    """How much stands of captures whose payment is not known: they may be parts of any whole."""

    def __init__(self, deposit: Deposit, parts: Iterable[Capture]) -> None:
        self._left = sum(_standing(deposit, part) for part in parts if not part.payment_ref)

    def beyond(self, amount: int) -> int:
        """Return what is left of an amount if these captures are parts of it."""
        covered = min(self._left, max(0, amount))
        self._left -= covered
        return amount - covered


def _standing(deposit: Deposit, capture: Capture) -> int:
    fail_time = fail_time_of(deposit.captures, capture)
    return capture.amount if happened(capture.capture_time, fail_time) else 0


def _taken(capture: Capture, amount: int, fail_time: datetime | None) -> tuple[Moved, ...]:
    if capture.capture_time is None:
        return ()
    taken = Moved(amount, capture.capture_time)
    if happened(capture.capture_time, fail_time):
        return (taken,)
    return (taken, Moved(-amount, fail_time))


def _capture(
    deposit: Deposit,
    our_id: str,
    capture: Capture,
    moved: tuple[Moved, ...],
    *,
    is_only: bool = True,
    is_first: bool = True,
) -> Booked:
    ref = capture.provider_ref
    remote_refs: tuple[str, ...] = (ref or capture.payment_ref,)
    if ref:
        name = f"{our_id}/captures/{ref}"
    else:
        name = our_id if is_first else f"{our_id}/payments/{capture.payment_ref}"
        remote_refs = deposit.refs if is_only else remote_refs
    return Booked(
        kind=ProviderRecordKind.PAYMENT,
        ref=name,
        remote_refs=remote_refs,
        our_id=our_id,
        state=deposit.state.name,
        moved=moved,
        pending=not moved and not deposit.over and not deposit.closed,
        payment_ref=capture.payment_ref,
        since=deposit.initiate_time,
    )


def _refunds(ids: TenantIds, deposit: Deposit, refund: Refund) -> Iterator[Booked]:
    name, ours = refund_ref(ids, deposit, refund), refund.number is not None
    for at, each in enumerate((refund.first, *refund.others)):
        moved = []
        # Before a capture is known nothing was booked.
        if each.succeed_time is not None and deposit.known_captured:
            amount = each.told or refund.amount
            moved.append(Moved(-amount, each.succeed_time))
            if not happened(each.succeed_time, each.fail_time):
                moved.append(Moved(amount, each.fail_time))
        yield Booked(
            kind=ProviderRecordKind.REFUND,
            ref=f"{name}/{each.provider_ref}" if at else name,
            remote_refs=(each.provider_ref,) if each.provider_ref else (),
            our_id=ids.refund_id(refund.number) if ours and refund.number is not None else "",
            state=_refund_state(refund, each).name,
            moved=tuple(moved),
            pending=_refund_state(refund, each) is RefundState.PENDING,
            waiting=each.succeed_time is not None and not deposit.known_captured,
            again=at > 0,
            since=each.succeed_time or deposit.update_time,
        )


def _refund_state(refund: Refund, each: RefundObject) -> RefundState:
    if not refund.others:
        return refund.state
    if happened(each.succeed_time, each.fail_time):
        return RefundState.SUCCEEDED
    return RefundState.PENDING if each.fail_time is None else RefundState.FAILED


def _disputes(ids: TenantIds, deposit: Deposit) -> Iterator[Booked]:
    for dispute in deposit.disputes:
        moved = [
            Moved(each.amount if each.reinstated else -each.amount, each.move_time)
            for each in sorted(dispute.movements, key=lambda each: each.move_time or deposit.initiate_time)
        ]
        # Money that a dispute gave back beyond what it is known to have taken is not booked.
        surplus = sum(each.amount for each in moved) + dispute.taken
        if surplus:
            moved.append(Moved(-surplus, None))
        yield Booked(
            kind=ProviderRecordKind.DISPUTE,
            ref=f"{ids.deposit_id(deposit.number)}/disputes/{dispute.provider_ref}",
            remote_refs=(dispute.provider_ref,) if dispute.provider_ref else (),
            our_id="",
            state=dispute.state.name,
            moved=tuple(moved) if deposit.known_captured else (),
            waiting=bool(moved) and not deposit.known_captured,
            since=deposit.initiate_time,
        )


def _payouts(ids: TenantIds, withdrawal: Withdrawal) -> Iterator[Booked]:
    """Yield a line for each payout: ours first, then all others."""
    our_id = ids.withdrawal_id(withdrawal.number)
    objects = withdrawal.objects or (NO_PAYOUT,)
    alone = len(objects) == 1
    first = withdrawal.own_ref or withdrawal.provider_ref
    ordered = sorted(objects, key=lambda each: each.provider_ref != first)
    for at, payout in enumerate(ordered):
        yield Booked(
            kind=ProviderRecordKind.PAYOUT,
            ref=f"{our_id}/payouts/{payout.provider_ref}" if at else our_id,
            remote_refs=(payout.provider_ref,) if payout.provider_ref else (),
            our_id=our_id,
            state=withdrawal.state.name if alone else _payout_state(withdrawal, payout).name,
            moved=_paid_out(payout),
            # The provider knows nothing of a withdrawal that is not approved yet.
            pending=withdrawal.state is WithdrawalState.APPROVED and payout.fail_time is None,
            again=at > 0,
            since=withdrawal.approve_time or begin_time(withdrawal),
        )


def _paid_out(payout: Payout) -> tuple[Moved, ...]:
    if payout.paid_time is None:
        return ()
    paid = Moved(-payout.amount, payout.paid_time)
    return (paid,) if payout.stands else (paid, Moved(payout.amount, payout.fail_time))


def _payout_state(withdrawal: Withdrawal, payout: Payout) -> WithdrawalState:
    if payout.stands:
        return WithdrawalState.PAID
    if payout.paid_time is not None:
        return WithdrawalState.REVERSED
    return withdrawal.review if payout.fail_time is None else WithdrawalState.FAILED


def _fees(payment_id: str, fees: tuple[Fee, ...], payment: Payment) -> Iterator[Booked]:
    for fee in fees:
        yield Booked(
            kind=ProviderRecordKind.FEE,
            ref=f"{payment_id}/fees",
            remote_refs=(fee.provider_ref,) if fee.provider_ref else (),
            our_id="",
            state="KEPT",
            moved=(Moved(-fee.amount, fee.charge_time),),
            since=begin_time(payment),
        )
