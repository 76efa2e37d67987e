"""Owns what the dispatcher reports of calls to providers; told twice, it is no news."""

from typing import Final

from msgspec.structs import replace

from ledger_server.domain.payments.booking import Booking
from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallKind, CallNews, CallRejected
from ledger_server.domain.payments.changes import change_deposit, change_withdrawal
from ledger_server.domain.payments.commands import ReportCall
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import merged_refunds
from ledger_server.domain.payments.knowledge import CALL_STEPS, CallState, Refund
from ledger_server.domain.payments.withdrawal import Withdrawal


def report(facts: Booking, command: ReportCall) -> None:
    """Record what the dispatcher says of a call; nothing, if that is no news."""
    entry = facts.working_set.payments[command.payment]
    payment = entry.payment
    if isinstance(payment, Withdrawal):
        state = _next_call_state(payment.call_state, command.news)
        if state is None:
            return
        change_withdrawal(facts, payment, _told_withdrawal(payment, state, command.news), None)
    elif isinstance(payment, Deposit) and command.kind is CallKind.CREATE_PAYMENT:
        state = _next_call_state(payment.call_state, command.news)
        if state is None:
            return
        change_deposit(facts, payment, _told_deposit(payment, state, command.news), None)
    elif isinstance(payment, Deposit):
        refund = next((each for each in payment.refunds if each.number == command.subject), None)
        state = None if refund is None else _next_call_state(refund.call_state, command.news)
        if refund is None or state is None:
            return
        others = [each for each in payment.refunds if each.number != command.subject]
        refunds = merged_refunds([*others, _told_refund(refund, state, command.news)])
        change_deposit(facts, payment, replace(payment, refunds=refunds), None)


def _next_call_state(state: CallState, news: CallNews) -> CallState | None:
    """Return where a call goes by what the dispatcher says; None if that is no news."""
    told = _NEWS[type(news)]
    return told if told in CALL_STEPS[state] else None


def _told_deposit(deposit: Deposit, state: CallState, news: CallNews) -> Deposit:
    told = replace(deposit, call_state=state)
    if isinstance(news, CallAccepted):
        provider_ref = deposit.provider_ref or news.provider_ref
        return replace(told, provider_ref=provider_ref, payment_url=news.payment_url)
    if isinstance(news, CallRejected):
        return replace(told, failure_reason=max(deposit.failure_reason, news.reason))
    return told


def _told_withdrawal(withdrawal: Withdrawal, state: CallState, news: CallNews) -> Withdrawal:
    told = replace(withdrawal, call_state=state)
    if isinstance(news, CallAccepted):
        return replace(told, provider_ref=withdrawal.provider_ref or news.provider_ref)
    if isinstance(news, CallRejected):
        return replace(told, reason=max(withdrawal.reason, news.reason))
    return told


def _told_refund(refund: Refund, state: CallState, news: CallNews) -> Refund:
    told = replace(refund, call_state=state)
    if isinstance(news, CallAccepted):
        return replace(told, provider_ref=refund.provider_ref or news.provider_ref)
    if isinstance(news, CallRejected):
        return replace(told, reason=max(refund.reason, news.reason))
    return told


_NEWS: Final = {
    CallBegun: CallState.UNDER_WAY,
    CallAccepted: CallState.ACCEPTED,
    CallRejected: CallState.REJECTED,
}
