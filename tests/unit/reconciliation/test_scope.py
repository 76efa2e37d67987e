"""What a run looks at: the ends of its window, its patience, and what its listing proves."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.reconciliation.scope import Scope
from tests.unit.reconciliation.lives import a_scope, hour

SECOND = timedelta(seconds=1)
DAY = a_scope(0, 24, now=hour(30))


@pytest.mark.parametrize(
    ("at", "covered", "read"),
    [
        pytest.param(-1.1, False, False, id="long before"),
        pytest.param(-1, False, True, id="at the edge before"),
        pytest.param(0, True, True, id="at the start"),
        pytest.param(23.9, True, True, id="just before the end"),
        pytest.param(24, False, True, id="at the end"),
        pytest.param(25, False, False, id="at the end of the edge"),
    ],
)
def test_cover_time_at_ends_belongs_to_one_window(at: float, covered: bool, read: bool) -> None:
    """A window has its start and not its end, and reads an hour more on either side."""
    assert (DAY.covers(hour(at)), DAY.reads(hour(at))) == (covered, read)


def test_cover_no_time_is_in_no_window() -> None:
    """A movement of unknown time lies in no window."""
    assert not DAY.covers(None)


@pytest.mark.parametrize(
    ("kind", "grace"),
    [
        pytest.param(ProviderRecordKind.PAYMENT, timedelta(hours=1), id="payment: as long as webhooks take"),
        pytest.param(ProviderRecordKind.PAYOUT, timedelta(hours=1), id="payout"),
        pytest.param(ProviderRecordKind.OTHER, timedelta(hours=1), id="what has no owner"),
        pytest.param(ProviderRecordKind.FEE, timedelta(days=1), id="fee: a day"),
        pytest.param(
            ProviderRecordKind.SETTLEMENT, timedelta(days=5), id="settlement: as long as banks take"
        ),
    ],
)
def test_be_young_until_grace_is_over(kind: ProviderRecordKind, grace: timedelta) -> None:
    """Each kind is young for its own time, to the second; a run may be told another."""
    patient = msgspec.structs.replace(DAY, grace=timedelta(days=9))

    assert DAY.young(DAY.now - grace + SECOND, kind)
    assert not DAY.young(DAY.now - grace, kind)
    assert patient.young(DAY.now - grace, kind)


def test_be_stale_from_a_day_on() -> None:
    """What should have ended is stale after a day, or after what the run was told."""
    impatient = msgspec.structs.replace(DAY, stale_after=SECOND)

    assert DAY.stale(DAY.now - timedelta(days=1))
    assert not DAY.stale(DAY.now - timedelta(days=1) + SECOND)
    assert impatient.stale(DAY.now - SECOND)


@pytest.mark.parametrize(
    ("complete", "listed", "proven"),
    [
        pytest.param(True, {ProviderRecordKind.REFUND}, True, id="listed, and read to the end"),
        pytest.param(True, {ProviderRecordKind.PAYMENT}, False, id="refunds are not listed at all"),
        pytest.param(False, {ProviderRecordKind.REFUND}, False, id="broke off"),
    ],
)
def test_prove_absence_needs_the_whole_listing(
    complete: bool, listed: set[ProviderRecordKind], proven: bool
) -> None:
    """Only of a kind that is listed, and read to the end, absence proves something."""
    scope = Scope(
        from_time=hour(0), to_time=hour(24), now=hour(30), complete=complete, listed=frozenset(listed)
    )

    assert scope.proves_absence(ProviderRecordKind.REFUND) is proven
