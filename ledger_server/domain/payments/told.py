"""Owns what providers tell: recorded in any case, and booked as far as it has a meaning."""

import hashlib
from typing import NamedTuple

from msgspec.structs import replace

from ledger_server.domain.errors import ProviderEventNotFound
from ledger_server.domain.facts import EventRecorded, FactKind
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass
from ledger_server.domain.payments import findings
from ledger_server.domain.payments.booking import Booking
from ledger_server.domain.payments.changes import change_deposit, change_withdrawal
from ledger_server.domain.payments.commands import IngestEvent, ReplayEvent
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import (
    CannotApply,
    EventState,
    EventType,
    ProviderEvent,
    StoredEvent,
    takes_effect,
    with_deposit_event,
    with_withdrawal_event,
)
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.domain.working_set import WorkingSet


class Applied(NamedTuple):
    """What became of an event."""

    state: EventState
    payment: int | None
    note: str
    discrepancies: tuple[Discrepancy, ...]


def ingest(facts: Booking, command: IngestEvent) -> None:
    """Store an event and let it take effect."""
    event = command.event
    record(facts, event, _apply(facts, event))


def replay(facts: Booking, command: ReplayEvent) -> None:
    """Apply a stored event again."""
    stored = None
    if command.number is not None:
        stored = facts.working_set.events[command.number].stored
    if stored is None:
        raise ProviderEventNotFound(provider_event_id=command.provider_event_id)
    count = len(facts.facts)
    state, payment, note, found = _apply(facts, stored.event)
    again = replace(
        stored,
        state=state,
        payment=payment,
        withdrawal=_is_withdrawal(facts.working_set, payment),
        note=note,
    )
    if again != stored or len(facts.facts) > count or command.provider_event_id:
        facts.add(EventRecorded(FactKind.PROVIDER_EVENT_RECORDED, again, found))


def record(facts: Booking, event: ProviderEvent, applied: Applied) -> None:
    """Store an event with what became of it."""
    stored = StoredEvent(
        number=facts.next_number,
        event=event,
        state=applied.state,
        payment=applied.payment,
        withdrawal=_is_withdrawal(facts.working_set, applied.payment),
        note=applied.note,
        receive_time=facts.now,
        payload_digest=hashlib.sha256(event.payload).digest(),
    )
    facts.add(EventRecorded(FactKind.PROVIDER_EVENT_RECORDED, stored, applied.discrepancies))


def _apply(facts: Booking, event: ProviderEvent) -> Applied:
    """Let an event take effect on its payment; return what became of it."""
    if event.type is EventType.UNKNOWN:
        return Applied(EventState.IGNORED, None, "", ())
    foreign = _foreign_id(facts.working_set, event)
    if foreign:
        # Neither its number nor its ref says anything here: who takes it for ours takes another's money.
        found = findings.of_another_history(event, foreign, facts.now)
        return Applied(EventState.PARKED, None, "it names an id of another history", (found,))
    payment = _payment_of(facts.working_set, event)
    if payment is None:
        return Applied(EventState.PARKED, None, "its payment is not known", ())
    if event.currency and event.currency != payment.currency:
        wrong = {"event_currency_code": event.currency, "event_id": event.event_id}
        found = findings.contradiction(facts.working_set.ids, FindingClass.CURRENCY_MISMATCH, payment, wrong)
        return Applied(EventState.CONTRADICTED, payment.number, "the currency is not the payment's", (found,))
    try:
        if isinstance(payment, Deposit):
            learned = with_deposit_event(payment, event)
            if learned != payment:
                change_deposit(facts, payment, learned, event.occur_time)
            if not takes_effect(learned, event):
                return Applied(EventState.PARKED, payment.number, "no capture is known yet", ())
        else:
            told = with_withdrawal_event(payment, event)
            if told != payment:
                change_withdrawal(facts, payment, told, event.occur_time)
    except CannotApply as wrong_event:
        why = {"why": str(wrong_event), "event_id": event.event_id, "provider_type": event.provider_type}
        kind = FindingClass.AMOUNT_MISMATCH if event.problem else FindingClass.STATUS_MISMATCH
        found = findings.contradiction(facts.working_set.ids, kind, payment, why)
        return Applied(EventState.CONTRADICTED, payment.number, str(wrong_event), (found,))
    return Applied(EventState.APPLIED, payment.number, "", ())


def _payment_of(working_set: WorkingSet, event: ProviderEvent) -> Deposit | Withdrawal | None:
    """Return an event's payment: by our id as the provider echoes it, else by the provider's ref."""
    if event.payment is not None:
        payment = working_set.payments[event.payment].payment
        # An id of another provider account's payment proves nothing.
        if payment is not None and payment.provider == event.provider:
            return payment
    if event.payment_ref:
        number = working_set.payment_by_ref(event.provider, event.payment_ref)
        if number is not None:
            return working_set.payments[number].payment
    return None


def _foreign_id(working_set: WorkingSet, event: ProviderEvent) -> str:
    """Return the id of another history that an event names, or nothing."""
    ids = working_set.ids
    return next(
        (name for name in (event.payment_id, event.object_id) if ids.of_another_history(name)),
        "",
    )


def _is_withdrawal(working_set: WorkingSet, payment: int | None) -> bool:
    return payment is not None and isinstance(working_set.payments[payment].payment, Withdrawal)
