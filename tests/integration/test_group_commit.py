"""Own the proof that a lane that waits for company never waits in vain."""

from __future__ import annotations

import asyncio
from itertools import count

from ledger_server.domain.ledger.accounts import AccountKind, Limits
from ledger_server.domain.state.commands import Method, OpenAccount
from ledger_server.engine.lane.work import Request
from tests.support.clock import FakeClock
from tests.support.engine import TENANT, Engine, asked, engine
from tests.support.patience import HANG_SECONDS

# More than a lane begins to wait for, and fewer than it writes without waiting.
CROWD = 40
NUMBERS = count()


def opening() -> Request:
    """Return a request that opens another account each time."""
    account_id = f"account-{next(NUMBERS)}"
    command = OpenAccount(
        account_id=account_id,
        kind=AccountKind.ASSET,
        currency="EUR",
        limits=Limits(min_available=None, max_balance=None),
        metadata={},
    )
    return asked(command, Method.OpenAccount, account_id)


async def ask_together(running: Engine, callers: int) -> None:
    """Let so many callers ask at once, and see each answered."""
    async with asyncio.timeout(HANG_SECONDS):
        outcomes = await asyncio.gather(*(running.ask(opening()) for _ in range(callers)))
    assert not any(outcome.rejected for outcome in outcomes)


async def test_callers_after_a_crowd_are_answered_however_few(database_url: str, clock: FakeClock) -> None:
    """A lane stops waiting for those who stay away, and waits anew when a crowd comes back."""
    async with engine(database_url, clock) as running:
        await running.create_tenant()
        for callers in (CROWD, 1, CROWD, CROWD // 2, 3, 1, CROWD):
            await ask_together(running, callers)


async def test_crowd_is_answered_after_another_process_has_written(
    database_url: str, clock: FakeClock
) -> None:
    """What a lane has gathered is decided again under the lock; nothing of its waiting is left over."""
    async with engine(database_url, clock) as first, engine(database_url, clock) as second:
        await first.create_tenant()
        for callers in (CROWD, 1, CROWD // 2, CROWD, 2):
            await ask_together(first, callers)
            await ask_together(second, callers)


async def test_large_batches_keep_no_single_caller_waiting(database_url: str, clock: FakeClock) -> None:
    """A lane waits for callers; a batch is one, however much it asks for."""
    async with engine(database_url, clock) as running:
        await running.create_tenant()
        batches = [[opening() for _ in range(100)] for _ in range(3)]
        await asyncio.gather(*(running.ledger.submit(TENANT, batch) for batch in batches))
        lane = running.ledger._lanes[TENANT]
        assert lane._group.enough <= len(batches)
        await ask_together(running, 1)
