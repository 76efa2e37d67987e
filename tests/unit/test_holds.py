"""The life of a hold as tables: what each step leaves on both accounts."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from ledger_server.domain.errors import (
    AccountFrozen,
    BalanceLimitExceeded,
    CaptureExceedsHold,
    ExpireTimeNotLater,
    HoldAlreadyCaptured,
    HoldAlreadyReleased,
    HoldExpired,
    HoldNotFound,
    InsufficientFunds,
    Rejected,
)
from ledger_server.domain.ledger.accounts import AccountKind, AccountState
from ledger_server.domain.ledger.holds import MAX_TIME_TO_LIVE, Expiry, HoldState, instant
from ledger_server.domain.state.commands import (
    CaptureHold,
    ExtendHold,
    HoldCommand,
    IncreaseHold,
    ReleaseHold,
)
from ledger_server.domain.state.working_set import HoldEntry
from tests.unit.books import LATER, NOW, Books


def books_with_player(credit: int = 1000) -> Books:
    """Return books in which a player has money and a clearing account is there to receive it."""
    books = Books()
    books.account("player", minimum=0, counters=(0, credit, 0, 0))
    books.account("clearing", AccountKind.ASSET)
    return books


def capture(number: int, amount: int | None = None, *, final: bool = False) -> CaptureHold:
    """Return a capture."""
    return CaptureHold(
        hold_id="h", number=number, amount=amount, final=final, reference="", effective_time=None, metadata={}
    )


def release(number: int) -> ReleaseHold:
    """Return a release."""
    return ReleaseHold(hold_id="h", number=number)


@pytest.mark.parametrize(
    ("steps", "player", "clearing", "state"),
    [
        ([], (0, 1000, 600, 0), (0, 0, 0, 600), HoldState.OPEN),
        ([(None, False)], (600, 1000, 0, 0), (0, 600, 0, 0), HoldState.CAPTURED),
        ([(600, False)], (600, 1000, 0, 0), (0, 600, 0, 0), HoldState.CAPTURED),
        ([(200, False)], (200, 1000, 400, 0), (0, 200, 0, 400), HoldState.OPEN),
        ([(200, True)], (200, 1000, 0, 0), (0, 200, 0, 0), HoldState.CAPTURED),
        ([(200, False), (300, False)], (500, 1000, 100, 0), (0, 500, 0, 100), HoldState.OPEN),
        ([(200, False), (300, True)], (500, 1000, 0, 0), (0, 500, 0, 0), HoldState.CAPTURED),
        ([(200, False), (None, False)], (600, 1000, 0, 0), (0, 600, 0, 0), HoldState.CAPTURED),
    ],
)
def test_captures_turn_pending_into_posted_and_end_the_hold_when_nothing_is_left(
    steps: list[tuple[int | None, bool]],
    player: tuple[int, int, int, int],
    clearing: tuple[int, int, int, int],
    state: HoldState,
) -> None:
    """A hold of 600 is captured in the given steps of (amount, final)."""
    books = books_with_player()
    number = books.hold("player", "clearing", 600)
    for amount, final in steps:
        books.decide(capture(number, amount, final=final))
    assert books.counters("player") == player
    assert books.counters("clearing") == clearing
    hold = books.working_set.holds[number].hold
    assert hold is not None
    assert hold.state is state
    assert hold.amount == hold.captured + hold.released + hold.remaining


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("capture", HoldAlreadyCaptured),
        ("release", HoldAlreadyReleased),
        ("expire", HoldExpired),
        ("be due", HoldExpired),
        ("be missing", HoldNotFound),
    ],
)
@pytest.mark.parametrize("step", ["capture", "release", "extend", "increase"])
def test_step_on_an_ended_hold_is_refused_and_changes_nothing(
    end: str, error: type[Rejected], step: str
) -> None:
    """Whatever ended the hold, every later step gets that end's own reason."""
    books = books_with_player()
    number = books.hold("player", "clearing", 600, expire_time=LATER)
    if end == "capture":
        books.decide(capture(number))
    elif end == "release":
        books.decide(release(number))
    elif end == "expire":
        books.expire_due(LATER)
    elif end == "be missing":
        number = 7
        books.working_set.holds[7] = HoldEntry(None)
    before = books.counters("player"), books.counters("clearing")
    steps: dict[str, HoldCommand] = {
        "capture": capture(number),
        "release": release(number),
        "extend": ExtendHold(hold_id="h", number=number, expire_time=LATER + timedelta(days=1)),
        "increase": IncreaseHold(hold_id="h", number=number, additional=1),
    }
    with pytest.raises(error):
        books.decide(steps[step], LATER if end in ("expire", "be due") else NOW)  # type: ignore[arg-type]
    assert (books.counters("player"), books.counters("clearing")) == before


def test_hold_is_alive_a_microsecond_before_its_expire_time_and_dead_at_it() -> None:
    """Expiry is exact to the instant, sweeper or not."""
    books = books_with_player()
    number = books.hold("player", "clearing", 600, expire_time=LATER)
    books.decide(capture(number, 1), LATER - timedelta(microseconds=1))
    with pytest.raises(HoldExpired):
        books.decide(capture(number, 1), LATER)


