"""Owns the following of a run to its end, through broken connections, restarts and interruptions."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from defter.reconciliation.v1 import reconciliation_pb2 as pb

from defter_client import LedgerClient, LedgerError
from defter_retrying.backoff import Tries
from ledger_server.operator.connection import breaks, tried, tries_for

_LOOK_SECONDS: Final = 1.0
# A run that is interrupted this often meets a fault that waiting does not mend.
_INTERRUPTIONS: Final = 3
# If this many runs of one window were partial, the next one will not be complete either.
_ATTEMPTS: Final = 100
_CONTINUED: Final = frozenset({pb.RUN_STATE_RUNNING, pb.RUN_STATE_INTERRUPTED})


class Ended(NamedTuple):
    """How a run has ended; `replayed` if it had ended before it was asked for."""

    run: pb.Run
    replayed: bool


class Follower:
    """Follows runs.

    Args:
        show: called with the progress of a run.
        say: called with news of the connection.
        patience_seconds: how long to go on trying without any success.
    """

    def __init__(
        self,
        ledger: LedgerClient,
        *,
        show: Callable[[pb.Run], None],
        say: Callable[[str], None],
        patience_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._show = show
        self._say = say
        self._patience_seconds = patience_seconds

    async def run(self, request: pb.RunReconciliationRequest) -> Ended:
        """Ask for a run and follow it; the same key joins it again whenever the connection breaks.

        Raises:
            LedgerError: the run was refused, or no server has answered for too long.
        """
        tries = tries_for(self._patience_seconds)
        interruptions = 0
        said = ""
        while True:
            try:
                ended = await self._follow(request, tries)
            except LedgerError as failure:
                pause = tries.pause(failure.retry_delay_seconds) if breaks(failure) else None
                if pause is None:
                    raise
                text = f"{failure.message or failure.code.name}; trying again for {tries.left():.0f} s"
                if failure.message != said:
                    self._say(text)
                said = failure.message
            else:
                said = ""
                if ended.run.state not in _CONTINUED:
                    return ended
                interruptions += ended.run.state == pb.RUN_STATE_INTERRUPTED
                pause = tries.pause() if interruptions < _INTERRUPTIONS else None
                if pause is None:
                    return ended
                self._say(f"interrupted: {ended.run.problem}; asking again")
            await asyncio.sleep(pause)

    async def run_derived(self, request: pb.RunReconciliationRequest, key: str, *, again: bool) -> Ended:
        """Ask for a run by a derived key, with the first number whose run has not ended in vain.

        A complete run that ended earlier is the answer. A partial run is tried again under the next number,
        and so is a complete one if that is asked for.
        """
        attempt = 0
        while True:
            attempt += 1
            request.idempotency_key = key if attempt == 1 else f"{key}#{attempt}"
            ended = await self.run(request)
            wanted = not ended.replayed or (ended.run.state == pb.RUN_STATE_COMPLETE and not again)
            if wanted or attempt == _ATTEMPTS:
                return ended

    async def watch(self, tenant_id: str, run_id: str) -> pb.Run:
        """Watch another caller's run until it ends, or makes no progress for too long.

        Raises:
            LedgerError: there is no such run, or no server has answered for too long.
        """
        moving = tries_for(self._patience_seconds)
        request = pb.GetRunRequest(tenant_id=tenant_id, run_id=run_id)
        known = b""
        while True:
            answer = await tried(
                lambda left_seconds: self._ledger.reconciliation.get_run(request, timeout=left_seconds),
                tries_for(self._patience_seconds),
            )
            run = answer.run
            state = run.SerializeToString()
            if state != known:
                known = state
                moving.renew()
                self._show(run)
            if run.state != pb.RUN_STATE_RUNNING or moving.over():
                return run
            # Not a try that failed: the next look at something that goes on.
            await asyncio.sleep(min(_LOOK_SECONDS, moving.left()))

    async def _follow(self, request: pb.RunReconciliationRequest, tries: Tries) -> Ended:
        """Follow a run for as long as one connection holds."""
        run = pb.Run(state=pb.RUN_STATE_RUNNING)
        responses = self._ledger.reconciliation.run_reconciliation(request)
        async for response in responses:
            run = response.run
            tries.renew()
            self._show(run)
        return Ended(run, responses.replayed)


def under_way(error: LedgerError) -> str:
    """Return the id of the run under way, if a run was refused because of it."""
    return error.metadata.get("run_id", "") if error.reason == "RECONCILIATION_UNDER_WAY" else ""
