"""Owns the command line: what operators type."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from itertools import groupby
from typing import Annotated, Final

import structlog
import typer
import uvloop
from prometheus_client import start_http_server
from pydantic import ValidationError
from pydantic_settings import SettingsError

from defter_client import LedgerError
from defter_tracing import TracingMissing, switch_off, switch_on
from ledger_server.cli import currencies as currency_commands
from ledger_server.cli import identity as identity_commands
from ledger_server.cli import schema as schema_commands
from ledger_server.cli.cant_start import cant_start
from ledger_server.cli.demo import TENANT, DemoFailed, run_demo
from ledger_server.cli.local_access import LocalAccess, open_ways
from ledger_server.embedded_postgres import EmbeddedPostgres, default_data_directory
from ledger_server.operator.connection import COMMAND_SETTINGS
from ledger_server.operator.program import add_commands
from ledger_server.process.bootstrap import load_currencies, start_server
from ledger_server.process.identity_settings import guarded
from ledger_server.process.local_psp import NAME, local_psp
from ledger_server.process.logs import configure_logs
from ledger_server.process.restarting import serve_until
from ledger_server.process.running import RunningServer
from ledger_server.process.settings import Settings
from ledger_server.process.tuning import let_threads_finish, relax_collector
from ledger_server.providers.adapter import Adapter
from ledger_server.providers.configuration import configured_providers
from ledger_server.store.migrate import upgrade
from ledger_server.store.witness import WitnessKeeper
from webhook_edge import __main__ as edge_process
from webhook_edge import commands as webhook_commands
from webhook_edge.setting_names import unknown_settings
from webhook_edge.settings import EdgeSettings

log = structlog.get_logger()

# Tracebacks show no values: the database's password may be among them.
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Defter, the ledger."
)
app.add_typer(webhook_commands.app, name="webhook")
app.add_typer(currency_commands.app, name="currencies")
app.add_typer(identity_commands.certs, name="certs")
app.add_typer(identity_commands.token, name="token")
app.add_typer(identity_commands.policy, name="policy")
add_commands(app)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"defter {version('defter')}")
        raise typer.Exit


@app.callback()
def program(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="say the version"),
    ] = False,
) -> None:
    """Defter, the ledger."""


def _settings(**overrides: object) -> Settings:
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
        *COMMAND_SETTINGS,
    }
)
_FOREIGN: Final = ("DEFTER_TEST_", "DEFTER_SIMULATION_")


def _database_url(settings: Settings) -> str:
    if not settings.database_url:
        typer.echo("DEFTER_DATABASE_URL is not set; `defter up` brings a database of its own.", err=True)
        raise typer.Exit(2)
    if not settings.database_url.startswith(("postgresql://", "postgres://")):
        typer.echo("DEFTER_DATABASE_URL: want a URL of PostgreSQL, postgresql://user@host/database", err=True)
        raise typer.Exit(2)
    return settings.database_url


@app.command()
def migrate(
    revision: Annotated[str, typer.Argument(help="the version of the schema to migrate up to")] = "head",
    check: Annotated[
        bool, typer.Option("--check", help="change nothing; tell by the exit code whether migrations are due")
    ] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="change nothing; print what is due as a script for psql")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option("--from", help="with --sql: ask no database; print from this version, or from `base`"),
    ] = None,
) -> None:
    """Bring the database to a version of the schema, or tell what that would take."""
    if start is not None and not sql:
        raise typer.BadParameter("goes with --sql", param_hint="--from")
    if check and (sql or revision != "head"):
        raise typer.BadParameter("goes alone: it compares with what this version needs", param_hint="--check")
    settings = _settings()
    role = settings.application_role
    if start is not None:
        schema_commands.print_sql_from(start, revision, application_role=role)
        return
    database_url = _database_url(settings)
    if check:
        schema_commands.check_schema(database_url, application_role=role)
    if sql:
        schema_commands.print_sql(database_url, revision, application_role=role)
        return
    with cant_start():
        reached = upgrade(database_url, revision, application_role=role)
    typer.echo(f"the database is at {reached}")


@app.command()
def up(
    demo: Annotated[bool, typer.Option(help="open a demo tenant; a player deposits and withdraws")] = True,
    leave: Annotated[bool, typer.Option("--exit", help="stop as soon as everything has been shown")] = False,
    edge_port: Annotated[
        int, typer.Option(envvar="DEFTER_EDGE_PORT", help="port of the webhook edge; 0 takes any")
    ] = 0,
    plaintext: Annotated[
        bool, typer.Option("--plaintext", help="no certificates: everyone on this machine may do everything")
    ] = False,
) -> None:
    """Run it all here: a database (unless DEFTER_DATABASE_URL names one), MockPSP, edge and server.

    Callers need the certificates or a token of `.defter/certs`, which are made where they are missing.
    """
    settings = _settings()
    access = None if plaintext else LocalAccess()
    with cant_start():
        own = settings if plaintext else settings.model_copy(update={"audit_log_file": None})
        if guarded(own) is not None:
            raise ValueError(
                "DEFTER_TLS_CERTIFICATE_FILE: `defter up` has certificates of its own; see `defter serve`"
            )
        if access is not None:
            if access.ensure(settings.host):
                typer.echo(f"certificates: made in {access.folder}, for this machine")
            settings = access.settings(settings)
    with contextlib.ExitStack() as stack:
        if settings.database_url:
            typer.echo("database: DEFTER_DATABASE_URL")
        else:
            folder = settings.data_directory or default_data_directory()
            with cant_start():
                postgres = stack.enter_context(EmbeddedPostgres(folder))
            # Beside the data folder, so that restoring an older data folder leaves the witness as it is.
            witness = settings.witness_file or folder.with_name(f"{folder.name}.witness")
            settings = settings.model_copy(update={"database_url": postgres.url, "witness_file": witness})
            typer.echo(f"database: an embedded PostgreSQL in {folder}")
        with cant_start():
            upgrade(_database_url(settings), application_role=settings.application_role)
        uvloop.run(_up(settings, access, demo=demo, leave=leave, edge_port=edge_port))


async def _up(
    settings: Settings, access: LocalAccess | None, *, demo: bool, leave: bool, edge_port: int
) -> None:
    stop = _stop_event()
    async with contextlib.AsyncExitStack() as stack:
        with cant_start():
            _serve_metrics(settings)
            _switch_on_traces(settings)
            stack.push_async_callback(asyncio.to_thread, switch_off)
            registry = await load_currencies(settings)
            providers = await stack.enter_async_context(
                configured_providers(settings.providers_file, registry)
            )
            psp = await stack.enter_async_context(local_psp(TENANT, registry, edge_port=edge_port))
            start = _starter(
                settings,
                {**providers.adapters, NAME: psp.adapter},
                {**providers.tenants, NAME: frozenset({TENANT})},
            )
            server = await start(settings.port)
        target = f"{settings.host}:{server.port}"
        typer.echo(f"ledger: gRPC on {target}, with health and reflection")
        ways = open_ways(target)
        if access is not None:
            token_target = f"{settings.host}:{server.token_port}"
            ways = access.ways(target, token_target, program=sys.argv[0])
        for line in ways.told:
            typer.echo(line)
        typer.echo(f"provider: a MockPSP on {psp.url}, provider account `{NAME}` of tenant `{TENANT}`")
        typer.echo(f"edge: its webhooks come signed to {psp.webhook_url}")
        async with psp.edge(target, None if access is None else access.edge):
            if demo:
                typer.echo("")
                try:
                    await run_demo(ways, psp.url, typer.echo)
                except (DemoFailed, LedgerError) as error:
                    # Such as a tenant that wants a second reviewer by now; the ledger goes on.
                    typer.echo(f"the demo ended early: {error}", err=True)
                    if leave:
                        raise typer.Exit(1) from None
            if leave:
                stop.set()
            else:
                typer.echo("\nCtrl-C stops everything; the data stays.")
            with cant_start():
                running = await serve_until(stop, server, start)
        if running is not None:
            await running.drain()


@app.command()
def serve(
    port: Annotated[int | None, typer.Option(help="port of the gRPC server; 0 takes any")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    workers: Annotated[int | None, typer.Option(help="server processes on the one port")] = None,
    reuse_port: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Serve gRPC until SIGTERM or SIGINT, then answer what was begun and stop."""
    settings = _settings(port=port, host=host, workers=workers)
    _database_url(settings)
    with cant_start():
        guarded(settings)
    if settings.workers > 1:
        raise typer.Exit(_supervise(settings))
    if settings.batch_scheduling:
        let_threads_finish()
    uvloop.run(_serve(settings, reuse_port=reuse_port))


