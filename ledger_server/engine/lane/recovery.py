"""Owns a lane's recovery from failures: which work is refused or decided again, and how long the lane waits.

A careful lane decides under the head's lock, after looking up the earlier outcome of each key. There, work
that the database has refused is tried one at a time, so that only the faulty work fails.
"""

import asyncio
import random
from typing import Final, NamedTuple

import structlog

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import ClockAstray, Refused, TenantNotFound
from ledger_server.engine import metrics
from ledger_server.engine.incidents import report
from ledger_server.engine.lane.batch import LookUpFirst
from ledger_server.engine.lane.commits import TenantMissing
from ledger_server.store.database_clock import doubt
from ledger_server.store.lane_transactions import KeyTaken, LaneTransactions, LockedOut, StoreAway
from ledger_server.store.lane_writes import HeadMoved, TimeRefused

log = structlog.get_logger()

_FIRST_BACK_OFF: Final = 0.02
_MAX_BACK_OFF: Final = 1.0
# Prometheus sees no rise in a counter that begins at one.
for _kind in (HeadMoved, KeyTaken, LookUpFirst, TimeRefused):
    metrics.RETRIES.labels(cause=_kind.__name__)
for _cause in ("connection", "refused"):
    metrics.RETRIES.labels(cause=_cause)


class Remedy(NamedTuple):
    """What a lane does after a failure.

    Attributes:
        refused: the refusal of the work that was taken; None: the work is not at fault.
        again: whether the lane forgets its tip, and decides uncommitted work again.
        singly: whether each work is then tried alone.
    """

    refused: Refused | None = None
    again: bool = False
    singly: bool = False


class Recovery:
    """The failures that a lane has met, and how it goes on.

    Attributes:
        careful: whether to decide under the head's lock.
        singly: how many works to try one at a time there.
    """

    def __init__(self, tenant_id: str, clock: Clock, store: LaneTransactions) -> None:
        self.careful = False
        self.singly = 0
        self._tenant_id = tenant_id
        self._clock = clock
        self._store = store
        # Whether another session has kept the head locked for as long as this lane would wait.
        self._locked_out = False
        self._back_off = 0.0

    def judge(self, error: Exception, *, alone: bool, looked_up: bool = False) -> Remedy:
        """Return the remedy for a failure, and remember the failure.

        Args:
            alone: whether only one work was tried.
            looked_up: whether the keys of the work had been looked up, so that no key can be taken.
        """
        if isinstance(error, TenantMissing):
            return Remedy(refused=TenantNotFound(tenant_id=self._tenant_id))
        if isinstance(error, ClockAstray):
            return Remedy(refused=error)
        if isinstance(error, TimeRefused):
            # This process was mistaken about the time. It asks anew, and waits a little should that not help.
            metrics.RETRIES.labels(cause=type(error).__name__).inc()
            log.warning("the database's clock denied a record time", tenant_id=self._tenant_id)
            doubt(self._clock)
            self._back_away()
            return Remedy(again=True)
        if isinstance(error, HeadMoved | LookUpFirst) or (isinstance(error, KeyTaken) and not looked_up):
            metrics.RETRIES.labels(cause=type(error).__name__).inc()
            return Remedy(again=True)
        if isinstance(error, StoreAway):
            self._store_away(error)
            return Remedy(again=True)
        return self._isolate(error, alone=alone)

    def requeued(self) -> None:
        """Note that uncommitted work is decided again, from here on carefully."""
        self.careful = True

    def requeued_singly(self, count: int) -> None:
        """Note how many works are tried one at a time."""
        self.singly = max(self.singly, count)

    def committed(self) -> None:
        """Note that the database works."""
        self._back_off = 0.0

    def committed_under_lock(self, *, worked: bool, calm: bool) -> None:
        """Note a commit under the head's lock.

        Args:
            worked: whether it had work, and not only holds that were due.
            calm: whether deciding ahead would have worked as well.
        """
        if worked:
            self.singly = max(0, self.singly - 1)
            self.careful = bool(self.singly) or not calm

    @property
    def waits(self) -> bool:
        """Whether the next try has to wait."""
        return bool(self._back_off)

    async def wait(self) -> None:
        """Wait before the next try."""
        if self._locked_out:
            self._locked_out = False
            await self._end_stalled_writer()
        await asyncio.sleep(self._back_off * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret

    def _isolate(self, error: Exception, *, alone: bool) -> Remedy:
        """Find the faulty work by trying each alone; work that fails alone is refused."""
        metrics.RETRIES.labels(cause="refused").inc()
        if self.singly and alone:
            self.singly -= 1
            refused = report(error, "a request could not be committed", tenant_id=self._tenant_id)
            return Remedy(refused=refused, again=True)
        log.warning("a batch could not be committed", error=repr(error), tenant_id=self._tenant_id)
        return Remedy(again=True, singly=True)

    def _store_away(self, error: StoreAway) -> None:
        metrics.RETRIES.labels(cause="connection").inc()
        self._locked_out = isinstance(error, LockedOut)
        self._back_away()
        log.warning(
            "the database did not answer",
            error=str(error),
            tenant_id=self._tenant_id,
            retry_in_seconds=self._back_off,
        )

    def _back_away(self) -> None:
        self._back_off = min(max(2 * self._back_off, _FIRST_BACK_OFF), _MAX_BACK_OFF)

    async def _end_stalled_writer(self) -> None:
        """Free the head from a process that stands still in the middle of its commit."""
        try:
            ended = await self._store.end_stalled_writer()
        except Exception as error:  # noqa: BLE001  # whatever it is, the next try says more
            log.warning("could not look for who holds the head", error=repr(error), tenant_id=self._tenant_id)
        else:
            if ended:
                log.warning("ended a process's commit that stood still", tenant_id=self._tenant_id)
