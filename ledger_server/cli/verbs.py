"""Owns the command line: what operators type."""

import asyncio
import contextlib
import sys
from importlib.metadata import version
from typing import Annotated

import typer
import uvloop

from console import commands as console_commands
from defter_client import LedgerError
from defter_tracing import switch_off
from ledger_server.cli import currencies as currency_commands
from ledger_server.cli import identity as identity_commands
from ledger_server.cli import schema as schema_commands
from ledger_server.cli.cant_start import cant_start
from ledger_server.cli.demo import TENANT, DemoFailed, run_demo
from ledger_server.cli.edge import edge
from ledger_server.cli.local_access import LocalAccess, open_ways
from ledger_server.cli.local_console import local_console
from ledger_server.cli.serving import (
    database_url_of,
    read_settings,
    serve,
    serve_metrics,
    starter,
    stop_event,
    switch_on_traces,
)
from ledger_server.embedded_postgres import EmbeddedPostgres, default_data_directory
from ledger_server.operator.program import add_commands
from ledger_server.process.bootstrap import load_currencies
from ledger_server.process.identity_settings import guarded
from ledger_server.process.local_psp import NAME, local_psp
from ledger_server.process.restarting import serve_until
from ledger_server.process.settings import Settings
from ledger_server.providers.configuration import configured_providers
from ledger_server.store.migrate import upgrade
from webhook_edge import commands as webhook_commands

# Tracebacks show no values: the database's password may be among them.
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Defter, the ledger."
)
app.add_typer(webhook_commands.app, name="webhook")
app.add_typer(console_commands.app, name="console")
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
    settings = read_settings()
    role = settings.application_role
    if start is not None:
        schema_commands.print_sql_from(start, revision, application_role=role)
        return
    database_url = database_url_of(settings)
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
    console_port: Annotated[
        int, typer.Option(envvar="DEFTER_CONSOLE_PORT", help="port of the console; 0 takes any")
    ] = 0,
    plaintext: Annotated[
        bool, typer.Option("--plaintext", help="no certificates: everyone on this machine may do everything")
    ] = False,
) -> None:
    """Run it all here: a database (unless DEFTER_DATABASE_URL names one), MockPSP, edge, server and console.

    Callers need the certificates or a token of `.defter/certs`, which are made where they are missing.
    """
    settings = read_settings()
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
            upgrade(database_url_of(settings), application_role=settings.application_role)
        ports = (edge_port, console_port)
        uvloop.run(_up(settings, access, demo=demo, leave=leave, ports=ports))


async def _up(
    settings: Settings, access: LocalAccess | None, *, demo: bool, leave: bool, ports: tuple[int, int]
) -> None:
    edge_port, console_port = ports
    stop = stop_event()
    async with contextlib.AsyncExitStack() as stack:
        with cant_start():
            serve_metrics(settings)
            switch_on_traces(settings)
            stack.push_async_callback(asyncio.to_thread, switch_off)
            registry = await load_currencies(settings)
            providers = await stack.enter_async_context(
                configured_providers(settings.providers_file, registry)
            )
            psp = await stack.enter_async_context(local_psp(TENANT, registry, edge_port=edge_port))
            start = starter(
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
        with cant_start():
            console = local_console(ways.person_target, access)
            address = await stack.enter_async_context(console.running(console_port))
        typer.echo(f"console: {address}, {console.told}")
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


app.command()(serve)
app.command()(edge)
