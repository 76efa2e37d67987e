"""Owns the event that a provider's records stand for, so that the news of a lost webhook can be booked.

The event takes the way of every other event, so what the ledger knows already changes nothing. Disputes and
fees are left out: webhooks name their stages and parts, records do not, so the same money might be booked
twice.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import RECORD_EVENT, EventType, ProviderEvent
from ledger_server.domain.payments.knowledge import entry_of
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState

_MONEY_IN: Final = {
    ProviderRecordKind.PAYMENT: EventType.PAYMENT_CAPTURED,
    ProviderRecordKind.PAYOUT: EventType.PAYOUT_FAILED,
    ProviderRecordKind.REFUND: EventType.REFUND_FAILED,
}
_MONEY_OUT: Final = {
    ProviderRecordKind.PAYMENT: EventType.CAPTURE_FAILED,
    ProviderRecordKind.PAYOUT: EventType.PAYOUT_PAID,
    ProviderRecordKind.REFUND: EventType.REFUND_SUCCEEDED,
}


def event_for(
    ids: TenantIds,
    payment: Deposit | Withdrawal,
    records: Sequence[ProviderRecord],
    provider_ref: str,
    actor: str,
) -> ProviderEvent | None:
    """Return the event that the newest movement of an object stands for; None if none can be booked.

    Args:
        records: all of the payment's records of the object's kind.
        provider_ref: of the object that the event is about.
        actor: who asks for it.
    """
    own = [record for record in records if record.provider_ref == provider_ref and record.amount]
    if not own:
        return None
    newest = max(own, key=lambda record: (record.create_time, record.record_id))
    unfinished = newest.state in {RemoteState.PENDING, RemoteState.AUTHORIZED}
    if unfinished or newest.currency != payment.currency or newest.amount is None:
        return None
    kind = (_MONEY_IN if newest.amount > 0 else _MONEY_OUT).get(newest.kind)
    if kind is None:
        return None
    amount, object_ref = abs(newest.amount), newest.provider_ref
    payment_ref = newest.payment_ref or payment.known_ref
    if newest.kind is ProviderRecordKind.PAYMENT:
        # The event is about the provider's payment as a whole: so no capture is counted twice, whatever its
        # name, and a failure is told only if nothing of the payment stands.
        payment_ref = _payment_ref(payment, newest)
        same = [record for record in records if _payment_ref(payment, record) == payment_ref]
        object_ref, amount = "", sum(record.amount or 0 for record in same)
        if (newest.amount > 0) != (amount > 0):
            return None
    elif newest.kind is ProviderRecordKind.PAYOUT:
        payment_ref = newest.provider_ref or payment_ref
    deposit = isinstance(payment, Deposit)
    return ProviderEvent(
        provider=payment.provider,
        event_id=f"{RECORD_EVENT}{newest.kind.name.lower()}:{newest.record_id}:{amount}"[-255:],
        type=kind,
        provider_type=newest.provider_type,
        payment_ref=payment_ref,
        payment_id=ids.deposit_id(payment.number) if deposit else ids.withdrawal_id(payment.number),
        payment=payment.number,
        object_ref=object_ref,
        object_id=newest.our_id,
        refund=ids.refund_sequence(newest.our_id),
        provider_amount=None,
        amount=amount,
        problem="",
        currency=newest.currency,
        occur_time=newest.create_time,
        final=False,
        stage="",
        reason=f"booked from the provider's record by {actor}"[:255],
        payload=msgspec.json.encode(newest),
        unread=None,
        delivery="",
    )


def _payment_ref(payment: Deposit | Withdrawal, record: ProviderRecord) -> str:
    """Return the provider's id of a capture's payment, as webhooks name it as well."""
    if record.payment_ref or not isinstance(payment, Deposit):
        return record.payment_ref
    known = entry_of(payment.captures, record.provider_ref)
    return (known.payment_ref if known is not None else "") or payment.known_ref
