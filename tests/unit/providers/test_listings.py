"""A listing that contradicts itself is incomplete, whatever it would otherwise prove."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.providers.adapter import ListingFailed
from ledger_server.providers.asking import Walk

Pages = list[tuple[list[str], str | None]]


def walked(pages: Pages) -> bool:
    """Walk through pages from cursor to cursor; return whether the listing is complete."""
    walk = Walk("psp")
    cursor = ""
    for ids, following in pages:
        walk.page(ids, following, cursor=cursor)
        if not following:
            return True
        cursor = following
    return False


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_walk_through_pages_that_agree_is_complete(sizes: list[int]) -> None:
    """Pages of any size, each leading to the next, come to their end."""
    pages: Pages = []
    for number, size in enumerate(sizes):
        last = number == len(sizes) - 1
        pages.append(([f"{number}-{each}" for each in range(size)], None if last else f"c{number}"))
    assert walked(pages)


def test_walk_of_nothing_is_complete() -> None:
    """One empty page without a cursor is a listing of nothing."""
    assert walked([([], None)])


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param([(["a"], "1"), ([], None)], id="nothing behind a cursor"),
        pytest.param([(["a"], "1"), (["b"], "2"), ([], None)], id="nothing behind a later cursor"),
        pytest.param([([], "1")], id="more is promised than listed"),
        pytest.param([(["a"], "1"), ([], "2")], id="nothing, and a cursor"),
        pytest.param([(["a"], "1"), (["b"], "1")], id="the same cursor"),
        pytest.param([(["a"], "1"), (["b"], "2"), (["c"], "1")], id="a cursor that leads back"),
        pytest.param([(["a"], "1"), (["a"], None)], id="listed on two pages"),
        pytest.param([(["a", "a"], None)], id="listed twice on a page"),
    ],
)
def test_walk_through_pages_that_contradict_each_other_is_refused(pages: Pages) -> None:
    """None of them proves that anything is absent."""
    with pytest.raises(ListingFailed):
        walked(pages)
