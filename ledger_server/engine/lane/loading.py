"""Owns the loading of a working set: which entries commands name, and reading the missing ones."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Final, assert_never

from ledger_server.domain.adjustments.commands import AdjustmentCommand, AdjustmentStep, RequestAdjustment
from ledger_server.domain.findings.commands import AnyFindingCommand
from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger.accounts import Account, available_balance
from ledger_server.domain.ledger.holds import Hold
from ledger_server.domain.payments.commands import PaymentCommand
from ledger_server.domain.payments.names import names_of
from ledger_server.domain.state.commands import (
    Command,
    ContinueAccount,
    CreateTenant,
    Enforcement,
    ExpireHolds,
    ForgetPlayer,
    HoldCommand,
    OpenAccount,
    PlaceHold,
    PostTransaction,
    ReverseTransaction,
    SetAccountLimits,
    SetAccountState,
    SetBalanceEnforcement,
)
from ledger_server.domain.state.limit_survey import NO_SURVEY, LimitSurvey
from ledger_server.domain.state.working_set import AccountEntry, HoldEntry, WorkingSet
from ledger_server.engine.lane.loading_adjustments import load_adjustments
from ledger_server.engine.lane.loading_findings import load_findings, named_findings, named_transaction
from ledger_server.engine.lane.loading_payments import (
    Named,
    load_events,
    load_payments,
    load_refs,
    named_by_event,
    parts_of,
    payments_named,
)
from ledger_server.engine.lane.loading_unloaded import load_unloaded
from ledger_server.engine.records.journal import reversible
from ledger_server.store import lane_store, limit_store
from ledger_server.store.database import AnyConnection

Rest = (
    PaymentCommand
    | AnyFindingCommand
    | AdjustmentCommand
    | ReverseTransaction
    | ExpireHolds
    | CreateTenant
    | SetBalanceEnforcement
    | ForgetPlayer
)


class Wanted:
    """What commands need and the working set lacks, and the accounts that have a hold to expire.

    Attributes:
        more_due: whether more holds are due on those accounts than are expired in one go.
        survey: of all accounts, for a switch to ENFORCED; None: nobody switches.
    """

    __slots__ = (
        "accounts",
        "adjustments",
        "due",
        "events",
        "findings",
        "holds",
        "more_due",
        "new_refs",
        "payments",
        "refs",
        "survey",
        "transactions",
    )

    def __init__(self) -> None:
        self.more_due = False
        self.survey: LimitSurvey | None = None
        self.payments: set[int] = set()
        self.refs: set[tuple[str, str]] = set()
        self.new_refs: set[tuple[int, str]] = set()
        self.events: set[int] = set()
        self.findings: set[bytes] = set()
        self.adjustments: set[int] = set()
        self.accounts: set[str] = set()
        self.holds: set[int] = set()
        self.transactions: set[int] = set()
        self.due: set[str] = set()

    def __bool__(self) -> bool:
        return bool(
            self.accounts
            or self.holds
            or self.transactions
            or self.due
            or self.payments
            or self.refs
            or self.new_refs
            or self.events
            or self.findings
            or self.adjustments
            or self.survey is not None
        )


def wanted(working_set: WorkingSet, commands: Iterable[Command], now: datetime) -> Wanted:
    """Return what has to be loaded before these commands can be decided; marks the rest as used."""
    result = Wanted()
    for command in commands:
        if isinstance(command, PostTransaction):
            for posting in command.postings:
                _want_account(working_set, result, posting.account_id, now)
        elif isinstance(command, HoldCommand):
            if command.number is not None:
                _want_hold(working_set, result, command.number, now)
        elif isinstance(command, PlaceHold):
            _want_account(working_set, result, command.debit_account_id, now)
            _want_account(working_set, result, command.credit_account_id, now)
        elif isinstance(command, OpenAccount | SetAccountLimits | SetAccountState):
            _want_account(working_set, result, command.account_id, now)
        elif isinstance(command, ContinueAccount):
            _want_account(working_set, result, command.account_id, now)
            _want_account(working_set, result, command.successor_id, now)
        else:
            _want_rest(working_set, result, command, now)
    return result


def _want_rest(working_set: WorkingSet, result: Wanted, command: Rest, now: datetime) -> None:
    """Want what the less frequent commands name."""
    if isinstance(command, PaymentCommand):
        _want_payments(working_set, result, payments_named(working_set.ids, command), now)
    elif isinstance(command, AnyFindingCommand):
        for fingerprint in named_findings(command):
            _want_finding(working_set, result, fingerprint)
        correction = named_transaction(working_set.ids, command)
        if correction is not None:
            _want_transaction(working_set, result, correction, now)
    elif isinstance(command, AdjustmentCommand):
        _want_of_adjustments(working_set, result, command, now)
    elif isinstance(command, ReverseTransaction):
        if command.sequence is not None:
            _want_transaction(working_set, result, command.sequence, now)
    elif isinstance(command, ExpireHolds):
        for number in command.numbers:
            _want_hold(working_set, result, number, now)
    elif isinstance(command, SetBalanceEnforcement):
        _want_survey(working_set, result, command, now)
    elif not isinstance(command, CreateTenant | ForgetPlayer):  # they name nothing
        assert_never(command)


def _want_survey(
    working_set: WorkingSet, result: Wanted, command: SetBalanceEnforcement, now: datetime
) -> None:
    """Want what a switch to ENFORCED has to know of all accounts; the way back names nothing."""
    if command.enforcement is not Enforcement.ENFORCED:
        return
    # Holds that are due end first, those among them that are not committed yet.
    for account_id, entry in working_set.accounts.items():
        _use_account(working_set, result, account_id, entry, now)
    # Any survey will do, and the newest leaves the least to be looked at.
    result.survey = max(command.survey, result.survey or NO_SURVEY, key=attrgetter("through"))


async def load(
    connection: AnyConnection,
    key: TenantKey,
    working_set: WorkingSet,
    missing: Wanted,
    now: datetime,
    *,
    expiry_size: int,
) -> None:
    """Read what is missing into the working set.

    An entry that is loaded already is never replaced: it may be newer than what is committed.

    Args:
        expiry_size: how many due holds are expired in one go.
    """
    if missing.survey is None:
        await _load_named(connection, key, working_set, missing, now, expiry_size=expiry_size)
        return
    # A hold that is due counts as released, so all of them end before the accounts below a limit are counted.
    due = await limit_store.due_holds(connection, key, now, limit=expiry_size)
    # Said before the accounts are loaded: while more is due, each stays one to be looked at again, since what
    # its holds free on a continued account moves on only when the last of them has ended.
    missing.more_due = len(due) == expiry_size
    for number in due:
        _want_hold(working_set, missing, number, now)
    await _load_named(connection, key, working_set, missing, now, expiry_size=expiry_size)
    # The last, since it leaves out what is loaded.
    await load_unloaded(connection, key, working_set, missing.survey)


async def _load_named(
    connection: AnyConnection,
    key: TenantKey,
    working_set: WorkingSet,
    missing: Wanted,
    now: datetime,
    *,
    expiry_size: int,
) -> None:
    stamp = working_set.stamp
    if missing.events or missing.refs or missing.new_refs or missing.payments:
        await _load_payments(connection, key, working_set, missing, now)
    if missing.adjustments:
        await load_adjustments(connection, key, working_set, missing.adjustments)
        for number in missing.adjustments:
            _want_adjustment(working_set, missing, number, now)
    if missing.findings:
        await load_findings(connection, key, working_set, missing.findings)
    if missing.holds:
        await _load_holds(connection, key, working_set, missing, now)
    if missing.transactions:
        numbers = sorted(missing.transactions)
        found = await lane_store.load_transactions(connection, key, numbers)
        for number in numbers:
            entry = reversible(*found.get(number, (b"", None)))
            entry.stamp = stamp
            known = working_set.transactions.get(number)
            if known is None or known.legs is None:
                entry.size = known.size if known is not None else 0  # as it was counted
                working_set.transactions[number] = entry
            for leg in entry.legs or ():
                _want_account(working_set, missing, leg.account_id, now)
    if missing.accounts:
        await _load_accounts(connection, key, working_set, missing, now)
    if missing.due:
        await _load_due(connection, key, working_set, missing, now, limit=expiry_size)


async def _load_payments(
    connection: AnyConnection,
    key: TenantKey,
    working_set: WorkingSet,
    missing: Wanted,
    now: datetime,
) -> None:
    """Load events, then payments, then the refs that those are to get, then the payments that have them."""
    if missing.events:
        await load_events(connection, key, working_set, missing.events)
        for number in missing.events:
            _want_payments(working_set, missing, named_by_event(working_set, number), now)
    while missing.payments or missing.new_refs or missing.refs:
        payments, missing.payments = missing.payments, set()
        if payments:
            await load_payments(connection, key, working_set, payments)
            for number in payments:
                _want_payment(working_set, missing, number, now)
        new_refs, missing.new_refs = missing.new_refs, set()
        for number, ref in new_refs:
            _want_new_ref(working_set, missing, number, ref, now)
        refs, missing.refs = missing.refs, set()
        if refs:
            for number in await load_refs(connection, key, working_set, refs):
                _want_payment(working_set, missing, number, now)


async def _load_holds(
    connection: AnyConnection,
    key: TenantKey,
    working_set: WorkingSet,
    missing: Wanted,
    now: datetime,
) -> None:
    numbers = sorted(missing.holds)
    found = await lane_store.load_holds(connection, key, numbers)
    for number in numbers:
        _put_hold(working_set, number, found.get(number))
    for hold in found.values():
        _want_account(working_set, missing, hold.debit_account_id, now)
        _want_account(working_set, missing, hold.credit_account_id, now)


async def _load_accounts(
    connection: AnyConnection,
    key: TenantKey,
    working_set: WorkingSet,
    missing: Wanted,
    now: datetime,
) -> None:
    while missing.accounts:
        account_ids, missing.accounts = sorted(missing.accounts), set()
        found = await lane_store.load_accounts(connection, key, account_ids)
        for account_id in account_ids:
            loaded = found.get(account_id)
            if loaded is None:
                entry = AccountEntry(None)
            else:
                entry = AccountEntry(loaded.account, loaded.counters, loaded.next_expiry)
            working_set.accounts.setdefault(account_id, entry)
            # An account is loaded with its predecessors and successors, and with the due holds of all of
            # them.
            _want_account(working_set, missing, account_id, now)


async def _load_due(
    connection: AnyConnection,
    key: TenantKey,
    working_set: WorkingSet,
    missing: Wanted,
    now: datetime,
    *,
    limit: int,
) -> None:
    """Load the holds to expire with their accounts, and when each due account must be looked at next."""
    numbers = _account_numbers(working_set, missing.due)
    stored_due = await lane_store.load_due_holds(connection, key, list(numbers.values()), now, limit=limit)
    for number, hold in stored_due.items():
        _put_hold(working_set, number, hold)
    on_due = set(missing.due)
    due = working_set.due_holds(on_due, now)
    missing.accounts = set()
    # A hold's other account changes as well, so it counts as named; only the holds that are due on it can
    # wait.
    for hold in due[:limit]:
        _want_hold(working_set, missing, hold.number, now)
    if missing.accounts:
        await _load_accounts(connection, key, working_set, missing, now)
    # Money of a hold that ends on a continued account moves to the successor at once, so no due hold may be
    # left on it.
    continued = {
        account_id
        for hold in due[:limit]
        for account_id in (hold.debit_account_id, hold.credit_account_id)
        if _is_continued(working_set, account_id)
    }
    if not continued <= on_due:
        missing.due = on_due | continued
        await _load_due(connection, key, working_set, missing, now, limit=limit)
        return
    missing.due = on_due
    # A commit under way may have expired the stored holds already; they would hide the holds behind them.
    missing.more_due = missing.more_due or len(stored_due) == limit or len(due) > limit
    if missing.more_due:
        return
    expiries = await lane_store.next_expiries(connection, key, list(numbers.values()), now)
    stored = {account_id: expiries[account_number] for account_id, account_number in numbers.items()}
    _set_next_expiries(working_set, stored, now)


def _is_continued(working_set: WorkingSet, account_id: str) -> bool:
    account = working_set.accounts[account_id].account
    return account is not None and bool(account.continued_by)


def _set_next_expiries(working_set: WorkingSet, stored: Mapping[str, datetime | None], now: datetime) -> None:
    """Set each account's earliest expiry, of stored holds and of holds that only uncommitted batches know."""
    earliest = dict(stored)
    for entry in working_set.holds.values():
        hold = entry.hold
        if hold is None or hold.expire_time is None or hold.expire_time <= now or not hold.remaining:
            continue
        for account_id in (hold.debit_account_id, hold.credit_account_id):
            if account_id in earliest:
                known = earliest[account_id]
                earliest[account_id] = min(known or hold.expire_time, hold.expire_time)
    for account_id, expire_time in earliest.items():
        working_set.accounts[account_id].next_expiry = expire_time


