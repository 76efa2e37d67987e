"""Owns `defter serve`, and how a command reads its settings; it loads no more than a server needs."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from itertools import groupby
from typing import Annotated, Final

import structlog
import typer
import uvloop
from prometheus_client import start_http_server
from pydantic import ValidationError
from pydantic_settings import SettingsError

from console.settings import ConsoleSettings
from defter_tracing import TracingMissing, switch_off, switch_on
from http_process.setting_names import unknown_settings
from ledger_server.cli.cant_start import cant_start
from ledger_server.operator.setting_names import COMMAND_SETTINGS
from ledger_server.process.bootstrap import load_currencies, start_server
from ledger_server.process.identity_settings import guarded
from ledger_server.process.logs import configure_logs
from ledger_server.process.restarting import serve_until
from ledger_server.process.running import RunningServer
from ledger_server.process.settings import Settings
from ledger_server.process.tuning import let_threads_finish, relax_collector
from ledger_server.providers.adapter import Adapter
from ledger_server.providers.configuration import configured_providers
from ledger_server.store.witness import WitnessKeeper
from webhook_edge.settings import EdgeSettings

log = structlog.get_logger()

# Tracebacks show no values: the database's password may be among them.
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Defter, the ledger."
)


@app.callback()
def program() -> None:
    """Defter, the ledger."""


def read_settings(**overrides: object) -> Settings:
    """Read the settings; what the command line says wins. A missing or broken value is a clear exit."""
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        for name, problems in groupby(error.errors(), lambda problem: str(problem["loc"][0])):
            _refuse_setting(name, "; ".join(problem["msg"] for problem in problems))
        raise typer.Exit(2) from None
    except SettingsError as error:
        # Only a value that should be JSON can fail to parse; the library's error names just the field.
        named = _FIELD.search(str(error))
        _refuse_setting(named[1] if named else "", "not JSON")
        raise typer.Exit(2) from None
    _check_names()
    configure_logs(json=settings.log_json, level=settings.log_level)
    for unread in unknown_settings(os.environ, _NAMES, foreign=_FOREIGN):
        log.warning(str(unread))
    return settings


def _refuse_setting(name: str, problem: str) -> None:
    """Say which variable is wrong, how, and what is wanted; not its value, which may be a secret."""
    field = Settings.model_fields.get(name)
    wanted = f"; wanted: {field.description}" if field is not None else ""
    typer.echo(f"DEFTER_{name.upper()}: {problem}{wanted}", err=True)


def _check_names() -> None:
    """Refuse variables whose names look like misspelt settings."""
    misspelt = [each for each in unknown_settings(os.environ, _NAMES, foreign=_FOREIGN) if each.meant]
    for each in misspelt:
        typer.echo(str(each), err=True)
    if misspelt:
        raise typer.Exit(2)


_FIELD: Final = re.compile(r'field "(\w+)"')
# The settings of all processes of Defter, since they may share one environment.
_NAMES: Final = frozenset(
    {
        *(f"DEFTER_{name.upper()}" for name in Settings.model_fields),
        *(f"DEFTER_EDGE_{name.upper()}" for name in EdgeSettings.model_fields),
        *(f"DEFTER_CONSOLE_{name.upper()}" for name in ConsoleSettings.model_fields),
        *COMMAND_SETTINGS,
    }
)
_FOREIGN: Final = ("DEFTER_TEST_", "DEFTER_SIMULATION_")


def database_url_of(settings: Settings) -> str:
    """Return the URL of the database; without one that can be used there is a clear exit."""
    if not settings.database_url:
        typer.echo("DEFTER_DATABASE_URL is not set; `defter up` brings a database of its own.", err=True)
        raise typer.Exit(2)
    if not settings.database_url.startswith(("postgresql://", "postgres://")):
        typer.echo("DEFTER_DATABASE_URL: want a URL of PostgreSQL, postgresql://user@host/database", err=True)
        raise typer.Exit(2)
    return settings.database_url


@app.command()
def serve(
    port: Annotated[int | None, typer.Option(help="port of the gRPC server; 0 takes any")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    workers: Annotated[int | None, typer.Option(help="server processes on the one port")] = None,
    reuse_port: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Serve gRPC until SIGTERM or SIGINT, then answer what was begun and stop."""
    settings = read_settings(port=port, host=host, workers=workers)
    database_url_of(settings)
    with cant_start():
        guarded(settings)
    if settings.workers > 1:
        raise typer.Exit(_supervise(settings))
    if settings.batch_scheduling:
        let_threads_finish()
    uvloop.run(_serve(settings, reuse_port=reuse_port))


