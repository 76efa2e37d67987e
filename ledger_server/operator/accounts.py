"""Owns `defter accounts`: statements, the trial balance, and how much of each account's counters is used."""

from datetime import datetime
from typing import Annotated, Final, NamedTuple

import typer
from defter.ledger.v1 import account_pb2, journal_pb2

from ledger_server.operator import sheets, words
from ledger_server.operator.connection import (
    SERVER,
    Exit,
    Json,
    Server,
    Tenant,
    carry_out,
    open_ledger,
    pages,
)
from ledger_server.operator.csv_output import Csv, CsvOutput, Sheet, one_form, print_csv
from ledger_server.operator.lists import Limit, Shape, show_list
from ledger_server.operator.money import kept_money
from ledger_server.operator.screen import console, print_json, print_line, print_table

_TIME: Final = words.read_by(words.moment)
_MOST: Final = 2**63 - 1
_WARNS_FROM: Final = 80

app = typer.Typer(no_args_is_help=True, help="Look after accounts.")


class Used(NamedTuple):
    """The share that the fuller side of an account has used of what it can count, holds included."""

    account_id: str
    side: str
    percent: float


@app.callback()
def accounts() -> None:
    """Look after accounts."""


@app.command("turnover")
def turnover(
    *,
    tenant: Tenant,
    percent: Annotated[
        float, typer.Option(min=0, max=100, help="accounts that have used at least so much are told")
    ] = _WARNS_FROM,
    prefix: Annotated[str, typer.Option(help="only ids that begin with this, such as psp:")] = "",
    server: Server = SERVER,
) -> None:
    """Tell which open accounts have used much of their counters; exits with 1 if any.

    Continue them (AccountService.ContinueAccount) before they are full.
    """
    request = account_pb2.ListAccountsRequest(tenant_id=tenant, account_id_prefix=prefix)

    async def work() -> int:
        out, found = console(), list[Used]()
        async with open_ledger(server) as ledger:
            async for page in pages(ledger.accounts.list_accounts, request, limit=None):
                used = [
                    used_of(item)
                    for item in page.accounts
                    if item.account.state != account_pb2.ACCOUNT_STATE_CLOSED
                ]
                found += [one for one in used if one.percent >= percent]
        found.sort(key=lambda one: -one.percent)
        if found:
            rows = [[one.account_id, one.side, f"{one.percent:.2f} %"] for one in found]
            print_table(out, ("account", "side", "used"), rows, right=("used",))
        print_line(out, f"{len(found)} accounts have used {percent:g} % or more")
        return Exit.FOUND if found else Exit.DONE

    carry_out(work())


@app.command("statement")
def statement(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="the account's id")],
    *,
    tenant: Tenant,
    from_: Annotated[
        datetime | None,
        typer.Option("--from", parser=_TIME, metavar="TIME", help="only what was recorded from then on"),
    ] = None,
    to: Annotated[
        datetime | None,
        typer.Option("--to", parser=_TIME, metavar="TIME", help="only what was recorded before"),
    ] = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="also lines that only changed what is held")
    ] = False,
    limit: Limit = None,
    json: Json = False,
    csv: Csv = False,
    server: Server = SERVER,
) -> None:
    """List the postings of an account with the balance after each, the oldest first."""
    one_form(json=json, csv=csv)
    request = account_pb2.ListPostingsRequest(tenant_id=tenant, account_id=account, include_pending=pending)
    if from_ is not None:
        request.start_time.FromDatetime(from_)
    if to is not None:
        request.end_time.FromDatetime(to)

    async def work() -> int:
        asked = account_pb2.GetAccountRequest(tenant_id=tenant, account_id=account)
        async with open_ledger(server) as ledger:
            sheet = sheets.statement(
                (await ledger.accounts.get_account(asked)).account, await kept_money(ledger)
            )
            method = ledger.accounts.list_postings
            if csv:
                return await print_csv(method, request, sheet, limit=limit)
            await show_list(method, request, _lines(sheet), json=json, limit=limit)
        return Exit.DONE

    carry_out(work())


def _lines(sheet: Sheet) -> Shape:
    """Return the table of a statement: some columns of its sheet."""
    columns = ("sequence", "record_time", "phase", "direction", "amount", "posted_balance", "reference")
    places = [sheet.columns.index(name) for name in columns]

    def row(line: account_pb2.StatementLine) -> list[str]:
        [cells] = sheet.rows(line)
        return [cells[place] for place in places]

    return Shape(sheet.field, ("line", "lines"), columns, row, right=("sequence", "amount", "posted_balance"))


@app.command("trial-balance")
def trial_balance(*, tenant: Tenant, json: Json = False, csv: Csv = False, server: Server = SERVER) -> None:
    """Sum up all accounts by currency and kind: debits and credits of each currency are equal."""
    one_form(json=json, csv=csv)

    async def work() -> int:
        asked = journal_pb2.GetTrialBalanceRequest(tenant_id=tenant)
        async with open_ledger(server) as ledger:
            answer = await ledger.journal.get_trial_balance(asked)
            rows = list(sheets.trial_balance(answer, await kept_money(ledger)))
        if csv:
            output = CsvOutput(sheets.TRIAL_BALANCE)
            output.rows(rows)
        elif json:
            print_json(console(), answer)
        else:
            print_table(console(), sheets.TRIAL_BALANCE, rows, right=sheets.TRIAL_BALANCE[3:])
        return Exit.DONE

    carry_out(work())


def used_of(item: account_pb2.ListAccountsResponse.Item) -> Used:
    """Return how much an account has used."""
    balance = item.balance
    debited = balance.posted_debits_minor + balance.pending_debits_minor
    credited = balance.posted_credits_minor + balance.pending_credits_minor
    side, counted = ("debits", debited) if debited >= credited else ("credits", credited)
    return Used(item.account.account_id, side, 100 * counted / _MOST)