def _account_numbers(working_set: WorkingSet, account_ids: Iterable[str]) -> Mapping[str, int]:
    numbers = {}
    for account_id in sorted(account_ids):
        account = working_set.accounts[account_id].account
        if account is not None:
            numbers[account_id] = account.number
    return numbers


def _put_hold(working_set: WorkingSet, number: int, hold: Hold | None) -> None:
    working_set.holds.setdefault(number, HoldEntry(hold)).stamp = working_set.stamp


def _want_account(working_set: WorkingSet, result: Wanted, account_id: str, now: datetime) -> None:
    entry = working_set.accounts.get(account_id)
    if entry is None:
        result.accounts.add(account_id)
        return
    _use_account(working_set, result, account_id, entry, now)
    account = entry.account
    if account is not None and (account.continues or account.continued_by):
        for following in (_BEFORE, _AFTER):
            _want_along(working_set, result, following(account), following, now)


def _want_along(
    working_set: WorkingSet,
    result: Wanted,
    account_id: str,
    following: Callable[[Account], str],
    now: datetime,
) -> None:
    """Want an account with its known predecessors and successors."""
    while account_id:
        entry = working_set.accounts.get(account_id)
        if entry is None or entry.account is None:
            result.accounts.add(account_id)
            return
        _use_account(working_set, result, account_id, entry, now)
        account_id = following(entry.account)


