"""Own the proof that a crash at the commit leaves a finding's step undone or done once, never half."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ledger_server.domain.findings.commands import (
    AcknowledgeFinding,
    ReopenFinding,
    ResolveFinding,
    ResolveUnseen,
)
from ledger_server.engine.lane.work import Request
from tests.support.clock import FakeClock
from tests.support.engine import KEY, TENANT, Engine, assert_coherent, engine
from tests.support.findings import a_discrepancy, history_of, later, of_ref, reported, step
from tests.support.postgres import run_sql
from tests.support.tenant_lock import head_locked, poll, wait_until_lane_waits

OPENED, RESOLVED, UNKNOWN = a_discrepancy(), of_ref("resolved"), of_ref("unknown")
END_WAITING = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def prepare(running: Engine) -> None:
    """Open a finding, and resolve another one."""
    await running.ask(reported(OPENED))
    await running.ask(reported(RESOLVED))
    await running.ask(step(ResolveFinding, RESOLVED.fingerprint, 1, "prepare"))


def report() -> Request:
    """Report something new."""
    return reported(UNKNOWN)


def report_other_facts() -> Request:
    """Report other facts of what was resolved."""
    return reported(later(RESOLVED))


def miss() -> Request:
    """Resolve what a run did not see."""
    return Request(ResolveUnseen(fingerprint=OPENED.fingerprint, version=1, run=2))


def acknowledge() -> Request:
    """Look after it."""
    return step(AcknowledgeFinding, OPENED.fingerprint, 1, "ack")


def resolve() -> Request:
    """Accept the difference."""
    return step(ResolveFinding, OPENED.fingerprint, 1, "resolve")


def reopen() -> Request:
    """Take it up again."""
    return step(ReopenFinding, RESOLVED.fingerprint, 2, "reopen")


STEPS = [
    (report, UNKNOWN.fingerprint, ["OPEN"]),
    (report_other_facts, RESOLVED.fingerprint, ["OPEN", "RESOLVED", "REOPENED"]),
    (miss, OPENED.fingerprint, ["OPEN", "AUTO_RESOLVED"]),
    (acknowledge, OPENED.fingerprint, ["OPEN", "ACKNOWLEDGED"]),
    (resolve, OPENED.fingerprint, ["OPEN", "RESOLVED"]),
    (reopen, RESOLVED.fingerprint, ["OPEN", "RESOLVED", "REOPENED"]),
]


async def states(running: Engine, fingerprint: bytes) -> list[str]:
    """Return the states that a finding has been in; its versions are counted from 1 on."""
    history = await history_of(running.pool, fingerprint)
    assert [version for version, _ in history] == list(range(1, len(history) + 1))
    return [state for _, state in history]


@pytest.mark.parametrize(("asked", "fingerprint", "after"), STEPS)
async def test_crash_before_commit_and_ask_again_takes_effect_once(
    first: Engine,
    database_url: str,
    clock: FakeClock,
    asked: Callable[[], Request],
    fingerprint: bytes,
    after: list[str],
) -> None:
    """Nothing was written, and the same request does it all."""
    await prepare(first)
    async with head_locked(database_url, TENANT):
        unanswered = first.ledger.enqueue(TENANT, [asked()])
        await wait_until_lane_waits(database_url)
        crash(first)
        # The database may not have noticed yet that nobody is there any more.
        run_sql(database_url, END_WAITING)
    unanswered.cancel()

    async with engine(database_url, clock) as again:
        before = await states(again, fingerprint)
        outcomes = [await again.ask(asked()) for _ in range(2)]
        assert before == after[:-1]
        assert await states(again, fingerprint) == after

    assert outcomes[0].sequence > 0
    assert outcomes[1].replayed or outcomes[1].kind is None
    await assert_coherent(database_url, clock)


@pytest.mark.parametrize(("asked", "fingerprint", "after"), STEPS)
async def test_crash_after_commit_and_ask_again_takes_effect_once(
    first: Engine,
    database_url: str,
    clock: FakeClock,
    asked: Callable[[], Request],
    fingerprint: bytes,
    after: list[str],
) -> None:
    """All was written, and the same request finds it done."""
    await prepare(first)
    head = await first.pool.fetchval("SELECT sequence FROM tenants WHERE tenant_key = $1", KEY)
    async with head_locked(database_url, TENANT):
        unanswered = first.ledger.enqueue(TENANT, [asked()])
        await wait_until_lane_waits(database_url)
    await poll(database_url, f"SELECT 1 FROM tenants WHERE tenant_key = {KEY} AND sequence > {head}")
    crash(first)
    unanswered.cancel()

    async with engine(database_url, clock) as again:
        outcome = await again.ask(asked())
        assert await states(again, fingerprint) == after

    assert outcome.replayed or outcome.kind is None
    await assert_coherent(database_url, clock)


def crash(running: Engine) -> None:
    """Stop as a killed process would."""
    running.ledger.abort()
    running.pool.terminate()
