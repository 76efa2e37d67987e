"""Owns the comparison of a payment's fees: one by one, then the sum of what is left."""

from collections.abc import Sequence

from ledger_server.domain.findings.discrepancy import FindingClass, Side
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind
from ledger_server.domain.reconciliation.comparison import PaymentComparison
from ledger_server.domain.reconciliation.ledger_side import Booked
from ledger_server.domain.reconciliation.provider_side import Listed
from ledger_server.domain.reconciliation.scope import EDGE


def compare_fees(comparison: PaymentComparison, lines: Sequence[Booked], things: Sequence[Listed]) -> None:
    """Compare all fees of a payment: one finding covers all fees, since their refs may have no meaning."""
    scope = comparison.scope
    records = [record for thing in things for record in thing.records]
    left, listed = list(lines), list(records)
    for same in (_is_that, _is_like):
        for record in list(listed):
            line = next((line for line in left if same(comparison, line, record)), None)
            if line is not None:
                left.remove(line)
                listed.remove(record)
    listed = comparison.inside(listed)
    booked = [line for line in left if scope.covers(line.time)]
    if _difference(comparison, booked, listed) == 0:
        return
    young = [record for record in listed if scope.young(record.create_time, ProviderRecordKind.FEE)]
    young_lines = [line for line in booked if line.time and scope.young(line.time, ProviderRecordKind.FEE)]
    listed = [record for record in listed if record not in young]
    booked = [line for line in booked if line not in young_lines]
    difference = _difference(comparison, booked, listed)
    # An incomplete listing proves only what it has beyond the ledger, never what it lacks.
    unproven = not scope.proves_absence(ProviderRecordKind.FEE) and difference is not None and difference > 0
    if difference == 0 or unproven:
        comparison.wait_for(young, len(young_lines))
    else:
        _report(comparison, lines, records, booked, listed)
        comparison.mark([*listed, *young])


def _report(
    comparison: PaymentComparison,
    lines: Sequence[Booked],
    records: Sequence[ProviderRecord],
    booked: Sequence[Booked],
    listed: Sequence[ProviderRecord],
) -> None:
    times = [record.create_time for record in listed] + [line.time for line in booked if line.time]
    names = ", ".join(record.provider_ref for record in records)
    own = comparison.payment.currency
    kept = {record.currency for record in records}
    # Fees in several currencies have no sum.
    exact = len(kept) == 1 and all(record.amount is not None for record in records)
    theirs = sum(record.amount or 0 for record in records) if exact else None
    sides = [
        Side(
            ref=ref,
            kind=ProviderRecordKind.FEE,
            amount=amount,
            currency=currency,
            state="",
            time=min(times),
            type="",
        )
        for ref, amount, currency in (
            (f"{comparison.payment_id}/fees", sum(line.amount for line in lines), own),
            (names[:255], theirs if records else 0, min(kept, default=own)),
        )
    ]
    comparison.add(FindingClass.FEE_MISMATCH, "the fees differ", sides[0], sides[1], min(times))


def _is_that(comparison: PaymentComparison, line: Booked, record: ProviderRecord) -> bool:
    return record.provider_ref in line.remote_refs and _is_as_much(comparison, line, record)


def _is_like(comparison: PaymentComparison, line: Booked, record: ProviderRecord) -> bool:
    """Whether both may be the same fee: the ledger's has no ref, or both came at the same time."""
    near = line.time is not None and abs(line.time - record.create_time) <= EDGE
    return (near or not line.remote_refs) and _is_as_much(comparison, line, record)


def _is_as_much(comparison: PaymentComparison, line: Booked, record: ProviderRecord) -> bool:
    return line.amount == record.amount and record.currency == comparison.payment.currency


def _difference(
    comparison: PaymentComparison, booked: Sequence[Booked], listed: Sequence[ProviderRecord]
) -> int | None:
    """Return how much less the provider has kept; None if its fees have no sum in the payment's currency."""
    if any(record.amount is None or record.currency != comparison.payment.currency for record in listed):
        return None
    return sum(record.amount or 0 for record in listed) - sum(line.amount for line in booked)