async def _serve(settings: Settings, *, reuse_port: bool) -> None:
    stop = stop_event()
    async with contextlib.AsyncExitStack() as stack:
        with cant_start():
            serve_metrics(settings)
            switch_on_traces(settings)
            stack.push_async_callback(asyncio.to_thread, switch_off)
            providers = await stack.enter_async_context(
                configured_providers(settings.providers_file, await load_currencies(settings))
            )
            start = starter(settings, providers.adapters, providers.tenants, reuse_port=reuse_port)
            server = await start(settings.port)
        relax_collector()
        with cant_start():
            running = await serve_until(stop, server, start)
        log.info("draining")
        if running is not None:
            await running.drain()
        log.info("stopped")


def starter(
    settings: Settings,
    providers: Mapping[str, Adapter],
    tenants: Mapping[str, frozenset[str]],
    *,
    reuse_port: bool = False,
) -> Callable[[int], Awaitable[RunningServer]]:
    """Return a function that starts a server on a port, with the witness of the servers before it."""
    witness = WitnessKeeper(settings.witness_file)

    token_port = settings.token_port

    async def start(port: int) -> RunningServer:
        nonlocal token_port
        started = await start_server(
            settings.model_copy(update={"port": port, "token_port": token_port}),
            reuse_port=reuse_port,
            providers=providers,
            provider_tenants=tenants,
            witness=witness,
        )
        # A server that is started anew is found where the one before it was.
        token_port = started.token_port
        return started

    return start


def serve_metrics(settings: Settings) -> None:
    """Serve the Prometheus endpoint, if a port is set for it."""
    if settings.metrics_port is None:
        return
    try:
        start_http_server(settings.metrics_port, settings.metrics_host)
    except OSError as error:
        raise OSError(f"metrics on {settings.metrics_host}:{settings.metrics_port}: {error}") from error


def switch_on_traces(settings: Settings) -> None:
    """Have traces made and sent, if a collector is set for them."""
    if settings.otlp_endpoint is None:
        return
    try:
        switch_on("defter", settings.otlp_endpoint)
    except TracingMissing as error:
        raise ValueError(f"DEFTER_OTLP_ENDPOINT: {error}") from None


def stop_event() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _supervise(settings: Settings) -> int:
    """Run workers that share the port; when one dies, stop the others and say so.

    The supervisor of this process restarts it; restarting only the worker here would hide its fault.
    """
    if settings.port == 0:
        typer.echo("--workers needs a fixed --port", err=True)
        return 2
    if settings.token_port == 0:
        typer.echo("DEFTER_TOKEN_PORT: --workers needs a fixed port", err=True)
        return 2
    command = [sys.executable, "-m", "ledger_server", "serve", "--reuse-port", "--workers", "1"]
    command += ["--port", str(settings.port), "--host", settings.host]
    workers = [
        subprocess.Popen(command, env=_worker_environment(settings, index))  # noqa: S603  # our own command
        for index in range(settings.workers)
    ]

    stopping = False

    def stop(number: int, _: object) -> None:
        nonlocal stopping
        stopping = True
        for worker in workers:
            worker.send_signal(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    _, status = os.wait()
    died_by_itself = not stopping
    if died_by_itself:
        stop(signal.SIGTERM, None)
    # The worker that was waited for above has no code left; a worker that a signal ended has a negative one.
    codes = [os.waitstatus_to_exitcode(status), *(worker.wait() for worker in workers)]
    return int(died_by_itself or any(codes))


def _worker_environment(settings: Settings, index: int) -> dict[str, str]:
    """Give every worker a metrics port of its own, counting up from the first."""
    environment = dict(os.environ)
    if settings.metrics_port:
        environment["DEFTER_METRICS_PORT"] = str(settings.metrics_port + index)
    return environment
