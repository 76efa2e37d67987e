"""Test which run says what was lost between two times."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from defter.reconciliation.v1 import reconciliation_pb2

from ledger_server.domain.findings.discrepancy import LOSS_SEVERITIES, TELL_OF_LOSS, FindingClass, Severity
from ledger_server.domain.history import reconciled_from
from ledger_server.engine.reconciliation.outbounds import covers
from ledger_server.operator import loss
from tests.support.clock import START
from tests.support.requests import timestamp

LOST_SECONDS = 600
ROOT = Path(__file__).parents[2]


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


PAGES = {
    "protos/defter/payments/v1/outbound.proto": r"of the class ([^.]*?), and about",
    "docs/operations/restore.md": r"Findings that tell of lost money:([^;]*);",
}


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_the_classes_that_tell_of_lost_money(page: str) -> None:
    """Whoever resumes reads there what keeps calls from being made."""
    [told] = re.findall(PAGES[page], (ROOT / page).read_text(encoding="utf-8"))
    assert {FindingClass[each] for each in re.findall(r"[A-Z]+(?:_[A-Z]+)+", told)} == TELL_OF_LOSS


def test_what_tells_of_lost_money_is_the_commands_list_too() -> None:
    """`defter restored` lists what `defter outbound resume` waits for."""
    assert {FindingClass[each] for each in loss.CLASSES} == TELL_OF_LOSS
    assert {Severity(each) for each in loss.SEVERITIES} == LOSS_SEVERITIES


def test_providers_are_read_from_before_the_newest_record() -> None:
    """By a day: what a provider did before that record and told after it is lost too."""
    assert START - reconciled_from(START) == timedelta(hours=24)
