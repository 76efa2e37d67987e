"""Own the rules of opening balances: what a line means, given what was posted for the player before."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from defter.backfill.v1 import backfill_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.decisions.openings import (
    NOTHING_POSTED,
    Opening,
    OpeningLine,
    OpeningStep,
    PostedOpening,
    Wallet,
    digest_of,
    outcome_key,
    post_command,
    step_of,
    wallets_of,
)
from ledger_server.domain.errors import Refused
from ledger_server.domain.ledger.accounts import (
    ZERO,
    Account,
    AccountKind,
    AccountState,
    Counters,
    Direction,
    Limits,
)
from ledger_server.domain.ledger.amounts import AmountBounds
from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.domain.ledger.transactions import check_balanced, check_sides
from ledger_server.domain.state.commands import Enforcement, RequestKey
from ledger_server.rpc.opening_lines import SeenLines, read_line
from tests.support.openings import line as message
from tests.support.payments import NOW

LINE = OpeningLine(7, "ada", "EUR", 1_000, 50)
REAL, BONUS = wallets_of(LINE)
CURRENCIES = CurrencyRegistry({"EUR": 2, "JPY": 0})
BOUNDS = AmountBounds({"EUR": 10_000})


def opening(import_id: str = "one", *, force: bool = False, shadow: bool = False) -> Opening:
    """Return an import."""
    enforcement = Enforcement.SHADOW if shadow else Enforcement.ENFORCED
    return Opening(import_id=import_id, as_of=None, force=force, enforcement=enforcement)


def posted(real: int, bonus: int, owner: str = "one", outcomes: int = 1) -> PostedOpening:
    """Return what an import has posted."""
    return PostedOpening(outcomes, real, bonus, owner, frozenset({owner}))


def wallet(account_id: str = REAL, balance: int = 0, **changed: object) -> Wallet:
    """Return a wallet with so much money, sound but for what is changed."""
    fields: dict[str, object] = {
        "number": 3,
        "account_id": account_id,
        "kind": AccountKind.LIABILITY,
        "currency": "EUR",
        "state": AccountState.OPEN,
        "limits": Limits(min_available=0, max_balance=None),
        "open_time": NOW,
        "metadata": {},
        "continues": "",
        "continued_by": "",
    }
    account = Account(**{**fields, **changed})  # type: ignore[arg-type]
    return Wallet(account, Counters(0, balance, 0, 0, 1) if balance else ZERO)


def decided(
    line: OpeningLine, before: PostedOpening, wallets: dict[str, Wallet], by: Opening
) -> OpeningStep | str:
    """Return what is to be done for a line, or the reason why nothing is."""
    try:
        return step_of(line, before, wallets, by)
    except Refused as refused:
        return refused.reason.name


@dataclass(frozen=True, kw_only=True)
class Case:
    """A line against what is known, and what is to be done for it or the reason why nothing is."""

    name: str
    before: PostedOpening = NOTHING_POSTED
    wallets: tuple[Wallet, ...] = ()
    by: Opening = field(default_factory=opening)
    opens: tuple[str, ...] = ()
    change: tuple[int, int] = (0, 0)
    number: int = 0
    corrects: bool = False
    reason: str = ""


BOTH = (wallet(REAL, 1_000), wallet(BONUS, 50))
CASES = [
    Case(name="new player", opens=(REAL, BONUS), change=(1_000, 50)),
    Case(name="wallet there", wallets=(wallet(),), opens=(BONUS,), change=(1_000, 50)),
    Case(name="player who has moved money", wallets=BOTH, change=(1_000, 50)),
    Case(name="posted before", wallets=BOTH, before=posted(1_000, 50), number=1, corrects=True),
    Case(name="changed", wallets=BOTH, before=posted(900, 50), reason="OPENING_BALANCE_CHANGED"),
    Case(
        name="changed and forced",
        wallets=BOTH,
        before=posted(900, 60),
        by=opening(force=True),
        change=(100, -10),
        number=1,
        corrects=True,
    ),
    Case(
        name="other import",
        wallets=BOTH,
        before=posted(1_000, 50, "two"),
        reason="OPENING_BALANCE_OF_OTHER_IMPORT",
    ),
    Case(
        name="other import, forced",
        wallets=BOTH,
        before=posted(900, 50, "two"),
        by=opening(force=True),
        reason="OPENING_BALANCE_OF_OTHER_IMPORT",
    ),
    Case(
        name="other import, reversed",
        wallets=BOTH,
        before=PostedOpening(1, 0, 0, "", frozenset({"two"})),
        change=(1_000, 50),
        number=1,
    ),
    Case(
        name="own import, reversed",
        wallets=BOTH,
        before=PostedOpening(1, 0, 0, "", frozenset({"one"})),
        reason="OPENING_BALANCE_CHANGED",
    ),
    Case(
        name="refused by the lane before",
        wallets=BOTH,
        before=PostedOpening(2, 0, 0, "", frozenset()),
        change=(1_000, 50),
        number=2,
    ),
    Case(
        name="closed",
        wallets=(wallet(state=AccountState.CLOSED), wallet(BONUS)),
        reason="ACCOUNT_CLOSED",
    ),
    Case(
        name="closed, nothing to do",
        wallets=(wallet(state=AccountState.CLOSED), wallet(BONUS)),
        before=posted(1_000, 50),
        number=1,
        corrects=True,
    ),
    Case(
        name="continued",
        wallets=(
            wallet(state=AccountState.CLOSED, continued_by=f"{REAL}@1"),
            wallet(f"{REAL}@1"),
            wallet(BONUS),
        ),
        change=(1_000, 50),
    ),
    Case(
        name="frozen, raised",
        wallets=(wallet(state=AccountState.FROZEN), wallet(BONUS)),
        change=(1_000, 50),
    ),
    Case(
        name="frozen, lowered",
        wallets=(wallet(REAL, 1_100, state=AccountState.FROZEN), wallet(BONUS, 50)),
        before=posted(1_100, 50),
        by=opening(force=True),
        reason="ACCOUNT_FROZEN",
    ),
    Case(
        name="spent by now",
        wallets=(wallet(REAL, 99), wallet(BONUS, 50)),
        before=posted(1_100, 50),
        by=opening(force=True),
        reason="INSUFFICIENT_FUNDS",
    ),
    Case(
        name="spent by now, in SHADOW",
        wallets=(wallet(REAL, 99), wallet(BONUS, 50)),
        before=posted(1_100, 50),
        by=opening(force=True, shadow=True),
        change=(-100, 0),
        number=1,
        corrects=True,
    ),
    Case(
        name="upper limit",
        wallets=(wallet(limits=Limits(min_available=0, max_balance=999)), wallet(BONUS)),
        reason="BALANCE_LIMIT_EXCEEDED",
    ),
    Case(
        name="counter full",
        wallets=(wallet(REAL, 2**63 - 1), wallet(BONUS)),
        reason="AMOUNT_OVERFLOW",
    ),
    Case(
        name="of another kind",
        wallets=(wallet(kind=AccountKind.ASSET), wallet(BONUS)),
        reason="ACCOUNT_KIND_MISMATCH",
    ),
    Case(
        name="of another currency",
        wallets=(wallet(currency="USD"), wallet(BONUS)),
        reason="CURRENCY_MISMATCH",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_line_means_what_the_table_says(case: Case) -> None:
    """Nothing is posted twice, and nothing that the lane would refuse is asked of it."""
    wallets = {each.account.account_id: each for each in case.wallets}
    step = OpeningStep(case.opens, case.number, *case.change, case.corrects)

    assert decided(LINE, case.before, wallets, case.by) == (case.reason or step)


amounts = st.integers(0, 2_000)


@given(st.lists(st.tuples(amounts, amounts, st.booleans()), min_size=1, max_size=6))
def test_any_row_of_imports_ends_at_what_the_last_one_says(row: list[tuple[int, int, bool]]) -> None:
    """However often, forced or not: the sum of what was posted is what the newest accepted line says."""
    before, said = NOTHING_POSTED, (0, 0)
    wallets = {REAL: wallet(REAL, 10_000), BONUS: wallet(BONUS, 10_000)}
    for real, bonus, force in row:
        line = OpeningLine(1, "ada", "EUR", real, bonus)
        step = decided(line, before, wallets, opening(force=force))
        if isinstance(step, str):
            assert (step, force) == ("OPENING_BALANCE_CHANGED", False)
            continue
        said = (real, bonus)
        if step.real or step.bonus:
            command = post_command(line, step, opening(force=force))
            check_balanced(command.postings)
            check_sides(command.postings)
            assert len(command.postings) >= 2
            assert all(posting.amount > 0 for posting in command.postings)
            moved = {
                posting.account_id: posting.amount * (1 if posting.direction is Direction.CREDIT else -1)
                for posting in command.postings
            }
            assert step.number == before.outcomes
            before = posted(
                before.real + moved.get(REAL, 0),
                before.bonus + moved.get(BONUS, 0),
                outcomes=before.outcomes + 1,
            )
        assert (before.real, before.bonus) == said


def test_import_is_no_part_of_the_key() -> None:
    """Two imports of one player meet at one key, and are told from each other by the digest."""
    step = OpeningStep((), 0, 5, 0, corrects=False)

    assert outcome_key("ada", "EUR", 0) == outcome_key("ada", "EUR", 0)
    assert digest_of(LINE, step, opening("one")) != digest_of(LINE, step, opening("two"))
    other_place = OpeningLine(8, "ada", "EUR", 1_000, 50)
    assert digest_of(LINE, step, opening()) == digest_of(other_place, step, opening())


players = st.text("ab.@-_1", min_size=1, max_size=3)


@given(st.tuples(players, st.integers(0, 12)), st.tuples(players, st.integers(0, 12)))
def test_keys_of_two_outcomes_differ(one: tuple[str, int], other: tuple[str, int]) -> None:
    """Player, currency and number each make another key."""
    keys: set[RequestKey] = {
        outcome_key(player, currency, number)
        for player, number in (one, other)
        for currency in ("EUR", "USD")
    }
    assert len(keys) == 2 * len({one, other})


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (message(1, "ada", 5), ""),
        (message(1, "ada", 0), ""),
        (message(2**32 - 1, "ada", 10_000), ""),
        (message(0, "ada", 5), "FIELD_OUT_OF_RANGE"),
        (message(2**32, "ada", 5), "FIELD_OUT_OF_RANGE"),
        (message(1, "ada", -1), "OPENING_BALANCE_NEGATIVE"),
        (message(1, "ada", 5, -1), "OPENING_BALANCE_NEGATIVE"),
        (message(1, "ada", 10_001), "AMOUNT_TOO_LARGE"),
        (message(1, "ada", 10_000, 1), "AMOUNT_TOO_LARGE"),
        (message(1, "ada", 5, currency="XXX"), "CURRENCY_UNKNOWN"),
        (message(1, "ada", 5, currency=""), "FIELD_MISSING"),
        (pb.OpeningBalance(line_number=1, currency_code="EUR"), "FIELD_MISSING"),
        (message(1, "a:b", 5), "FIELD_MALFORMED"),
        (message(1, "x" * 65, 5), "FIELD_TOO_LONG"),
        (message(1, "ada\x00", 5), "FIELD_MALFORMED"),
    ],
)
def test_line_out_of_shape_is_refused_by_name(sent: pb.OpeningBalance, reason: str) -> None:
    """Whatever the ledger knows."""
    read = read_line(sent, CURRENCIES, BOUNDS)

    assert (read.reason.name if isinstance(read, Refused) else "") == reason


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["EUR", "JPY"])), max_size=60))
def test_repeated_lines_are_found_with_their_numbers(said: list[tuple[int, str]]) -> None:
    """Each line of a player and currency that has another one, and no other line."""
    seen = SeenLines(b"key")
    for number, (player, currency) in enumerate(said, 1):
        seen.add(OpeningLine(number, str(player), currency, 1, 0))

    found = {each.number: each.other for part in seen.repeated() for each in part}

    expected = {}
    for number, each in enumerate(said, 1):
        others = [place for place, other in enumerate(said, 1) if other == each and place != number]
        if others:
            expected[number] = others[0]
    assert found == expected
