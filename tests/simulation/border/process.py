"""Own one server process of the simulation: wired as the product wires itself, behind no network.

This is the only module here that knows how the product is put together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from defter.ledger.v1 import journal_pb2
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ledger_server import bootstrap
from ledger_server.domain.currency import CurrencyRegistry
from ledger_server.domain.errors import Refused
from ledger_server.engine.verify import verify
from ledger_server.providers.adapter import Adapter
from ledger_server.rpc.errors import Replayed
from ledger_server.settings import Settings
from ledger_server.store.database import is_outage, open_pool
from tests.simulation.border.loop import Body, SimulatedLoop

CURRENCIES: Final[CurrencyRegistry] = bootstrap.currencies({})
_PATIENCE_SECONDS: Final = 120.0
MakeAdapters = Callable[[Callable[[], datetime]], Mapping[str, Adapter]]


class Unanswered(Exception):
    """The process died, stands still, or says that it could not decide; asking again is safe."""


class RefusedByRule(Exception):
    """The ledger has decided against it; the text is the reason's name."""


class Wall:
    """A process's wall clock, which may be off."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.off_seconds = 0.0
        self._loop = loop

    def __call__(self) -> datetime:
        """Return the time as this process has it."""
        return self._loop.now + timedelta(seconds=self.off_seconds)


class Process:
    """A server process: it can stand still, be killed, and be asked as over gRPC."""

    def __init__(
        self, loop: SimulatedLoop, name: str, database_url: str, make_adapters: MakeAdapters
    ) -> None:
        self.body = Body(name, loop)
        self.wall = Wall(loop)
        self.database_url = database_url
        self._make_adapters = make_adapters
        self._methods: dict[str, tuple[Any, type[Message]]] = {}
        self._jobs: tuple[Any, ...] = ()
        self._pools: list[Any] = []

    @property
    def is_well(self) -> bool:
        """Whether it can answer now."""
        return not self.body.dead and not self.body.stopped and bool(self._methods)

    async def start(self) -> None:
        """Connect and begin."""
        await self.body.spawn(self._start())

    async def _start(self) -> None:
        settings = Settings(
            database_url=self.database_url,
            write_connections=2,
            read_connections=3,
            dispatch_sweep_seconds=20,
            parked_sweep_seconds=120,
            expiry_sweep_seconds=600,
        )
        for size in (settings.write_connections, settings.read_connections):
            self._pools.append(await open_pool(self.database_url, role=settings.application_role, size=size))
        adapters = self._make_adapters(self.wall)
        wired = bootstrap._wire(
            settings,
            self.wall,
            CURRENCIES,
            writes=self._pools[0],
            reads=self._pools[1],
            providers=adapters,
            amounts=bootstrap._amounts(adapters, {}),
        )
        for service, servicer in wired.servicers:
            for method in service.methods:
                answer = GetMessageClass(method.output_type)
                self._methods[f"{service.name}/{method.name}"] = getattr(servicer, method.name), answer
        self._jobs = wired.jobs
        for job in self._jobs:
            job.start()

    async def ask(self, method: str, request: Message) -> Any:
        """Call a method.

        Raises:
            Unanswered: nobody knows what became of it.
            RefusedByRule: nothing was done, and asking again will not help.
        """
        if not self.is_well:
            raise Unanswered(f"{self.body.name} is not there")
        servicer, answer = self._methods[method]
        task = self.body.spawn(servicer(request, _NoNetwork()))
        await asyncio.wait([task], timeout=_PATIENCE_SECONDS)
        if not task.done() or task.cancelled():
            raise Unanswered(f"{self.body.name} did not answer")
        error = task.exception()
        if error is None:
            response = task.result()
            return answer.FromString(response) if isinstance(response, bytes) else response
        refused = error.refused if isinstance(error, Replayed) else error
        if isinstance(refused, Refused) and not refused.reason.name.startswith(("STORE_", "LANE_", "CLOCK_")):
            raise RefusedByRule(refused.reason.name)
        if isinstance(refused, Refused) or is_outage(refused):
            raise Unanswered(repr(refused))
        raise error

    async def verdict(self, tenant_id: str) -> str:
        """Have the tenant's journal verified; return what differs, or nothing."""
        task = self.body.spawn(_verified(self._pools[1], tenant_id))
        await asyncio.wait([task])
        return task.result()

    async def kill(self) -> None:
        """Die."""
        await self.body.kill()


async def _verified(pool: Any, tenant_id: str) -> str:
    *_, result = [message async for message in verify(pool, tenant_id)]
    assert isinstance(result, journal_pb2.VerifyResult)
    return str(result.first_difference) if result.HasField("first_difference") else ""


class _NoNetwork:
    """What a servicer wants of gRPC."""

    def time_remaining(self) -> None:
        """There is no deadline."""

    def set_trailing_metadata(self, _: object) -> None:
        """Nobody reads it."""

    def invocation_metadata(self) -> tuple[()]:
        """Nobody is named."""
        return ()