def _use_account(
    working_set: WorkingSet, result: Wanted, account_id: str, entry: AccountEntry, now: datetime
) -> None:
    entry.stamp = working_set.stamp
    account = entry.account
    if entry.next_expiry is not None and entry.next_expiry <= now:
        result.due.add(account_id)
    elif account is not None and account.continued_by and available_balance(account.kind, entry.counters):
        # Its last holds have ended in a commit that took only a part of what was due, and what they held has
        # still to move on; whoever ended them may have died or have forgotten it since.
        result.due.add(account_id)


_BEFORE: Final[Callable[[Account], str]] = attrgetter("continues")
_AFTER: Final[Callable[[Account], str]] = attrgetter("continued_by")


def _want_of_adjustments(
    working_set: WorkingSet, result: Wanted, command: AdjustmentCommand, now: datetime
) -> None:
    """Want what a command on adjustments names; a policy names nothing."""
    if isinstance(command, RequestAdjustment):
        for posting in command.postings:
            _want_account(working_set, result, posting.account_id, now)
    elif isinstance(command, AdjustmentStep) and command.number is not None:
        _want_adjustment(working_set, result, command.number, now)


def _want_adjustment(working_set: WorkingSet, result: Wanted, number: int, now: datetime) -> None:
    """Want an adjustment with the accounts that it would move."""
    entry = working_set.adjustments.get(number)
    if entry is None:
        result.adjustments.add(number)
        return
    entry.stamp = working_set.stamp
    if entry.adjustment is not None:
        for posting in entry.adjustment.postings:
            _want_account(working_set, result, posting.account_id, now)


