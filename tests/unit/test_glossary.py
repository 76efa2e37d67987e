"""The glossary and the page for contributors name what there is."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest
from google.protobuf import descriptor_pool

ROOT: Final = Path(__file__).resolve().parents[2]
GLOSSARY: Final = ROOT / "docs" / "glossary.md"
PAGES: Final = (GLOSSARY, ROOT / "CONTRIBUTING.md", ROOT / "docs" / "invariants.md")
# Within the page for contributors a test file may be named by its file name alone.
PATH: Final = re.compile(r"[\w.-]+(/[\w.-]+)*(/|\.(py|md|proto|lock|toml))")
ELEMENT: Final = re.compile(r"defter(\.\w+)+")
TEST: Final = re.compile(r"test_\w+")


def quoted(page: Path) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`\n]+)`", page.read_text())


def rows() -> list[list[str]]:
    """Return the cells of the glossary's rows."""
    lines = [line for line in GLOSSARY.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "word"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_path_that_is_named_is_there(page: Path) -> None:
    """A page that names a file which was moved sends its reader nowhere."""
    files = {
        file.name
        for folder in ("tests", "console", "ledger_server", "webhook_edge")
        for file in (ROOT / folder).rglob("*.py")
    }
    paths = [name for name in quoted(page) if PATH.fullmatch(name)]
    shorter = [ROOT / "ledger_server", ROOT / "docs", ROOT]

    missing = [
        name
        for name in paths
        if name not in files and not any((folder / name).exists() for folder in shorter)
    ]

    assert paths
    assert missing == []


def test_each_test_that_is_named_is_there() -> None:
    """What is said to turn red is a test."""
    names = [name for name in quoted(ROOT / "CONTRIBUTING.md") if TEST.fullmatch(name)]
    sources = [file.read_text() for file in (ROOT / "tests").rglob("test_*.py")]

    assert names
    assert [name for name in names if not any(f"def {name}(" in source for source in sources)] == []


def test_each_word_has_an_owner_and_each_owner_is_there() -> None:
    """One row, one idea: words, a sentence or two, and who owns it, by path or by name in the contract."""
    for file in (ROOT / "clients" / "python" / "defter").rglob("*_pb2.py"):
        import_module(".".join(file.relative_to(ROOT / "clients" / "python").with_suffix("").parts))
    pool = descriptor_pool.Default()
    for words, sentence, owner in rows():
        owners = re.findall(r"`([^`]+)`", owner)
        assert words
        assert sentence.endswith(".")
        assert owners
        for name in owners:
            if ELEMENT.fullmatch(name):
                assert found_in(pool, name), name
            else:
                assert (ROOT / name).is_file(), name


def found_in(pool: descriptor_pool.DescriptorPool, name: str) -> bool:
    """Return whether the contract has a message, enum, service or method of that name."""
    package, _, last = name.rpartition(".")
    finders = (pool.FindMessageTypeByName, pool.FindEnumTypeByName, pool.FindServiceByName)
    for find in finders:
        try:
            find(name)
        except KeyError:
            continue
        return True
    try:
        return last in pool.FindServiceByName(package).methods_by_name
    except KeyError:
        return False


def test_no_word_has_two_rows() -> None:
    """One word, one idea."""
    words = [word.strip() for row in rows() for word in row[0].split(",")]

    assert sorted(set(words)) == sorted(words)
