"""Own the generated configuration reference: settings and notes become docs/operations/configuration.md.

Run by `make gen`; with --check it changes nothing and fails when the committed page is stale.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import typer
from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from console.settings import ConsoleSettings
from ledger_server.cli.verbs import app
from ledger_server.process.settings import Settings
from tools.configuration.notes import COMMANDS, CONSOLE, EDGE, SERVER, Note
from webhook_edge.settings import EdgeSettings

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "operations" / "configuration.md"
HEADER: Final = (
    "| variable | default | type | meaning | secret | change it when |\n|---|---|---|---|---|---|\n"
)
_PROOF: Final = {
    "DEFTER_SERVER_AUTHORITY_FILE": "PEM with the authorities of the server's certificate",
    "DEFTER_CALLER_CERTIFICATE_FILE": "PEM with the certificate that proves who calls",
    "DEFTER_CALLER_KEY_FILE": "PEM with the key of that certificate",
    "DEFTER_CALLER_TOKEN_FILE": "a file with a token, instead of a certificate",
}
"""Variables that commands read and no option of theirs stands for."""
_INTRODUCTION: Final = """\
# Configuration

This page is generated: `make gen` writes it from `ledger_server/process/settings.py`,
`webhook_edge/settings.py`, `console/settings.py`, `http_process/settings.py`, the options of commands and
`tools/configuration/notes.py`.

All settings are environment variables, read once at the start. An empty variable counts as not set. A value
that can't be used, and a name that is nearly a setting's, end the start with the variable's name. A file that
a variable names is read again as it changes, where the page of its subject says so.

`secret`: `yes` says that the value is one, `its file` that the file is.
"""


class Setting(NamedTuple):
    """A variable as it is told."""

    default: str
    type: str
    meaning: str


def main() -> int:
    """Write the page, or compare it with a fresh generation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail when the committed page differs from a fresh run"
    )
    check = parser.parse_args().check

    fresh = generate()
    committed = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
        print(f"gen: {PAGE.name} {'is as it was' if fresh == committed else 'has changed'}")
        return 0
    if fresh == committed:
        print("gen: the committed configuration reference is what the settings generate")
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(
            committed.splitlines(keepends=True),
            fresh.splitlines(keepends=True),
            f"committed/{PAGE.name}",
            f"fresh/{PAGE.name}",
        )
    )
    print(f"gen: {PAGE} is stale: run `make gen` and commit it")
    return 1


def generate() -> str:
    """Return the text of the page.

    Raises:
        ValueError: a variable has no note, or a note no variable.
    """
    return "".join(
        [
            _INTRODUCTION,
            _table("Server", dict(_settings(Settings)), SERVER),
            _table("Webhook edge", dict(_settings(EdgeSettings)), EDGE),
            _table("Console", dict(_settings(ConsoleSettings)), CONSOLE),
            _table("Commands", dict(_commands()), COMMANDS),
        ]
    )


def _table(title: str, settings: Mapping[str, Setting], notes: Mapping[str, Note]) -> str:
    """Return a section with a row for each setting."""
    if settings.keys() != notes.keys():
        raise ValueError(
            f"tools/configuration/notes.py and the settings differ: {sorted(settings.keys() ^ notes.keys())}"
        )
    lines = []
    for name, note in notes.items():
        told = settings[name]
        cells = (f"`{name}`", told.default, told.type, told.meaning, note.confidential, note.change)
        lines.append(f"| {' | '.join(cells)} |\n")
    return f"\n## {title}\n\n{HEADER}{''.join(lines)}"


def _settings(of: type[BaseSettings]) -> Iterator[tuple[str, Setting]]:
    """Yield the variables of a class of settings, in its order."""
    for name, field in of.model_fields.items():
        variable = f"{of.model_config['env_prefix']}{name.upper()}"
        if not field.description:
            raise ValueError(f"{variable} has no description")
        yield variable, Setting(default_of(field.default), type_of(field), _cell(field.description))


def default_of(value: object) -> str:
    """Return a default as it would be set, in backticks; `none` where nothing is the default."""
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool | Mapping | tuple):
        return f"`{json.dumps(value)}`"
    if isinstance(value, float) and value.is_integer():
        return f"`{int(value)}`"
    return f"`{value.value if isinstance(value, Enum) else value}`"


def type_of(field: FieldInfo) -> str:
    """Return what kind of value a setting takes, and its range."""
    [kind] = [each for each in _members(field.annotation) if each is not types.NoneType]
    origin = typing.get_origin(kind)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(kind))
    if origin in (dict, tuple):
        return "JSON"
    names = {str: "text", bool: "`true`, `false`", Path: "file", int: "integer", float: "number"}
    return names[kind] + _range(field)


def _members(annotation: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the one type."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _range(field: FieldInfo) -> str:
    """Return the bounds of a number, as it is read aloud."""
    words = []
    for bound in field.metadata:
        match bound:
            case Ge(ge=least):
                words.append(f"from {least}")
            case Gt(gt=below):
                words.append(f"above {below}")
            case Le(le=most):
                words.append(f"up to {most}")
            case _:
                pass  # a pattern or a validator, which the description tells
    return "".join(f" {word}" for word in words)


def _commands() -> Iterator[tuple[str, Setting]]:
    """Yield the variables that commands read and that are no settings of a process."""
    processes = {name for of in (Settings, EdgeSettings, ConsoleSettings) for name, _ in _settings(of)}
    for name, told in _options(typer.main.get_command(app)):
        if name not in processes:
            yield name, told
    for name, meaning in _PROOF.items():
        yield name, Setting("none", "file", meaning)


def _options(command: Any) -> Iterator[tuple[str, Setting]]:
    """Yield the variables that stand for options of a command and of those below it."""
    for parameter in getattr(command, "params", ()):
        if isinstance(parameter.envvar, str):
            told = Setting(default_of(parameter.default), f"as `{parameter.opts[0]}`", _cell(parameter.help))
            yield parameter.envvar, told
    for below in getattr(command, "commands", {}).values():
        yield from _options(below)


def _cell(text: str) -> str:
    """Return text that breaks no table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