def _want_finding(working_set: WorkingSet, result: Wanted, fingerprint: bytes) -> None:
    entry = working_set.findings.get(fingerprint)
    if entry is None:
        result.findings.add(fingerprint)
        return
    entry.stamp = working_set.stamp


def _want_hold(working_set: WorkingSet, result: Wanted, number: int, now: datetime) -> None:
    entry = working_set.holds.get(number)
    if entry is None:
        result.holds.add(number)
        return
    entry.stamp = working_set.stamp
    if entry.hold is not None:
        _want_account(working_set, result, entry.hold.debit_account_id, now)
        _want_account(working_set, result, entry.hold.credit_account_id, now)


def _want_transaction(working_set: WorkingSet, result: Wanted, sequence: int, now: datetime) -> None:
    entry = working_set.transactions.get(sequence)
    # A missing transaction is looked up again: ids can be guessed, and it may have been posted since.
    if entry is None or entry.legs is None:
        result.transactions.add(sequence)
        return
    entry.stamp = working_set.stamp
    for leg in entry.legs or ():
        _want_account(working_set, result, leg.account_id, now)


def _want_payments(working_set: WorkingSet, result: Wanted, named: Named, now: datetime) -> None:
    for account_id in named.accounts:
        _want_account(working_set, result, account_id, now)
    for number in named.payments:
        _want_payment(working_set, result, number, now)
    for place in named.refs:
        _want_ref(working_set, result, place, now)
    for fingerprint in named.findings:
        _want_finding(working_set, result, fingerprint)
    if named.new_ref is not None:
        _want_new_ref(working_set, result, *named.new_ref, now)
    for number in named.events:
        entry = working_set.events.get(number)
        if entry is None:
            result.events.add(number)
            continue
        entry.stamp = working_set.stamp
        if entry.stored is not None:
            _want_payments(working_set, result, named_by_event(working_set, number), now)