async def _serve(settings: Settings, *, reuse_port: bool) -> None:
    stop = _stop_event()
    async with contextlib.AsyncExitStack() as stack:
        with cant_start():
            _serve_metrics(settings)
            _switch_on_traces(settings)
            stack.push_async_callback(asyncio.to_thread, switch_off)
            providers = await stack.enter_async_context(
                configured_providers(settings.providers_file, await load_currencies(settings))
            )
            start = _starter(settings, providers.adapters, providers.tenants, reuse_port=reuse_port)
            server = await start(settings.port)
        relax_collector()
        with cant_start():
            running = await serve_until(stop, server, start)
        log.info("draining")
        if running is not None:
            await running.drain()
        log.info("stopped")


def _starter(
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


@app.command()
def edge() -> None:
    """Run the webhook edge alone, with its settings from `DEFTER_EDGE_…`; SIGHUP reloads its endpoints."""
    raise typer.Exit(edge_process.main())


def _serve_metrics(settings: Settings) -> None:
    """Serve the Prometheus endpoint, if a port is set for it."""
    if settings.metrics_port is None:
        return
    try:
        start_http_server(settings.metrics_port, settings.metrics_host)
    except OSError as error:
        raise OSError(f"metrics on {settings.metrics_host}:{settings.metrics_port}: {error}") from error


def _switch_on_traces(settings: Settings) -> None:
    """Have traces made and sent, if a collector is set for them."""
    if settings.otlp_endpoint is None:
        return
    try:
        switch_on("defter", settings.otlp_endpoint)
    except TracingMissing as error:
        raise ValueError(f"DEFTER_OTLP_ENDPOINT: {error}") from None


def _stop_event() -> asyncio.Event:
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
