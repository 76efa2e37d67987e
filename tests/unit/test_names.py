"""Names: no two public classes of the server share one, so that a name alone says which class is meant."""

import ast
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

import ledger_server

SERVER = Path(ledger_server.__file__).parent


def _classes(folder: Path) -> Mapping[str, list[str]]:
    """Return where each public class below a folder is defined, by its name."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(folder.rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{file.relative_to(folder)}:{node.lineno}")
    return places


CLASSES = _classes(SERVER)


def test_classes_of_the_server_are_found() -> None:
    """The check reads the real code: classes of every layer are among what it finds."""
    assert {"Lane", "Hold", "Refused", "ProviderRecord", "Adapter"} <= CLASSES.keys()


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_public_class_has_its_name_to_itself(name: str) -> None:
    """No two public classes of the server, in whatever folder, have the same name."""
    assert len(CLASSES[name]) == 1, f"{name} is defined in {CLASSES[name]}"


@pytest.mark.parametrize("word", ["Batch", "Record"])
def test_bare_word_means_the_ledgers_own(word: str) -> None:
    """`Batch` is what a lane commits at once; a record alone is the journal's; others say whose they are."""
    strangers = [
        place
        for name, places in CLASSES.items()
        if name.startswith(word)
        for place in places
        if place.startswith(("providers/", "domain/reconciliation/", "domain/provider_record"))
    ]
    assert strangers == []
