"""Owns the reading of ids in requests by the epochs of the history that decides on them.

The border can't know the epochs, so it accepts the number in any id. Here an id of another history names
nothing, whatever its number is.
"""

from collections.abc import Sequence
from typing import Final, get_args

from msgspec.structs import replace

from ledger_server.domain.adjustments.commands import AdjustmentStep
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.commands import (
    IngestEvent,
    RefundDeposit,
    ReplayEvent,
    SupersedeEvent,
    WithdrawalCommand,
)
from ledger_server.domain.state.commands import Command, HoldCommand, ReverseTransaction
from ledger_server.engine.lane.work import Request
from ledger_server.engine.records.events import echoed_payment

_SILENT: Final = frozenset(
    kind
    for kind in get_args(Command)
    if not issubclass(
        kind,
        HoldCommand
        | AdjustmentStep
        | ReverseTransaction
        | WithdrawalCommand
        | RefundDeposit
        | ReplayEvent
        | SupersedeEvent
        | IngestEvent,
    )
)
"""Commands that name no record by id; nearly all commands, so one look-up passes them by."""


def named_here(ids: TenantIds, requests: Sequence[Request]) -> Sequence[Request]:
    """Return the requests with the numbers that their ids have in this history; None for foreign ids.

    The ids are read anew each time, since a lane that was in the wrong history decides again.
    """
    for request in requests:
        if type(request.command) not in _SILENT:
            return [replace(each, command=_named(ids, each.command)) for each in requests]
    return requests


def _named(ids: TenantIds, command: Command) -> Command:
    match command:
        case HoldCommand(hold_id=hold_id) if hold_id:
            return replace(command, number=ids.hold_sequence(hold_id))
        case ReverseTransaction(transaction_id=transaction_id):
            return replace(command, sequence=ids.transaction_sequence(transaction_id))
        case WithdrawalCommand(withdrawal_id=withdrawal_id):
            return replace(command, number=ids.withdrawal_sequence(withdrawal_id))
        case AdjustmentStep(adjustment_id=adjustment_id):
            return replace(command, number=ids.adjustment_sequence(adjustment_id))
        case RefundDeposit(deposit_id=deposit_id):
            return replace(command, number=ids.deposit_sequence(deposit_id))
        case ReplayEvent(provider_event_id=provider_event_id) if provider_event_id:
            return replace(command, number=ids.event_sequence(provider_event_id))
        case SupersedeEvent(provider_event_id=unread, superseded_by_event_id=successor) if unread:
            number, superseded_by = ids.event_sequence(unread), ids.event_sequence(successor)
            return replace(command, number=number, superseded_by=superseded_by)
        case IngestEvent(event=event):
            told = replace(
                event,
                payment=echoed_payment(ids, event.payment_id) if event.payment_id else event.payment,
                refund=ids.refund_sequence(event.object_id) if event.object_id else event.refund,
            )
            return replace(command, event=told)
        case _:
            return command
