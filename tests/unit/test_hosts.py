"""Test which host of a database URL is used: the primary of the newest timeline, wherever it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.store.hosts import Standing, choose, urls_of

STANDINGS = st.one_of(
    st.none(), st.builds(Standing, st.sampled_from(("one", "two")), st.integers(min_value=1, max_value=4))
)


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("postgresql://u@one/d", ("postgresql://u@one/d",)),
        ("postgresql:///d", ("postgresql:///d",)),
        (
            "postgresql://u:p@one:1,two:2/d?target_session_attrs=read-write&sslmode=require",
            tuple(
                f"postgresql://u:p@{host}/d?target_session_attrs=read-write&sslmode=require"
                for host in ("one:1", "two:2")
            ),
        ),
        ("postgresql://one,two/d", ("postgresql://one/d", "postgresql://two/d")),
        ("postgresql://u@[::1]:1,[::2]/d", ("postgresql://u@[::1]:1/d", "postgresql://u@[::2]/d")),
        (
            "postgresql://u@/d?host=one,two&port=1,2",
            ("postgresql://u@/d?host=one&port=1", "postgresql://u@/d?host=two&port=2"),
        ),
        (
            "postgresql:///d?host=/run/one,/run/two&port=5",
            ("postgresql:///d?host=%2Frun%2Fone&port=5", "postgresql:///d?host=%2Frun%2Ftwo&port=5"),
        ),
        (
            "postgresql://u:a%40b%2C@one,two/d",
            ("postgresql://u:a%40b%2C@one/d", "postgresql://u:a%40b%2C@two/d"),
        ),
    ],
)
def test_read_url_gives_one_for_each_host(url: str, urls: tuple[str, ...]) -> None:
    """Everything else of the URL stays as it was."""
    assert urls_of(url) == urls
    assert [each for one in urls for each in urls_of(one)] == list(urls)


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        *((f"one/d?target_session_attrs={each}", "read-write") for each in ("standby", "read-only", "any,")),
        *(
            (f"one,two/d?target_session_attrs={each}", "read-write")
            for each in ("prefer-standby", "nonsense")
        ),
        ("/d?host=one,two,three&port=1,2", "3 hosts and 2 ports"),
    ],
)
def test_read_url_that_is_no_use_for_writing_names_the_setting(rest: str, told: str) -> None:
    """Without the URL itself, which has a password."""
    with pytest.raises(ValueError, match=f"DEFTER_DATABASE_URL: .*{told}") as refused:
        urls_of(f"postgresql://u:secret@{rest}")
    assert "secret" not in str(refused.value)


@given(
    found=st.lists(STANDINGS, min_size=1, max_size=4),
    newest=st.dictionaries(st.sampled_from(("one", "two")), st.integers(min_value=1, max_value=4)),
    current=st.integers(min_value=0, max_value=3),
)
def test_choose_takes_the_newest_timeline_and_none_that_was_replaced(
    found: list[Standing | None], newest: dict[str, int], current: int
) -> None:
    """Whatever the order of hosts; the one in use is left only for a newer one, or if it may not be used."""
    chosen = choose(found, newest, current=current)

    usable = {
        place: each
        for place, each in enumerate(found)
        if each is not None and each.timeline >= newest.get(each.system_identifier, 0)
    }
    if not usable:
        assert chosen is None
        return
    assert chosen is not None
    best = usable[chosen]
    assert all(
        each.timeline <= best.timeline
        for each in usable.values()
        if each.system_identifier == best.system_identifier
    )
    if current in usable:
        assert best.system_identifier == usable[current].system_identifier
        assert chosen == current or best.timeline > usable[current].timeline
    else:
        assert chosen == min(place for place, each in usable.items() if each == best)
