"""Owns the view of an owed call by its payment's newest record, and the event for a state that was read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from defter.payments.v1 import payment_pb2
from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.calls import CallKind
from ledger_server.domain.payments.deposit import Deposit, DepositState
from ledger_server.domain.payments.events import EventType, ProviderEvent
from ledger_server.domain.payments.knowledge import CallState, RefundState
from ledger_server.domain.payments.withdrawal import Withdrawal, WithdrawalState
from ledger_server.domain.provider_record import ProviderRecordKind, RemoteState
from ledger_server.engine.lane.work import Request
from ledger_server.engine.reconciliation.event_requests import event_request
from ledger_server.engine.records.deposits import deposit_of
from ledger_server.engine.records.withdrawals import withdrawal_of
from ledger_server.providers.adapter import Accepted, ProviderCall, ProviderCallKind
from ledger_server.store.outbox_store import ClaimedCall
from ledger_server.store.payment_rows import DEPOSIT
from ledger_server.store.payment_store import StoredPayment

_ASKED: Final = {
    CallKind.CREATE_PAYMENT: ProviderCallKind.CREATE_PAYMENT,
    CallKind.CREATE_PAYOUT: ProviderCallKind.CREATE_PAYOUT,
    CallKind.REFUND: ProviderCallKind.REFUND,
}
_RECORDS: Final = {
    CallKind.CREATE_PAYMENT: ProviderRecordKind.PAYMENT,
    CallKind.CREATE_PAYOUT: ProviderRecordKind.PAYOUT,
    CallKind.REFUND: ProviderRecordKind.REFUND,
}
_UNFINISHED: Final = frozenset({DepositState.INITIATED, DepositState.AUTHORIZED})
_UNPAID: Final = frozenset({WithdrawalState.APPROVED, WithdrawalState.REQUESTED})
# After these states nothing more is heard of the call itself; the object at the provider may still end.
_ANSWERED: Final = frozenset({CallState.ACCEPTED, CallState.DROPPED})


class Owed(Struct, frozen=True, kw_only=True):
    """A call and where it stands.

    Attributes:
        state: of the call, in the payment's newest record.
        done: whether everything that can come of the call is recorded.
        ended: whether the payment is over, whatever came of the call, so that nobody has to decide any more.
        heard: whether the provider has told anything of the object, so that the call was made.
        awaited: whether the payment still waits for the call; else the object is only looked for, and the
            call never made again.
        polled: whether a final state that is read is recorded. Captures of a payment are not: only events
            name them, and a capture that is read without a name could be counted twice.
        provider_ref: by which the provider is asked for the object; empty: it is asked by our id.
        begin_time: when the payment began, before anything that the provider can say of it.
    """

    call: ProviderCall
    kind: CallKind
    state: CallState
    done: bool
    ended: bool
    heard: bool
    awaited: bool
    polled: bool
    provider: str
    provider_ref: str
    payment_id: str
    payment: int
    refund: int | None = None
    begin_time: datetime


def owed_of(ids: TenantIds, stored: StoredPayment, call: ClaimedCall) -> Owed | None:
    """Return an owed call by the payment that it belongs to; None if the payment knows nothing of it."""
    if stored.kind != DEPOSIT:
        withdrawal = withdrawal_of(ids, payment_pb2.Withdrawal.FromString(stored.body))
        owed: Owed | None = _payout(ids, withdrawal, call)
    else:
        deposit = deposit_of(ids, payment_pb2.Deposit.FromString(stored.body))
        owed = _payment(ids, deposit) if call.kind is CallKind.CREATE_PAYMENT else _refund(ids, deposit, call)
    if owed is None:
        return None
    # A search at a provider begins at this time.
    return replace(
        owed, call=replace(owed.call, first_try_time=call.first_try_time, look_time=call.claim_time)
    )


def not_ours(owed: Owed, why: str) -> Discrepancy:
    """Return the discrepancy that something else stands at the provider under a call's id or key.

    A repeated report has the same content, so a resolved finding stays resolved.
    """
    outgoing = owed.kind is not CallKind.CREATE_PAYMENT
    return Discrepancy(
        kind=FindingClass.OBJECT_NOT_OURS,
        provider=owed.provider,
        payment=owed.payment,
        withdrawal=owed.kind is CallKind.CREATE_PAYOUT,
        ledger=Side(
            ref=owed.call.our_id,
            kind=_RECORDS[owed.kind],
            amount=-owed.call.amount if outgoing else owed.call.amount,
            currency=owed.call.currency,
            state=owed.state.name,
            time=owed.begin_time,
            type="",
        ),
        currency=owed.call.currency,
        description="what stands at the provider is not what was asked for",
        evidence={"why": why[:1000]},
        subject_time=owed.begin_time,
        remote=None,
    )


def polled_event(owed: Owed, answer: Accepted, now: datetime) -> Request:
    """Return the event for a final state that was read and not told by an event.

    A success is dated to the payment's beginning. Every event of the provider is later than that, so a
    failure that it tells, by whatever clock, is never taken for an earlier one.
    """
    succeeded = answer.state is RemoteState.SUCCEEDED
    # One event per object: there may be several objects, and each has an end.
    event_id = f"poll:{owed.call.our_id}:{answer.state}:{answer.provider_ref}"[:_LONGEST_ID]
    event = ProviderEvent(
        provider=owed.provider,
        event_id=event_id,
        type=_TYPES[owed.kind, succeeded],
        provider_type="poll",
        payment_ref="" if owed.kind is CallKind.REFUND else answer.provider_ref,
        payment_id=owed.payment_id,
        payment=owed.payment,
        object_ref=answer.provider_ref if owed.kind is CallKind.REFUND else "",
        object_id=owed.call.our_id if owed.kind is CallKind.REFUND else "",
        refund=owed.refund,
        provider_amount=None,
        # Only the state was read. An event without an amount means the amount that was asked for, unless
        # another event told another amount.
        amount=None,
        problem="",
        currency=owed.call.currency,
        occur_time=owed.begin_time if succeeded else now,
        final=False,
        stage="",
        reason=answer.reason,
        payload=b"",
        unread=None,
        delivery="",
    )
    return event_request(event)


_LONGEST_ID: Final = 255
_TYPES: Final = {
    (CallKind.CREATE_PAYOUT, True): EventType.PAYOUT_PAID,
    (CallKind.CREATE_PAYOUT, False): EventType.PAYOUT_FAILED,
    (CallKind.REFUND, True): EventType.REFUND_SUCCEEDED,
    (CallKind.REFUND, False): EventType.REFUND_FAILED,
}


def _payment(ids: TenantIds, deposit: Deposit) -> Owed:
    our_id = ids.deposit_id(deposit.number)
    return Owed(
        call=_call(CallKind.CREATE_PAYMENT, our_id, deposit, deposit.amount),
        kind=CallKind.CREATE_PAYMENT,
        state=deposit.call_state,
        done=deposit.call_state in _ANSWERED,
        ended=deposit.state not in _UNFINISHED,
        heard=bool(deposit.refs or deposit.captures or deposit.authorized),
        awaited=deposit.awaits_call,
        polled=False,
        provider=deposit.provider,
        provider_ref=deposit.provider_ref,
        payment_id=our_id,
        payment=deposit.number,
        begin_time=deposit.initiate_time,
    )


def _refund(ids: TenantIds, deposit: Deposit, call: ClaimedCall) -> Owed | None:
    refund = next((each for each in deposit.refunds if each.number == call.subject), None)
    if refund is None:
        return None
    our_id = ids.refund_id(call.subject)
    # A request of an older version may have named any of the deposit's payments, so it is not sent again.
    certain = bool(refund.payment_ref) or len(deposit.refs) <= 1 or call.first_try_time is None
    target = refund.payment_ref or deposit.known_ref
    return Owed(
        call=_call(CallKind.REFUND, our_id, deposit, refund.amount, payment_ref=target),
        kind=CallKind.REFUND,
        state=refund.call_state,
        done=_is_done(refund.call_state, refund.unfinished, ended=refund.state is not RefundState.PENDING),
        ended=refund.state is not RefundState.PENDING,
        heard=refund.heard,
        awaited=refund.awaits_call and certain,
        polled=True,
        provider=deposit.provider,
        provider_ref=_asked_by(refund.call_state, refund.unfinished, refund.provider_ref, call),
        payment_id=ids.deposit_id(deposit.number),
        payment=deposit.number,
        refund=call.subject,
        begin_time=deposit.initiate_time,
    )


def _payout(ids: TenantIds, withdrawal: Withdrawal, call: ClaimedCall) -> Owed:
    our_id = ids.withdrawal_id(withdrawal.number)
    return Owed(
        call=_call(
            CallKind.CREATE_PAYOUT,
            our_id,
            withdrawal,
            withdrawal.amount,
            destination=withdrawal.destination,
        ),
        kind=CallKind.CREATE_PAYOUT,
        state=withdrawal.call_state,
        done=_is_done(withdrawal.call_state, withdrawal.unfinished, ended=withdrawal.state not in _UNPAID),
        ended=withdrawal.state not in _UNPAID,
        heard=withdrawal.heard,
        awaited=withdrawal.awaits_call,
        polled=True,
        provider=withdrawal.provider,
        provider_ref=_asked_by(withdrawal.call_state, withdrawal.unfinished, withdrawal.own_ref, call),
        payment_id=our_id,
        payment=withdrawal.number,
        begin_time=withdrawal.request_time,
    )


def _is_done(state: CallState, unfinished: Sequence[str], *, ended: bool) -> bool:
    """Whether nothing more can come of a call: it is answered, and the payment and each object are over."""
    return state in _ANSWERED and ended and not unfinished


def _asked_by(state: CallState, unfinished: Sequence[str], own: str, call: ClaimedCall) -> str:
    """Return the object to look at: what the call has made; after the answer, each without an end."""
    if state in _ANSWERED and unfinished:
        return unfinished[call.try_count % len(unfinished)]
    return own


def _call(
    kind: CallKind,
    our_id: str,
    payment: Deposit | Withdrawal,
    amount: int,
    *,
    payment_ref: str = "",
    destination: str = "",
) -> ProviderCall:
    return ProviderCall(
        kind=_ASKED[kind],
        our_id=our_id,
        payment_ref=payment_ref,
        player_id=payment.player_id,
        amount=amount,
        currency=payment.currency,
        destination=destination,
        idempotency_key=f"tx_{our_id}",
    )
