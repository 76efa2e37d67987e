"""Owns the detection of statements that were lost on the network, and of connections that died with them.

A network that goes silent leaves connections that look alive. A statement over such a connection waits until
a time-out, only to be retried over the next dead one. So once a statement has been under way for seconds, a
new connection asks PostgreSQL which sessions are at work. A session that should be at work and is not will
never answer: its connection is ended, together with all idle connections that were last heard of earlier. A
session that is at work is left alone, however long it takes: a commit may wait for a synchronous standby.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

import structlog
from prometheus_client import Counter

log = structlog.get_logger()

CONDEMNED: Final = Counter(
    "defter_database_connections_condemned_total",
    "Connections to the database that were given up because they, or others of their age, had fallen silent",
)

LOOK_SECONDS: Final = 2.0
"""A statement that takes longer than this is asked about, again and again at this interval."""
# A failed look is repeated soon: the next one may find the network back.
_AGAIN_SECONDS: Final = 0.5

SESSIONS_AT_WORK: Final = """
SELECT pid FROM pg_stat_activity WHERE pid = ANY($1::int[]) AND state NOT LIKE 'idle%'
    AND NOT (wait_event IS NOT DISTINCT FROM 'ClientRead' AND query_start < now() - interval '2 s')
"""
"""A session that waits for more of a statement, seconds after all was sent, has lost a part of it."""


class Watched(Protocol):
    """A connection that is watched for lost statements.

    Attributes:
        backend: the number of its session in PostgreSQL.
        since: when the statement under way was sent, on the event loop's clock; None if there is none.
    """

    backend: int
    since: float | None

    def terminate(self) -> None:
        """Drop the connection; callers that wait for it get an error."""


class LostStatements:
    """Watches the statements of one process."""

    def __init__(
        self,
        sessions_at_work: Callable[[list[int]], Awaitable[set[int]]],
        condemn: Callable[[float], int],
    ) -> None:
        """Take the functions that look at sessions and end connections.

        Args:
            sessions_at_work: asks over a new connection which of these sessions are at work.
            condemn: drops idle connections that were last heard of before a time; returns how many.
        """
        self._sessions_at_work = sessions_at_work
        self._condemn = condemn
        self._under_way: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._stopped = False

    def began(self, connection: Watched) -> None:
        """Take note that a statement was sent."""
        self._under_way.add(connection)
        if self._timer is None and self._looking is None:
            self._arm(LOOK_SECONDS)

    def ended(self, connection: Watched) -> None:
        """Take note that a statement is no longer under way."""
        self._under_way.discard(connection)

    def timed_out(self, since: float) -> None:
        """Take note that a statement that was sent at a time was not answered in time."""
        self._say(0, self._condemn(since))

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _arm(self, seconds: float) -> None:
        if not self._stopped:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if any(self._late()):
            self._looking = asyncio.create_task(self._find_lost())
        elif self._under_way:
            self._arm(LOOK_SECONDS)

    def _late(self) -> Iterable[tuple[Watched, float]]:
        before = asyncio.get_running_loop().time() - LOOK_SECONDS
        return (
            (each, each.since)
            for each in list(self._under_way)
            if each.since is not None and each.since <= before
        )

    async def _find_lost(self) -> None:
        pause = _AGAIN_SECONDS
        try:
            late = list(self._late())
            at_work = await self._sessions_at_work([each.backend for each, _ in late])
            # A statement that has ended meanwhile was not lost, and one sent since was not part of the
            # question.
            lost = [
                (each, since) for each, since in late if each.since == since and each.backend not in at_work
            ]
            if lost:
                self._end(lost)
            pause = LOOK_SECONDS
        except OSError as error:
            log.warning("the database can't be asked which statements are at work", error=repr(error))
        except Exception as error:  # noqa: BLE001  # whatever it is, the next look may do
            log.warning("statements under way could not be checked", error=repr(error))
        finally:
            self._looking = None
            if self._under_way:
                self._arm(pause)

    def _end(self, lost: list[tuple[Watched, float]]) -> None:
        for each, _ in lost:
            each.terminate()
        self._say(len(lost), self._condemn(max(since for _, since in lost)))

    def _say(self, lost_count: int, idle_count: int) -> None:
        if lost_count + idle_count:
            CONDEMNED.inc(lost_count + idle_count)
            log.warning(
                "silent connections to the database were ended",
                statements_lost=lost_count,
                idle_connections=idle_count,
            )
