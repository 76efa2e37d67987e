"""Own what an import makes of known lines and confirmed batches, as tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from ledger_server.domain.errors import ReportMalformed
from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.reconciliation.settled import (
    Place,
    better_place,
    check_batch,
    known_as,
    mismatch_of,
    place_of,
    state_of,
)
from ledger_server.domain.reconciliation.settlement import SettlementBatchState, Totals
from tests.support.totals import totals
from tests.unit.reconciliation.test_settlement import line, payout

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LOOSE = replace(line(ProviderRecordKind.PAYMENT, 100, 3), batch="")
IN_ONE = replace(LOOSE, batch="po_1")
IN_TWO = replace(LOOSE, batch="po_2")
ALONE = replace(payout(-100, batch="po_0"), line_id=LOOSE.line_id)
WITHIN = replace(ALONE, batch="po_1", is_payout=False)


@pytest.mark.parametrize(
    ("known", "again", "place"),
    [
        (LOOSE, LOOSE, None),
        (LOOSE, IN_ONE, place_of(IN_ONE)),
        (IN_ONE, LOOSE, None),
        (IN_ONE, IN_ONE, None),
        (ALONE, WITHIN, Place(batch="po_1", kind=ProviderRecordKind.SETTLEMENT, is_payout=False)),
        (WITHIN, ALONE, None),
    ],
)
def test_place_line_again_keeps_or_betters_it(known: object, again: object, place: Place | None) -> None:
    """A batch that becomes known is taken, and none is ever lost."""
    assert better_place(known_as(known), again) == place  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "again",
    [
        replace(IN_ONE, gross=101, net=98),
        replace(IN_ONE, fee=4, net=96),
        replace(IN_ONE, currency="USD"),
        IN_TWO,
        replace(IN_ONE, kind=ProviderRecordKind.OTHER),
        replace(LOOSE, gross=101, net=98),
    ],
)
def test_contradict_earlier_report_is_refused(again: object) -> None:
    """Amounts, currency and batch are facts; of two that differ one is wrong."""
    with pytest.raises(ReportMalformed) as refused:
        better_place(known_as(IN_ONE), again)  # type: ignore[arg-type]
    assert refused.value.metadata["line"] == str(IN_ONE.line_number)


@pytest.mark.parametrize("batch", ["po 1", "po\n1", "pö", "x" * 129])
def test_check_batch_that_fits_no_key_is_refused(batch: str) -> None:
    """What can't be part of an idempotency key could never be confirmed."""
    with pytest.raises(ReportMalformed):
        check_batch(replace(IN_ONE, batch=batch))
    check_batch(replace(IN_ONE, batch="x" * 128))
    check_batch(LOOSE)


BALANCED = totals(gross=100, paid_out=100, line_count=1, paid_out_time=NOW)
UNBALANCED = totals(gross=100, paid_out=90, line_count=1, paid_out_time=NOW)
BEGUN = totals(gross=100, line_count=1)


@pytest.mark.parametrize(
    ("totals", "moved", "state"),
    [
        (BALANCED, None, SettlementBatchState.BALANCED),
        (UNBALANCED, None, SettlementBatchState.UNBALANCED),
        (BEGUN, None, SettlementBatchState.IN_PROGRESS),
        (BALANCED, 100, SettlementBatchState.CONFIRMED),
        (BALANCED, 90, SettlementBatchState.UNBALANCED),
        (UNBALANCED, 90, SettlementBatchState.UNBALANCED),
        (BEGUN, 100, SettlementBatchState.UNBALANCED),
        (totals(gross=5, fee=5, paid_out=0, line_count=1), 0, SettlementBatchState.CONFIRMED),
    ],
)
def test_state_follows_from_sums_and_from_what_was_moved(
    totals: Totals, moved: int | None, state: SettlementBatchState
) -> None:
    """What was moved and is not what was paid out needs somebody to look at it."""
    assert state_of(totals, moved) is state
    found = mismatch_of("mock", "po_1", "EUR", totals, moved, open_time=NOW)
    assert (found is not None) == (state is SettlementBatchState.UNBALANCED)


def test_mismatch_is_the_same_finding_whatever_the_amounts() -> None:
    """One batch and currency, one finding; its evidence has the sums."""
    first = mismatch_of("mock", "po_1", "EUR", UNBALANCED, None, open_time=NOW)
    second = mismatch_of("mock", "po_1", "EUR", BALANCED, 90, open_time=NOW)
    other = mismatch_of("mock", "po_1", "USD", UNBALANCED, None, open_time=NOW)
    assert first is not None
    assert second is not None
    assert other is not None
    assert first.kind is FindingClass.SETTLEMENT_TOTAL_MISMATCH
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert first.evidence == {"computed_minor": "100", "difference_minor": "-10", "line_count": "1"}
    assert second.evidence["moved_minor"] == "90"
