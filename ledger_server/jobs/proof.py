"""Owns the proof that a claimed call may leave: the lease, the provider's memory of the key, and the gate.

The database answers for all three, by its own clock, after the connection to the provider is there. Its
answer is valid only briefly: less than the margin may pass from the question to the write of the request, on
a clock that goes on while the machine sleeps. A snapshot of a machine stops all its clocks; this shows by the
jump of the wall clock once it is set right, and by the connection, which is dead at its other end.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, NamedTuple

from ledger_server.domain.clock import Clock
from ledger_server.domain.ids import TenantKey
from ledger_server.providers.sending import Unproven
from ledger_server.store import outbox_store
from ledger_server.store.database import CONNECTION_ERRORS, Pool
from ledger_server.store.outbox_store import ClaimedCall

Gate = Callable[[], Awaitable[str]]
"""Says why no call may be made at present; empty if calls may be made."""


class Instant(NamedTuple):
    """A moment on two clocks, in seconds: since boot, and of the wall."""

    boot: float
    wall: float


Instants = Callable[[], Instant]

# Linux's monotonic clock stands still in suspend; without a better clock the wall clock has to tell.
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def present() -> Instant:
    """Return the present moment."""
    return Instant(time.clock_gettime(_BOOT_CLOCK), time.time())


async def open_gate() -> str:
    """Let every call pass."""
    return ""


class LeaseProof:
    """The proof for one try of one call."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock | None,
        key: TenantKey,
        call: ClaimedCall,
        *,
        call_seconds: float,
        margin_seconds: float,
        memory_seconds: float,
        gate: Gate = open_gate,
        instants: Instants = present,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._key = key
        self._call = call
        self._margin = margin_seconds
        # A request that is written at the last moment still has its whole time, and the margin again after
        # it.
        self._lease = timedelta(seconds=call_seconds + 2 * margin_seconds)
        self._memory = timedelta(seconds=memory_seconds - call_seconds - 2 * margin_seconds)
        self._gate = gate
        self._instants = instants
        self._asked: Instant | None = None

    async def ask(self) -> None:
        """Ask the gate and the database.

        Raises:
            Unproven: the call may not be sent, or nobody can say.
        """
        asked = self._instants()
        try:
            stopped = await self._gate()
            if stopped:
                raise Unproven(stopped)
            now = None if self._clock is None else self._clock()
            holds = await outbox_store.prove(
                self._pool, self._key, self._call, now, lease=self._lease, memory=self._memory
            )
        except CONNECTION_ERRORS as error:
            raise Unproven(f"the database did not say whether it may be sent: {error!r}") from error
        if not holds:
            raise Unproven("the lease or the provider's memory of the key does not hold any more")
        self._asked = asked
        self.check()

    def check(self) -> None:
        """Check how long ago the question was asked.

        Raises:
            Unproven: the process has stood still since, or nobody has asked.
        """
        if self._asked is None:
            raise Unproven("nobody has asked whether it may be sent")
        present = self._instants()
        passed = max(present.boot - self._asked.boot, abs(present.wall - self._asked.wall))
        if passed > self._margin:
            raise Unproven(f"the process stood still for {passed:.1f} s")
