"""Own the proof that documents name files and folders by paths that exist, from the root on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENTS: Final = sorted(
    path.relative_to(ROOT)
    for where in (".", "docs/**", "bench", "clients/**", "migrations", "tests/**")
    for path in ROOT.glob(f"{where}/*.md")
    if not any(part.startswith(".") or part == "node_modules" for part in path.relative_to(ROOT).parts)
)
# A file in a folder, or a folder; a name without a folder is a file that the text is about.
PATH: Final = re.compile(
    r"`([\w.-]+(?:/[\w.-]+)*(?:/[\w-]+\.(?:py|md|proto|toml|ya?ml|sh|lock|txt)|/))(?:::\w+)?`"
)
LINK: Final = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(?=[)#])")


def test_documents_are_found() -> None:
    """Else the test below would hold of nothing."""
    assert {Path("README.md"), Path("docs/invariants.md")} <= set(DOCUMENTS)
    assert PATH.findall("`a/b.py`, `a/b/`, `a.py`, `a/b`, `a/c.py::test`") == ["a/b.py", "a/b/", "a/c.py"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_path_in_a_document_exists(document: Path) -> None:
    """Whoever reads `a/b.py` opens it without searching."""
    text = (ROOT / document).read_text()
    missing = [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    missing += [link for link in LINK.findall(text) if not (ROOT / document.parent / link).exists()]

    assert not missing
