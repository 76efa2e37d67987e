"""Owns the fake as a test holds it: its address, its clock, its provider, and what goes wrong."""

import asyncio
import itertools
import threading
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from defter.ledger.v1 import tenant_pb2

from defter_testing.failures import Failure, Failures
from defter_testing.provider import BuiltInProvider
from defter_testing.server import ThreadedServer
from defter_testing.wiring import Wired
from ledger_server.domain.clock import Clock
from ledger_server.domain.state.commands import CreateTenant, Enforcement, Method
from ledger_server.rpc.methods import every_method
from ledger_server.rpc.requests import check_tenant, keyed

_Answer = TypeVar("_Answer")
EPOCH: Final = "fake0000"
"""What the ids of a fake carry, unless it is told otherwise."""

_SWEEP_SECONDS: Final = 0.5
# Nothing here waits for anything but the machine.
_HANG_SECONDS: Final = 180.0


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime | None = None) -> None:
        """Begin at an instant, or now; the ledger counts microseconds."""
        self._now = datetime.now(UTC) if start is None else start

    def __call__(self) -> datetime:
        """Return the present instant."""
        return self._now

    def move(self, by: timedelta) -> None:
        """Move the clock forward."""
        if by < timedelta(0):
            raise ValueError("the time of a ledger does not go back")
        self._now += by


class FakeLedger:
    """A ledger in memory behind a real gRPC server on this machine, in threads of its own.

    So tests of any kind may call it: blocking ones, asyncio ones in any event loop, other processes, other
    languages. All methods may be called from any thread.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        epoch: str = EPOCH,
        max_amounts: Mapping[str, int] | None = None,
    ) -> None:
        """Start it.

        Args:
            port: 0 takes any that is free.
            clock: what time it is; None: a `ManualClock` that begins now. Only such a clock can be moved; by
                any other one, holds that are due end within a second or so.
            epoch: what ids carry, as those of a real database do; empty: nothing.
            max_amounts: the largest amounts by currency, as `DEFTER_MAX_AMOUNTS`.
        Raises:
            RuntimeError: the port is taken.
        """
        self._clock = clock or ManualClock()
        self._failures: Final = Failures()
        self._numbers = itertools.count(1)
        self._loop: Final = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="defter-testing", daemon=True)
        self._thread.start()
        self._is_closed = False
        self._sweeping: asyncio.Task[None] | None = None

        async def wire() -> Wired:
            wired = Wired(self._clock, self._failures, epoch=epoch, max_amounts=max_amounts or {})
            if not isinstance(self._clock, ManualClock):
                self._sweeping = asyncio.create_task(_sweep(wired))
            return wired

        self._wired: Final = self._run(wire())
        try:
            self._server: Final = ThreadedServer(self._wired.handlers, self._loop, host=host, port=port)
        except BaseException:
            self._end_loop()
            raise
        self.target: Final = f"{host}:{self._server.port}"
        """Where it serves, as `host:port`, in plaintext."""

    @property
    def now(self) -> datetime:
        """The present instant by the fake's clock."""
        return self._clock()

    @property
    def provider(self) -> BuiltInProvider:
        """The provider `mock`: what becomes of the next deposit, withdrawal or refund."""
        return self._wired.provider

    def advance(self, by: timedelta) -> None:
        """Move the clock forward; due holds have expired then, and late news of the provider has come.

        Raises:
            TypeError: the fake was given a clock that can't be moved.
        """
        clock = self._clock
        if not isinstance(clock, ManualClock):
            raise TypeError("only a ManualClock can be moved")

        async def move() -> None:
            await self._wired.provider.until_quiet()  # what is late is late from the time before
            clock.move(by)
            await self._wired.ledger.expire_due()
            await self._wired.provider.tell_late()
            await self._wired.provider.until_quiet()

        self._run(move())

    def settle(self) -> None:
        """Return once the provider has done and told all that is not late."""
        self._run(self._wired.provider.until_quiet())

    def fail_next(
        self, failure: Failure, *, method: str = "", times: int = 1, delay_seconds: float = 0.0
    ) -> None:
        """Have the next calls fail; what was asked for earlier comes first.

        Args:
            method: `PostTransaction` or `defter.ledger.v1.PostingService/PostTransaction`; empty: any.
            times: how many calls.
            delay_seconds: of `Failure.DELAY`, in real time.
        Raises:
            ValueError: there is no such method, or it is no number of calls: a test would pass for nothing.
        """
        names = {name for path in every_method() for name in (path, path.rpartition("/")[2])}
        if (method and method not in names) or times < 1:
            raise ValueError(f"no calls that could fail: {method!r}, {times} times")
        self._failures.order(failure, method=method, times=times, delay_seconds=delay_seconds)

    def reset(self) -> None:
        """Forget the failures and the plans of the provider that no call has met; tenants stay."""
        self._failures.forget()
        self._wired.provider.forget_plans()

    def cut_streams(self) -> None:
        """End all open streams, watches too, with UNAVAILABLE; what they had done is done."""

        async def cut() -> None:
            self._failures.cut_streams()

        self._run(cut())

    def new_tenant(self, tenant_id: str = "") -> str:
        """Create a tenant that enforces limits, and return its id: a new one unless one is given.

        Raises:
            Refused: it can't be the id of a tenant.
        """
        wanted = tenant_id or f"tenant-{next(self._numbers)}"
        check_tenant(wanted)
        message = tenant_pb2.CreateTenantRequest(tenant_id=wanted, idempotency_key="create")
        command = CreateTenant(tenant_id=wanted, enforcement=Enforcement.ENFORCED)
        request = keyed(Method.CreateTenant, message, message.idempotency_key, command)
        self._run(self._wired.ledger.create_tenant(wanted, request))
        return wanted

    def close(self) -> None:
        """End it; what it knew is gone."""
        if self._is_closed:
            return
        self._is_closed = True
        self.cut_streams()
        self._run(self._wired.ledger.drain())
        self._server.stop()
        self._end_loop()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _run(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_HANG_SECONDS)

    def _end_loop(self) -> None:
        async def rest() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._run(rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _sweep(wired: Wired) -> None:
    """Do, by a clock that goes on by itself, what `advance` does by one that is moved."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        await wired.ledger.expire_due()
        await wired.provider.tell_late()
