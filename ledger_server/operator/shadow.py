"""Owns `defter shadow`: what ENFORCED would have refused for a limit, listed, counted and exported."""

import json as json_module
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, NamedTuple

import typer
from defter.ledger.v1 import account_pb2, hold_pb2, posting_pb2

from defter_client import LedgerClient
from ledger_server.operator import words
from ledger_server.operator.connection import SERVER, Exit, Json, Server, Tenant, carry_out, open_ledger
from ledger_server.operator.csv_output import Csv, CsvOutput, breaking_off, exact, items_of, one_form, time
from ledger_server.operator.lists import ROWS, Limit
from ledger_server.operator.money import Money, kept_money
from ledger_server.operator.screen import console, moment, print_line, print_table

app = typer.Typer(no_args_is_help=True, help="See what ENFORCED would have refused.")

COLUMNS: Final = (
    "kind",
    "id",
    "time",
    "account_id",
    "limit",
    "limit_now",
    "balance_after",
    "broken_by",
    "currency_code",
    "type",
    "reference",
)
"""The columns of a list; docs/operations/csv.md tells what they mean."""

_SHOWN: Final = ("kind", "id", "time", "account_id", "limit", "broken_by", "currency_code", "reference")
_KNOWN_ACCOUNTS: Final = 10_000
_DEBIT_NORMAL: Final = frozenset({account_pb2.ACCOUNT_KIND_ASSET, account_pb2.ACCOUNT_KIND_EXPENSE})

_DEBIT: Final = account_pb2.DIRECTION_DEBIT

_Since = Annotated[
    datetime | None,
    typer.Option(
        parser=words.read_by(words.moment),
        metavar="TIME",
        help="only what was recorded from then on, such as 2026-11-19T10:30Z; default: everything",
    ),
]


class BrokenLimit(NamedTuple):
    """A limit that a transaction has broken, as the account's limits are now; amounts in minor units.

    `balance` is what the limit bounds, right after the transaction: what is available, or, for the upper
    limit, the posted balance and what is pending into the account.
    """

    account_id: str
    limit: str
    limit_now: int
    balance: int
    broken_by: int
    currency_code: str


@app.callback()
def group() -> None:
    """See what ENFORCED would have refused."""


@app.command("list")
def list_breaches(
    *,
    tenant: Tenant,
    since: _Since = None,
    limit: Limit = None,
    json: Json = False,
    csv: Csv = False,
    server: Server = SERVER,
) -> None:
    """List what broke a limit and passed: transactions by record, then holds, each with the account.

    What has happened at a provider is left out: no mode refuses that.
    """
    one_form(json=json, csv=csv)
    most = limit if limit is not None or json or csv else ROWS

    async def work() -> int:
        async with open_ledger(server) as ledger:
            rows = _rows(ledger, tenant, since, await kept_money(ledger))
            if csv:
                return await _print_csv(rows, most)
            shown = [row async for row in _first(rows, most)] if not json else []
            out = console()
            if json:
                async for row in _first(rows, most):
                    out.print(json_module.dumps(dict(zip(COLUMNS, row, strict=True))), soft_wrap=True)
                return Exit.DONE
        if shown:
            places = [COLUMNS.index(name) for name in _SHOWN]
            print_table(
                out, _SHOWN, [[row[place] for place in places] for row in shown], right=("broken_by",)
            )
        print_line(out, f"{len(shown)} rows")
        if len(shown) == most:
            print_line(console(error=True), "there may be more: say --limit")
        return Exit.DONE

    carry_out(work())


@app.command("count")
def count(*, tenant: Tenant, since: _Since = None, json: Json = False, server: Server = SERVER) -> None:
    """Count what broke a limit and passed; exits with 1 if anything did."""

    async def work() -> int:
        transactions = holds = 0
        async with open_ledger(server) as ledger:
            async for posted in _transactions(ledger, tenant, since):
                transactions += len(posted)
            async for held in _holds(ledger, tenant, since):
                holds += len(held)
        if json:
            console().print(json_module.dumps({"transactions": transactions, "holds": holds}))
        else:
            print_line(console(), f"{transactions} transactions and {holds} holds broke a limit and passed")
        return Exit.FOUND if transactions or holds else Exit.DONE

    carry_out(work())


async def _print_csv(rows: AsyncIterator[Sequence[str]], most: int | None) -> int:
    out = CsvOutput(COLUMNS)
    with breaking_off(out):
        async for row in _first(rows, most):
            out.rows([row])
    return Exit.DONE


async def _first(rows: AsyncIterator[Sequence[str]], most: int | None) -> AsyncIterator[Sequence[str]]:
    told = 0
    if most is None or most > 0:
        async for row in rows:
            yield row
            told += 1
            if told == most:
                return


