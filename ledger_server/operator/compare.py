"""Owns `defter compare`: a legacy system's balances are compared with the ledger's at the same moment."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer
from defter.backfill.v1 import backfill_pb2 as pb
from defter.ledger.v1 import tenant_pb2
from defter.reconciliation.v1 import reconciliation_pb2

from defter_client import LedgerClient
from ledger_server.operator import words
from ledger_server.operator.compare_screen import (
    HISTORY_COLUMNS,
    HISTORY_NUMBERS,
    SHOWN,
    CompareProgress,
    Report,
    by_day,
    history_row,
    print_differences,
    print_result,
)
from ledger_server.operator.connection import (
    SERVER,
    Exit,
    Json,
    Server,
    Stopped,
    Tenant,
    carry_out,
    open_ledger,
    pages,
)
from ledger_server.operator.csv_output import CsvOutput
from ledger_server.operator.money import Money
from ledger_server.operator.run_screen import seen_count
from ledger_server.operator.screen import console, print_json, print_line, print_table
from ledger_server.operator.snapshot_lines import BadSnapshot
from ledger_server.operator.snapshot_reading import Snapshot, read_file, read_query

app = typer.Typer(
    invoke_without_command=True, help="Compare a legacy system's balances with the ledger's, at one moment."
)

_PAGE: Final = 1_000

Source = Annotated[
    str,
    typer.Option(help="a name for the legacy system, the same each time: findings are kept by it"),
]


@app.callback()
def compare(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option(envvar="DEFTER_TENANT", help="the tenant")] = None,
    file: Annotated[
        Path | None, typer.Option(help="CSV with a header, or JSON Lines; packed by gzip or not")
    ] = None,
    sql_url: Annotated[
        str | None,
        typer.Option(
            envvar="DEFTER_LEGACY_SQL_URL", help="instead: a legacy PostgreSQL, postgresql://…; only read"
        ),
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="with --sql-url: a SELECT of player_id, currency, real and bonus")
    ] = None,
    source: Source = "legacy",
    time: Annotated[
        datetime | None,
        typer.Option(
            parser=words.read_by(words.moment),
            metavar="TIME",
            help="the moment of the snapshot, 2026-11-19T10:30:00.5Z; without a zone it is UTC",
        ),
    ] = None,
    sequence: Annotated[
        int | None, typer.Option(min=1, help="instead: the last record that the snapshot includes")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="the snapshot covers no more than its own lines")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--csv", help="write all differences to this file, as CSV")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="say nothing but what is wrong")] = False,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Compare a snapshot with the ledger; what differs becomes a finding BALANCE_DRIFT. No money is moved.

    Exit codes: 0 all equal; 1 something differs; 2 wrong usage, a bad file, or refused; 4 interrupted, or no
    server answers; 5 another comparison with that source is under way.
    """
    if context.invoked_subcommand is not None:
        return
    if not tenant:
        raise typer.BadParameter("say which tenant: --tenant or DEFTER_TENANT")
    if file is None and (sql_url is None or query is None):
        raise typer.BadParameter("say --file, or --sql-url with --query")
    if file is not None and query is not None:
        raise typer.BadParameter("say --file or --query, not both")
    if (time is None) == (sequence is None):
        raise typer.BadParameter("say the moment of the snapshot: --time or --sequence")
    header = pb.CompareBalancesRequest.Header(
        tenant_id=tenant, source=source, partial=partial, sequence=sequence or 0
    )
    if time is not None:
        header.time.FromDatetime(time)
    carry_out(
        _compare(server, _Asked(header, file, sql_url or "", query or "", report, quiet, json)),
        stopped_by_hand="a comparison that has begun is INTERRUPTED, and no finding resolved by absence",
    )


class _Asked(NamedTuple):
    """What a command line asks for."""

    header: pb.CompareBalancesRequest.Header
    file: Path | None
    sql_url: str
    query: str
    report: Path | None
    quiet: bool
    json: bool


async def _compare(server: str, asked: _Asked) -> int:
    shown: list[pb.BalanceDifference] = []
    async with open_ledger(server) as ledger:
        places = await _places(ledger)
        money = Money(places)
        with CompareProgress(console(error=True), quiet=asked.quiet) as progress:
            snapshot = await _snapshot(asked, places, progress)
            try:
                with _reporting(asked.report, money) as report:
                    run = await _compared(ledger, asked, snapshot, progress, report=report, shown=shown)
            finally:
                snapshot.lines.close()
    if asked.json:
        print_json(console(), run)
    elif not asked.quiet:
        _print(run, shown, money)
    if run.state != reconciliation_pb2.RUN_STATE_COMPLETE:
        return Exit.INTERRUPTED
    return Exit.FOUND if seen_count(run) else Exit.DONE


