"""Owns the replay of a journal: the same decisions made again, and what must hold between them.

Every recorded fact is turned back into its command and decided anew against the state that the facts
before it have left. What is kept is the state of every account and of every open hold (about 1 KB each);
holds that have ended and transactions are forgotten at once.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from ledger_server.domain.accounts import Account, Counters
from ledger_server.domain.commands import (
    CaptureHold,
    Command,
    Enforcement,
    HoldCommand,
    IncreaseHold,
    OpenAccount,
    PlaceHold,
    PostTransaction,
    ReverseTransaction,
    SetAccountLimits,
    SetAccountState,
)
from ledger_server.domain.decide import decide, expire
from ledger_server.domain.errors import (
    AmountNotPositive,
    LimitsContradict,
    PostingCountOutOfRange,
    SameAccount,
)
from ledger_server.domain.facts import (
    AccountChanged,
    EnforcementChanged,
    Fact,
    FactKind,
    HoldCaptured,
    HoldChanged,
    RequestRejected,
)
from ledger_server.domain.holds import Hold, HoldState
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.transactions import TransactionType, check_balanced
from ledger_server.domain.working_set import AccountEntry, HoldEntry, PostedEntry, WorkingSet


class Inconsistent(Exception):
    """The journal says something that can't have been decided at that point."""


class AccountReplayed(NamedTuple):
    """An account as it follows from the journal, and the last record that changed it (not its counters)."""

    account: Account
    counters: Counters
    changed_by: int


class Replay:
    """A tenant's state as it follows from its journal, one record after the other."""

    def __init__(self, ids: TenantIds) -> None:
        self.hold_count = 0
        self._ids = ids
        self._state: WorkingSet | None = None
        # Which record last changed an account or an open hold, by its number.
        self._changed_by: dict[int, int] = {}
        # When open holds die, and those dead ones whose end is not recorded yet, counted by account.
        self._deaths: list[tuple[datetime, int]] = []
        self._dead: set[int] = set()
        self._dead_on: Counter[str] = Counter()

    @property
    def sequence(self) -> int:
        """The newest record."""
        return 0 if self._state is None else self._state.sequence

    @property
    def enforcement(self) -> Enforcement:
        """How strict the tenant is."""
        return self._begun.enforcement

    @property
    def create_time(self) -> datetime:
        """When the tenant was created."""
        return self._begun.create_time

    def hold(self, number: int) -> Hold | None:
        """Return an open hold."""
        entry = self._begun.holds.get(number)
        return entry.hold if entry is not None else None

    def open_holds(self) -> Mapping[int, Hold]:
        """Return all open holds by number."""
        holds = self._begun.holds.items()
        return {number: entry.hold for number, entry in holds if entry.hold is not None}

    def accounts(self) -> Iterator[AccountReplayed]:
        """Yield all accounts in the order of their opening."""
        for entry in self._begun.accounts.values():
            if entry.account is not None:
                number = entry.account.number
                yield AccountReplayed(entry.account, entry.counters, self._changed_by[number])

    def changed_by(self, number: int) -> int:
        """Return the record that last changed an account or open hold."""
        return self._changed_by[number]

    def begin(self, enforcement: Enforcement, now: datetime) -> Fact:
        """Repeat record 1, which creates the tenant."""
        if self._state is not None:
            raise Inconsistent("the tenant is created once, by record 1")
        self._state = WorkingSet(
            self._ids, sequence=0, record_time=now, enforcement=enforcement, create_time=now
        )
        return self._applied(EnforcementChanged(FactKind.TENANT_CREATED, enforcement, now))

    def refuse(self, fact: RequestRejected) -> Fact:
        """Repeat a refusal; why it was decided can't be told from the journal, which has no request."""
        return self._applied(fact)

    def expire(self, number: int, now: datetime) -> Fact:
        """Repeat the expiry of a hold."""
        self._let_die(now)
        hold = self.hold(number)
        if hold is None or number not in self._dead:
            raise Inconsistent("only an open hold whose time has come can expire")
        return self._applied(expire(self._begun, hold))

    def repeat(self, command: Command, now: datetime, original: PostedEntry | None = None) -> Fact:
        """Decide a command again and let the fact take effect.

        Args:
            now: the record's time.
            original: of a reversal, the transaction that it names.
        Raises:
            Refused: the rules would have refused what the journal says was done.
            Inconsistent: the journal contradicts itself.
        """
        state = self._begun
        self._let_die(now)
        _check_form(command)
        if isinstance(command, ReverseTransaction) and command.sequence is not None:
            state.transactions[command.sequence] = original or PostedEntry(None)
        for account_id in _named_accounts(command):
            if account_id not in state.accounts:
                state.accounts[account_id] = AccountEntry(None)
        if isinstance(command, HoldCommand) and command.number is not None:
            state.holds.setdefault(command.number, HoldEntry(None))
        fact = decide(state, command, now)
        for line in getattr(fact, "lines", ()):
            if self._dead_on[line.account.account_id]:
                raise Inconsistent(
                    f"a hold on {line.account.account_id} was dead and had to expire before anything else"
                )
        state.transactions.clear()
        return self._applied(fact)

    @property
    def _begun(self) -> WorkingSet:
        if self._state is None:
            raise Inconsistent("record 1 creates the tenant")
        return self._state

    def _applied(self, fact: Fact) -> Fact:
        state = self._begun
        state.apply(fact)
        if isinstance(fact, AccountChanged):
            self._changed_by[fact.account.number] = state.sequence
        elif isinstance(fact, HoldChanged | HoldCaptured):
            self._follow(fact.hold, fact.kind)
        return fact

    def _follow(self, hold: Hold, kind: FactKind) -> None:
        number = hold.number
        if kind is FactKind.HOLD_PLACED:
            self.hold_count += 1
        self._changed_by[number] = self._begun.sequence
        if hold.state is not HoldState.OPEN:
            del self._begun.holds[number]
            del self._changed_by[number]
            if number in self._dead:
                self._dead.remove(number)
                self._dead_on.subtract((hold.debit_account_id, hold.credit_account_id))
        elif hold.expire_time is not None and kind in _SETS_EXPIRY:
            heapq.heappush(self._deaths, (hold.expire_time, number))

    def _let_die(self, now: datetime) -> None:
        """Note which open holds have died by now."""
        while self._deaths and self._deaths[0][0] <= now:
            _, number = heapq.heappop(self._deaths)
            hold = self.hold(number)
            # A hold that was extended stands in the heap twice; only the later time counts.
            if hold is not None and hold.due(now) and number not in self._dead:
                self._dead.add(number)
                self._dead_on.update((hold.debit_account_id, hold.credit_account_id))


