"""The life of a finding: what a sighting changes, which steps there are, and what a step leaves behind."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ledger_server.domain.findings import finding as life
from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.findings.finding import STEPS, Finding, FindingState, Resolution, Source
from tests.support.findings import a_discrepancy, hours, later

OPEN, ACKNOWLEDGED, RESOLVED, AUTO_RESOLVED, REOPENED = FindingState

FIRST = a_discrepancy()
OTHER = later(FIRST)


def in_state(state: FindingState) -> Finding:
    """Return a finding in a state, with something in every field that a person fills."""
    return Finding(
        fingerprint=FIRST.fingerprint,
        seen=FIRST,
        state=state,
        version=4,
        severity=FIRST.severity,
        source=Source.RUN,
        assignee="bob",
        resolution=Resolution.DUPLICATE_OF if state is RESOLVED else Resolution.NONE,
        note="look at the other one",
        actor="ada",
        correction="tx_x_9",
        duplicate_of="fnd_" + "0" * 32,
        run=None,
        open_time=hours(0),
        update_time=hours(1),
    )


def test_see_unknown_discrepancy_opens_a_finding() -> None:
    """It begins with version 1, and nobody looks after it."""
    found = life.seen(None, FIRST, hours(2), source=Source.SETTLEMENT_REPORT, run=7)

    assert found == Finding(
        fingerprint=FIRST.fingerprint,
        seen=FIRST,
        state=OPEN,
        version=1,
        severity=FIRST.severity,
        source=Source.SETTLEMENT_REPORT,
        run=7,
        open_time=hours(2),
        update_time=hours(2),
        assignee="",
        resolution=Resolution.NONE,
        note="",
        actor="",
        correction="",
        duplicate_of="",
    )


@pytest.mark.parametrize(
    ("state", "same", "other"),
    [
        (OPEN, None, OPEN),
        (ACKNOWLEDGED, None, ACKNOWLEDGED),
        (RESOLVED, None, REOPENED),
        (AUTO_RESOLVED, REOPENED, REOPENED),
        (REOPENED, None, REOPENED),
    ],
)
def test_see_discrepancy_again_follows_table(
    state: FindingState, same: FindingState | None, other: FindingState
) -> None:
    """The same facts change nothing, but for what had resolved itself; other facts are one more version."""
    known = in_state(state)

    again = life.seen(known, FIRST, hours(2), source=Source.RUN, run=7)
    changed = life.seen(known, OTHER, hours(2), source=Source.PAYMENT, run=None)

    assert (again.state if again is not None else None) is same
    assert again is None or (again.version, again.seen, again.run) == (5, FIRST, 7)
    assert changed is not None
    assert (changed.state, changed.version, changed.seen) == (other, 5, OTHER)
    assert (changed.source, changed.open_time, changed.update_time) == (Source.PAYMENT, hours(0), hours(2))


@pytest.mark.parametrize("state", FindingState)
def test_see_other_facts_keeps_the_assignee_and_no_word_of_the_change_before(state: FindingState) -> None:
    """Whoever looks after it still does; what they said was said of other facts."""
    found = life.seen(in_state(state), OTHER, hours(2), source=Source.RUN, run=7)

    assert found is not None
    assert (found.assignee, found.actor, found.note) == ("bob", "", "")
    assert (found.resolution, found.correction, found.duplicate_of) == (Resolution.NONE, "", "")


def test_see_discrepancy_that_is_worse_raises_the_severity() -> None:
    """How urgent it is follows from what was seen last."""
    first = a_discrepancy(FindingClass.MISSING_AT_PROVIDER)
    known = life.seen(None, first, hours(0), source=Source.RUN)

    found = life.seen(known, replace(first, withdrawal=True), hours(1), source=Source.RUN)

    assert known is not None
    assert found is not None
    assert (known.severity.name, found.severity.name) == ("HIGH", "CRITICAL")


def test_read_table_of_steps_has_every_state() -> None:
    """These are all steps there are; what somebody resolved is never resolved by a run."""
    unresolved = {ACKNOWLEDGED, RESOLVED, AUTO_RESOLVED}

    steps = {
        OPEN: unresolved,
        ACKNOWLEDGED: unresolved,
        REOPENED: unresolved,
        RESOLVED: {REOPENED},
        AUTO_RESOLVED: {REOPENED},
    }
    assert steps == STEPS
    for state in FindingState:
        assert {other for other in FindingState if in_state(state).may_become(other)} == STEPS[state]


@pytest.mark.parametrize(
    ("state", "fields", "kept"),
    [
        (ACKNOWLEDGED, {"actor": "eve", "note": "mine", "assignee": "eve"}, {}),
        (
            RESOLVED,
            {"actor": "eve", "resolution": Resolution.LEDGER_CORRECTED, "correction": "tx_x_1"},
            {"assignee": "bob"},
        ),
        (
            RESOLVED,
            {"actor": "eve", "resolution": Resolution.DUPLICATE_OF, "duplicate_of": "fnd_" + "1" * 32},
            {"assignee": "bob"},
        ),
        (AUTO_RESOLVED, {"run": 9}, {"assignee": "bob"}),
        (REOPENED, {"actor": "eve", "note": "not yet"}, {"assignee": "bob"}),
    ],
)
def test_change_finding_keeps_only_what_the_step_says(
    state: FindingState, fields: dict[str, Any], kept: dict[str, Any]
) -> None:
    """Each version has what was said with it, and nothing of the version before but the assignee."""
    said = {
        "actor": "",
        "note": "",
        "assignee": "",
        "resolution": Resolution.NONE,
        "correction": "",
        "duplicate_of": "",
        "run": None,
        **kept,
        **fields,
    }

    found = life.changed(in_state(ACKNOWLEDGED), state, hours(3), **fields)

    assert {name: getattr(found, name) for name in said} == said
    assert (found.state, found.version) == (state, 5)
    assert (found.seen, found.open_time, found.update_time) == (FIRST, hours(0), hours(3))
