"""The configuration reference is what the settings are, and each default can be set as it is told."""

from __future__ import annotations

import itertools
import os
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from console.settings import ConsoleSettings
from ledger_server.process.settings import Settings
from tests.unit.operator.test_documentation import OPERATIONS
from tests.unit.operator.test_operators_tables import quoted, variables
from tools import generate_configuration
from tools.configuration.notes import COMMANDS, CONSOLE, EDGE, SERVER
from webhook_edge.settings import EdgeSettings

PAGE = OPERATIONS / "configuration.md"
CLASSES = [("Server", Settings), ("Webhook edge", EdgeSettings), ("Console", ConsoleSettings)]


def rows(section: str) -> list[list[str]]:
    """Return the cells of a section's table."""
    _, _, below = PAGE.read_text().partition(f"\n## {section}\n\n{generate_configuration.HEADER}")
    assert below, section
    lines = below.partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_page_is_what_the_settings_generate() -> None:
    """Who changes a setting runs `make gen`."""
    assert PAGE.read_text(encoding="utf-8") == generate_configuration.generate()


@pytest.mark.parametrize(("section", "settings"), CLASSES)
def test_settings_are_told_one_by_one(section: str, settings: type[BaseSettings]) -> None:
    """Each stands in the table once, and the table has no other."""
    assert sorted(quoted(row[0])[0] for row in rows(section)) == sorted(variables(settings))


@pytest.mark.parametrize(("section", "settings"), CLASSES)
def test_defaults_are_told_as_they_are(
    section: str, settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sets every variable to the default that the table tells has changed nothing."""
    for name in [name for name in os.environ if name.startswith("DEFTER_")]:
        monkeypatch.delenv(name)
    defaults = settings()
    for variable, default, *_ in rows(section):
        value = "" if default == "none" else default.strip("`")
        [name] = quoted(variable)
        # What is told as `none` must have a default that is nothing, too.
        assert value or not getattr(defaults, name.removeprefix(settings.model_config["env_prefix"]).lower())
        monkeypatch.setenv(name, value)

    assert settings() == defaults


@pytest.mark.parametrize(("section", "settings"), CLASSES)
def test_ranges_are_told_as_they_are(
    section: str, settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least and the most that a row tells are taken, and nothing beyond them."""
    for name in [name for name in os.environ if name.startswith("DEFTER_")]:
        monkeypatch.delenv(name)
    seen = 0
    for variable, _, kind, *_ in rows(section):
        [name] = quoted(variable)
        words = kind.split()
        for word, number in itertools.pairwise(words[1:]):
            if word not in {"from", "above", "up"}:
                continue
            bound = float(words[words.index("to") + 1] if word == "up" else number)
            beyond = {"from": bound - 1, "above": bound, "up": bound + 1}[word]
            taken = {"from": bound, "above": bound + 0.01, "up": bound}[word]
            as_text = str if kind.startswith("number") else lambda value: str(int(value))
            with monkeypatch.context() as patch:
                patch.setenv(name, as_text(beyond))
                with pytest.raises(ValidationError):
                    settings()
            if not (word == "above" and kind.startswith("integer")):
                with monkeypatch.context() as patch:
                    patch.setenv(name, as_text(taken))
                    settings()
            seen += 1
    assert seen


def test_secrets_are_told_as_such() -> None:
    """Whatever holds a password, a key or a token by its name is told as secret."""
    for name, note in {**SERVER, **EDGE, **CONSOLE, **COMMANDS}.items():
        secret = name.endswith(
            ("_KEY_FILE", "_PERSONAL_KEYS_FILE", "_SECRET_FILE", "_TOKEN_FILE", "_URL", "_USERS_FILE")
        )
        assert (note.confidential != "no") == secret, name


@pytest.mark.parametrize(
    "missing", [SERVER, EDGE, CONSOLE, COMMANDS], ids=["server", "edge", "console", "commands"]
)
def test_setting_without_a_note_is_refused(missing: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a note without a setting: what is added is told, and what is gone is not."""
    name = next(iter(missing))
    monkeypatch.setitem(missing, "DEFTER_GONE", missing[name])
    with pytest.raises(ValueError, match="DEFTER_GONE"):
        generate_configuration.generate()
    monkeypatch.delitem(missing, "DEFTER_GONE")
    monkeypatch.delitem(missing, name)
    with pytest.raises(ValueError, match=name):
        generate_configuration.generate()


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        (int, "integer"),
        (Annotated[int, Field(ge=1)], "integer from 1"),
        (Annotated[float | None, Field(gt=0, le=0.5)], "number above 0 up to 0.5"),
        (dict[str, int], "JSON"),
        (bool, "`true`, `false`"),
    ],
)
def test_types_are_told_as_an_operator_sets_them(annotation: Any, told: str) -> None:
    """A range is read aloud, and what is not there is not told."""
    assert generate_configuration.type_of(FieldInfo.from_annotation(annotation)) == told
