"""Owns unread events: the finding about each, and the event that it became once it could be read.

An event that was read resolves the finding about the unread event with the same id. It does not matter
whether the provider sent the event again in a better form, or an upgraded edge read the stored payload.
"""

import hashlib
from datetime import datetime
from typing import Final

from ledger_server.domain.errors import EventCannotSupersede, IllegalTransition
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.payments.events import EventState, EventType, ProviderEvent, StoredEvent
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.state.working_set import WorkingSet

CAME_TO_NOTHING: Final = frozenset({EventState.PARKED, EventState.CONTRADICTED})
"""States of an event that was read but moved nothing; sent again in another form it may move money."""

_READ: Final = ":read"
_MENDED: Final = ":mended:"
_MOST_ID: Final = 255
# The digest stands for the rest of a longer id.
_MOST_PLAIN_ID: Final = 200


def read_event_id(event_id: str) -> str:
    """Return the id of an event that was read, where the unread event has the provider's own id already."""
    return event_id[: _MOST_ID - len(_READ)] + _READ


def mended_event_id(event: ProviderEvent) -> str:
    """Return the id of an event whose own id is taken by an event that came to nothing.

    The id follows from what the event says, so deliveries that say the same are one event.
    """
    digest = hashlib.sha256(repr((event.event_id, *said_by(event))).encode()).hexdigest()[:32]
    return f"{event.event_id[:_MOST_PLAIN_ID]}{_MENDED}{digest}"


def said_by(event: ProviderEvent) -> tuple[object, ...]:
    """Return everything that decides what an event books: not its time, its reason and its bytes."""
    return (
        int(event.type),
        event.payment_ref,
        event.payment_id,
        event.object_ref,
        event.object_id,
        event.provider_amount,
        event.amount,
        event.currency,
        event.stage,
        event.final,
    )


def discrepancy(event: ProviderEvent, receive_time: datetime) -> Discrepancy | None:
    """Return the discrepancy of an unread event; None if it was read, or if its type moves no money."""
    if event.unread is None or not event.unread.moves_money:
        return None
    return _discrepancy(event, event.unread.read_event_id or event.event_id, receive_time)


def fingerprint(event: ProviderEvent) -> bytes | None:
    """Return the fingerprint of the finding that the event is or was unread.

    None: there is no such finding, since the event is unread and its type moves no money.
    """
    if event.unread is not None and not event.unread.moves_money:
        return None
    event_id = event.event_id.removesuffix(_READ).partition(_MENDED)[0]
    if event.unread is not None and event.unread.read_event_id:
        event_id = event.unread.read_event_id
    return _discrepancy(event, event_id, event.occur_time).fingerprint


def mended(working_set: WorkingSet, event: ProviderEvent) -> tuple[bytes, ...]:
    """Return the finding that an event resolves by having been read, if there is one."""
    found = fingerprint(event)
    if event.unread is not None or found is None or working_set.finding(found) is None:
        return ()
    return (found,)


def check_superseded(stored: StoredEvent, event_id: str, successor: StoredEvent, successor_id: str) -> None:
    """Require that an event is unread, and that the other event is the same one in readable form.

    Raises:
        IllegalTransition, EventCannotSupersede.
    """
    # Events that were recorded before this state existed are IGNORED, whether they were read or not.
    unread = stored.state in {EventState.UNREAD, EventState.IGNORED}
    if not unread or stored.event.type is not EventType.UNKNOWN:
        raise IllegalTransition(
            subject=event_id, **{"from": stored.state.name, "to": EventState.SUPERSEDED.name}
        )
    event = successor.event
    same_account = event.provider == stored.event.provider
    if not same_account or successor.number == stored.number or event.unread is not None:
        raise EventCannotSupersede(provider_event_id=event_id, superseded_by_event_id=successor_id)


def _discrepancy(event: ProviderEvent, event_id: str, receive_time: datetime) -> Discrepancy:
    """Return the discrepancy of the event that is known by an id.

    The fingerprint follows from that id alone, so deliveries that are unreadable in several ways share one
    finding.
    """
    unread = event.unread
    reason = "" if unread is None else unread.reason.name
    return Discrepancy(
        kind=FindingClass.UNREAD_EVENT,
        provider=event.provider,
        payment=None,
        remote=Side(
            ref=event_id,
            kind=ProviderRecordKind.UNKNOWN,
            amount=None,
            currency="",
            state="",
            time=receive_time,
            type=event.provider_type,
        ),
        currency="",
        description="a genuine event that moves money could not be read",
        evidence={"event_id": event.event_id, "unread_reason": reason, "why": event.reason},
        subject_time=receive_time,
        withdrawal=False,
        ledger=None,
    )