def _want_ref(working_set: WorkingSet, result: Wanted, place: tuple[str, str], now: datetime) -> None:
    ref = working_set.refs.get(place)
    if ref is None:
        result.refs.add(place)
        return
    ref.stamp = working_set.stamp
    if ref.number is not None:
        _want_payment(working_set, result, ref.number, now)


def _want_new_ref(working_set: WorkingSet, result: Wanted, number: int, ref: str, now: datetime) -> None:
    """Want the ref that a payment is to get; the payment names the provider of the ref."""
    entry = working_set.payments.get(number)
    if entry is None:
        result.new_refs.add((number, ref))
    elif entry.payment is not None:
        _want_ref(working_set, result, (entry.payment.provider, ref), now)


def _want_payment(working_set: WorkingSet, result: Wanted, number: int, now: datetime) -> None:
    """Want a payment with its accounts and holds."""
    entry = working_set.payments.get(number)
    if entry is None:
        result.payments.add(number)
        return
    entry.stamp = working_set.stamp
    if entry.payment is not None:
        accounts, holds = parts_of(entry.payment)
        for account_id in accounts:
            _want_account(working_set, result, account_id, now)
        for hold in holds:
            _want_hold(working_set, result, hold, now)
        # A ref is looked up before it is set, so that its owner is known.
        for provider_ref in names_of(entry.payment):
            ref = working_set.refs.get((entry.payment.provider, provider_ref))
            if ref is not None:
                ref.stamp = working_set.stamp
