"""Owns `defter backfill`: balances of a legacy system are checked, then posted."""

import asyncio
import json as json_text
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, Final

import typer
from defter.backfill.v1 import backfill_pb2 as pb
from defter.ledger.v1 import error_pb2, tenant_pb2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from defter_client import LedgerClient, LedgerError
from defter_retrying.backoff import Tries
from ledger_server.operator import words
from ledger_server.operator.connection import (
    SERVER,
    Exit,
    Json,
    Server,
    Stopped,
    Tenant,
    carry_out,
    open_ledger,
    told,
    tried,
    tries_for,
)
from ledger_server.operator.money import Money
from ledger_server.operator.opening_file import (
    AmountWrong,
    BadOpenings,
    OpeningFile,
    OpeningRow,
    Wrong,
    minor_units,
)
from ledger_server.operator.screen import console, print_json, print_line, print_table

app = typer.Typer(no_args_is_help=True, help="Take balances of a legacy system over.")

_MESSAGE_LINES: Final = 500
_PATIENCE_SECONDS: Final = 60.0
_SHOWN: Final = 20
# What the server says behind a plan that it will not carry out.
_NOT_POSTED: Final = frozenset({"IMPORT_LINES_REFUSED", "CONTROL_SUM_MISMATCH"})

Response = pb.ImportOpeningBalancesResponse


@app.callback()
def backfill() -> None:
    """Take balances of a legacy system over."""


