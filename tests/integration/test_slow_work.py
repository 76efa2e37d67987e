"""What takes long is logged with what it did, in numbers: never with what callers have sent."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from ledger_server.store.connections import Connections
from ledger_server.store.migrate import APPLICATION_ROLE
from tests.support.fake_provider import fake_providers
from tests.support.ledger import Ledger
from tests.support.requests import transfer
from tests.support.service import serving

AT_ONCE = 1e-9
SECRET = "who-plays-here"
AMOUNT = 987_654_321


def told(lines: list[Any], event: str) -> list[dict[str, Any]]:
    """Return the lines of an event."""
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("SELECT $1::text AS seen UNION ALL\n    SELECT 'second'", 2),
        ("SELECT 1 / length($1::text)", None),
    ],
)
@pytest.mark.parametrize("slow_seconds", [AT_ONCE, math.inf])
async def test_slow_statement_is_told_without_its_arguments(
    database_url: str, statement: str, rows: int | None, slow_seconds: float
) -> None:
    """The text is ours and says what was asked; the arguments are the callers', and are not told."""
    connections = Connections(database_url, role=APPLICATION_ROLE, slow_seconds=slow_seconds)
    pool = await connections.open_pool(size=1, tells=False)
    with capture_logs() as lines:
        try:
            await pool.fetch(statement, SECRET if rows else "")
        except asyncpg.DivisionByZeroError:
            assert rows is None
    pool.terminate()

    found = [line for line in told(lines, "a statement was slow") if "SELECT" in line["statement"]]
    assert [(line["statement"], line["rows"]) for line in found] == (
        [(" ".join(statement.split()), rows)] if slow_seconds == AT_ONCE else []
    )
    assert SECRET not in repr(lines)


@pytest.mark.parametrize("slow_seconds", [AT_ONCE, math.nextafter(math.inf, 0)])
async def test_slow_batch_is_told_by_what_it_did(database_url: str, slow_seconds: float) -> None:
    """Counts, kinds and times say where the time went; amounts, accounts and keys are not among them."""
    async with serving(database_url, providers=fake_providers(), slow_batch_seconds=slow_seconds) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open(SECRET)
        with capture_logs() as lines:
            await ledger.post("house", SECRET, AMOUNT)
            await both(ledger)

    found = told(lines, "a batch was slow")
    if slow_seconds > AT_ONCE:
        assert found == []
        return
    assert sum(line["requests"] for line in found) == 3
    assert sum(line["records"] for line in found) == 3
    assert sum(line["kinds"].get("transaction_posted", 0) for line in found) == 3
    assert all(0 <= line["commit_seconds"] <= line["seconds"] for line in found)
    assert all(line["tenant_id"] == ledger.tenant_id for line in found)
    assert SECRET not in repr(found)
    assert str(AMOUNT) not in repr(found)


async def both(ledger: Ledger) -> None:
    """Post twice at once."""
    await asyncio.gather(*(ledger.submit(transfer("house", SECRET, AMOUNT)) for _ in range(2)))