_SETS_EXPIRY: Final = frozenset({FactKind.HOLD_PLACED, FactKind.HOLD_EXTENDED})


def _named_accounts(command: Command) -> Iterator[str]:
    match command:
        case PostTransaction(postings=postings):
            for posting in postings:
                yield posting.account_id
        case PlaceHold(debit_account_id=debit, credit_account_id=credit):
            yield debit
            yield credit
        case OpenAccount(account_id=account_id):
            yield account_id
        case SetAccountLimits(account_id=account_id) | SetAccountState(account_id=account_id):
            yield account_id
        case _:
            pass


def _check_form(command: Command) -> None:
    """Hold a command to the rules that are checked before it reaches a lane."""
    for amount in _amounts(command):
        if amount < 1:
            raise AmountNotPositive(amount_minor=amount)
    match command:
        case PostTransaction(type=TransactionType.REVERSAL) | PlaceHold(type=TransactionType.REVERSAL):
            raise Inconsistent("a reversal names what it reverses")
        case PostTransaction(postings=postings):
            if len(postings) < 2:
                raise PostingCountOutOfRange(count=len(postings))
            check_balanced(postings)
        case PlaceHold(debit_account_id=debit, credit_account_id=credit):
            if debit == credit:
                raise SameAccount(account_id=debit)
        case OpenAccount(limits=limits) | SetAccountLimits(limits=limits):
            lower, upper = limits.min_available, limits.max_balance
            if lower is not None and upper is not None and lower > upper:
                raise LimitsContradict(min_available_minor=lower, max_balance_minor=upper)
        case _:
            pass


def _amounts(command: Command) -> Iterator[int]:
    match command:
        case PostTransaction(postings=postings):
            for posting in postings:
                yield posting.amount
        case PlaceHold(amount=amount) | CaptureHold(amount=int(amount)) | IncreaseHold(additional=amount):
            yield amount
        case _:
            pass
