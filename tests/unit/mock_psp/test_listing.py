"""The mock provider's list of movements: cursors, windows, and data that moves while it is read."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from mock_psp.errors import InvalidRequest, NotFound
from mock_psp.listing import Movement
from mock_psp.state import State
from tests.support.clock import START, FakeClock
from tests.unit.mock_psp.states import payment, payout, state


def with_captures(count: int, **knobs: object) -> tuple[State, list[str]]:
    """Return a provider with captures a second apart, and their ids, the newest first."""
    clock = FakeClock()
    psp = state(clock, **knobs)
    for _ in range(count):
        psp.payments.capture(payment(psp).id)
        clock.advance(seconds=1)
    return psp, [movement.id for movement in reversed(psp.books.movements)]


def read_all(psp: State, limit: int, *, meanwhile: int = 0) -> list[str]:
    """Read page after page; after the first one so many more captures come in."""
    movements: list[Movement] = []
    cursor = ""
    while True:
        page = psp.books.listing.page(created_from=None, created_to=None, cursor=cursor, limit=limit)
        movements += page.movements
        cursor = page.next_cursor
        if not cursor:
            return [movement.id for movement in movements]
        for _ in range(meanwhile):
            psp.payments.capture(payment(psp).id)
        meanwhile = 0


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 100])
def test_read_pages_lists_each_movement_once_newest_first(limit: int) -> None:
    """Any page size leads through the same list."""
    psp, ids = with_captures(7)

    assert read_all(psp, limit) == ids


def test_read_pages_while_movements_come_in_shifts_nothing() -> None:
    """A cursor stays where it is."""
    psp, ids = with_captures(7)

    assert read_all(psp, 3, meanwhile=4) == ids


@pytest.mark.parametrize("limit", [1, 2, 3, 6])
def test_read_moving_pages_repeats_movements_and_misses_none(limit: int) -> None:
    """With the knob, rows come again, and everything ends all the same."""
    psp, ids = with_captures(7, moving_pages=True)

    read = read_all(psp, limit, meanwhile=4)

    assert set(ids) <= set(read)
    assert len(read) > len(ids)


def test_read_moving_pages_repeats_even_what_stands_still() -> None:
    """A test need not time anything: each page begins with the last row of the one before."""
    psp, ids = with_captures(5, moving_pages=True)

    assert read_all(psp, 3) == [*ids[:3], *ids[2:]]


@pytest.mark.parametrize("moving_pages", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 6])
def test_read_shuffled_pages_misses_none(limit: int, moving_pages: bool) -> None:
    """Disorder within a page loses nothing, whatever the cursors are and whatever comes in meanwhile."""
    psp, ids = with_captures(7, shuffle_pages=True, moving_pages=moving_pages)

    read = read_all(psp, limit, meanwhile=4)

    assert set(ids) <= set(read)
    assert read[:7] != ids or limit == 1


def test_read_shuffled_page_again_is_in_the_same_disorder() -> None:
    """A caller that tries again is told the same, and never the newest first."""
    psp, ids = with_captures(7, shuffle_pages=True)

    first, again = read_all(psp, 7), read_all(psp, 7)

    assert first == again != ids
    assert sorted(first) == sorted(ids)


class Counting(list[Movement]):
    """Counts how many of its rows are looked at."""

    looks = 0

    def __getitem__(self, place: Any) -> Any:
        """Return a row, and count it."""
        self.looks += 1
        return super().__getitem__(place)


@pytest.mark.parametrize("newest_first", [True, False])
def test_read_page_of_window_looks_at_little_more_than_its_rows(newest_first: bool) -> None:
    """A page among ten thousand rows costs no more than its own, at the window's beginning and its end."""
    psp, _ = with_captures(10_000)
    rows = Counting(psp.books.movements)
    psp.books.listing.movements = rows
    created_from, created_to = START + timedelta(seconds=5_000), START + timedelta(seconds=5_005)
    cursor = "" if newest_first else f"before-{5_002}"

    page = psp.books.listing.page(created_from=created_from, created_to=created_to, cursor=cursor, limit=10)

    assert len(page.movements) == (5 if newest_first else 2)
    assert rows.looks < 60


