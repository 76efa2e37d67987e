"""Owns how jobs ask a lane that is busy, or whose database is away for a moment: again, for a while."""

import asyncio
from collections.abc import Sequence
from typing import Final

from ledger_server.domain.errors import ClockAstray, DeadlinePassed, LaneFull, StoreUnavailable
from ledger_server.domain.state.commands import Command
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.ledger import Ledger

_PAUSE_SECONDS: Final = 0.5
_TRIES: Final = 20


async def submit_patiently(ledger: Ledger, tenant_id: str, commands: Sequence[Command]) -> list[Outcome]:
    """Decide commands that change nothing when they are said twice, and return their outcomes.

    Raises:
        Undecided: the lane could not take them for some time.
    """
    requests = [Request(command) for command in commands]
    for left in reversed(range(_TRIES)):
        try:
            return await ledger.submit(tenant_id, requests)
        except (ClockAstray, LaneFull, DeadlinePassed, StoreUnavailable):
            if not left:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
    raise AssertionError("the last try returns or raises")
