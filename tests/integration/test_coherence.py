"""Own the proof that the checks which every heavy test relies on can fail."""

from __future__ import annotations

import re

import asyncpg
import pytest

from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent, assert_tables_coherent
from tests.support.ledger import Ledger
from tests.support.requests import timestamp
from tests.support.service import Service, run_defter

NEWEST = "(SELECT max(sequence) FROM postings)"
TAMPERINGS = {
    "record_altered": "UPDATE journal SET record = record || '\\x0805' WHERE sequence = 5",
    "chain_hash_altered": "UPDATE journal SET chain_hash = sha256('forged') WHERE sequence = 5",
    "record_removed": "DELETE FROM journal WHERE sequence = 5",
    "head_moved": "UPDATE tenants SET sequence = sequence + 1",
    "amount_altered": "UPDATE postings SET amount = amount + 1 WHERE sequence = 4 AND leg = 0",
    "counter_altered": (f"UPDATE postings SET posted_credits = posted_credits + 1 WHERE sequence = {NEWEST}"),
    "line_removed": "DELETE FROM postings WHERE sequence = 4 AND leg = 1",
    "hold_ended": "UPDATE holds SET state = 3 WHERE hold_number = 5",
    "hold_enlarged": "UPDATE holds SET amount = amount + 1 WHERE hold_number = 5",
}


@pytest.fixture
async def lived_in(ledger: Ledger, clock: FakeClock) -> Ledger:
    """A ledger with postings, an open hold, a dead one and a refusal."""
    await ledger.open("ann")
    await ledger.fund("ann", 100)
    hold = await ledger.place_hold("ann", "house", 30)
    await ledger.capture(hold.hold_id, 10)
    soon = timestamp(FakeClock(clock.now).advance(seconds=5))
    await ledger.place_hold("ann", "house", 20, expire_time=soon)
    clock.advance(seconds=5)
    await ledger.post("ann", "house", 60)
    return ledger


async def tamper(database_url: str, statement: str) -> None:
    """Alter the tables as only a superuser can, with every trigger off."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(statement)
    await connection.close()


async def test_check_untouched_ledger_finds_nothing(database_url: str, lived_in: Ledger) -> None:
    """What nobody has altered passes both checks."""
    await assert_ledger_coherent(lived_in)
    await assert_tables_coherent(database_url, lived_in.tenant_id)


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_check_tampered_ledger_fails(database_url: str, lived_in: Ledger, tampering: str) -> None:
    """Both checks notice, each by itself."""
    await tamper(database_url, TAMPERINGS[tampering])

    with pytest.raises(AssertionError):
        await assert_tables_coherent(database_url, lived_in.tenant_id)
    with pytest.raises(AssertionError):
        await assert_ledger_coherent(lived_in)


async def test_verify_by_command_line_fails_on_difference(
    database_url: str, server: Service, lived_in: Ledger
) -> None:
    """`defter verify` ends with 0 or 1, so that a scheduler notices."""
    target = f"127.0.0.1:{server.server.port}"
    words = ("verify", "--tenant", lived_in.tenant_id, "--target", target)
    clean = await run_defter(*words)
    await tamper(database_url, TAMPERINGS["hold_ended"])

    altered = await run_defter(*words)

    assert (clean.returncode, altered.returncode) == (0, 1)
    assert "DIFFERENCE" not in clean.stdout
    assert re.search(r"DIFFERENCE at record \d+: hold \S+ state", altered.stdout)
