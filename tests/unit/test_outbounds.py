"""Test which run says what was lost between two times."""

from __future__ import annotations

from datetime import timedelta

import pytest
from defter.reconciliation.v1 import reconciliation_pb2

from ledger_server.engine.reconciliation.outbounds import covers
from tests.support.clock import START
from tests.support.requests import timestamp

LOST_SECONDS = 600


@pytest.mark.parametrize("from_seconds", [-3_600, 0, 1])
@pytest.mark.parametrize("to_seconds", [1, LOST_SECONDS - 1, LOST_SECONDS, LOST_SECONDS + 3_600])
@pytest.mark.parametrize("in_transit", [0, 1])
def test_run_covers_a_loss_that_it_has_judged_from_end_to_end(
    from_seconds: int, to_seconds: int, in_transit: int
) -> None:
    """A window that misses an end of it, or leaves something in transit, proves nothing."""
    run = reconciliation_pb2.Run(
        from_time=timestamp(START + timedelta(seconds=from_seconds)),
        to_time=timestamp(START + timedelta(seconds=to_seconds)),
        in_transit_count=3,
        unmatched_in_transit_count=in_transit,
    )
    whole = from_seconds <= 0 and to_seconds >= LOST_SECONDS and not in_transit
    assert covers(run.SerializeToString(), START, START + timedelta(seconds=LOST_SECONDS)) is whole
