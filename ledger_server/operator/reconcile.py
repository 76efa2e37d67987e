"""Owns `defter reconcile` and `defter runs`: runs are asked for, followed and looked up."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer
from defter.reconciliation.v1 import reconciliation_pb2 as pb

from defter_client import LedgerError
from ledger_server.operator import words
from ledger_server.operator.connection import SERVER, Exit, Json, Server, Tenant, carry_out, open_ledger
from ledger_server.operator.following import Follower, under_way
from ledger_server.operator.lists import Limit, Shape, show_list
from ledger_server.operator.money import known_money
from ledger_server.operator.run_screen import (
    RUN_COLUMNS,
    RUN_NUMBERS,
    RunProgress,
    print_run,
    run_progress,
    run_row,
    seen_count,
)
from ledger_server.operator.screen import console, print_json, print_line

app = typer.Typer(no_args_is_help=True, help="Look at reconciliation runs.")

# This leaves room for a number within the 255 characters of a key.
_LONGEST_KEY: Final = 240
_STATES: Final = words.one_of(pb.RunState.DESCRIPTOR, "RUN_STATE_")
_RUNS: Final = Shape("runs", ("run", "runs"), RUN_COLUMNS, run_row, RUN_NUMBERS)


def reconcile(
    *,
    tenant: Tenant,
    provider: Annotated[str, typer.Option(help="the provider account")],
    from_: Annotated[
        datetime | None,
        typer.Option(
            "--from",
            parser=words.read_by(words.moment),
            metavar="TIME",
            help="begin of the window, 2026-11-19T10:30Z; without a zone it is UTC",
        ),
    ] = None,
    to: Annotated[
        datetime | None,
        typer.Option(
            parser=words.read_by(words.moment),
            metavar="TIME",
            help="its end, not part of it; default: the last full minute",
        ),
    ] = None,
    last: Annotated[
        timedelta | None,
        typer.Option(
            parser=words.read_by(words.duration),
            metavar="TIME-SPAN",
            help="instead: so far back (1d) from the last full hour, from the last full minute if shorter",
        ),
    ] = None,
    date: Annotated[
        words.Window | None,
        typer.Option(
            parser=words.read_by(words.day), metavar="DAY", help="instead: a whole day in UTC, 2026-11-19"
        ),
    ] = None,
    grace: Annotated[
        timedelta | None,
        typer.Option(
            parser=words.read_by(words.duration),
            metavar="TIME-SPAN",
            help="how young a one-sided movement may be (2h); default: 1h, fees 1d, settlements 5d",
        ),
    ] = None,
    stale_after: Annotated[
        timedelta | None,
        typer.Option(
            parser=words.read_by(words.duration),
            metavar="TIME-SPAN",
            help="from which age on what has not come to an end is stale; default: 1d",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="idempotency key; default: follows from tenant, provider and window"),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="compare anew even if this window was compared to its end")
    ] = False,
    join: Annotated[
        bool, typer.Option("--join", help="if another run is under way, follow that one to its end")
    ] = False,
    patience: Annotated[
        timedelta,
        typer.Option(
            parser=words.read_by(words.duration),
            metavar="TIME-SPAN",
            help="how long to go on while no server answers",
        ),
    ] = "5m",  # type: ignore[assignment]  # read by the option's parser
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="say nothing but what is wrong")] = False,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Compare a provider's records with the ledger, and follow the run to its end.

    Exit codes: 0 complete, nothing seen; 1 complete, discrepancies seen; 2 wrong usage or refused; 3 partial;
    4 interrupted, or no server answers; 5 another run is under way.
    """
    try:
        window = words.window(datetime.now(UTC), from_=from_, to=to, last=last, on=date)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if key is not None and again:
        raise typer.BadParameter("--again makes a key of its own: leave --key out")
    request = pb.RunReconciliationRequest(tenant_id=tenant, provider=provider)
    request.from_time.FromDatetime(window.from_time)
    request.to_time.FromDatetime(window.to_time)
    if grace is not None:
        request.grace.FromTimedelta(grace)
    if stale_after is not None:
        request.stale_after.FromTimedelta(stale_after)
    if key is not None:
        request.idempotency_key = key
    carry_out(
        _reconcile(
            server, request, again=again, join=join, patience=patience.total_seconds(), quiet=quiet, json=json
        )
    )


