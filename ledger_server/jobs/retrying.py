"""Owns how jobs ask a lane that is busy, or whose database is away for a moment: again, for a while."""

from collections.abc import Sequence
from typing import Final

from defter_retrying.backoff import Tries
from ledger_server.domain.errors import ClockAstray, DeadlinePassed, LaneFull, StoreUnavailable
from ledger_server.domain.state.commands import Command
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.ledger import Ledger

_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 1.0


async def submit_until_decided(
    ledger: Ledger, tenant_id: str, commands: Sequence[Command], *, tries: Tries | None = None
) -> list[Outcome]:
    """Decide commands that change nothing when they are said twice, and return their outcomes.

    Args:
        tries: how long, how often and after which pauses; for ten seconds without.
    Raises:
        Undecided: the lane could not take them for some time.
    """
    tries = tries or Tries(
        _SECONDS, first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS
    )
    requests = [Request(command) for command in commands]
    while True:
        try:
            return await ledger.submit(tenant_id, requests)
        except (ClockAstray, LaneFull, DeadlinePassed, StoreUnavailable) as refused:
            if not await tries.wait(refused.retry_seconds):
                raise
