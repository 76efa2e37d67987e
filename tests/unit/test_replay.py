"""The replay of a journal: it repeats what was decided, and nothing that could not have been."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from ledger_server.domain.decisions.replay import Inconsistent, Replay
from ledger_server.domain.errors import (
    AccountAlreadyExists,
    AccountNotFound,
    AccountsBelowLimit,
    AlreadyReversed,
    AmountNotPositive,
    HoldExpired,
    HoldNotFound,
    IllegalTransition,
    InsufficientFunds,
    LimitsContradict,
    PostingCountOutOfRange,
    Refused,
    SameAccount,
    TransactionNotFound,
    UnbalancedTransaction,
)
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import AccountKind, AccountState, Counters, Direction, Limits
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.state.commands import (
    CaptureHold,
    Command,
    Enforcement,
    ExtendHold,
    IncreaseHold,
    OpenAccount,
    PlaceHold,
    PostTransaction,
    ReleaseHold,
    ReverseTransaction,
    SetAccountLimits,
    SetAccountState,
    SetBalanceEnforcement,
)
from ledger_server.domain.state.facts import (
    EnforcementChanged,
    FactKind,
    HoldChanged,
    RequestRejected,
    TransactionPosted,
)
from ledger_server.domain.state.limit_survey import NO_SURVEY
from ledger_server.domain.state.working_set import PostedEntry, PostedLeg
from tests.unit.books import LATER, NOW, transfer

NO_LIMITS = Limits(min_available=None, max_balance=None)
AFTER = LATER + timedelta(microseconds=1)


def opening(account_id: str, kind: AccountKind = AccountKind.LIABILITY, **limits: int) -> OpenAccount:
    """Return a command that opens an account in EUR."""
    return OpenAccount(
        account_id=account_id, kind=kind, currency="EUR", limits=replace(NO_LIMITS, **limits), metadata={}
    )


def placing(
    debit: str = "ann", credit: str = "bob", amount: int = 100, *, endless: bool = False
) -> PlaceHold:
    """Return a command that places a hold until `LATER`."""
    return PlaceHold(
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        currency="EUR",
        expire_time=None if endless else LATER,
        type=TransactionType.BET,
        reference="",
        metadata={},
    )


def capturing(number: int, amount: int | None = None) -> CaptureHold:
    """Return a command that captures."""
    return CaptureHold(
        hold_id="h",
        number=number,
        amount=amount,
        final=False,
        reference="",
        effective_time=None,
        metadata={},
    )


def releasing(number: int) -> ReleaseHold:
    """Return a command that releases."""
    return ReleaseHold(hold_id="h", number=number)


def extending(number: int) -> ExtendHold:
    """Return a command that extends an hour beyond `LATER`."""
    return ExtendHold(hold_id="h", number=number, expire_time=LATER + timedelta(hours=1))


def reversing(sequence: int) -> ReverseTransaction:
    """Return a command that reverses."""
    return ReverseTransaction(
        transaction_id="t", sequence=sequence, reference="", effective_time=None, metadata={}
    )


@pytest.fixture
def replay() -> Replay:
    """A journal of five records: the tenant, ann (2), bob (3) and house (4), and 1,000 for ann."""
    begun = Replay(TenantIds(tenant_key(TenantId("unit"))))
    begun.begin(Enforcement.ENFORCED, NOW)
    begun.repeat(opening("ann", min_available=0), NOW)
    begun.repeat(opening("bob"), NOW)
    begun.repeat(opening("house", AccountKind.ASSET), NOW)
    begun.repeat(transfer("house", "ann", 1000), NOW)
    return begun


def counters(replay: Replay) -> dict[str, Counters]:
    """Return all counters by account."""
    return {replayed.account.account_id: replayed.counters for replayed in replay.accounts()}


def test_replay_leaves_what_the_facts_say(replay: Replay) -> None:
    """Counters, states and limits follow from one record after the other."""
    replay.repeat(transfer("ann", "bob", 300), NOW)
    replay.repeat(
        SetAccountLimits(account_id="bob", limits=Limits(max_balance=5000, min_available=None)), NOW
    )
    replay.repeat(SetAccountState(account_id="bob", state=AccountState.FROZEN, note=""), NOW)

    ann, bob, house = replay.accounts()

    assert replay.sequence == 8
    assert ann.counters == Counters(300, 1000, 0, 0, 2)
    assert (bob.account.state, bob.account.limits) == (
        AccountState.FROZEN,
        Limits(max_balance=5000, min_available=None),
    )
    assert (ann.changed_by, bob.changed_by, house.changed_by) == (2, 8, 4)


def test_replay_keeps_open_holds_only(replay: Replay) -> None:
    """Whatever has ended is forgotten at once."""
    replay.repeat(placing(), NOW)
    replay.repeat(placing(), NOW)
    replay.repeat(placing(endless=True), NOW)

    replay.repeat(capturing(6, 40), NOW)
    replay.repeat(capturing(6, 60), NOW)
    replay.repeat(releasing(7), NOW)

    assert list(replay.open_holds()) == [8]
    assert replay.hold_count == 3
    assert replay.changed_by(8) == 8
    assert counters(replay)["ann"] == Counters(100, 1000, 100, 0, 7)


def test_expire_hold_when_its_time_has_come_releases_it(replay: Replay) -> None:
    """An expiry is the only step that needs no command."""
    replay.repeat(placing(), NOW)

    fact = replay.expire(6, LATER)

    assert isinstance(fact, HoldChanged)
    assert (fact.kind, fact.hold.end_time, fact.hold.released) == (FactKind.HOLD_EXPIRED, LATER, 100)
    assert not replay.open_holds()


@pytest.mark.parametrize("extended", [False, True])
def test_expire_hold_before_its_time_is_inconsistent(replay: Replay, extended: bool) -> None:
    """An extension counts, and so does the last microsecond."""
    replay.repeat(placing(), NOW)
    if extended:
        replay.repeat(extending(6), NOW)

    with pytest.raises(Inconsistent):
        replay.expire(6, LATER if extended else LATER - timedelta(microseconds=1))


def test_expire_hold_twice_is_inconsistent(replay: Replay) -> None:
    """A hold ends once."""
    replay.repeat(placing(), NOW)
    replay.expire(6, LATER)

    with pytest.raises(Inconsistent):
        replay.expire(6, AFTER)


def test_write_to_account_before_its_dead_hold_has_expired_is_inconsistent(replay: Replay) -> None:
    """Reads of the past rely on it that what is dead expires before anything else is written."""
    replay.repeat(placing(), NOW)
    replay.repeat(transfer("house", "ann", 1), LATER - timedelta(microseconds=1))

    with pytest.raises(Inconsistent, match="ann"):
        replay.repeat(transfer("house", "ann", 1), LATER)


def test_write_to_account_after_its_dead_holds_have_expired_is_consistent(replay: Replay) -> None:
    """Only once the last of them has expired, the account is free again."""
    replay.repeat(placing(), NOW)
    replay.repeat(placing(), NOW)

    replay.expire(6, LATER)
    with pytest.raises(Inconsistent):
        replay.repeat(transfer("house", "bob", 1), LATER)
    replay.expire(7, LATER)
    replay.repeat(transfer("house", "bob", 1), LATER)

    assert counters(replay)["bob"].posted_credits == 1


def test_repeat_refusal_changes_nothing_but_the_sequence(replay: Replay) -> None:
    """A refused request is a record like any other."""
    before = counters(replay)

    replay.refuse(RequestRejected(FactKind.REQUEST_REJECTED, 218, "no", {}))

    assert (replay.sequence, counters(replay)) == (6, before)


def switched(
    enforcement: Enforcement, *, reason: str | None = "", force: bool = False
) -> SetBalanceEnforcement:
    """Return a switch as its record tells it; None is a record from before reasons."""
    return SetBalanceEnforcement(enforcement=enforcement, reason=reason, force=force, survey=NO_SURVEY)


@pytest.mark.parametrize(
    ("reason", "force", "allowed"), [(None, False, True), ("", False, False), ("known", True, True)]
)
def test_repeat_switch_is_refused_where_its_rule_refused_it(
    replay: Replay, reason: str | None, force: bool, allowed: bool
) -> None:
    """A record that says it was not forced can't stand behind an overdraft; one from before reasons can."""
    replay.repeat(switched(Enforcement.SHADOW), NOW)
    replay.repeat(transfer("ann", "bob", 5000), NOW)
    command = switched(Enforcement.ENFORCED, reason=reason, force=force)

    if not allowed:
        with pytest.raises(AccountsBelowLimit):
            replay.repeat(command, NOW)
        return
    fact = replay.repeat(command, NOW)

    assert isinstance(fact, EnforcementChanged)
    counted = None if fact.switch is None else fact.switch.below_limit_count
    assert counted == (None if reason is None else 1)


