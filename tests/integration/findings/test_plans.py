"""Own the promise that findings are read by their indexes, on a database that nobody has analysed."""

from __future__ import annotations

import itertools

import pytest

from ledger_server.store.queries import findings
from tests.integration.payments.test_plans import assert_enters, plan_of

OTHERS = ("assignee", "kind", "min_severity", "provider", "states")
ASKED = [frozenset(some) for count in (0, 1, 5) for some in itertools.combinations(OTHERS, count)]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: "-".join(sorted(asked)) or "all")
async def test_list_findings_by_any_filter_walks_through_them_by_time(
    database_url: str, asked: frozenset[str]
) -> None:
    """The newest come out of the index first, and where a page ends is looked up there too."""
    statement = findings._list(asked)

    texts = [statement.page, *([statement.scan_end] if statement.scan_end else [])]

    for text in texts:
        plan = await plan_of(database_url, text.text, len(text.names))
        assert_enters(plan, "reconciliation_findings_open_time_idx")
        assert "Index Cond: ((tenant_key = $1) AND (ROW(" in plan, plan
    assert len(texts) == 1 + bool(asked)


@pytest.mark.parametrize("others", [(), ("states",), OTHERS], ids="-".join)
async def test_list_findings_of_payment_enters_index_of_payments(
    database_url: str, others: tuple[str, ...]
) -> None:
    """A payment's few findings are sorted; those of others are never looked at."""
    statement = findings._list(frozenset({"payment_number", *others}))

    plan = await plan_of(database_url, statement.page.text, len(statement.page.names))

    assert "using reconciliation_findings_payment_idx on" in plan, plan
    assert "open_time_idx" not in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_read_finding_with_history_is_look_ups_alone(database_url: str) -> None:
    """The newest versions come out of their key, and each record out of the journal's."""
    one = await plan_of(database_url, findings._FINDING, 2)
    history = await plan_of(database_url, findings._HISTORY, 3)

    for plan, key in (
        (one, "reconciliation_findings_pkey"),
        (one, "finding_sightings_pkey"),
        (history, "finding_versions_pkey"),
        (history, "journal_pkey"),
    ):
        assert f"using {key} on" in plan, plan
        assert "Seq Scan" not in plan, plan