@pytest.mark.parametrize("skew", [-3_600, 3_600])
def test_read_window_after_clock_was_turned_misses_none(skew: int) -> None:
    """Where times are out of order, every row of the window is found all the same."""
    psp, _ = with_captures(3)
    psp.knobs.clock_skew_seconds = skew
    psp.payments.capture(payment(psp).id)
    psp.knobs.clock_skew_seconds = 0
    psp.payments.capture(payment(psp).id)
    now = START + timedelta(seconds=3)

    def within(created_from: datetime, created_to: datetime) -> int:
        page = psp.books.listing.page(created_from=created_from, created_to=created_to, cursor="", limit=10)
        return len(page.movements)

    assert within(START, START + timedelta(minutes=1)) == 4
    assert within(now + timedelta(seconds=skew), now + timedelta(seconds=skew + 1)) == 1


def test_vanish_movement_is_listed_no_more() -> None:
    """A row that vanished is missing on every page, and no other row with it; its money stays gone."""
    psp, ids = with_captures(5)

    psp.books.listing.vanish(ids[2])

    assert read_all(psp, 2) == [*ids[:2], *ids[3:]]
    assert psp.books.balances == {"EUR": 5_000}


def test_misstate_movement_lies_in_the_list_alone() -> None:
    """The amount keeps its sign and the currency may be another; balances know the truth."""
    psp = state()
    made = payout(psp)
    psp.payouts.pay(made.id)

    movement = psp.books.listing.misstate(made.id, amount_minor=7, currency="USD")
    lied = movement.view()
    psp.books.listing.misstate(made.id)

    assert (lied["amount_minor"], lied["currency"]) == (-7, "USD")
    assert (movement.view()["amount_minor"], movement.view()["currency"]) == (-1_000, "EUR")
    assert psp.books.balances == {"EUR": -1_000}


def test_vanish_what_never_moved_is_refused() -> None:
    """A mistake in a test's script is told."""
    with pytest.raises(NotFound):
        state().books.listing.vanish("mp_cap_0")


def test_list_dispute_gives_each_movement_an_id_of_its_own() -> None:
    """A dispute moves money several times; what moved names the dispute beside its own id."""
    psp = state()
    made = payment(psp)
    dispute = psp.disputes.withdraw(made.id, amount_minor=5)
    psp.disputes.reinstate(made.id)

    rows = [movement.view() for movement in psp.books.movements]
    assert [(row["object_id"], row["payment_id"]) for row in rows] == [(dispute.id, made.id)] * 2
    assert len({row["id"] for row in rows} | {dispute.id}) == 3


def test_read_window_takes_its_beginning_and_leaves_its_end() -> None:
    """The window is half open, so that windows side by side miss and repeat nothing."""
    psp, ids = with_captures(5)

    page = psp.books.listing.page(
        created_from=START + timedelta(seconds=1),
        created_to=START + timedelta(seconds=3),
        cursor="",
        limit=10,
    )

    assert [movement.id for movement in page.movements] == ids[2:4]
    assert page.next_cursor == ""


def test_read_empty_list_has_no_next_page() -> None:
    """A provider without movements has one empty page."""
    assert read_all(state(), 5) == []


@pytest.mark.parametrize(
    "cursor",
    ["x", "before-", "before--1", "before-x", "skip-\u0661", "skip-" + "9" * 99, "-1", "7", "before-1.0"],
)
def test_take_foreign_cursor_is_refused(cursor: str) -> None:
    """A cursor that was never given out is an error, not an empty page."""
    with pytest.raises(InvalidRequest):
        state().books.listing.page(created_from=None, created_to=None, cursor=cursor, limit=5)


@pytest.mark.parametrize("cursor", ["before-999", "skip-999"])
def test_take_cursor_beyond_the_list_ends_quietly(cursor: str) -> None:
    """A cursor of a provider that ran before this one reads what there is, and ends."""
    psp, ids = with_captures(2)

    page = psp.books.listing.page(created_from=None, created_to=None, cursor=cursor, limit=5)

    assert [movement.id for movement in page.movements] in ([], ids)


def test_show_movement_has_the_present_state_of_its_object() -> None:
    """A capture that failed later says so in its own row; the failure is a row beside it."""
    psp, _ = with_captures(1)
    (made,) = psp.payments.all.values()

    psp.payments.capture_fail(made.id)

    first, second = (movement.view() for movement in psp.books.movements)
    assert (first["id"], first["state"], first["amount_minor"]) == (made.captures[0].id, "failed", 1_000)
    assert (second["object_id"], second["amount_minor"]) == (made.captures[0].id, -1_000)
