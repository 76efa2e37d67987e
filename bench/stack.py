"""Own what is measured: a PostgreSQL, databases of our own in it, and servers beside it."""

import asyncio
import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import grpc

from bench import FORK_SUPPORT
from bench.cost import parent_of_backend
from ledger_server.cli.local_access import LocalAccess
from ledger_server.embedded_postgres import EmbeddedPostgres
from tools.free_ports import free_port

HOST = "127.0.0.1"
# What a server is measured with, unless the environment says otherwise; each run prints what it had.
MEASURED_WITH = {"DEFTER_CALLS_AHEAD": "128", "DEFTER_BATCH_SCHEDULING": "true"}
READY_SECONDS = 60.0
STOP_SECONDS = 30.0
LOG_TAIL_CHARACTERS = 4_000
# The load's messages are far smaller; this only bounds what a batch of 1,000 is answered with.
CHANNEL_OPTIONS = (("grpc.max_receive_message_length", 64 << 20),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A gRPC server in a process of its own."""

    process: asyncio.subprocess.Process
    channel: grpc.aio.Channel
    port: int


@dataclass(slots=True, kw_only=True)
class Stack:
    """A PostgreSQL server and the means to start servers on it.

    Attributes:
        server_url: any database of that PostgreSQL, with a user who may create databases.
        postmaster: its process id; None when it runs on another machine.
        defter: the command that is measured.
        folder: for the servers' logs.
        environment: set for every ledger server, such as a debugging switch.
    """

    server_url: str
    postmaster: int | None
    defter: Path
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def database(self, purpose: str) -> AsyncIterator[str]:
        """Create a database with the ledger's schema, yield its URL, and drop it in the end."""
        name = f"defter_bench_{purpose}_{secrets.token_hex(4)}"
        async with connected(self.server_url) as connection:
            await connection.execute(f'CREATE DATABASE "{name}"')
        url = with_database(self.server_url, name)
        try:
            await self._run_defter("migrate", url)
            yield url
        finally:
            async with connected(self.server_url) as connection:
                await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    @asynccontextmanager
    async def ledger(self, database_url: str, *, guarded: bool = False) -> AsyncIterator[Served]:
        """Run `defter serve` on a database; `guarded`: with mutual TLS, identities and a policy."""
        port = free_port()
        command = [str(self.defter), "serve", "--port", str(port)]
        access = LocalAccess(self.folder / "certs") if guarded else None
        if access is not None:
            access.ensure(HOST)
        async with self._served(command, port, database_url=database_url, access=access) as served:
            yield served

    @asynccontextmanager
    async def echo(self, response: bytes, *, tuned: bool = False) -> AsyncIterator[Served]:
        """Run the echo server with one answer for all; `tuned`: it runs as the ledger does."""
        port = free_port()
        command = [sys.executable, "-m", "bench.echo_server", "--port", str(port)]
        command += ["--tuned"] if tuned else []
        async with self._served(command, port, standard_input=response) as served:
            yield served

    @asynccontextmanager
    async def stub_ledger(self) -> AsyncIterator[Served]:
        """Run the ledger that takes every provider event and keeps none."""
        port = free_port()
        command = [sys.executable, "-m", "bench.stub_ledger", "--port", str(port)]
        async with self._served(command, port) as served:
            yield served

    @asynccontextmanager
    async def _served(
        self,
        command: list[str],
        port: int,
        *,
        database_url: str | None = None,
        standard_input: bytes = b"",
        access: LocalAccess | None = None,
    ) -> AsyncIterator[Served]:
        log = self.folder / f"server-{port}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env={**self._environment(database_url), **({} if access is None else access.variables)},
            )
        try:
            assert process.stdin is not None
            process.stdin.write(standard_input)
            process.stdin.close()
            async with _channel(f"{HOST}:{port}", access) as channel:
                await _until_ready(channel, process, log)
                yield Served(process=process, channel=channel, port=port)
        finally:
            await stop(process)

    async def _run_defter(self, verb: str, database_url: str) -> None:
        process = await asyncio.create_subprocess_exec(
            str(self.defter),
            verb,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment(database_url),
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"defter {verb} failed:\n{output.decode(errors='replace')}")

    def _environment(self, database_url: str | None) -> dict[str, str]:
        own = {} if database_url is None else {"DEFTER_DATABASE_URL": database_url}
        return server_environment({**self.environment, **own})


@asynccontextmanager
async def running_stack(database_url: str | None, defter: Path) -> AsyncIterator[Stack]:
    """Yield a stack on the PostgreSQL given, or on an embedded one that is thrown away."""
    with contextlib.ExitStack() as owned:
        folder = owned.enter_context(_shared_folder())
        if database_url is None:
            postgres = EmbeddedPostgres(folder / "postgres")
            database_url = await asyncio.to_thread(postgres.start)
            owned.callback(postgres.stop)
        async with connected(database_url) as connection:
            # While the connection is open, since its process ends with it.
            backend = await connection.fetchval("SELECT pg_backend_pid()")
            postmaster = parent_of_backend(backend, expected=lambda name: "postgres" in name)
        yield Stack(server_url=database_url, postmaster=postmaster, defter=defter, folder=folder)


@contextmanager
def _shared_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="defter-bench-") as folder:
        # The embedded PostgreSQL may run under another account, which must be able to enter.
        Path(folder).chmod(0o711)
        yield Path(folder)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Yield one connection."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def with_database(url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def server_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a server: MEASURED_WITH, this process's, and the server's own settings."""
    environment = {**MEASURED_WITH, **os.environ, **own}
    # A server is measured as it is run elsewhere.
    environment.pop(FORK_SUPPORT, None)
    return environment


def _channel(target: str, access: LocalAccess | None) -> grpc.aio.Channel:
    if access is None:
        return grpc.aio.insecure_channel(target, CHANNEL_OPTIONS)
    proof = access.operator.read()
    credentials = grpc.ssl_channel_credentials(proof.authority, proof.key, proof.certificate)
    return grpc.aio.secure_channel(target, credentials, CHANNEL_OPTIONS)


def default_defter() -> Path:
    """Return the `defter` command that is installed beside this Python."""
    return Path(sys.executable).with_name("defter")


async def _until_ready(channel: grpc.aio.Channel, process: asyncio.subprocess.Process, log: Path) -> None:
    ready = asyncio.ensure_future(channel.channel_ready())
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not ready.done():
                if process.returncode is not None:
                    raise SystemExit(f"a server ended at once:\n{tail(log)}")
                await asyncio.wait([ready], timeout=0.05)
    except TimeoutError:
        raise SystemExit(f"a server did not listen in time:\n{tail(log)}") from None
    finally:
        ready.cancel()


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a server in its own way, and by force where that takes too long."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def tail(log: Path) -> str:
    """Return the end of a server's log."""
    return log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