def test_repeat_in_shadow_marks_what_breaks_a_limit(replay: Replay) -> None:
    """How strict the tenant was at that record decides, not how strict it is now."""
    replay.repeat(switched(Enforcement.SHADOW), NOW)

    fact = replay.repeat(transfer("ann", "bob", 5000), NOW)

    assert isinstance(fact, TransactionPosted)
    assert fact.transaction.limit_breached


LEGS = (PostedLeg("house", Direction.DEBIT, 1000, "EUR"), PostedLeg("ann", Direction.CREDIT, 1000, "EUR"))


def test_repeat_reversal_mirrors_the_original(replay: Replay) -> None:
    """The original comes with the record, since no transaction is kept."""
    replay.repeat(reversing(5), NOW, PostedEntry(LEGS))

    assert counters(replay)["ann"] == Counters(1000, 1000, 0, 0, 2)


@pytest.mark.parametrize(
    ("original", "refused"),
    [(None, TransactionNotFound), (PostedEntry(LEGS, reversed_by=6), AlreadyReversed)],
)
def test_repeat_reversal_of_what_can_not_be_reversed_is_refused(
    replay: Replay, original: PostedEntry | None, refused: type[Refused]
) -> None:
    """A transaction that is not there, or was reversed before."""
    with pytest.raises(refused):
        replay.repeat(reversing(5), NOW, original)


