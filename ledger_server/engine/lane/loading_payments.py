"""Owns the loading of payments: which entries commands name, and reading them into a working set."""

from collections.abc import Iterable
from typing import NamedTuple, assert_never

from defter.payments.v1 import payment_pb2

from ledger_server.domain.decisions.payments.from_providers import findings_named
from ledger_server.domain.ids import TenantIds, TenantKey
from ledger_server.domain.payments.accounts import clearing_account, fee_account, player_account
from ledger_server.domain.payments.calls import CallAccepted, CallKind
from ledger_server.domain.payments.commands import (
    IngestEvent,
    InitiateDeposit,
    MarkWithdrawalPaid,
    PaymentCommand,
    RefundDeposit,
    ReplayEvent,
    ReportCall,
    RequestWithdrawal,
    SetWithdrawalPolicy,
    SupersedeEvent,
    WithdrawalCommand,
)
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import ProviderEvent
from ledger_server.domain.payments.names import refund_name, told_names
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.domain.state.working_set import EventEntry, PaymentEntry, RefEntry, WorkingSet
from ledger_server.engine.lane.loading_findings import put_finding
from ledger_server.engine.records.events import event_of
from ledger_server.engine.records.payments import payment_of
from ledger_server.store import payment_store
from ledger_server.store.database import AnyConnection


class Named(NamedTuple):
    """What a command names."""

    accounts: tuple[str, ...] = ()
    payments: tuple[int, ...] = ()
    refs: tuple[tuple[str, str], ...] = ()
    events: tuple[int, ...] = ()
    findings: tuple[bytes, ...] = ()
    new_ref: tuple[int, str] | None = None
    """A payment that is to get a ref; the ref's present owner has to be known first."""


def payments_named(ids: TenantIds, command: PaymentCommand) -> Named:
    """Return what a command on payments names."""
    match command:
        case InitiateDeposit() | RequestWithdrawal():
            accounts = _accounts(command.provider, command.player_id, command.currency)
            ref = command.provider_ref if isinstance(command, InitiateDeposit) else ""
            return Named(accounts=accounts, refs=((command.provider, ref),) if ref else ())
        case MarkWithdrawalPaid(number=int(number), provider_ref=ref) if ref:
            return Named(payments=(number,), new_ref=(number, ref))
        case RefundDeposit(number=int(number)) | WithdrawalCommand(number=int(number)):
            return Named(payments=(number,))
        case ReportCall(kind=kind, payment=number, news=CallAccepted(provider_ref=ref)) if ref:
            name = refund_name(ref) if kind is CallKind.REFUND else ref
            return Named(payments=(number,), new_ref=(number, name))
        case ReportCall(payment=number):
            return Named(payments=(number,))
        case IngestEvent(event=event, mends=mended):
            named = _by_event(ids, event)
            return named if mended is None else named._replace(events=(mended,))
        case ReplayEvent(number=int(number)):
            return Named(events=(number,))
        case SupersedeEvent(number=int(number), superseded_by=int(successor)):
            return Named(events=(number, successor))
        case SupersedeEvent(number=int(number)) | SupersedeEvent(superseded_by=int(number)):
            return Named(events=(number,))
        case MarkWithdrawalPaid() | RefundDeposit() | WithdrawalCommand() | ReplayEvent() | SupersedeEvent():
            return Named()  # by an id that can't be this tenant's
        case SetWithdrawalPolicy():
            return Named()
        case _:
            assert_never(command)


def named_by_event(working_set: WorkingSet, number: int) -> Named:
    """Return what a loaded event names."""
    stored = working_set.events[number].stored
    return Named() if stored is None else _by_event(working_set.ids, stored.event)


def parts_of(payment: Deposit | Withdrawal) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the accounts and the holds of a payment."""
    holds = [payment.hold]
    if isinstance(payment, Deposit):
        holds += [refund.hold for refund in payment.refunds if refund.hold is not None]
    return _accounts(payment.provider, payment.player_id, payment.currency), tuple(holds)


async def load_payments(
    connection: AnyConnection, key: TenantKey, working_set: WorkingSet, numbers: Iterable[int]
) -> None:
    """Read payments with their findings; one that does not exist leaves an empty entry."""
    wanted = sorted(numbers)
    found = await payment_store.load_payments(connection, key, wanted)
    for number in wanted:
        row = found.get(number)
        payment = None if row is None else payment_of(working_set.ids, row.kind, row.body)
        working_set.payments.setdefault(number, PaymentEntry(payment)).stamp = working_set.stamp
        for body in row.findings if row is not None else ():
            put_finding(working_set, body)


async def load_refs(
    connection: AnyConnection,
    key: TenantKey,
    working_set: WorkingSet,
    refs: Iterable[tuple[str, str]],
) -> list[int]:
    """Look up which payments have these refs; return their numbers."""
    wanted = sorted(refs)
    found = await payment_store.find_refs(connection, key, wanted)
    for place in wanted:
        working_set.refs.setdefault(place, RefEntry(found.get(place))).stamp = working_set.stamp
    numbers = (working_set.refs[place].number for place in wanted)
    return [number for number in numbers if number is not None]


async def load_events(
    connection: AnyConnection, key: TenantKey, working_set: WorkingSet, numbers: Iterable[int]
) -> None:
    """Read stored events; one that does not exist leaves an empty entry."""
    wanted = sorted(numbers)
    found = await payment_store.load_events(connection, key, wanted)
    for number in wanted:
        body = found.get(number)
        stored = None
        if body is not None:
            message = payment_pb2.RecordedProviderEvent.FromString(body)
            # The payload stays in the event's row, which later writes of the event do not touch.
            stored = event_of(working_set.ids, message, b"")
        working_set.events.setdefault(number, EventEntry(stored)).stamp = working_set.stamp


def _by_event(ids: TenantIds, event: ProviderEvent) -> Named:
    return Named(
        findings=findings_named(ids, event),
        payments=() if event.payment is None else (event.payment,),
        refs=tuple((event.provider, name) for name in told_names(event)),
    )


def _accounts(provider: str, player_id: str, currency: str) -> tuple[str, ...]:
    return (
        player_account(player_id, currency),
        clearing_account(provider, currency),
        fee_account(provider, currency),
    )
