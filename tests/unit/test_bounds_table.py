"""Own the table of bounds in bytes: it has what the code has, and each row has a test."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from ledger_server.process.settings import Settings
from tests.unit.operator.test_documentation import OPERATIONS, REPOSITORY

HEADER = "| what | bound | in bytes | beyond it | shown by |\n|---|---|---|---|---|\n"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (OPERATIONS / "bounds.md").read_text().partition(HEADER)[2].partition("\n\n")[0].splitlines()
]


def value_of(name: str) -> Any:
    """Return the default of a setting, or what stands under a dotted name."""
    if name.startswith("DEFTER_"):
        return Settings.model_fields[name.removeprefix("DEFTER_").lower()].default
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found() if isinstance(found, type) else found, part)
        return found
    raise AssertionError(name)


def test_every_setting_of_bytes_has_a_row() -> None:
    """Who adds a bound says what happens beyond it."""
    settings = {f"DEFTER_{name.upper()}" for name in Settings.model_fields if name.endswith("_bytes")}
    assert settings <= {row[1].strip("`") for row in ROWS}


def test_table_has_rows() -> None:
    """The table was found."""
    assert len(ROWS) > 10


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_bound_is_what_the_code_has(row: list[str]) -> None:
    """The name stands for that number, and somebody tests what happens beyond it."""
    _, bound, number, _, shown = row
    assert value_of(bound.strip("`")) == int(number)
    assert (REPOSITORY / shown.strip("`")).is_file()
