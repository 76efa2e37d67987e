"""Owns `defter settlement`: reports are imported, their batches listed and confirmed."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Final

import typer
from defter.reconciliation.v1 import settlement_pb2 as pb
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ledger_server.operator import words
from ledger_server.operator.connection import (
    SERVER,
    Actor,
    Exit,
    Json,
    Server,
    Stopped,
    Tenant,
    actor_or_user,
    carry_out,
    open_ledger,
    tried,
    tries_for,
)
from ledger_server.operator.lists import Limit, Shape, show_list
from ledger_server.operator.money import Money, known_money
from ledger_server.operator.screen import console, print_json, print_line, print_table, styled, when

app = typer.Typer(no_args_is_help=True, help="Read settlement reports in, and confirm what was paid out.")

_CHUNK_BYTES: Final = 256 * 1024
_PATIENCE_SECONDS: Final = 60.0
_FORMATS: Final = words.one_of(pb.ReportFormat.DESCRIPTOR, "REPORT_FORMAT_")
_STATES: Final = words.one_of(pb.SettlementBatchState.DESCRIPTOR, "SETTLEMENT_BATCH_STATE_")


@app.command("import")
def import_report(
    file: Annotated[Path, typer.Argument(help="the report as the provider made it")],
    *,
    tenant: Tenant,
    provider: Annotated[str, typer.Option(help="the provider account")],
    format_: Annotated[
        int,
        typer.Option(
            "--format",
            parser=_FORMATS,
            show_default=False,
            metavar="FORMAT",
            help="stripe-payout-reconciliation, stripe-balance-change or adyen-settlement-details",
        ),
    ],
    account: Annotated[
        str, typer.Option(help="read only lines of this account, where one report has several")
    ] = "",
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Read a settlement report in, all of it or nothing; the same file twice changes nothing.

    Exit codes: 0 every batch adds up or is not paid out yet; 1 one does not add up; 2 wrong usage or refused;
    4 no server answers.
    """
    header = pb.ImportSettlementReportRequest.Header(
        tenant_id=tenant,
        provider=provider,
        format=pb.ReportFormat.ValueType(format_),
        file_name=file.name[-255:],
        account=account,
    )
    carry_out(_import(server, file, header, json=json))


async def _import(
    server: str, file: Path, header: pb.ImportSettlementReportRequest.Header, *, json: bool
) -> int:
    size = _size(file)
    with _bar(console(error=True)) as progress:
        task = progress.add_task(file.name, total=size)

        async def send(_: float) -> pb.ImportSettlementReportResponse:
            progress.reset(task)
            parts = _parts(file, header, lambda count: progress.advance(task, count))
            return await ledger.settlements.import_settlement_report(parts)

        async with open_ledger(server) as ledger:
            response = await tried(send, tries_for(_PATIENCE_SECONDS))
            money = await known_money(ledger)
    out = console()
    if json:
        print_json(out, response)
    else:
        _print_import(out, response, money)
    unbalanced = any(batch.state == pb.SETTLEMENT_BATCH_STATE_UNBALANCED for batch in response.batches)
    return Exit.FOUND if unbalanced else Exit.DONE


def _size(file: Path) -> int:
    """Return a file's size. Raises Stopped where it can't be read."""
    try:
        with file.open("rb") as stream:
            return stream.seek(0, os.SEEK_END)
    except OSError as error:
        raise Stopped(f"{file}: {error.strerror}") from None


def _bar(out: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=out,
        transient=True,
        disable=not out.is_terminal or out.is_dumb_terminal,
    )


async def _parts(
    file: Path, header: pb.ImportSettlementReportRequest.Header, advance: Callable[[int], object]
) -> AsyncIterator[pb.ImportSettlementReportRequest]:
    """Yield the header, then the file in chunks. Raises Stopped where it can't be read on."""
    yield pb.ImportSettlementReportRequest(header=header)
    # Blocking is fine: the command has nothing else to do meanwhile.
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield pb.ImportSettlementReportRequest(chunk=chunk)
                advance(len(chunk))
    except OSError as error:
        raise Stopped(f"{file}: {error.strerror}") from None


