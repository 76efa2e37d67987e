"""Own the proof that VerifyJournal finds what somebody altered behind the ledger's back."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent, assert_tables_coherent
from tests.support.ledger import Ledger
from tests.support.requests import timestamp
from tests.support.service import Service, run_defter

# What is altered, the statement that does it, and words of the difference that must be reported.
TAMPERINGS: dict[str, tuple[str, str]] = {
    "record_altered": (
        """
        UPDATE journal SET record = set_byte(record, length(record) - 1,
            get_byte(record, length(record) - 1) # 1) WHERE sequence = 5
        """,
        "chain_hash",
    ),
    "chain_hash_altered": (
        "UPDATE journal SET chain_hash = sha256('forged') WHERE sequence = 5",
        "chain_hash",
    ),
    "record_removed": ("DELETE FROM journal WHERE sequence = 5", "journal"),
    "newest_record_removed": (
        "DELETE FROM journal WHERE sequence = (SELECT max(sequence) FROM journal)",
        "journal",
    ),
    "newest_record_forgotten": (
        """
        DELETE FROM journal WHERE sequence = (SELECT max(sequence) FROM journal);
        UPDATE tenants SET (sequence, chain_hash) =
            (SELECT sequence, chain_hash FROM journal ORDER BY sequence DESC LIMIT 1)
        """,
        "account",
    ),
    "head_hash_altered": ("UPDATE tenants SET chain_hash = sha256('forged')", "chain_hash"),
    "posting_amount_altered": (
        "UPDATE postings SET amount = amount + 1 WHERE sequence = 4 AND leg = 0",
        "amount",
    ),
    "posting_counter_altered": (
        """
        UPDATE postings SET posted_credits = posted_credits + 1
        WHERE sequence = (SELECT max(sequence) FROM postings) AND leg = 1
        """,
        "posted_credits",
    ),
    "posting_removed": ("DELETE FROM postings WHERE sequence = 4 AND leg = 1", "posting"),
    "posting_made_up": (
        """
        INSERT INTO postings SELECT tenant_key, account_number, sequence, leg + 10, phase, direction,
            amount, pending_change, posted_debits, posted_credits, pending_debits, pending_credits,
            version + 10 FROM postings WHERE sequence = 4 AND leg = 1
        """,
        "posting",
    ),
    "hold_state_altered": ("UPDATE holds SET state = 3 WHERE hold_number = 5", "state"),
    "hold_captured_altered": ("UPDATE holds SET captured = 9 WHERE hold_number = 5", "captured"),
    "hold_removed": ("DELETE FROM holds WHERE hold_number = 5", "hold"),
    "limit_altered": ("UPDATE accounts SET min_available = -1000 WHERE min_available = 0", "min"),
    "account_thawed": ("UPDATE accounts SET state = 1 WHERE state = 2", "state"),
    "account_removed": ("DELETE FROM accounts WHERE account_id = 'idle'", "account"),
    "currency_altered": ("UPDATE accounts SET currency_code = 'USD'", "currency"),
    "enforcement_altered": (
        "UPDATE tenants SET balance_enforcement = 3 - balance_enforcement",
        "enforcement",
    ),
}


@pytest.fixture
async def lived_in(ledger: Ledger, clock: FakeClock) -> Ledger:
    """A ledger in which something of every kind has happened: record 4 posts, record 5 holds."""
    await ledger.open("ann")
    await ledger.fund("ann", 100)
    hold = await ledger.place_hold("ann", "house", 30)
    await ledger.capture(hold.hold_id, 10)
    soon = timestamp(FakeClock(clock.now).advance(seconds=5))
    await ledger.place_hold("ann", "house", 20, expire_time=soon)
    clock.advance(seconds=5)
    await ledger.post("ann", "house", 60)
    await ledger.open("idle")
    await ledger.open("cold")
    await ledger.freeze("cold")
    await ledger.post("house", "ann", 1)
    return ledger


async def tamper(database_url: str, statement: str) -> None:
    """Alter the tables as only the owner of the database can, with every trigger off."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(statement)
    await connection.close()


async def test_verify_untouched_ledger_finds_no_difference(database_url: str, lived_in: Ledger) -> None:
    """What nobody has altered agrees with itself."""
    verdict = await lived_in.verify()

    assert not verdict.HasField("first_difference")
    assert (verdict.account_count, verdict.hold_count) == (4, 2)
    await assert_ledger_coherent(lived_in)
    await assert_tables_coherent(database_url, lived_in.tenant_id)


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_verify_tampered_ledger_names_the_difference(
    database_url: str, server: Service, lived_in: Ledger, tampering: str
) -> None:
    """The first thing that does not agree is reported with what was expected and what is there."""
    statement, word = TAMPERINGS[tampering]
    await tamper(database_url, statement)

    difference = (await lived_in.verify()).first_difference

    assert word in difference.subject, difference
    assert difference.expected != difference.actual


async def test_verify_by_command_line_fails_on_difference(
    database_url: str, server: Service, lived_in: Ledger, tmp_path: Path
) -> None:
    """`defter verify` ends with 0 or 1, so that a scheduler notices."""
    target = f"127.0.0.1:{server.server.port}"
    words = ("verify", "--tenant", lived_in.tenant_id, "--target", target)
    clean = await run_defter(*words)
    await tamper(database_url, TAMPERINGS["hold_state_altered"][0])
    altered = await run_defter(*words)

    assert clean.returncode == 0
    assert altered.returncode == 1
    assert "state" in altered.stdout
