"""Owns the decisions: pure functions from (working set, command, now) to the fact that follows.

Every function checks in the documented order of precedence and raises `Rejected` before anything
changes; a fact that is returned can be applied without a further check. Limits come last.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, cast

from msgspec.structs import replace

from ledger_server.domain.decisions.continuation import newest, predecessors
from ledger_server.domain.decisions.enforcement import switch_enforcement
from ledger_server.domain.errors import (
    AccountAlreadyExists,
    AccountClosed,
    AccountFrozen,
    AccountNotEmpty,
    AccountNotFound,
    AlreadyReversed,
    ContinuationNotReversible,
    CurrencyMismatch,
    ExpireTimeNotLater,
    HoldNotFound,
    HoldOwnedByPayment,
    HoldTooLarge,
    IllegalTransition,
    LimitsContradictDefault,
    Rejected,
    ReversalNotReversible,
    TenantAlreadyExists,
    TransactionNotFound,
    TransactionOwnedByPayment,
)
from ledger_server.domain.ledger import holds
from ledger_server.domain.ledger.accounts import (
    STATE_TRANSITIONS,
    Account,
    AccountState,
    Counters,
    Direction,
    Limits,
    check_funds,
    check_maximum,
    check_overflow,
    default_limits,
    posted_balance,
)
from ledger_server.domain.ledger.holds import Hold, HoldState
from ledger_server.domain.ledger.transactions import (
    Line,
    NewPosting,
    Phase,
    Transaction,
    TransactionType,
)
from ledger_server.domain.state.commands import (
    CaptureHold,
    Command,
    ContinueAccount,
    CreateTenant,
    Enforcement,
    ExtendHold,
    ForgetPlayer,
    HoldCommand,
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
    AccountChanged,
    AccountContinued,
    Fact,
    FactKind,
    HoldCaptured,
    HoldChanged,
    PlayerForgotten,
    RequestRejected,
    TransactionPosted,
)
from ledger_server.domain.state.working_set import AccountEntry, WorkingSet

_OPEN: Final = AccountState.OPEN
_SHADOW: Final = Enforcement.SHADOW
_POSTED: Final = Phase.POSTED
_TRANSACTION_POSTED: Final = FactKind.TRANSACTION_POSTED
_OPPOSITE: Final = {Direction.DEBIT: Direction.CREDIT, Direction.CREDIT: Direction.DEBIT}
_STATE_FACTS: Final = {
    (AccountState.OPEN, AccountState.FROZEN): FactKind.ACCOUNT_FROZEN,
    (AccountState.FROZEN, AccountState.OPEN): FactKind.ACCOUNT_UNFROZEN,
    (AccountState.OPEN, AccountState.CLOSED): FactKind.ACCOUNT_CLOSED,
    (AccountState.FROZEN, AccountState.CLOSED): FactKind.ACCOUNT_CLOSED,
}


def decide_ledger(working_set: WorkingSet, command: Command, now: datetime) -> Fact:
    """Decide one command on accounts, transactions, holds or the tenant; the caller applies the fact.

    Args:
        working_set: holds an entry for everything that the command names; holds that are due on the
            touched accounts are expired already.
        now: the record time of the fact.
    Raises:
        Rejected: a rule refuses the command; nothing was changed.
    """
    return _DECIDERS[type(command)](working_set, command, now)


def reject(rejected: Rejected) -> RequestRejected:
    """Return the fact that keeps a refusal final for its key."""
    return RequestRejected(
        FactKind.REQUEST_REJECTED, int(rejected.reason), rejected.message, rejected.metadata
    )


def expire(working_set: WorkingSet, hold: Hold) -> HoldChanged:
    """Return the fact that a due hold has ended."""
    debit, credit = _hold_entries(working_set, hold)
    return HoldChanged(
        FactKind.HOLD_EXPIRED,
        holds.expire(hold),
        _hold_lines(debit, credit, Phase.EXPIRED, 0, -hold.remaining),
    )


def check_for_good(working_set: WorkingSet, postings: Iterable[NewPosting]) -> None:
    """Refuse postings that can never be posted: what an account is called, its currency and its end stay.

    Raises:
        AccountNotFound: there is no such account yet.
        CurrencyMismatch, AccountClosed: the account will never take such a posting.
    """
    accounts = [(posting, _existing(working_set, posting.account_id)[1]) for posting in postings]
    for posting, account in accounts:
        if posting.currency != account.currency:
            raise _currency_mismatch(account, posting.currency)
    for _, account in accounts:
        if account.state is AccountState.CLOSED:
            raise _closed(account)


def _create_tenant(_: WorkingSet, command: CreateTenant, _now: datetime) -> Fact:
    raise TenantAlreadyExists(tenant_id=command.tenant_id)


def _set_enforcement(working_set: WorkingSet, command: SetBalanceEnforcement, _now: datetime) -> Fact:
    return switch_enforcement(working_set, command)


def _forget_player(_: WorkingSet, command: ForgetPlayer, _now: datetime) -> Fact:
    # It is decided whatever came before: after a restore the same player may have to be forgotten again.
    return PlayerForgotten(FactKind.PLAYER_FORGOTTEN, command.player_id, command.reason)


def _open_account(working_set: WorkingSet, command: OpenAccount, now: datetime) -> Fact:
    if working_set.account(command.account_id) is not None:
        raise AccountAlreadyExists(account_id=command.account_id)
    account = Account(
        number=working_set.sequence + 1,
        account_id=command.account_id,
        kind=command.kind,
        currency=command.currency,
        state=AccountState.OPEN,
        limits=command.limits,
        open_time=now,
        metadata=command.metadata,
        continues="",
        continued_by="",
    )
    return AccountChanged(FactKind.ACCOUNT_OPENED, account, note="")


def _set_limits(working_set: WorkingSet, command: SetAccountLimits, _now: datetime) -> Fact:
    _, account = _existing(working_set, command.account_id)
    if account.state is AccountState.CLOSED:
        raise _closed(account)
    limits = command.limits
    if not isinstance(limits, Limits):
        limits = limits.on(account.kind)
        lower, upper = limits.min_available, limits.max_balance
        if lower is not None and upper is not None and lower > upper:
            raise LimitsContradictDefault(
                account_id=account.account_id, min_available_minor=lower, max_balance_minor=upper
            )
    return AccountChanged(FactKind.ACCOUNT_LIMITS_SET, replace(account, limits=limits), note="")


def _set_state(working_set: WorkingSet, command: SetAccountState, _now: datetime) -> Fact:
    entry, account = _existing(working_set, command.account_id)
    step = (account.state, command.state)
    if step not in STATE_TRANSITIONS:
        raise IllegalTransition(
            subject=account.account_id, **{"from": account.state.name, "to": command.state.name}
        )
    if command.state is AccountState.CLOSED:
        # Money that is still held on an account which this one continues would have nowhere to go.
        for each in (entry, *predecessors(working_set, account)):
            if not each.counters.empty:
                raise AccountNotEmpty(
                    account_id=_account(each).account_id,
                    posted_balance_minor=posted_balance(account.kind, each.counters),
                )
    return AccountChanged(_STATE_FACTS[step], replace(account, state=command.state), command.note)


def _continue(working_set: WorkingSet, command: ContinueAccount, now: datetime) -> Fact:
    entry, account = _existing(working_set, command.account_id)
    if account.state is AccountState.CLOSED:
        raise _closed(account)
    if working_set.account(command.successor_id) is not None:
        raise AccountAlreadyExists(account_id=command.successor_id)
    successor = replace(
        account,
        number=working_set.sequence + 1,
        account_id=command.successor_id,
        open_time=now,
        continues=account.account_id,
    )
    kind, currency = command.kind or account.kind, command.currency or account.currency
    if (kind, currency) != (account.kind, account.currency):
        # The account was opened before its name was reserved. Its money goes on in an account of the kind
        # that the name stands for; money in another currency than the name's can't.
        counters = entry.counters
        if currency != account.currency and not counters.empty:
            raise AccountNotEmpty(
                account_id=account.account_id, posted_balance_minor=posted_balance(account.kind, counters)
            )
        successor = replace(successor, kind=kind, currency=currency, limits=default_limits(kind))
    closed = replace(account, state=AccountState.CLOSED, continued_by=command.successor_id)
    return AccountContinued(FactKind.ACCOUNT_CONTINUED, closed, successor, command.note)


def _post(working_set: WorkingSet, command: PostTransaction, now: datetime) -> Fact:
    postings = command.postings
    if command.follow:
        postings = tuple(replace(each, account_id=newest(working_set, each.account_id)) for each in postings)
    lines, breached = _post_lines(working_set, postings, outside=command.outside)
    transaction = Transaction(
        outside=command.outside,
        type=command.type,
        reference=command.reference,
        effective_time=command.effective_time or now,
        metadata=command.metadata,
        limit_breached=breached,
        reverses=None,
        hold=None,
        adjustment=command.adjustment,
    )
    return TransactionPosted(_TRANSACTION_POSTED, transaction, lines)


def _reverse(working_set: WorkingSet, command: ReverseTransaction, now: datetime) -> Fact:
    if command.sequence is None:
        raise TransactionNotFound(transaction_id=command.transaction_id)
    original = working_set.transactions[command.sequence]
    if original.legs is None:
        raise TransactionNotFound(transaction_id=command.transaction_id)
    if original.reversed_by is not None:
        raise AlreadyReversed(
            transaction_id=command.transaction_id,
            reversed_by_transaction_id=working_set.ids.transaction_id(original.reversed_by),
        )
    if original.owner:
        raise TransactionOwnedByPayment(transaction_id=command.transaction_id, payment_id=original.owner)
    if original.carries:
        raise ContinuationNotReversible(transaction_id=command.transaction_id)
    if original.is_reversal:
        raise ReversalNotReversible(transaction_id=command.transaction_id)
    mirrored = tuple(
        NewPosting(newest(working_set, leg.account_id), _OPPOSITE[leg.direction], leg.amount, leg.currency)
        for leg in original.legs
    )
    lines, breached = _post_lines(working_set, mirrored)
    transaction = Transaction(
        type=TransactionType.REVERSAL,
        reference=command.reference,
        effective_time=command.effective_time or now,
        metadata=command.metadata,
        reverses=command.sequence,
        limit_breached=breached,
        hold=None,
        outside=False,
        adjustment=None,
    )
    return TransactionPosted(_TRANSACTION_POSTED, transaction, lines)


def _post_lines(
    working_set: WorkingSet, postings: tuple[NewPosting, ...], *, outside: bool = False
) -> tuple[tuple[Line, ...], bool]:
    """Return the lines that postings write, and whether a limit was broken and let pass."""
    accounts = working_set.accounts
    touched: list[tuple[NewPosting, AccountEntry, Account]] = []
    for posting in postings:
        entry = accounts[posting.account_id]
        if entry.account is None:
            raise AccountNotFound(account_id=posting.account_id)
        touched.append((posting, entry, entry.account))
    usable = True
    for posting, _, account in touched:
        if posting.currency != account.currency:
            raise _currency_mismatch(account, posting.currency)
        usable = usable and account.state is _OPEN
    if not usable and not outside:
        _check_usable([(account, posting.direction) for posting, _, account in touched])

    before: dict[str, tuple[Account, Counters]] = {}
    after: dict[str, Counters] = {}
    lines: list[Line] = []
    for posting, entry, account in touched:
        account_id = posting.account_id
        counters = after.get(account_id)
        if counters is None:
            counters = entry.counters
            before[account_id] = (account, counters)
        counters = after[account_id] = counters.changed(posting.direction, posting.amount, 0)
        lines.append(Line(account, _POSTED, posting.direction, posting.amount, 0, counters))
    changes = [(account, old, after[key]) for key, (account, old) in before.items()]
    enforcement = _SHADOW if outside else working_set.enforcement
    return tuple(lines), _check_limits(enforcement, changes)


def _place_hold(working_set: WorkingSet, command: PlaceHold, now: datetime) -> Fact:
    debit, debit_account = _existing(working_set, command.debit_account_id)
    credit, credit_account = _existing(working_set, command.credit_account_id)
    expire_time = None if command.expire_time is None else holds.instant(command.expire_time, now)
    if expire_time is not None and expire_time <= now:
        raise ExpireTimeNotLater(expire_time=expire_time.isoformat())
    for account in (debit_account, credit_account):
        if command.currency != account.currency:
            raise _currency_mismatch(account, command.currency)
    lines, breached = _checked_hold_lines(working_set, debit, credit, command.amount)
    hold = Hold(
        number=working_set.sequence + 1,
        debit_account_id=command.debit_account_id,
        credit_account_id=command.credit_account_id,
        currency=command.currency,
        amount=command.amount,
        expire_time=expire_time,
        type=command.type,
        reference=command.reference,
        metadata=command.metadata,
        place_time=now,
        limit_breached=breached,
        captured=0,
        released=0,
        state=HoldState.OPEN,
        end_time=None,
    )
    return HoldChanged(FactKind.HOLD_PLACED, hold, lines)


def _capture_hold(working_set: WorkingSet, command: CaptureHold, now: datetime) -> Fact:
    hold = _existing_hold(working_set, command)
    captured = holds.capture(
        hold, hold_id=command.hold_id, amount=command.amount, final=command.final, now=now
    )
    debit, credit = _hold_entries(working_set, hold)
    if not command.outside:
        # The money of a hold on a continued account follows to the newest successor, so the successor must be
        # usable.
        _check_usable(
            [
                (_current(working_set, hold.debit_account_id), Direction.DEBIT),
                (_current(working_set, hold.credit_account_id), Direction.CREDIT),
            ]
        )
    # No limit and no overflow is checked: placing the hold has reserved room on both accounts.
    taken = captured.captured - hold.captured
    released = captured.released - hold.released
    transaction = Transaction(
        type=hold.type,
        reference=command.reference or hold.reference,
        effective_time=command.effective_time or now,
        metadata=command.metadata,
        hold=hold.number,
        outside=command.outside,
        reverses=None,
        limit_breached=False,
        adjustment=None,
    )
    lines = _hold_lines(debit, credit, Phase.CAPTURED, taken, -(taken + released))
    return HoldCaptured(FactKind.HOLD_CAPTURED, captured, transaction, released, lines)


def _release_hold(working_set: WorkingSet, command: ReleaseHold, now: datetime) -> Fact:
    hold = _existing_hold(working_set, command)
    released = holds.release(hold, hold_id=command.hold_id, now=now)
    debit, credit = _hold_entries(working_set, hold)
    lines = _hold_lines(debit, credit, Phase.RELEASED, 0, -hold.remaining)
    return HoldChanged(FactKind.HOLD_RELEASED, released, lines)


def _extend_hold(working_set: WorkingSet, command: ExtendHold, now: datetime) -> Fact:
    hold = _existing_hold(working_set, command)
    extended = holds.extend(hold, hold_id=command.hold_id, expire_time=command.expire_time, now=now)
    return HoldChanged(FactKind.HOLD_EXTENDED, extended, ())


def _increase_hold(working_set: WorkingSet, command: IncreaseHold, now: datetime) -> Fact:
    hold = _existing_hold(working_set, command)
    holds.check_open(hold, hold_id=command.hold_id, now=now)
    debit, credit = _hold_entries(working_set, hold)
    lines, breached = _checked_hold_lines(working_set, debit, credit, command.additional)
    if command.bounds is not None and hold.amount + command.additional > command.bounds.of(hold.currency):
        raise HoldTooLarge(
            hold_id=command.hold_id,
            amount_minor=hold.amount + command.additional,
            max_amount_minor=command.bounds.of(hold.currency),
        )
    increased = replace(
        hold,
        amount=hold.amount + command.additional,
        limit_breached=hold.limit_breached or breached,
    )
    return HoldChanged(FactKind.HOLD_INCREASED, increased, lines)


def _checked_hold_lines(
    working_set: WorkingSet, debit: AccountEntry, credit: AccountEntry, amount: int
) -> tuple[tuple[Line, ...], bool]:
    """Return the lines that holding an amount writes, and whether a limit was broken in SHADOW."""
    _check_usable([(_account(debit), Direction.DEBIT), (_account(credit), Direction.CREDIT)])
    lines = _hold_lines(debit, credit, Phase.HELD, 0, amount)
    changes = [
        (line.account, entry.counters, line.after) for line, entry in zip(lines, (debit, credit), strict=True)
    ]
    return lines, _check_limits(working_set.enforcement, changes)


def _hold_lines(
    debit: AccountEntry, credit: AccountEntry, phase: Phase, posted: int, pending: int
) -> tuple[Line, ...]:
    return tuple(
        Line(
            _account(entry),
            phase,
            direction,
            posted,
            pending,
            entry.counters.changed(direction, posted, pending),
        )
        for entry, direction in ((debit, Direction.DEBIT), (credit, Direction.CREDIT))
    )


def _existing(working_set: WorkingSet, account_id: str) -> tuple[AccountEntry, Account]:
    entry = working_set.account(account_id)
    if entry is None:
        raise AccountNotFound(account_id=account_id)
    return entry, _account(entry)


def _existing_hold(working_set: WorkingSet, command: HoldCommand) -> Hold:
    hold = None if command.number is None else working_set.holds[command.number].hold
    if hold is None:
        raise HoldNotFound(hold_id=command.hold_id)
    ends = isinstance(command, ReleaseHold) and hold.expects_without_end
    if hold.owner and not command.outside and not ends:
        raise HoldOwnedByPayment(hold_id=command.hold_id, payment_id=hold.owner)
    return hold


def _hold_entries(working_set: WorkingSet, hold: Hold) -> tuple[AccountEntry, AccountEntry]:
    accounts = working_set.accounts
    return accounts[hold.debit_account_id], accounts[hold.credit_account_id]


def _current(working_set: WorkingSet, account_id: str) -> Account:
    return _account(working_set.accounts[newest(working_set, account_id)])


def _closed(account: Account) -> AccountClosed:
    if account.continued_by:
        return AccountClosed(account_id=account.account_id, continued_by=account.continued_by)
    return AccountClosed(account_id=account.account_id)


def _account(entry: AccountEntry) -> Account:
    # An entry reached through a hold always exists: accounts are never deleted.
    assert entry.account is not None
    return entry.account


def _currency_mismatch(account: Account, currency: str) -> CurrencyMismatch:
    return CurrencyMismatch(
        account_id=account.account_id,
        currency_code=currency,
        account_currency_code=account.currency,
    )


def _check_usable(touched: Iterable[tuple[Account, Direction]]) -> None:
    touched = tuple(touched)
    for account, _ in touched:
        if account.state is AccountState.CLOSED:
            raise _closed(account)
    for account, direction in touched:
        if account.state is AccountState.FROZEN and direction != account.raised_by:
            raise AccountFrozen(account_id=account.account_id)


def _check_limits(enforcement: Enforcement, changes: list[tuple[Account, Counters, Counters]]) -> bool:
    """Check overflow, then lower limits, then upper limits; return whether SHADOW let one pass."""
    for account, _, after in changes:
        check_overflow(account, after)
    try:
        for account, before, after in changes:
            check_funds(account, before, after)
        for account, before, after in changes:
            check_maximum(account, before, after)
    except Rejected:
        if enforcement is Enforcement.ENFORCED:
            raise
        return True
    return False


_Decider = Callable[[WorkingSet, Command, datetime], Fact]
_DECIDERS: Final = cast(
    dict[type, _Decider],
    {
        CreateTenant: _create_tenant,
        SetBalanceEnforcement: _set_enforcement,
        OpenAccount: _open_account,
        SetAccountLimits: _set_limits,
        SetAccountState: _set_state,
        ContinueAccount: _continue,
        PostTransaction: _post,
        ReverseTransaction: _reverse,
        PlaceHold: _place_hold,
        CaptureHold: _capture_hold,
        ReleaseHold: _release_hold,
        ExtendHold: _extend_hold,
        IncreaseHold: _increase_hold,
        ForgetPlayer: _forget_player,
    },
)
