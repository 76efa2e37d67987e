"""Owns what contradicts the books: the findings that a payment's knowledge or an event gives rise to.

A finding is an upsert on its fingerprint, so telling it again changes nothing. Their life (who looks
after them, how they end) belongs to reconciliation.
"""

from collections.abc import Mapping

from msgspec import Struct

from ledger_server.domain.code import Code
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.knowledge import CallState, RefundState, happened
from ledger_server.domain.payments.withdrawal import Withdrawal, WithdrawalState


class FindingClass(Code):
    """What kind of discrepancy it is. Numbers are stored: never reuse one."""

    MISSING_IN_LEDGER = 1
    MISSING_AT_PROVIDER = 2
    AMOUNT_MISMATCH = 3
    CURRENCY_MISMATCH = 4
    STATUS_MISMATCH = 5
    DUPLICATE_IN_LEDGER = 6
    DUPLICATE_AT_PROVIDER = 7
    STALE_PENDING = 8
    ORPHAN_REFUND = 9
    FEE_MISMATCH = 10
    SETTLEMENT_TOTAL_MISMATCH = 11
    UNKNOWN_RECORD_TYPE = 12
    WALLET_OVERDRAWN = 13


class Severity(Code):
    """How urgent it is."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class Finding(Struct, frozen=True, kw_only=True):
    """One discrepancy; the fingerprint is (provider, class, provider_ref, payment, currency)."""

    kind: FindingClass
    severity: Severity
    provider: str
    provider_ref: str
    payment: int | None
    currency: str
    facts: Mapping[str, str]


def of_deposit(deposit: Deposit) -> tuple[Finding, ...]:
    """Return what is wrong with a deposit, as far as it is known."""
    found = []
    if deposit.over and deposit.known_captured:
        found.append(_status(deposit, "captured and failed", deposit.state.name))
    if deposit.taken > deposit.amount:
        found.append(_amount(deposit, deposit.amount, deposit.taken))
    for refund in deposit.refunds:
        if refund.state is RefundState.SUCCEEDED and not refund.moved:
            found.append(_status(deposit, "refunded without an amount", deposit.state.name))
        # Whatever its state is: else it would depend on whether a later failure was heard first.
        if refund.moved != refund.amount:
            found.append(_amount(deposit, refund.amount, refund.moved))
    if deposit.refunded > deposit.captured > 0:
        found.append(_amount(deposit, deposit.captured, deposit.refunded))
    return tuple(found)


def of_withdrawal(withdrawal: Withdrawal) -> tuple[Finding, ...]:
    """Return what is wrong with a withdrawal, as far as it is known."""
    found = []
    unexpected = withdrawal.review is not WithdrawalState.APPROVED
    if unexpected and (withdrawal.paid_time is not None or withdrawal.fail_time is not None):
        found.append(
            _status(withdrawal, f"at the provider while {withdrawal.review.name}", withdrawal.state.name)
        )
    refused = withdrawal.call_state is CallState.REJECTED
    failed_first = happened(withdrawal.paid_time, withdrawal.fail_time) and withdrawal.fail_time is not None
    if failed_first or (refused and withdrawal.paid_time is not None):
        # The hold was released when it failed, so the money may have been spent since.
        found.append(_status(withdrawal, "failed and paid", withdrawal.state.name))
    if withdrawal.paid_time is not None and withdrawal.paid != withdrawal.amount:
        found.append(_amount(withdrawal, withdrawal.amount, withdrawal.paid))
    return tuple(found)


def overdrawn(payment: Deposit | Withdrawal, available: int) -> Finding:
    """Return the finding that something from outside left a wallet below its limit."""
    return Finding(
        kind=FindingClass.WALLET_OVERDRAWN,
        severity=Severity.HIGH,
        provider=payment.provider,
        provider_ref=payment.known_ref,
        payment=payment.number,
        currency=payment.currency,
        facts={"player_id": payment.player_id, "available_balance_minor": str(available)},
    )


def contradiction(
    kind: FindingClass,
    payment: Deposit | Withdrawal,
    facts: Mapping[str, str],
) -> Finding:
    """Return the finding that an event could not be booked on its payment."""
    return Finding(
        kind=kind,
        severity=Severity.CRITICAL,
        provider=payment.provider,
        provider_ref=payment.known_ref,
        payment=payment.number,
        currency=payment.currency,
        facts=facts,
    )


def _status(payment: Deposit | Withdrawal, what: str, state: str) -> Finding:
    return Finding(
        kind=FindingClass.STATUS_MISMATCH,
        severity=Severity.HIGH,
        provider=payment.provider,
        provider_ref=payment.known_ref,
        payment=payment.number,
        currency=payment.currency,
        facts={"what": what, "state": state},
    )


def _amount(payment: Deposit | Withdrawal, expected: int, actual: int) -> Finding:
    return Finding(
        kind=FindingClass.AMOUNT_MISMATCH,
        severity=Severity.HIGH,
        provider=payment.provider,
        provider_ref=payment.known_ref,
        payment=payment.number,
        currency=payment.currency,
        facts={"expected_minor": str(expected), "actual_minor": str(actual)},
    )
