"""Owns what contradicts the books: the discrepancies that a payment's knowledge or an event gives rise to."""

from collections.abc import Mapping
from datetime import datetime

from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import ProviderEvent
from ledger_server.domain.payments.knowledge import CallState, Refund, RefundState, happened
from ledger_server.domain.payments.withdrawal import Withdrawal, WithdrawalState
from ledger_server.domain.reconciliation.record import RecordKind


def of_deposit(ids: TenantIds, deposit: Deposit) -> tuple[Discrepancy, ...]:
    """Return what is wrong with a deposit, as far as it is known."""
    found = []
    if deposit.over and deposit.known_captured:
        found.append(_status(ids, deposit, "captured and failed"))
    if deposit.taken > deposit.amount:
        found.append(
            _amount(ids, deposit, "more was captured than asked for", (deposit.amount, deposit.taken))
        )
    for refund in deposit.refunds:
        if refund.state is RefundState.SUCCEEDED and not refund.moved:
            found.append(_status(ids, deposit, "refunded without an amount", refund))
        # Whatever its state is: else it would depend on whether a later failure was heard first.
        if refund.moved != refund.amount:
            what = "another amount was refunded than asked for"
            found.append(_amount(ids, deposit, what, (refund.amount, refund.moved), refund))
    if deposit.refunded > deposit.captured > 0:
        what = "more was refunded than captured"
        found.append(_amount(ids, deposit, what, (deposit.captured, deposit.refunded)))
    return tuple(found)


def of_withdrawal(ids: TenantIds, withdrawal: Withdrawal) -> tuple[Discrepancy, ...]:
    """Return what is wrong with a withdrawal, as far as it is known."""
    found = []
    unexpected = withdrawal.review is not WithdrawalState.APPROVED
    if unexpected and (withdrawal.paid_time is not None or withdrawal.fail_time is not None):
        found.append(_status(ids, withdrawal, f"at the provider while {withdrawal.review.name}"))
    refused = withdrawal.call_state is CallState.REJECTED
    failed_first = happened(withdrawal.paid_time, withdrawal.fail_time) and withdrawal.fail_time is not None
    if failed_first or (refused and withdrawal.paid_time is not None):
        # The hold was released when it failed, so the money may have been spent since.
        found.append(_status(ids, withdrawal, "failed and paid"))
    if withdrawal.paid_time is not None and withdrawal.paid != withdrawal.amount:
        what = "another amount was paid than asked for"
        found.append(_amount(ids, withdrawal, what, (withdrawal.amount, withdrawal.paid)))
    return tuple(found)


def overdrawn(ids: TenantIds, payment: Deposit | Withdrawal, available: int) -> Discrepancy:
    """Return the discrepancy that something from outside left a wallet below its limit."""
    return _of(
        ids,
        payment,
        FindingClass.WALLET_OVERDRAWN,
        "the wallet is below its limit",
        {"player_id": payment.player_id, "available_balance_minor": str(available)},
    )


def contradiction(
    ids: TenantIds, kind: FindingClass, payment: Deposit | Withdrawal, facts: Mapping[str, str]
) -> Discrepancy:
    """Return the discrepancy that an event could not be booked on its payment."""
    return _of(ids, payment, kind, "an event could not be booked", facts)


def of_another_history(event: ProviderEvent, named: str, now: datetime) -> Discrepancy:
    """Return the discrepancy that an event names an id of another history.

    Args:
        named: that id; it makes the finding the same one, however many events name it.
    """
    return Discrepancy(
        kind=FindingClass.UNKNOWN_HISTORY,
        provider=event.provider,
        payment=None,
        remote=Side(
            ref=named,
            kind=RecordKind.OTHER,
            amount=None,
            currency=event.currency,
            state="",
            time=event.occur_time,
            type=event.provider_type,
        ),
        currency=event.currency,
        description="an event names an id of another history",
        evidence={
            "named_id": named,
            "provider_ref": event.payment_ref or event.object_ref,
            "event_id": event.event_id,
        },
        subject_time=now,
    )


def refund_ref(ids: TenantIds, deposit: Deposit, refund: Refund) -> str:
    """Return what a refund is called: by our id of it, else within its deposit."""
    if refund.number is not None:
        return ids.refund_id(refund.number)
    return f"{ids.deposit_id(deposit.number)}/refunds/{refund.provider_ref}"


def _side(ids: TenantIds, payment: Deposit | Withdrawal, refund: Refund | None) -> Side:
    """Return what it is about: what events have told, which a run may see otherwise and names otherwise.

    Nothing in it changes later, so that a resolved finding stays so.
    """
    if isinstance(payment, Withdrawal):
        kind, ref, amount = RecordKind.PAYOUT, ids.withdrawal_id(payment.number), -payment.amount
    elif refund is not None:
        kind, ref, amount = RecordKind.REFUND, refund_ref(ids, payment, refund), -refund.amount
    else:
        kind, ref, amount = RecordKind.PAYMENT, ids.deposit_id(payment.number), payment.amount
    return Side(
        ref=f"{ref}/events",
        kind=kind,
        amount=amount,
        currency=payment.currency,
        state="",
        time=begin_time(payment),
    )


def begin_time(payment: Deposit | Withdrawal) -> datetime:
    """Return when a payment was asked for."""
    return payment.initiate_time if isinstance(payment, Deposit) else payment.request_time


def _status(
    ids: TenantIds, payment: Deposit | Withdrawal, what: str, refund: Refund | None = None
) -> Discrepancy:
    return _of(ids, payment, FindingClass.STATUS_MISMATCH, what, {}, refund=refund)


def _amount(
    ids: TenantIds,
    payment: Deposit | Withdrawal,
    what: str,
    amounts: tuple[int, int],
    refund: Refund | None = None,
) -> Discrepancy:
    expected, actual = amounts
    facts = {"expected_minor": str(expected), "actual_minor": str(actual)}
    return _of(ids, payment, FindingClass.AMOUNT_MISMATCH, what, facts, refund=refund)


def _of(
    ids: TenantIds,
    payment: Deposit | Withdrawal,
    kind: FindingClass,
    what: str,
    facts: Mapping[str, str],
    *,
    refund: Refund | None = None,
) -> Discrepancy:
    known = {"provider_ref": payment.known_ref} if payment.known_ref else {}
    return Discrepancy(
        kind=kind,
        provider=payment.provider,
        payment=payment.number,
        withdrawal=isinstance(payment, Withdrawal),
        ledger=_side(ids, payment, refund),
        currency=payment.currency,
        description=what,
        evidence={**known, **facts},
        subject_time=begin_time(payment),
    )
