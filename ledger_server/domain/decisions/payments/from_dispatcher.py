"""Owns the decisions on the dispatcher's reports of calls to providers; a repeated report changes nothing."""

from typing import Final

from msgspec.structs import replace

from ledger_server.domain.decisions.payments import findings
from ledger_server.domain.decisions.payments.booking import Booking
from ledger_server.domain.decisions.payments.changes import change_deposit, change_withdrawal
from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallKind, CallNews, CallRejected
from ledger_server.domain.payments.commands import ReportCall
from ledger_server.domain.payments.deposit import Deposit, concluded, with_attempt
from ledger_server.domain.payments.knowledge import CALL_STEPS, NO_ATTEMPT, CallState, Refund
from ledger_server.domain.payments.names import refund_name
from ledger_server.domain.payments.refunds import answered_refund, merged_refunds, target_of
from ledger_server.domain.payments.withdrawal import NO_PAYOUT, Withdrawal, with_payout


def report(facts: Booking, command: ReportCall) -> None:
    """Record what the dispatcher says of a call; record nothing if that is known already.

    An answer that names another object than the known one is recorded in any state: the provider has two
    objects. A call is begun only while its payment still waits for it, and what the call asks for is fixed
    when it is begun.
    """
    entry = facts.working_set.payments[command.payment]
    payment, news = entry.payment, command.news
    if isinstance(payment, Withdrawal):
        state = _next_call_state(payment.call_state, news, awaited=payment.awaits_call)
        told = _told_withdrawal(payment, state, news)
        if told != payment:
            change_withdrawal(facts, payment, told, None, more=_of_two(facts, payment, news))
    elif isinstance(payment, Deposit) and command.kind is CallKind.CREATE_PAYMENT:
        state = _next_call_state(payment.call_state, news, awaited=payment.awaits_call)
        learned = _told_deposit(payment, state, news)
        if learned != payment:
            change_deposit(facts, payment, learned, None, more=_of_two(facts, payment, news))
    elif isinstance(payment, Deposit):
        refund = next((each for each in payment.refunds if each.number == command.subject), None)
        if refund is None:
            return
        others = [each for each in payment.refunds if each.number != command.subject]
        covered = payment.refundable >= 0
        state = _next_call_state(refund.call_state, news, awaited=refund.awaits_call and covered)
        told_refund = _told_refund(refund, state, news)
        if state is CallState.UNDER_WAY:
            target = target_of(payment.captures, others, refund.amount) or payment.known_ref
            told_refund = replace(told_refund, payment_ref=target)
        elif state is CallState.DROPPED and refund.awaits_call:
            # The refund will never be sent, so its hold ends.
            told_refund = replace(told_refund, hold_ended=True, reason=_NOT_COVERED)
        if told_refund != refund:
            refunds = merged_refunds([*others, told_refund])
            more = _of_two(facts, payment, news, refund=True)
            change_deposit(facts, payment, replace(payment, refunds=refunds), None, more=more)


def _of_two(
    facts: Booking, payment: Deposit | Withdrawal, news: CallNews, *, refund: bool = False
) -> tuple[Discrepancy, ...]:
    """Return the discrepancy that a call was answered with another payment's object; empty if it was not."""
    ref = news.provider_ref if isinstance(news, CallAccepted) else ""
    if not ref:
        return ()
    other = findings.other_of(facts.working_set, payment, [refund_name(ref) if refund else ref])
    return (findings.of_two(facts.working_set.ids, payment, ref, other),) if other else ()


def _next_call_state(state: CallState, news: CallNews, *, awaited: bool) -> CallState | None:
    """Return the next state of a call by what the dispatcher says; None if the state stays.

    Args:
        awaited: whether the payment still waits for its call; an object that has ended, or that the provider
            has told of, is not asked for again.
    """
    told = _NEWS[type(news)]
    if told is CallState.UNDER_WAY and not awaited:
        told = CallState.DROPPED
    return told if told in CALL_STEPS[state] else None


def _told_deposit(deposit: Deposit, state: CallState | None, news: CallNews) -> Deposit:
    told = deposit if state is None else replace(deposit, call_state=state)
    if isinstance(news, CallAccepted):
        if state is not None:
            told = replace(told, payment_url=news.payment_url)
        if not deposit.provider_ref:
            return concluded(replace(told, provider_ref=news.provider_ref))
        if news.provider_ref and news.provider_ref not in deposit.refs:
            return with_attempt(told, replace(NO_ATTEMPT, payment_ref=news.provider_ref, answered=True))
    elif isinstance(news, CallRejected) and state is not None:
        return replace(told, failure_reason=max(deposit.failure_reason, news.reason))
    return told


def _told_withdrawal(withdrawal: Withdrawal, state: CallState | None, news: CallNews) -> Withdrawal:
    told = withdrawal if state is None else replace(withdrawal, call_state=state)
    if isinstance(news, CallAccepted):
        if news.provider_ref and (state is not None or _is_another(withdrawal, news.provider_ref)):
            return with_payout(told, replace(NO_PAYOUT, provider_ref=news.provider_ref, answered=True))
    elif isinstance(news, CallRejected) and state is not None:
        return replace(told, reason=max(withdrawal.reason, news.reason))
    return told


def _is_another(payment: Withdrawal | Refund, provider_ref: str) -> bool:
    """Whether an answer that does not change the call's state names an object that nobody knew of.

    A call that has not begun can't have made an object.
    """
    begun = payment.call_state not in {CallState.NONE, CallState.PENDING}
    return provider_ref not in payment.refs and (begun or bool(payment.refs))


def _told_refund(refund: Refund, state: CallState | None, news: CallNews) -> Refund:
    told = refund if state is None else replace(refund, call_state=state)
    if isinstance(news, CallAccepted):
        if state is None and not _is_another(refund, news.provider_ref):
            return refund
        answered = answered_refund(refund, news.provider_ref)
        return answered if state is None else replace(answered, call_state=state)
    if isinstance(news, CallRejected) and state is not None:
        return replace(told, reason=max(refund.reason, news.reason))
    return told


_NOT_COVERED: Final = "not sent: the money of the deposit is gone meanwhile"
_NEWS: Final = {
    CallBegun: CallState.UNDER_WAY,
    CallAccepted: CallState.ACCEPTED,
    CallRejected: CallState.REJECTED,
}