@app.command("opening-balances")
def opening_balances(
    *,
    file: Annotated[
        Path,
        typer.Option(
            help="CSV (.csv) or JSON Lines (.jsonl): player_id, currency, real and bonus; maybe .gz"
        ),
    ],
    tenant: Tenant,
    import_id: Annotated[
        str, typer.Option(help="names the import for ever; the same one to resume or to correct it")
    ],
    control: Annotated[
        list[str],
        typer.Option(metavar="CURRENCY=AMOUNT", help="what all lines of a currency add up to; repeatable"),
    ],
    as_of: Annotated[
        datetime | None,
        typer.Option(
            parser=words.read_by(words.moment),
            metavar="TIME",
            help="when the balances were so; default: when they are posted",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would happen, and post nothing")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="post the difference where a line has changed since")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="write refused lines here, one JSON object each")
    ] = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Post opening balances: all lines are checked first, and one that is wrong stops all of them.

    Run it again at any time: what is posted is not posted twice, and a run that was cut off goes on.

    Exit codes: 0 done, or would be; 1 lines are refused or do not add up; 2 wrong usage or refused; 4 no
    server answers; 6 the file can't be read on.
    """
    header = pb.ImportOpeningBalancesRequest.Header(
        tenant_id=tenant, import_id=import_id, dry_run=dry_run, force=force
    )
    if as_of is not None:
        header.as_of_time.FromDatetime(as_of)
    carry_out(
        _import(server, file, header, control, report, json=json),
        stopped_by_hand="what was posted by then stands, and the same command goes on from there",
    )


async def _import(
    server: str,
    file: Path,
    header: pb.ImportOpeningBalancesRequest.Header,
    controls: list[str],
    report: Path | None,
    *,
    json: bool,
) -> int:
    async with open_ledger(server) as ledger:
        request = tenant_pb2.ListCurrenciesRequest()
        listed = await ledger.tenants.list_currencies(request)
        places = {each.currency_code: each.decimal_places for each in listed.currencies}
        header.control_sums.extend(_control(each, places) for each in controls)
        try:
            lines = OpeningFile(file, places)
        except OSError as error:
            raise Stopped(f"{file}: {error.strerror}") from None
        except ValueError as error:
            raise Stopped(str(error)) from None
        tries = tries_for(_PATIENCE_SECONDS)
        with _bar(console(error=True)) as progress:

            async def attempt(_: float) -> _Attempt:
                with _refusals(report) as refusals:
                    made = _Attempt(ledger, header, lines, refusals, _Bars(progress, file.name))
                    await made.run(tries)
                return made

            made = await tried(attempt, tries)
    return made.tell(console(), Money(places), json=json)


def _control(text: str, places: dict[str, int]) -> pb.ControlSum:
    """Read `EUR=1234.56`. Raises Stopped."""
    currency, _, amount = text.partition("=")
    try:
        return pb.ControlSum(currency_code=currency, amount_minor=minor_units(amount, currency, places))
    except AmountWrong as wrong:
        raise Stopped(f"--control {text}: {wrong}") from None


class _Refusals:
    """The lines that are refused: all of them go to the report, and the first ones to the screen."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream
        self.count = 0
        self.shown: list[str] = []

    def add(self, number: int, reason: str, message: str, facts: dict[str, str]) -> None:
        """Note one."""
        self.count += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(f"line {number}: {reason}: {message}")
        if self._stream is not None:
            said = {"line": number, "reason": reason, "message": message, "metadata": facts}
            self._stream.write(json_text.dumps(said) + "\n")


@contextmanager
def _refusals(report: Path | None) -> Iterator[_Refusals]:
    """Open the report anew."""
    if report is None:
        yield _Refusals(None)
        return
    try:
        stream = report.open("w", encoding="utf-8")
    except OSError as error:
        raise Stopped(f"{report}: {error.strerror}") from None
    with stream:
        yield _Refusals(stream)


class _Bars:
    """The progress bar: bytes of the file while it is checked, then lines that are posted."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._name = name
        for task in progress.task_ids:
            progress.remove_task(task)
        self._task: TaskID = progress.add_task(f"{name}: checking")

    def checked(self, position: int, size: int) -> None:
        """Show how far the file was read."""
        self._progress.update(self._task, completed=position, total=size)

    def done(self, done: int, total: int) -> None:
        """Show how many lines are posted."""
        self._progress.update(self._task, description=f"{self._name}: posting", completed=done, total=total)


class _Attempt:
    """One call, and what came of it."""

    def __init__(
        self,
        ledger: LedgerClient,
        header: pb.ImportOpeningBalancesRequest.Header,
        lines: OpeningFile,
        refusals: _Refusals,
        bars: _Bars,
    ) -> None:
        self._ledger = ledger
        self._header = header
        self._lines = lines
        self._refusals = refusals
        self._bars = bars
        self._taken = asyncio.Event()
        self._planned = asyncio.Event()
        self._over = asyncio.Event()
        self._broken: BadOpenings | None = None
        self._refused: LedgerError | None = None
        self._sent = 0
        self._own = 0
        self.plan: Response.Plan | None = None
        self.result: Response.Result | None = None

    async def run(self, tries: Tries) -> None:
        """Make the call; whatever the server says begins the time for tries anew.

        Raises:
            LedgerError: it was refused, or nobody answers.
        """
        try:
            async for response in self._ledger.backfill.import_opening_balances(self._requests()):
                tries.renew()
                self._take(response)
        except LedgerError as refused:
            # A pass that this command has cut off is told as one that has no end, or no lines.
            cut = refused.reason == "FIELD_MISSING" and (self._own or self._broken is not None)
            if not cut and refused.reason not in _NOT_POSTED:
                raise
            self._refused = refused
        finally:
            for event in (self._taken, self._planned, self._over):
                event.set()

    async def _requests(self) -> AsyncIterator[pb.ImportOpeningBalancesRequest]:
        """Yield the header, all lines, and once the server wants them, all lines again.

        Where the file can't be read on, or has a line that can't be sent, the requests end early.
        """
        yield pb.ImportOpeningBalancesRequest(header=self._header)
        # gRPC's client loses a refusal that comes while something is sent.
        await self._taken.wait()
        try:
            for message in self._messages(notes=True):
                yield message
                self._bars.checked(self._lines.position, self._lines.size)
            await self._planned.wait()
            if self.plan is None or not self.plan.wants_lines:
                await self._over.wait()
                return
            if self._own:
                return
            for message in self._messages(notes=False):
                yield message
            await self._over.wait()
        except BadOpenings as broken:
            self._broken = broken

    def _messages(self, *, notes: bool) -> Iterator[pb.ImportOpeningBalancesRequest]:
        """Yield the lines of the file.

        Args:
            notes: whether lines that can't be sent are noted, which the first pass does.
        """
        message = pb.ImportOpeningBalancesRequest()
        for each in self._lines.rows():
            if isinstance(each, Wrong):
                if notes:
                    self._own += 1
                    self._refusals.add(each.number, each.reason, each.text, {})
                continue
            message.items.append(_line(each))
            if len(message.items) == _MESSAGE_LINES:
                self._sent += _MESSAGE_LINES if notes else 0
                yield message
                message = pb.ImportOpeningBalancesRequest()
        self._sent += len(message.items) if notes else 0
        if not self._sent and not self._own:
            raise BadOpenings(1, "FILE_EMPTY", "the file has no lines")
        message.pass_end = True
        yield message

    def _take(self, response: Response) -> None:
        self._taken.set()
        match response.WhichOneof("part"):
            case "refused":
                for line in response.refused.lines:
                    reason = error_pb2.ErrorReason.Name(line.refusal.reason).removeprefix("ERROR_REASON_")
                    facts = dict(line.refusal.metadata)
                    self._refusals.add(line.line_number, reason, line.refusal.message, facts)
            case "progress":
                if self.plan is not None:
                    self._bars.done(response.progress.done_count, self._sent)
            case "plan":
                self.plan = response.plan
                self._planned.set()
            case "result":
                self.result = response.result

    def tell(self, out: Console, money: Money, *, json: bool) -> int:
        """Show what came of it, and return the exit code."""
        errors = console(error=True)
        if self._broken is not None:
            wrong = self._broken.wrong
            print_line(errors, f"line {wrong.number}: {wrong.reason}: {wrong.text}")
            posted = "what was posted by then stands" if self.plan is not None else "nothing was posted"
            print_line(errors, f"the file can't be read on; {posted}")
            return Exit.BROKEN_FILE
        shown: Any = self.result or self.plan
        if shown is not None:
            if json:
                print_json(out, shown)
            else:
                _print_openings(out, shown, money, done=self.result is not None)
        for line in self._refusals.shown:
            print_line(errors, line)
        if self._refusals.count:
            more = "" if self.result is not None else "; nothing was posted"
            print_line(errors, f"{self._refusals.count:,} lines are refused{more}")
        elif self._refused is not None:
            print_line(errors, told(self._refused))
        return Exit.FOUND if self._refusals.count or self._refused is not None else Exit.DONE


def _line(row: OpeningRow) -> pb.OpeningBalance:
    return pb.OpeningBalance(
        line_number=row.number,
        player_id=row.player_id,
        currency_code=row.currency,
        real_minor=row.real,
        bonus_minor=row.bonus,
    )


def _bar(out: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=out,
        transient=True,
        disable=not out.is_terminal or out.is_dumb_terminal,
    )


def _print_openings(
    out: Console, shown: Response.Plan | Response.Result, money: Money, *, done: bool
) -> None:
    """Show a line for each currency."""
    verb = "" if done else "to be "
    columns = (
        "currency",
        "lines",
        "total",
        "control sum",
        f"wallets {verb}opened",
        f"{verb}posted",
        "amount",
        f"{verb}corrected",
        "difference",
        "nothing to post",
    )
    rows = [
        [
            each.currency_code,
            f"{each.line_count:,}",
            money.show(each.total_minor, each.currency_code),
            money.show(each.control_minor, each.currency_code),
            f"{each.open_account_count:,}",
            f"{each.post_count:,}",
            money.show(each.post_minor, each.currency_code),
            f"{each.correct_count:,}",
            money.show(each.correct_minor, each.currency_code),
            f"{each.present_count:,}",
        ]
        for each in shown.currencies
    ]
    print_table(out, columns, rows, right=columns[1:])