def test_expiry_gives_the_money_back_and_dates_the_end_at_the_expire_time() -> None:
    """What expired is available again; the end is when it was due, not when it was noticed."""
    books = books_with_player()
    number = books.hold("player", "clearing", 600, expire_time=LATER)
    books.decide(capture(number, 100))
    books.expire_due(LATER + timedelta(days=3))
    assert books.counters("player") == (100, 1000, 0, 0)
    hold = books.working_set.holds[number].hold
    assert hold is not None
    assert (hold.state, hold.released, hold.end_time) == (HoldState.EXPIRED, 500, LATER)


@pytest.mark.parametrize(("amount", "refused"), [(1000, False), (1001, True)])
def test_place_needs_available_money(amount: int, refused: bool) -> None:
    """A hold takes what is available, at once."""
    books = books_with_player()
    if refused:
        with pytest.raises(InsufficientFunds):
            books.hold("player", "clearing", amount)
    else:
        books.hold("player", "clearing", amount)
        with pytest.raises(InsufficientFunds):
            books.post("player", "clearing", 1)


def test_increase_is_checked_like_placing() -> None:
    """Money on top must be there, and the receiver must have room for it."""
    books = books_with_player()
    number = books.hold("player", "clearing", 600)
    books.decide(IncreaseHold(hold_id="h", number=number, additional=400))
    assert books.counters("player") == (0, 1000, 1000, 0)
    with pytest.raises(InsufficientFunds):
        books.decide(IncreaseHold(hold_id="h", number=number, additional=1))


def test_announced_money_in_counts_against_the_upper_limit() -> None:
    """A hold may not promise an account more than it may have."""
    books = Books()
    books.account("clearing", AccountKind.ASSET)
    books.account("player", maximum=100)
    books.hold("clearing", "player", 60)
    with pytest.raises(BalanceLimitExceeded):
        books.hold("clearing", "player", 41)


def test_capture_of_more_than_is_held_is_refused() -> None:
    """Captures together never exceed the hold."""
    books = books_with_player()
    number = books.hold("player", "clearing", 600)
    books.decide(capture(number, 200))
    with pytest.raises(CaptureExceedsHold):
        books.decide(capture(number, 401))


def test_capture_from_a_frozen_account_is_refused_and_release_is_not() -> None:
    """Freezing stops money on its way out; giving it back stays possible."""
    books = books_with_player()
    number = books.hold("player", "clearing", 600)
    entry = books.working_set.accounts["player"]
    assert entry.account is not None
    entry.account = replace(entry.account, state=AccountState.FROZEN)
    with pytest.raises(AccountFrozen):
        books.decide(capture(number))
    books.decide(release(number))
    assert books.counters("player") == (0, 1000, 0, 0)


@pytest.mark.parametrize("expire_time", [NOW, LATER, timedelta(microseconds=1), timedelta(hours=1)])
def test_extend_to_a_time_that_is_not_later_is_refused(expire_time: Expiry) -> None:
    """An expire time only moves forward."""
    books = books_with_player()
    number = books.hold("player", "clearing", 600, expire_time=LATER)
    with pytest.raises(ExpireTimeNotLater):
        books.decide(ExtendHold(hold_id="h", number=number, expire_time=expire_time))


LENGTHS = [timedelta(microseconds=1), timedelta(seconds=1), timedelta(days=7), MAX_TIME_TO_LIVE]


@pytest.mark.parametrize("lives", LENGTHS)
@pytest.mark.parametrize("now", [NOW, LATER])
def test_time_to_live_counts_from_the_decision(lives: timedelta, now: datetime) -> None:
    """A length of time means the decision's own time and so much more; an instant means itself."""
    assert instant(lives, now) == now + lives
    assert instant(LATER, now) == LATER


@pytest.mark.parametrize("lives", LENGTHS)
def test_place_with_time_to_live_keeps_the_instant_that_it_means(lives: timedelta) -> None:
    """What is recorded is an expire time: the hold lives up to it and is dead from it on."""
    books = books_with_player()
    number = books.hold("player", "clearing", 600, expire_time=lives)
    hold = books.working_set.holds[number].hold
    assert hold is not None
    assert hold.expire_time == NOW + lives
    assert not hold.due(NOW + lives - timedelta(microseconds=1))
    assert hold.due(NOW + lives)


@pytest.mark.parametrize(
    ("now", "lives", "expire_time"),
    [
        (NOW, timedelta(hours=1, microseconds=1), LATER + timedelta(microseconds=1)),
        (LATER - timedelta(microseconds=1), timedelta(microseconds=2), LATER + timedelta(microseconds=1)),
        (
            LATER - timedelta(microseconds=1),
            MAX_TIME_TO_LIVE,
            LATER - timedelta(microseconds=1) + MAX_TIME_TO_LIVE,
        ),
    ],
)
def test_extend_by_time_to_live_counts_from_now_and_not_from_the_present_end(
    now: datetime, lives: timedelta, expire_time: datetime
) -> None:
    """The hold lives for so long from the decision on, whatever it still had."""
    books = books_with_player()
    number = books.hold("player", "clearing", 600, expire_time=LATER)
    books.decide(ExtendHold(hold_id="h", number=number, expire_time=lives), now)
    hold = books.working_set.holds[number].hold
    assert hold is not None
    assert hold.expire_time == expire_time