async def _rows(
    ledger: LedgerClient, tenant: str, since: datetime | None, money: Money
) -> AsyncIterator[Sequence[str]]:
    accounts: dict[str, account_pb2.Account] = {}
    async for transactions in _transactions(ledger, tenant, since):
        for transaction in transactions:
            await _know(ledger, tenant, transaction, accounts)
            for row in transaction_rows(transaction, accounts, money):
                yield row
    async for holds in _holds(ledger, tenant, since):
        for hold in holds:
            yield hold_row(hold)


async def _transactions(
    ledger: LedgerClient, tenant: str, since: datetime | None
) -> AsyncIterator[list[posting_pb2.Transaction]]:
    request = posting_pb2.ListTransactionsRequest(tenant_id=tenant, only_limit_breached=True)
    if since is not None:
        request.start_time.FromDatetime(since)
    async for page in items_of(ledger.postings.list_transactions, request, "transactions"):
        yield [each for each in page if not each.outside]


async def _holds(
    ledger: LedgerClient, tenant: str, since: datetime | None
) -> AsyncIterator[list[hold_pb2.Hold]]:
    request = hold_pb2.ListHoldsRequest(tenant_id=tenant, only_limit_breached=True)
    async for page in items_of(ledger.holds.list_holds, request, "holds"):
        yield [each for each in page if since is None or moment(each.place_time) >= since]


async def _know(
    ledger: LedgerClient,
    tenant: str,
    transaction: posting_pb2.Transaction,
    accounts: dict[str, account_pb2.Account],
) -> None:
    """Read the accounts of a transaction that are not known yet, and forget old ones when there are many."""
    if len(accounts) > _KNOWN_ACCOUNTS:
        accounts.clear()
    for posting in transaction.postings:
        if posting.account_id not in accounts:
            request = account_pb2.GetAccountRequest(tenant_id=tenant, account_id=posting.account_id)
            accounts[posting.account_id] = (await ledger.accounts.get_account(request)).account


def broken_by(
    transaction: posting_pb2.Transaction, accounts: Mapping[str, account_pb2.Account]
) -> Iterator[BrokenLimit]:
    """Yield the limits that a transaction broke, by the limits that its accounts have now."""
    last = {posting.account_id: posting for posting in transaction.postings}
    for account_id, posting in last.items():
        account, after = accounts[account_id], posting.balance
        debit_raises = account.kind in _DEBIT_NORMAL
        raised = sum(
            each.amount_minor * (1 if (each.direction == _DEBIT) is debit_raises else -1)
            for each in transaction.postings
            if each.account_id == account_id
        )
        limits = account.limits
        lower, available = limits.min_available_minor, after.available_balance_minor
        if raised < 0 and limits.HasField("min_available_minor") and available < lower:
            yield BrokenLimit(
                account_id, "min_available", lower, available, lower - available, posting.currency_code
            )
        coming = after.pending_debits_minor if debit_raises else after.pending_credits_minor
        upper, committed = limits.max_balance_minor, after.posted_balance_minor + coming
        if raised > 0 and limits.HasField("max_balance_minor") and committed > upper:
            yield BrokenLimit(
                account_id, "max_balance", upper, committed, committed - upper, posting.currency_code
            )


def transaction_rows(
    transaction: posting_pb2.Transaction, accounts: Mapping[str, account_pb2.Account], money: Money
) -> Iterator[Sequence[str]]:
    """Yield a row for each limit; one without a limit where all of them have been changed since."""
    kind = account_pb2.TransactionType.Name(transaction.type).removeprefix("TRANSACTION_TYPE_")
    begin = ("transaction", transaction.transaction_id, time(transaction.record_time))
    end = (kind, transaction.reference)
    found = list(broken_by(transaction, accounts))
    for each in found:
        amounts = (
            exact(money, amount, each.currency_code)
            for amount in (each.limit_now, each.balance, each.broken_by)
        )
        yield (*begin, each.account_id, each.limit, *amounts, each.currency_code, *end)
    if not found:
        yield (*begin, "", "", "", "", "", "", *end)


def hold_row(hold: hold_pb2.Hold) -> Sequence[str]:
    """Return a hold's row: it has no balance, so it can't be told which limit was broken, or by how much."""
    kind = account_pb2.TransactionType.Name(hold.type).removeprefix("TRANSACTION_TYPE_")
    place = time(hold.place_time)
    empty = ("", "", "", "")
    return (
        "hold",
        hold.hold_id,
        place,
        hold.debit_account_id,
        *empty,
        hold.currency_code,
        kind,
        hold.reference,
    )
