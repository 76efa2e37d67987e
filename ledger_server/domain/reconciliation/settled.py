"""Owns the import rules for lines that are known already and for batches that were confirmed; pure."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from ledger_server.domain.errors import ReportMalformed
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.reconciliation.settlement import SettlementBatchState, SettlementLine, Totals

# A batch's id is part of the idempotency key of its transaction; a key has at most 255 such characters.
_BATCH_ID: Final = re.compile(r"[!-~]{1,128}")


class Place(Struct, frozen=True, kw_only=True):
    """Where a line belongs; this may become known later, or become more precise."""

    batch: str
    kind: ProviderRecordKind
    is_payout: bool


class KnownLine(Struct, frozen=True, kw_only=True):
    """A line as an earlier report had it."""

    place: Place
    currency: str
    gross: int
    fee: int


def place_of(line: SettlementLine) -> Place:
    """Return where a report has a line."""
    return Place(batch=line.batch, kind=line.kind, is_payout=line.is_payout)


def known_as(line: SettlementLine) -> KnownLine:
    """Return what is kept of a line, for comparison with later reports."""
    return KnownLine(place=place_of(line), currency=line.currency, gross=line.gross, fee=line.fee)


def better_place(known: KnownLine, line: SettlementLine) -> Place | None:
    """Return where a known line belongs now that another report has it too; None if it stays in its place.

    A line without a batch gets the batch that the other report names. A pay-out that one report shows by
    itself and another as part of a batch belongs to that batch: it came back, or never left for our bank. So
    the order of imports does not matter.

    Raises:
        ReportMalformed: the reports contradict each other.
    """
    if (known.currency, known.gross, known.fee) != (line.currency, line.gross, line.fee):
        raise _contradicted(
            line,
            f"{line.line_id!r} was gross {known.gross}, fee {known.fee} {known.currency} (minor units) in an"
            f" earlier report, and is gross {line.gross}, fee {line.fee} {line.currency} here",
        )
    was, now = known.place, place_of(line)
    if was == now or not now.batch:
        return None
    if not was.batch:
        return now
    if was.batch != now.batch and was.is_payout != now.is_payout:
        return now if was.is_payout else None
    raise _contradicted(
        line,
        f"{line.line_id!r} was {was.kind.name} in batch {was.batch!r} in an earlier report, and is"
        f" {now.kind.name} in batch {now.batch!r} here",
    )


def check_batch(line: SettlementLine) -> None:
    """Refuse a batch whose id could not be part of an idempotency key. Raises ReportMalformed."""
    if line.batch and not _BATCH_ID.fullmatch(line.batch):
        raise _contradicted(line, "the batch's id is not 1 to 128 printable ASCII characters without a blank")


def refused_at(line_number: int, sentence: str) -> ReportMalformed:
    """Return the refusal of a report for one line."""
    return ReportMalformed(line=line_number, problems=f"line {line_number}: {sentence}")


def _contradicted(line: SettlementLine, sentence: str) -> ReportMalformed:
    return refused_at(line.line_number, sentence)


def state_of(totals: Totals, moved: int | None) -> SettlementBatchState:
    """Return where a batch stands.

    Args:
        moved: what was moved from clearing to the bank; None before the batch is confirmed. A confirmed batch
            is never in progress again: if the moved amount is not what was paid out, a person has to look at
            it.
    """
    if moved is None:
        return totals.state
    agreed = totals.state is SettlementBatchState.BALANCED and totals.paid_out == moved
    return SettlementBatchState.CONFIRMED if agreed else SettlementBatchState.UNBALANCED


def mismatch_of(
    provider: str, batch_id: str, currency: str, totals: Totals, moved: int | None, *, open_time: datetime
) -> Discrepancy | None:
    """Return the discrepancy of an unbalanced batch; None of any other.

    Args:
        open_time: when the batch was first seen; used if no pay-out has a time.
    """
    if state_of(totals, moved) is not SettlementBatchState.UNBALANCED:
        return None
    if totals.difference or moved is None:
        text = f"batch {batch_id}: its lines add up to {totals.computed}, not to what was paid out"
    else:
        text = f"batch {batch_id}: what was moved to the bank is not what was paid out"
    return Discrepancy(
        kind=FindingClass.SETTLEMENT_TOTAL_MISMATCH,
        provider=provider,
        payment=None,
        remote=Side(
            ref=batch_id,
            kind=ProviderRecordKind.SETTLEMENT,
            amount=totals.paid_out,
            currency=currency,
            state="",
            time=totals.paid_out_time,
            type="",
        ),
        currency=currency,
        description=text,
        evidence=_evidence(totals, moved),
        subject_time=totals.paid_out_time or open_time,
        withdrawal=False,
        ledger=None,
    )


def _evidence(totals: Totals, moved: int | None) -> Mapping[str, str]:
    evidence = {
        "computed_minor": str(totals.computed),
        "difference_minor": str(totals.difference),
        "line_count": str(totals.line_count),
    }
    return evidence if moved is None else {**evidence, "moved_minor": str(moved)}
