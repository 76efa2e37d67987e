"""Owns the entry point of the command line: each command loads the code that it needs, and no more."""

import sys
from importlib import import_module
from typing import Final

import typer

_ALONE: Final = {
    "serve": "ledger_server.cli.serving",
    "edge": "ledger_server.cli.edge",
    "console": "ledger_server.cli.console",
    **dict.fromkeys(("certs", "token", "policy"), "ledger_server.cli.identity"),
}


def main() -> None:
    """Run the command line."""
    try:
        "".join(sys.argv).encode()
    except UnicodeEncodeError:
        typer.echo("the command line is not UTF-8", err=True)
        sys.exit(2)
    import_module(module_of(sys.argv[1] if len(sys.argv) > 1 else "")).app()


def module_of(word: str) -> str:
    """Return the module with the program of a first word; the one of all commands has the help of all."""
    if word in _ALONE:
        return _ALONE[word]
    alone = word in import_module("ledger_server.operator.program").WORDS
    return "ledger_server.operator.program" if alone else "ledger_server.cli.verbs"
