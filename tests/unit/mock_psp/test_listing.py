"""The mock provider's list of movements: cursors, windows, and data that moves while it is read."""

from datetime import timedelta

import pytest

from mock_psp.books import Movement
from mock_psp.errors import InvalidRequest
from mock_psp.state import State
from tests.support.clock import START, FakeClock
from tests.unit.mock_psp.states import payment, state


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
        page = psp.books.page(created_from=None, created_to=None, cursor=cursor, limit=limit)
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

    page = psp.books.page(
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
        state().books.page(created_from=None, created_to=None, cursor=cursor, limit=5)


@pytest.mark.parametrize("cursor", ["before-999", "skip-999"])
def test_take_cursor_beyond_the_list_ends_quietly(cursor: str) -> None:
    """A cursor of a provider that ran before this one reads what there is, and ends."""
    psp, ids = with_captures(2)

    page = psp.books.page(created_from=None, created_to=None, cursor=cursor, limit=5)

    assert [movement.id for movement in page.movements] in ([], ids)


def test_show_movement_has_the_present_state_of_its_object() -> None:
    """A capture that failed later says so in its own row; the failure is a row beside it."""
    psp, _ = with_captures(1)
    (made,) = psp.payments.all.values()

    psp.payments.capture_fail(made.id)

    first, second = (movement.view() for movement in psp.books.movements)
    assert (first["id"], first["state"], first["amount_minor"]) == (made.captures[0].id, "failed", 1_000)
    assert (second["object_id"], second["amount_minor"]) == (made.captures[0].id, -1_000)
