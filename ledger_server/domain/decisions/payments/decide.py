"""Owns the decisions on payments: from (working set, command, now) to the facts that follow.

As in the ledger's own decisions, a refusal is raised before anything has changed, and facts that are
returned can be applied without a further check. A report from outside is never refused: it tells of something
that has happened.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar, cast

from ledger_server.domain.decisions.payments import from_callers as asked
from ledger_server.domain.decisions.payments import from_dispatcher as called
from ledger_server.domain.decisions.payments import from_providers as told
from ledger_server.domain.decisions.payments.booking import Booking, booking
from ledger_server.domain.errors import Rejected
from ledger_server.domain.payments.commands import (
    AddWithdrawalNote,
    ApproveWithdrawal,
    CancelWithdrawal,
    ClaimWithdrawal,
    IngestEvent,
    InitiateDeposit,
    MarkWithdrawalPaid,
    PaymentCommand,
    RefundDeposit,
    RejectWithdrawal,
    ReplayEvent,
    ReportCall,
    RequestWithdrawal,
    SetWithdrawalPolicy,
    SupersedeEvent,
)
from ledger_server.domain.payments.events import EventState
from ledger_server.domain.state.facts import Fact
from ledger_server.domain.state.working_set import WorkingSet


def decide_payment(working_set: WorkingSet, command: PaymentCommand, now: datetime) -> tuple[Fact, ...]:
    """Decide one payment command; the caller applies the facts, all or none.

    The last fact is the one that answers the caller; a report that brings no news has none.

    Raises:
        Rejected: a rule refuses the command; nothing was changed.
    """
    with booking(working_set, now) as facts:
        try:
            _DECIDERS[type(command)](facts, command)
        except Rejected as refused:
            if isinstance(command, ReplayEvent) and not command.provider_event_id:
                # The ledger itself tries again, no caller does: the event stays parked, and a try must not
                # fill the journal.
                return ()
            if not isinstance(command, IngestEvent):
                raise
            reason = refused
        else:
            return tuple(facts.facts)
    with booking(working_set, now) as facts:
        told.keep(facts, command, reason)
        return tuple(facts.facts)


def store_undecided(working_set: WorkingSet, command: IngestEvent, now: datetime) -> tuple[Fact, ...]:
    """Return the fact that an event came in, for when deciding its effect failed: no event may be lost."""
    with booking(working_set, now) as facts:
        told.record(
            facts, command.event, told.Applied(EventState.PARKED, None, "it could not be decided", ())
        )
        return tuple(facts.facts)


_Decide = TypeVar("_Decide", bound=Callable[..., None])


def _table(*deciders: tuple[type[object], _Decide]) -> dict[type[object], Callable[[Booking, object], None]]:
    return {command: cast("Callable[[Booking, object], None]", decide) for command, decide in deciders}


_DECIDERS: Final = _table(
    (InitiateDeposit, asked.initiate),
    (RefundDeposit, asked.refund),
    (RequestWithdrawal, asked.request),
    (ApproveWithdrawal, asked.approve),
    (RejectWithdrawal, asked.reject),
    (CancelWithdrawal, asked.cancel),
    (MarkWithdrawalPaid, asked.mark_paid),
    (ClaimWithdrawal, asked.claim),
    (AddWithdrawalNote, asked.add_note),
    (SetWithdrawalPolicy, asked.set_policy),
    (IngestEvent, told.ingest),
    (ReplayEvent, told.replay),
    (SupersedeEvent, told.supersede),
    (ReportCall, called.report),
)
