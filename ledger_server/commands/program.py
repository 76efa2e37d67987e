"""Owns the program of those commands that only talk to a server; it loads nothing of the server itself."""

import typer

from ledger_server.commands import findings, reconcile, records, settlement


def add_commands(app: typer.Typer) -> None:
    """Give a program the commands of operators."""
    app.command()(reconcile.reconcile)
    app.add_typer(reconcile.app, name="runs")
    app.add_typer(findings.app, name="findings")
    app.add_typer(settlement.app, name="settlement")
    app.add_typer(records.app, name="records")


WORDS = frozenset({"reconcile", "runs", "findings", "settlement", "records"})
"""The first words of these commands."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Defter, the ledger.")
add_commands(app)
