"""Own the servers that tests talk to: in this process, and as processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from ledger_server.domain.clock import Clock
from ledger_server.domain.ledger.accounts import MAX_AMOUNT
from ledger_server.domain.ledger.amounts import OTHERS
from ledger_server.process.bootstrap import start_server
from ledger_server.process.running import RunningServer
from ledger_server.process.settings import Settings
from ledger_server.providers.adapter import Adapter
from ledger_server.store.database_clock import OwnClocks
from ledger_server.store.witness import WitnessKeeper
from tests.support.ledger import ENFORCED, Ledger
from tests.support.wire import Stubs, open_channel
from tools.free_ports import free_port

START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 60
DEFTER = Path(sys.executable).with_name("defter")


class Service:
    """A server in this process with a channel to it; it can be dropped and started anew."""

    def __init__(
        self,
        database_url: str,
        *,
        clock: Clock | None = None,
        own_clocks: OwnClocks | None = None,
        providers: Mapping[str, Adapter] | None = None,
        provider_tenants: Mapping[str, frozenset[str]] | None = None,
        witness: WitnessKeeper | None = None,
        **settings: Any,
    ) -> None:
        self.database_url = database_url
        # The limits of counters can only be tested with amounts that a server would refuse by default.
        settings.setdefault("max_amounts", {OTHERS: MAX_AMOUNT})
        self.settings = Settings(database_url=database_url, host="127.0.0.1", port=0, **settings)
        self._clock = clock
        self._own_clocks = own_clocks
        self._providers = providers
        self._provider_tenants = provider_tenants
        self._witness = witness
        self._server: RunningServer | None = None
        self._channels: list[grpc.aio.Channel] = []

    @property
    def server(self) -> RunningServer:
        """The server that runs now."""
        assert self._server is not None
        return self._server

    @property
    def is_running(self) -> bool:
        """Whether there is a server now."""
        return self._server is not None

    @property
    def channel(self) -> grpc.aio.Channel:
        """A channel to the server that runs now."""
        return self._channels[-1]

    @property
    def stubs(self) -> Stubs:
        """The stubs of that channel."""
        return Stubs.over(self.channel)

    async def start(self) -> None:
        """Start the server and open a channel to it."""
        self._server = await start_server(
            self.settings,
            clock=self._clock,
            own_clocks=self._own_clocks,
            providers=self._providers,
            provider_tenants=self._provider_tenants,
            witness=self._witness,
        )
        self.open_channel()

    def open_channel(self) -> grpc.aio.Channel:
        """Open one more channel, over a connection of its own."""
        self._channels.append(open_channel(self.server.port))
        return self.channel

    async def stop(self) -> None:
        """Close the channels and drop the server."""
        await self._close_channels()
        if self._server is not None:
            await self._server.abort()
            self._server = None

    async def crash(self) -> None:
        """Drop the server as a killed process would; the channels notice by themselves."""
        await self.server.abort()
        self._server = None

    async def restart(self) -> None:
        """Start anew after a crash."""
        await self._close_channels()
        await self.start()

    async def new_ledger(self, tenant_id: str = "casino", *, balance_enforcement: Any = ENFORCED) -> Ledger:
        """Create a tenant and return it."""
        ledger = self.ledger(tenant_id)
        await ledger.create(balance_enforcement)
        return ledger

    def ledger(self, tenant_id: str = "casino", *, key_prefix: str = "key") -> Ledger:
        """Return a tenant over the newest channel, whether it exists or not."""
        return Ledger(self.channel, tenant_id, key_prefix=key_prefix)

    async def _close_channels(self) -> None:
        for channel in self._channels:
            await channel.close()
        self._channels.clear()


@asynccontextmanager
async def serving(
    database_url: str,
    *,
    clock: Clock | None = None,
    own_clocks: OwnClocks | None = None,
    providers: Mapping[str, Adapter] | None = None,
    witness: WitnessKeeper | None = None,
    **settings: Any,
) -> AsyncIterator[Service]:
    """Run a server in this process."""
    service = Service(
        database_url, clock=clock, own_clocks=own_clocks, providers=providers, witness=witness, **settings
    )
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


class ServerProcess:
    """`defter serve` as a process of its own on a fixed port, so that it can be killed."""

    def __init__(
        self,
        database_url: str,
        *,
        log_file: Path,
        port: int | None = None,
        program: Sequence[str | Path] = (DEFTER,),
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.log_file = log_file
        self._program = program
        self._arguments = arguments
        self._environment = {
            **os.environ,
            "DEFTER_DATABASE_URL": database_url,
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start the process; it may take a moment until it serves."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._program, "serve", "--port", str(self.port), *self._arguments],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def start(self) -> None:
        """Start the process and wait until it serves."""
        self.spawn()
        await self.wait_until_serving()

    async def wait_until_serving(self) -> None:
        """Wait until the health service answers SERVING.

        Raises:
            AssertionError: the process ended, or did not come up in time; with its log.
        """
        async with asyncio.timeout(START_TIMEOUT_SECONDS):
            while not await self._is_serving():
                assert self.is_alive, f"defter serve ended:\n{self.log_file.read_text()}"
                await asyncio.sleep(0.02)

    @property
    def is_alive(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int:
        """The id of the process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill the process at once, and reap it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Ask the process to drain and end."""
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for the end and return the exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, STOP_TIMEOUT_SECONDS)

    async def _is_serving(self) -> bool:
        async with open_channel(self.port) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                answer = await check(health_pb2.HealthCheckRequest(), timeout=5)
            except grpc.aio.AioRpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@asynccontextmanager
async def serving_process(
    database_url: str, *, log_file: Path, **options: Any
) -> AsyncIterator[ServerProcess]:
    """Run `defter serve`; a process that is left at the end is killed."""
    process = ServerProcess(database_url, log_file=log_file, **options)
    await process.start()
    try:
        yield process
    finally:
        if process.is_alive:
            process.kill()


async def run_defter(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line and return what it printed."""

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [DEFTER, *words], capture_output=True, text=True, check=False, env=os.environ | environment
        )

    return await asyncio.to_thread(run)
