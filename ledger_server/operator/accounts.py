"""Owns `defter accounts`: how much of each account's counters is used."""

from typing import Annotated, Final, NamedTuple

import typer
from defter.ledger.v1 import account_pb2

from ledger_server.operator.connection import SERVER, Exit, Server, Tenant, carry_out, open_ledger, pages
from ledger_server.operator.screen import console, print_line, print_table

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
            async for page in pages(ledger, ledger.accounts.ListAccounts, request, limit=None):
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


def used_of(item: account_pb2.ListAccountsResponse.Item) -> Used:
    """Return how much an account has used."""
    balance = item.balance
    debited = balance.posted_debits_minor + balance.pending_debits_minor
    credited = balance.posted_credits_minor + balance.pending_credits_minor
    side, counted = ("debits", debited) if debited >= credited else ("credits", credited)
    return Used(item.account.account_id, side, 100 * counted / _MOST)