def _posting(
    *legs: tuple[str, Direction, int], kind: TransactionType = TransactionType.BET
) -> PostTransaction:
    postings = tuple(NewPosting(account, direction, amount, "EUR") for account, direction, amount in legs)
    return PostTransaction(kind, postings, "", None, {})


D, C = Direction.DEBIT, Direction.CREDIT


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        (transfer("ann", "bob", 1001), InsufficientFunds),
        (transfer("ann", "eve", 1), AccountNotFound),
        (transfer("ann", "bob", 0), AmountNotPositive),
        (transfer("ann", "bob", -5), AmountNotPositive),
        (_posting(("ann", D, 5), ("bob", C, 4)), UnbalancedTransaction),
        (_posting(), PostingCountOutOfRange),
        (_posting(("ann", D, 5), ("bob", C, 5), kind=TransactionType.REVERSAL), Inconsistent),
        (opening("ann"), AccountAlreadyExists),
        (opening("eve", min_available=2, max_balance=1), LimitsContradict),
        (
            SetAccountLimits(account_id="eve", limits=Limits(min_available=None, max_balance=None)),
            AccountNotFound,
        ),
        (SetAccountLimits(account_id="ann", limits=Limits(min_available=2, max_balance=1)), LimitsContradict),
        (SetAccountState(account_id="ann", state=AccountState.OPEN, note=""), IllegalTransition),
        (placing(amount=0), AmountNotPositive),
        (placing("ann", "ann"), SameAccount),
        (placing("bob", "eve"), AccountNotFound),
        (releasing(5), HoldNotFound),
        (releasing(6), HoldNotFound),
        (capturing(7, 0), AmountNotPositive),
        (IncreaseHold(hold_id="h", number=7, additional=-1), AmountNotPositive),
    ],
)
def test_repeat_what_the_rules_refuse_is_refused(
    replay: Replay, command: Command, refused: type[Exception]
) -> None:
    """The rules of the border and those of the lane both apply to what was recorded."""
    replay.repeat(placing(), NOW)
    replay.repeat(placing(), NOW)
    replay.repeat(releasing(6), NOW)
    before = (replay.sequence, counters(replay))

    with pytest.raises(refused):
        replay.repeat(command, NOW)

    assert (replay.sequence, counters(replay)) == before


@pytest.mark.parametrize("step", [capturing, releasing, extending])
def test_repeat_step_on_dead_hold_is_refused(replay: Replay, step: Callable[[int], Command]) -> None:
    """Nothing can happen to a hold after its time but its expiry."""
    replay.repeat(placing(), NOW)

    with pytest.raises(HoldExpired):
        replay.repeat(step(6), LATER)


def test_repeat_anything_before_the_tenant_is_created_is_inconsistent() -> None:
    """Record 1 creates the tenant."""
    with pytest.raises(Inconsistent):
        Replay(TenantIds(tenant_key(TenantId("unit")))).repeat(opening("ann"), NOW)


def test_create_tenant_twice_is_inconsistent(replay: Replay) -> None:
    """Only record 1 creates the tenant."""
    with pytest.raises(Inconsistent):
        replay.begin(Enforcement.SHADOW, NOW)