async def _snapshot(asked: _Asked, places: dict[str, int], progress: CompareProgress) -> Snapshot:
    """Read the whole snapshot. Raises Stopped if any of it is wrong."""

    def read(count: int) -> None:
        progress.show("reading", count, None)

    try:
        if asked.file is not None:
            return read_file(asked.file, places, read)
        return await read_query(asked.sql_url, asked.query, places, read)
    except BadSnapshot as bad:
        raise Stopped(str(bad)) from None


async def _compared(
    ledger: LedgerClient,
    asked: _Asked,
    snapshot: Snapshot,
    progress: CompareProgress,
    *,
    report: Report | None,
    shown: list[pb.BalanceDifference],
) -> reconciliation_pb2.Run:
    """Send a snapshot, write what differs, and return the run as it ended; the first ones go to `shown`."""
    run = reconciliation_pb2.Run()
    asked.header.buckets.extend(snapshot.buckets)
    out = console()
    wanted: asyncio.Queue[bool] = asyncio.Queue()
    try:
        async for response in ledger.backfill.compare_balances(_requests(asked.header, snapshot, wanted)):
            if response.wants_next:
                wanted.put_nowait(True)
            run = response.run
            progress.show("comparing", run.comparison.line_count, snapshot.lines.count, seen_count(run))
            if report is not None:
                report.add(response.differences)
            if asked.json:
                for each in response.differences:
                    print_json(out, each)
            else:
                shown += response.differences[: SHOWN - len(shown)]
    finally:
        wanted.put_nowait(False)
    return run


@contextmanager
def _reporting(file: Path | None, money: Money) -> Iterator[Report | None]:
    """Write a report, which takes its name once it is whole."""
    if file is None:
        yield None
        return
    try:
        report = Report(file, money)
    except OSError as error:
        raise Stopped(f"{file}: {error.strerror}") from None
    try:
        yield report
        report.keep()
    finally:
        report.close()


def _print(run: reconciliation_pb2.Run, shown: list[pb.BalanceDifference], money: Money) -> None:
    out = console()
    print_result(out, run, money)
    if shown:
        print_differences(out, shown, money)
    if seen_count(run) > len(shown):
        print_line(out, f"{seen_count(run) - len(shown):,} more: --csv FILE or --json has all of them")


async def _requests(
    header: pb.CompareBalancesRequest.Header, snapshot: Snapshot, wanted: asyncio.Queue[bool]
) -> AsyncIterator[pb.CompareBalancesRequest]:
    """Yield the header, then a message each time that the server wants one.

    Args:
        wanted: True for each message that is wanted, False once the call is over.
    """
    yield pb.CompareBalancesRequest(header=header)
    # gRPC's client loses a refusal that comes while something is sent.
    for part in _parts(snapshot):
        if not await wanted.get():
            return
        yield part


def _parts(snapshot: Snapshot) -> Iterator[pb.CompareBalancesRequest]:
    """Yield the lines in order, and the end."""
    for page in snapshot.lines.pages(_PAGE):
        balances = [
            pb.SnapshotBalance(
                player_id=line.player_id,
                currency_code=line.currency,
                real_minor=line.real,
                bonus_minor=line.bonus,
            )
            for line in page
        ]
        yield pb.CompareBalancesRequest(lines=pb.CompareBalancesRequest.Lines(balances=balances))
    yield pb.CompareBalancesRequest(end=pb.CompareBalancesRequest.End(line_count=snapshot.lines.count))


async def _places(ledger: LedgerClient) -> dict[str, int]:
    """Return the decimal places of the server's currencies; only it knows them for sure."""
    told = await ledger.tenants.list_currencies(tenant_pb2.ListCurrenciesRequest())
    return {each.currency_code: each.decimal_places for each in told.currencies}


@app.command("history")
def history(
    *,
    tenant: Tenant,
    source: Source = "legacy",
    every: Annotated[
        bool, typer.Option("--all", help="every comparison; default: the last whole one of each day")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Show by day whether drift shrinks, the newest day first."""
    request = reconciliation_pb2.ListRunsRequest(tenant_id=tenant, compared_source=source)

    async def work() -> int:
        async with open_ledger(server) as ledger:
            money = Money(await _places(ledger))
            runs = [
                run
                async for page in pages(ledger.reconciliation.list_runs, request, limit=None)
                for run in page.runs
            ]
        shown = runs if every else by_day(runs)
        rows = [history_row(run, money) for run in shown]
        if json:
            for run in shown:
                print_json(console(), run)
        elif as_csv:
            out = CsvOutput(HISTORY_COLUMNS)
            out.rows(rows)
        elif rows:
            print_table(console(), HISTORY_COLUMNS, rows, right=HISTORY_NUMBERS)
        else:
            print_line(console(), "no comparisons")
        return Exit.DONE

    carry_out(work())
