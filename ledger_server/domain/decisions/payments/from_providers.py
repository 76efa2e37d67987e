"""Owns the decisions on provider events: every event is recorded, and booked as far as it has a meaning."""

import hashlib
from typing import Final, NamedTuple

from msgspec.structs import replace

from ledger_server.domain.decisions.payments import findings, unread
from ledger_server.domain.decisions.payments.booking import Booking
from ledger_server.domain.decisions.payments.changes import change_deposit, change_withdrawal
from ledger_server.domain.errors import ProviderEventNotFound, Rejected
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.commands import IngestEvent, ReplayEvent, SupersedeEvent
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import (
    CannotApply,
    EventState,
    EventType,
    ProviderEvent,
    StoredEvent,
    retold,
    takes_effect,
    with_deposit_event,
    with_withdrawal_event,
)
from ledger_server.domain.payments.names import told_names
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.domain.state.facts import EventRecorded, FactKind
from ledger_server.domain.state.working_set import WorkingSet

_WAITS_FOR_CAPTURE: Final = "no capture is known yet"
_WAITS: Final = {EventType.REFUND_TOTAL: "the refunds that are known do not amount to it yet"}


class Applied(NamedTuple):
    """What became of an event."""

    state: EventState
    payment: int | None
    note: str
    discrepancies: tuple[Discrepancy, ...]


def ingest(facts: Booking, command: IngestEvent) -> None:
    """Store an event and let it take effect."""
    applied = _apply(facts, command.event)
    _supersede_mended(facts, command)
    record(facts, command.event, applied)


def keep(facts: Booking, command: IngestEvent, refused: Rejected) -> None:
    """Park an event whose accounts have no room for it, or are not fit for it, until that is put right.

    An event tells of something that has happened, so it is never refused: it is kept, with a finding from the
    first moment on.
    """
    event = command.event
    payment = _payment_of(facts.working_set, event)
    found: tuple[Discrepancy, ...] = ()
    if payment is not None:
        why = {"why": refused.reason.name, "event_id": event.event_id, **refused.metadata}
        kind = FindingClass.STATUS_MISMATCH
        found = (findings.contradiction(facts.working_set.ids, kind, payment, why),)
    number = None if payment is None else payment.number
    _supersede_mended(facts, command)
    record(facts, event, Applied(EventState.PARKED, number, refused.message, found))


def replay(facts: Booking, command: ReplayEvent) -> None:
    """Apply a stored event again."""
    stored = _stored(facts, command.number, command.provider_event_id)
    count = len(facts.facts)
    if stored.state is EventState.SUPERSEDED:
        # The event that superseded this one says all that it has to say.
        state, payment, note, found = Applied(stored.state, None, stored.note, ())
    else:
        state, payment, note, found = _apply(facts, stored.event)
    again = replace(
        stored,
        state=state,
        payment=payment,
        withdrawal=_is_withdrawal(facts.working_set, payment),
        note=note,
    )
    if again != stored or len(facts.facts) > count or command.provider_event_id:
        facts.add(EventRecorded(FactKind.PROVIDER_EVENT_RECORDED, again, found, mended=()))


def supersede(facts: Booking, command: SupersedeEvent) -> None:
    """Say what an unread event became when it was read; its finding resolves."""
    stored = _stored(facts, command.number, command.provider_event_id)
    successor = _stored(facts, command.superseded_by, command.superseded_by_event_id)
    unread.check_superseded(stored, command.provider_event_id, successor, command.superseded_by_event_id)
    found = unread.fingerprint(stored.event)
    superseded = replace(stored, state=EventState.SUPERSEDED, superseded_by=successor.number)
    mended = () if found is None else (found,)
    facts.add(EventRecorded(FactKind.PROVIDER_EVENT_RECORDED, superseded, mended=mended, discrepancies=()))


def findings_named(ids: TenantIds, event: ProviderEvent) -> tuple[bytes, ...]:
    """Return the fingerprints of the findings without a payment that an event may open, see again or resolve.

    The findings of a payment are loaded with the payment. These are not, so whoever loads what an event names
    has to ask for them: a finding that is there and is not loaded would be opened a second time.
    """
    unread_one = unread.fingerprint(event)
    found = () if unread_one is None else (unread_one,)
    foreign = _foreign_id(ids, event)
    if not foreign:
        return found
    return (*found, findings.of_another_history(event, foreign, event.occur_time).fingerprint)


