"""Which findings stand against ENFORCED: by class and state, by one table, as the pages say."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from msgspec.structs import replace

from ledger_server.domain.decisions.enforcement import against, switch_enforcement
from ledger_server.domain.errors import BlockingFindingsOpen
from ledger_server.domain.findings.discrepancy import BLOCK_ENFORCEMENT, FindingClass
from ledger_server.domain.findings.finding import UNRESOLVED, Finding, FindingState, Source, seen
from ledger_server.domain.state.commands import Enforcement, SetBalanceEnforcement
from ledger_server.domain.state.limit_survey import NO_SURVEY, Unloaded
from ledger_server.domain.state.working_set import FindingEntry
from tests.support.findings import NOON, a_discrepancy
from tests.unit.books import Books

ROOT = Path(__file__).parents[3]
PAGES = {
    "protos/defter/ledger/v1/tenant.proto": r"of a class that stands against ENFORCED:([^.]*)\.",
    "docs/operations/runbook.md": r"Findings that block say that balances may be wrong:([^;]*);",
}


def a_finding(kind: FindingClass, state: FindingState) -> Finding:
    """Return a finding of a class that stands somewhere."""
    found = seen(None, a_discrepancy(kind), NOON, source=Source.RUN)
    assert found is not None
    return replace(found, state=state)


@pytest.mark.parametrize(("kind", "state"), list(product(FindingClass, FindingState)))
def test_finding_blocks_by_its_class_until_it_is_resolved(kind: FindingClass, state: FindingState) -> None:
    """Whether it is loaded or counted in the database; a finding that blocks can be forced past."""
    wanted = kind in BLOCK_ENFORCEMENT and state in (
        FindingState.OPEN,
        FindingState.ACKNOWLEDGED,
        FindingState.REOPENED,
    )
    books = Books(enforcement=Enforcement.SHADOW)
    found = a_finding(kind, state)
    books.working_set.findings[found.fingerprint] = FindingEntry(found)
    command = SetBalanceEnforcement(
        enforcement=Enforcement.ENFORCED, reason="", force=False, survey=NO_SURVEY
    )

    if wanted:
        with pytest.raises(BlockingFindingsOpen):
            switch_enforcement(books.working_set, command)
    else:
        switch_enforcement(books.working_set, command)
    forced = switch_enforcement(books.working_set, replace(command, force=True))

    assert forced.switch is not None
    assert forced.switch.blocking_finding_count == int(wanted)


def test_what_is_not_loaded_counts_beside_what_is() -> None:
    """An account that is loaded counts as it is loaded, whatever the database has of it."""
    books = Books(enforcement=Enforcement.SHADOW)
    books.account("ann", minimum=0, counters=(1, 0, 0, 0))
    books.account("bob", minimum=0)
    books.working_set.unloaded = Unloaded((2, 7, 8), {2: "bob", 7: "cid"}, 3, (b"\0",))

    found = against(books.working_set)

    assert (found.below_count, found.account_ids) == (3, ("ann", "cid"))
    assert (found.finding_count, found.fingerprints) == (3, (b"\0",))


def test_states_are_those_of_the_index() -> None:
    """The database counts by an index of unresolved findings, whose condition has the numbers."""
    assert sorted(map(int, UNRESOLVED)) == [1, 2, 5]


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_the_classes_that_block(page: str) -> None:
    """One line in the table, and the pages that are told of it."""
    text = re.sub(r"\s+(//)?\s*", " ", (ROOT / page).read_text())
    [told] = re.findall(PAGES[page], text)

    assert set(re.findall(r"[A-Z]+(?:_[A-Z]+)+", told)) == {kind.name for kind in BLOCK_ENFORCEMENT}
