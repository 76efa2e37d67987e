"""Owns `defter edge`; nothing of a server is loaded for it."""

import typer

from webhook_edge import __main__ as edge_process

# Tracebacks show no values: secrets may be among them.
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Defter, the ledger."
)


@app.callback()
def program() -> None:
    """Defter, the ledger."""


@app.command()
def edge() -> None:
    """Run the webhook edge alone, with its settings from `DEFTER_EDGE_…`; SIGHUP reloads its endpoints."""
    raise typer.Exit(edge_process.main())