def _supersede_mended(facts: Booking, command: IngestEvent) -> None:
    """Mark an earlier event as superseded by the event that is recorded next.

    An earlier event that has taken effect since then is left alone: both events are known, and they overlap
    as objects do.
    """
    stored = facts.working_set.events[command.mends].stored if command.mends is not None else None
    if stored is None or stored.state not in unread.CAME_TO_NOTHING:
        return
    successor = facts.next_number + 1
    superseded = replace(stored, state=EventState.SUPERSEDED, superseded_by=successor)
    facts.add(EventRecorded(FactKind.PROVIDER_EVENT_RECORDED, superseded, discrepancies=(), mended=()))


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
        superseded_by=None,
    )
    mended = unread.mended(facts.working_set, event)
    facts.add(EventRecorded(FactKind.PROVIDER_EVENT_RECORDED, stored, applied.discrepancies, mended))


def _stored(facts: Booking, number: int | None, event_id: str) -> StoredEvent:
    stored = facts.working_set.events[number].stored if number is not None else None
    if stored is None:
        raise ProviderEventNotFound(provider_event_id=event_id)
    return stored


def _apply(facts: Booking, event: ProviderEvent) -> Applied:
    """Let an event take effect on its payment; return what became of it."""
    if event.unread is not None:
        found_unread = unread.discrepancy(event, facts.now)
        return Applied(EventState.UNREAD, None, "", () if found_unread is None else (found_unread,))
    if event.type is EventType.UNKNOWN:
        return Applied(EventState.IGNORED, None, "", ())
    foreign = _foreign_id(facts.working_set.ids, event)
    if foreign:
        # Neither the number nor the ref of such an event means anything in this history: booking it here
        # would book the money of somebody else's payment.
        astray = findings.of_another_history(event, foreign, facts.now)
        return Applied(EventState.PARKED, None, "it names an id of another history", (astray,))
    payment = _payment_of(facts.working_set, event)
    if payment is None:
        return Applied(EventState.PARKED, None, "its payment is not known", ())
    other = findings.other_of(facts.working_set, payment, told_names(event))
    if other:
        # The object would be booked twice. Only a person can say which of the two payments it belongs to.
        why_not = f"what it names is of {other} already"
        told_ref = event.object_ref or event.payment_ref
        twice = findings.of_two(facts.working_set.ids, payment, told_ref, other)
        return Applied(EventState.CONTRADICTED, payment.number, why_not, (twice,))
    if event.currency and event.currency != payment.currency:
        wrong = {"event_currency_code": event.currency, "event_id": event.event_id}
        another = findings.contradiction(
            facts.working_set.ids, FindingClass.CURRENCY_MISMATCH, payment, wrong
        )
        return Applied(
            EventState.CONTRADICTED, payment.number, "the currency is not the payment's", (another,)
        )
    try:
        if isinstance(payment, Deposit):
            learned = with_deposit_event(payment, event)
            found = _retold(facts.working_set, payment, event)
            if learned != payment:
                change_deposit(facts, payment, learned, event.occur_time)
            if not takes_effect(learned, event):
                waits = _WAITS.get(event.type, _WAITS_FOR_CAPTURE)
                return Applied(EventState.PARKED, payment.number, waits, found)
            return Applied(EventState.APPLIED, payment.number, "", found)
        told = with_withdrawal_event(payment, event)
        if told != payment:
            change_withdrawal(facts, payment, told, event.occur_time)
    except CannotApply as wrong_event:
        why = {"why": str(wrong_event), "event_id": event.event_id, "provider_type": event.provider_type}
        kind = FindingClass.AMOUNT_MISMATCH if event.problem else FindingClass.STATUS_MISMATCH
        wrong_one = findings.contradiction(facts.working_set.ids, kind, payment, why)
        return Applied(EventState.CONTRADICTED, payment.number, str(wrong_event), (wrong_one,))
    return Applied(EventState.APPLIED, payment.number, "", ())


def _retold(working_set: WorkingSet, deposit: Deposit, event: ProviderEvent) -> tuple[Discrepancy, ...]:
    """Return the discrepancy that an event contradicts what was told under the same name."""
    why = retold(deposit, event)
    if not why:
        return ()
    facts = {"why": why, "event_id": event.event_id, "provider_type": event.provider_type}
    return (findings.ambiguous(working_set.ids, deposit, facts),)


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


def _foreign_id(ids: TenantIds, event: ProviderEvent) -> str:
    """Return the id of another history that an event names, or nothing."""
    return next(
        (name for name in (event.payment_id, event.object_id) if ids.of_another_history(name)),
        "",
    )


def _is_withdrawal(working_set: WorkingSet, payment: int | None) -> bool:
    return payment is not None and isinstance(working_set.payments[payment].payment, Withdrawal)
