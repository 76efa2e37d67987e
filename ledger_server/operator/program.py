"""Owns the program of the commands that only talk to a server; it loads no server code."""

from typing import Final

import typer

from ledger_server.operator import (
    access,
    accounts,
    adjustments,
    backfill,
    compare,
    deposits,
    events,
    findings,
    head,
    outbound,
    players,
    reconcile,
    records,
    settlement,
    shadow,
    tenants,
    withdrawals,
)
from ledger_server.operator.restored import restored
from ledger_server.operator.verify import verify

_GROUPS: Final = {
    "accounts": accounts.app,
    "adjustments": adjustments.app,
    "compare": compare.app,
    "deposits": deposits.app,
    "runs": reconcile.app,
    "findings": findings.app,
    "settlement": settlement.app,
    "records": records.app,
    "events": events.app,
    "outbound": outbound.app,
    "player": players.app,
    "backfill": backfill.app,
    "head": head.app,
    "tenant": tenants.app,
    "shadow": shadow.app,
    "withdrawals": withdrawals.app,
}
WORDS: Final = frozenset({"access", "reconcile", "restored", "verify", *_GROUPS})
"""The first words of these commands."""


def add_commands(app: typer.Typer) -> None:
    """Give a program the commands of operators."""
    app.command()(access.access)
    app.command()(reconcile.reconcile)
    app.command()(restored)
    app.command()(verify)
    for name, group in _GROUPS.items():
        app.add_typer(group, name=name)


app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Defter, the ledger."
)
add_commands(app)
