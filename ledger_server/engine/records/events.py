"""Owns the bytes of providers' events in the journal, there and back."""

from datetime import datetime
from typing import Final

from defter.payments.v1 import payment_pb2 as pb

from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.events import (
    EventState,
    EventType,
    ProviderEvent,
    StoredEvent,
    Unread,
    UnreadReason,
)
from ledger_server.engine.records.payment_parts import number_of
from ledger_server.engine.records.times import moment, timestamp

_TYPES: Final = frozenset(int(kind) for kind in EventType)
_UNREAD_REASONS: Final = frozenset(int(reason) for reason in UnreadReason)


def event_message(ids: TenantIds, stored: StoredEvent, record_time: datetime) -> pb.RecordedProviderEvent:
    """Return an event as callers see it, without its payload."""
    event = stored.event
    told = pb.ProviderEvent(
        provider=event.provider,
        event_id=event.event_id,
        type=int(event.type),  # type: ignore[arg-type]
        provider_type=event.provider_type,
        payment_ref=event.payment_ref,
        payment_id=event.payment_id,
        object_ref=event.object_ref,
        object_id=event.object_id,
        provider_amount_minor=event.provider_amount,
        currency_code=event.currency,
        occur_time=timestamp(event.occur_time),
        final=event.final,
        stage=event.stage,
        reason=event.reason,
        delivery=event.delivery,
    )
    if event.unread is not None:
        told.unread_reason = int(event.unread.reason)  # type: ignore[assignment]
        told.moves_money = event.unread.moves_money
        told.read_event_id = event.unread.read_event_id
    message = pb.RecordedProviderEvent(
        provider_event_id=ids.event_id(stored.number),
        event=told,
        state=int(stored.state),  # type: ignore[arg-type]
        note=stored.note,
        receive_time=timestamp(stored.receive_time),
        payload_digest=stored.payload_digest,
        update_time=timestamp(record_time),
        amount_minor=event.amount,
        problem=event.problem,
    )
    if stored.superseded_by is not None:
        message.superseded_by_event_id = ids.event_id(stored.superseded_by)
    if stored.payment is not None:
        made = ids.withdrawal_id if stored.withdrawal else ids.deposit_id
        message.payment_id = made(stored.payment)
    return message


def event_of(ids: TenantIds, message: pb.RecordedProviderEvent, payload: bytes) -> StoredEvent:
    """Return the stored event in a record or row."""
    told = message.event
    withdrawal = ids.withdrawal_sequence(message.payment_id)
    return StoredEvent(
        number=number_of(ids.event_sequence(message.provider_event_id), message.provider_event_id),
        event=ProviderEvent(
            provider=told.provider,
            event_id=told.event_id,
            type=event_type(told.type),
            provider_type=told.provider_type,
            payment_ref=told.payment_ref,
            payment_id=told.payment_id,
            payment=echoed_payment(ids, told.payment_id),
            object_ref=told.object_ref,
            object_id=told.object_id,
            refund=ids.refund_sequence(told.object_id),
            provider_amount=told.provider_amount_minor if told.HasField("provider_amount_minor") else None,
            amount=message.amount_minor if message.HasField("amount_minor") else None,
            problem=message.problem,
            currency=told.currency_code,
            occur_time=moment(told.occur_time),
            final=told.final,
            stage=told.stage,
            reason=told.reason,
            payload=payload,
            unread=unread_of(told),
            delivery=told.delivery,
        ),
        state=EventState(message.state),
        payment=withdrawal if withdrawal is not None else ids.deposit_sequence(message.payment_id),
        withdrawal=withdrawal is not None,
        note=message.note,
        receive_time=moment(message.receive_time),
        payload_digest=message.payload_digest,
        superseded_by=ids.event_sequence(message.superseded_by_event_id),
    )


def unread_of(told: pb.ProviderEvent) -> Unread | None:
    """Return what the edge says of an unread event; a newer edge may know more reasons."""
    if not told.unread_reason:
        return None
    known = told.unread_reason in _UNREAD_REASONS
    return Unread(
        reason=UnreadReason(told.unread_reason) if known else UnreadReason.OTHER,
        moves_money=told.moves_money,
        read_event_id=told.read_event_id,
    )


def event_type(number: int) -> EventType:
    """Return an event's type; a newer edge may know more of them than we do."""
    return EventType(number) if number in _TYPES else EventType.UNKNOWN


def echoed_payment(ids: TenantIds, payment_id: str) -> int | None:
    """Return the number in an id that a provider echoed; None if it is not an id of this tenant."""
    deposit = ids.deposit_sequence(payment_id)
    return deposit if deposit is not None else ids.withdrawal_sequence(payment_id)
