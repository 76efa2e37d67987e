"""`make mutate` tries each module of the codec and of the rows, and excuses only lines that are there."""

from __future__ import annotations

from typing import Final

import pytest

from tools.mutate import ALLOWED, FILES, ROOT, SERVER

NOT_TRIED: Final = {
    "engine/records/__init__.py": "there is nothing in it",
    "engine/records/limit_surveys.py": "it reads the database; `test_additions.py` walks over all kinds",
}
"""Modules beside the codec and the rows that no unit test can hold line by line, with the reason."""


def test_each_module_of_the_codec_and_of_rows_is_tried() -> None:
    """A new one is in the table, or is named above with the reason."""
    there = {*SERVER.glob("engine/records/*.py"), *SERVER.glob("store/*_rows.py")}

    assert {str(path.relative_to(SERVER)) for path in there} == FILES.keys() | NOT_TRIED.keys()
    assert not FILES.keys() & NOT_TRIED.keys()


@pytest.mark.parametrize("file", FILES)
def test_tests_of_a_module_are_there(file: str) -> None:
    """A file of tests that was renamed would be red for each line."""
    assert all((ROOT / test).is_file() for test in FILES[file])


@pytest.mark.parametrize(("file", "said"), ALLOWED, ids=str)
def test_line_that_may_go_is_there(file: str, said: str) -> None:
    """An excuse for a line that is gone would excuse the next one that has its words."""
    assert said in [line.strip() for line in (SERVER / file).read_text().splitlines()]
