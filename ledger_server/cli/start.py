"""Owns the entry point of the command line: commands that only talk to a server start without loading one."""

import sys
from importlib import import_module

import typer

from ledger_server.operator.program import WORDS


def main() -> None:
    """Run the command line."""
    try:
        "".join(sys.argv).encode()
    except UnicodeEncodeError:
        typer.echo("the command line is not UTF-8", err=True)
        sys.exit(2)
    alone = len(sys.argv) > 1 and sys.argv[1] in WORDS
    import_module("ledger_server.operator.program" if alone else "ledger_server.cli.verbs").app()
