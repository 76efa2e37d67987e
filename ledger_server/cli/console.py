"""Owns `defter console`; nothing of a server is loaded for it."""

import typer

from console import commands

# Tracebacks show no values: secrets may be among them.
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Defter, the ledger."
)
app.add_typer(commands.app, name="console")


@app.callback()
def program() -> None:
    """Defter, the ledger."""