def _print_import(out: Console, response: pb.ImportSettlementReportResponse, money: Money) -> None:
    report = response.report
    told = f"{report.file_name}: {report.line_count:,} lines, {report.new_line_count:,} of them new"
    if response.duplicate:
        told = f"{report.file_name}: imported before, on {when(report.import_time)} UTC; nothing has changed"
    print_line(out, told)
    if response.batches:
        shape = batches_shape(money)
        rows = [shape.row(batch) for batch in response.batches]
        print_table(out, shape.columns, rows, right=shape.right)


@app.command("list")
def list_batches(
    *,
    tenant: Tenant,
    provider: Annotated[str, typer.Option(help="only those of this provider account")] = "",
    state: Annotated[
        int,
        typer.Option(
            parser=_STATES,
            show_default=False,
            metavar="STATE",
            help="only those that stand there, such as BALANCED",
        ),
    ] = 0,
    limit: Limit = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """List settlement batches, the newest first."""
    request = pb.ListSettlementBatchesRequest(
        tenant_id=tenant, provider=provider, state=pb.SettlementBatchState.ValueType(state)
    )

    async def work() -> int:
        async with open_ledger(server) as ledger:
            shape = batches_shape(await known_money(ledger))
            method = ledger.settlements.list_settlement_batches
            await show_list(method, request, shape, json=json, limit=limit)
        return Exit.DONE

    carry_out(work())


@app.command("confirm")
def confirm_batch(
    batch: Annotated[str, typer.Argument(help="the provider's own id of the batch")],
    *,
    tenant: Tenant,
    provider: Annotated[str, typer.Option(help="the provider account")],
    currency: Annotated[str, typer.Option(help="the currency that was paid out")],
    bank: Annotated[
        str,
        typer.Option(
            help="the name of the account that it has arrived on: bank:<name>:<currency> is debited"
        ),
    ],
    actor: Actor = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Move what a balanced batch has paid out from clearing to a bank account; twice moves it once."""

    async def work() -> int:
        request = pb.ConfirmSettlementBatchRequest(
            tenant_id=tenant,
            provider=provider,
            batch_id=batch,
            currency_code=currency,
            bank=bank,
            actor=actor_or_user(actor),
        )
        async with open_ledger(server) as ledger:
            confirmed = (await ledger.settlements.confirm_settlement_batch(request)).batch
            money = await known_money(ledger)
        out = console()
        if json:
            print_json(out, confirmed)
            return Exit.DONE
        shape = batches_shape(money)
        print_table(out, shape.columns, [shape.row(confirmed)], right=shape.right)
        paid_out = money.show(confirmed.paid_out_minor, confirmed.currency_code)
        moved = f"moved from clearing to bank:{bank}:{currency} by {confirmed.transaction_id}"
        print_line(out, f"{paid_out} {moved}" if confirmed.transaction_id else "no money had to be moved")
        return Exit.DONE

    carry_out(work())


def batches_shape(money: Money) -> Shape:
    """Return the columns of a table of batches; from left to right, signed amounts add up to the computed."""

    def row(batch: pb.SettlementBatch) -> list[str | Text]:
        def show(amount_minor: int) -> str:
            return money.show(amount_minor, batch.currency_code)

        told = batch.HasField("paid_out_minor")
        return [
            batch.batch_id,
            batch.provider,
            show(batch.gross_minor),
            show(-batch.fee_minor),
            show(-batch.refund_minor),
            show(-batch.chargeback_minor),
            show(batch.correction_minor),
            show(batch.computed_minor),
            show(batch.paid_out_minor) if told else "not yet",
            show(batch.difference_minor) if told else "-",
            f"{batch.line_count:,}",
            when(batch.paid_out_time),
            styled(pb.SettlementBatchState.Name(batch.state).removeprefix("SETTLEMENT_BATCH_STATE_")),
            batch.transaction_id or "-",
        ]

    numbers = (
        "gross",
        "fees",
        "refunds",
        "chargebacks",
        "corrections",
        "computed",
        "paid out",
        "difference",
        "lines",
    )
    columns = ("batch", "provider", *numbers, "on", "state", "transaction")
    return Shape("batches", ("batch", "batches"), columns, row, numbers)
