"""Own the check that a command line of ours can be typed: the command is there, and so are its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from ledger_server.cli.verbs import app


def check_command_line(words: Sequence[str], **environment: str) -> None:
    """Parse a command line as the program would, and carry nothing out.

    Args:
        words: what stands behind `defter`.
        environment: variables that stand for options, such as DEFTER_TENANT.
    Raises:
        AssertionError: there is no such command or option, an argument is missing, or a value is none.
    """
    command: Any = typer.main.get_command(app)
    rest = list(words)
    name = "defter"
    while rest and hasattr(command, "commands") and rest[0] in command.commands:
        name += f" {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    assert not (hasattr(command, "commands") and not getattr(command, "invoke_without_command", False)), (
        f"there is no command defter {' '.join(words)}"
    )
    said = {each.name: environment[each.envvar] for each in command.params if each.envvar in environment}
    try:
        command.make_context(name, rest, default_map=said)
    except Exception as error:
        told = getattr(error, "message", None) or str(error)
        raise AssertionError(f"defter {' '.join(words)}: {told}") from error