async def _reconcile(
    server: str,
    request: pb.RunReconciliationRequest,
    *,
    again: bool,
    join: bool,
    patience: float,
    quiet: bool,
    json: bool,
) -> int:
    async with open_ledger(server) as ledger:
        with run_progress(console(error=True), quiet=quiet) as progress:
            follower = Follower(ledger, show=progress.show, say=progress.say, patience_seconds=patience)
            try:
                if request.idempotency_key:
                    ended = await follower.run(request)
                else:
                    ended = await follower.run_derived(request, derived_key(request), again=again)
                run, replayed = ended
            except LedgerError as error:
                other = under_way(error)
                if not other or not join:
                    raise
                run, replayed = await _joined(follower, progress, request.tenant_id, other), False
        money = await known_money(ledger)
    out = console()
    if json:
        print_json(out, run)
    elif not quiet:
        print_run(out, run, money)
        if replayed:
            print_line(out, "This run had ended before. --again (or another --key) compares anew.")
    return ended_with(run)


async def _joined(follower: Follower, progress: RunProgress, tenant_id: str, run_id: str) -> pb.Run:
    progress.say(f"following {run_id}, which is under way")
    return await follower.watch(tenant_id, run_id)


def derived_key(request: pb.RunReconciliationRequest) -> str:
    """Return the idempotency key derived from the request, so that asking again is the same request."""
    parts = [request.provider, request.from_time.ToJsonString(), request.to_time.ToJsonString()]
    if request.HasField("grace"):
        parts.append(f"grace={request.grace.ToJsonString()}")
    if request.HasField("stale_after"):
        parts.append(f"stale_after={request.stale_after.ToJsonString()}")
    key = ":".join(["reconcile", request.tenant_id, *parts])
    if len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable():
        return key
    # A name with characters that a key can't have is left to the server to refuse, by its own field.
    return f"reconcile:{hashlib.sha256(key.encode()).hexdigest()}"


def ended_with(run: pb.Run) -> Exit:
    """Return the exit code for a run."""
    match run.state:
        case pb.RUN_STATE_COMPLETE:
            return Exit.FOUND if seen_count(run) else Exit.DONE
        case pb.RUN_STATE_PARTIAL:
            return Exit.PARTIAL
        case _:
            return Exit.INTERRUPTED


@app.command("list")
def list_runs(
    *,
    tenant: Tenant,
    provider: Annotated[str, typer.Option(help="only those of this provider account")] = "",
    state: Annotated[
        int,
        typer.Option(
            parser=_STATES,
            show_default=False,
            metavar="STATE",
            help="only those that stand there, such as PARTIAL",
        ),
    ] = 0,
    limit: Limit = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """List runs, the newest first."""
    request = pb.ListRunsRequest(tenant_id=tenant, provider=provider, state=pb.RunState.ValueType(state))

    async def work() -> int:
        async with open_ledger(server) as ledger:
            await show_list(ledger.reconciliation.list_runs, request, _RUNS, json=json, limit=limit)
        return Exit.DONE

    carry_out(work())


@app.command("show")
def show_run(
    run_id: Annotated[str, typer.Argument(help="the run's id, run_…", metavar="RUN")],
    *,
    tenant: Tenant,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Show one run."""

    async def work() -> int:
        async with open_ledger(server) as ledger:
            request = pb.GetRunRequest(tenant_id=tenant, run_id=run_id)
            found = (await ledger.reconciliation.get_run(request)).run
            money = await known_money(ledger)
        if json:
            print_json(console(), found)
        else:
            print_run(console(), found, money)
        return Exit.DONE

    carry_out(work())
