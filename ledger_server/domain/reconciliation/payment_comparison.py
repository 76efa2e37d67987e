"""Owns the comparison of one payment with a provider's records of it: pure, line by line, one to one.

Each line of the ledger has at most one counterpart at the provider and the other way round (`matching`). What
a pair or a missing counterpart means is judged by kind (`line_comparison`, `fees`).
"""

from collections.abc import Iterable, Sequence

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind
from ledger_server.domain.reconciliation.comparison import (
    Comparison,
    PaymentComparison,
    Verdict,
    ledger_side,
    name_of,
    remote_side,
)
from ledger_server.domain.reconciliation.fees import compare_fees
from ledger_server.domain.reconciliation.ledger_side import Booked, Payment, booked_of
from ledger_server.domain.reconciliation.line_comparison import judge_claims
from ledger_server.domain.reconciliation.matching import claim, claim_captures
from ledger_server.domain.reconciliation.provider_side import Listed, listed_of
from ledger_server.domain.reconciliation.scope import Scope

__all__ = ["Comparison", "Verdict", "compare", "remote_side"]


def compare(
    ids: TenantIds,
    payment: Payment,
    records: Iterable[ProviderRecord],
    scope: Scope,
    *,
    twin: int | None = None,
) -> Comparison:
    """Compare a payment with the records that were found to be its own.

    Args:
        records: including those at the window's edges; in any order, repetitions allowed.
        twin: another payment that had this payment's provider ref first; the records then belong to the twin.
    """
    comparison = PaymentComparison(ids, payment, scope)
    lines, things = booked_of(ids, payment), listed_of(records)
    _add_totals(comparison, lines, things)
    if twin is not None:
        _report_twin(comparison, lines[0], things, twin)
        return comparison.result
    for kind in sorted({line.kind for line in lines} | {thing.kind for thing in things}):
        booked = [line for line in lines if line.kind is kind]
        listed = [thing for thing in things if thing.kind is kind]
        if kind is ProviderRecordKind.FEE:
            compare_fees(comparison, booked, listed)
        elif kind is ProviderRecordKind.PAYMENT and booked:
            judge_claims(comparison, claim_captures(payment, booked, listed, scope))
        else:
            judge_claims(comparison, claim(booked, listed, scope))
    result = comparison.result
    inside = comparison.inside(record for thing in things for record in thing.records)
    result.matched = sum(name_of(record) not in result.verdicts for record in inside)
    return result


def _add_totals(comparison: PaymentComparison, lines: Sequence[Booked], things: Sequence[Listed]) -> None:
    """Add up what moved within the window."""
    result, currency = comparison.result, comparison.payment.currency
    for line in lines:
        for moved in line.moved:
            if comparison.scope.covers(moved.time):
                result.ledger_total[currency] = result.ledger_total.get(currency, 0) + moved.amount
    for record in comparison.inside(record for thing in things for record in thing.records):
        amount = result.remote_total.get(record.currency, 0) + (record.amount or 0)
        result.remote_total[record.currency] = amount


def _report_twin(comparison: PaymentComparison, line: Booked, things: Sequence[Listed], twin: int) -> None:
    """Report that two payments of the ledger are one at the provider, if that concerns the window."""
    scope = comparison.scope
    listed = comparison.inside(record for thing in things for record in thing.records)
    if listed or scope.covers(line.since) or any(scope.covers(moved.time) for moved in line.moved):
        text = f"{comparison.payment.known_ref} at the provider is {comparison.id_of(twin)} already"
        side = ledger_side(line, comparison.payment.currency)
        comparison.add(FindingClass.DUPLICATE_IN_LEDGER, text, side, None, line.since)
