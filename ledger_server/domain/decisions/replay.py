"""Owns the replay of a journal: the same decisions made again, and what must hold between them.

Every recorded fact is turned back into its command and decided anew against the state that the facts
before it have left. What is kept is the state of every account and of every open hold (about 1 KB each);
holds that have ended and transactions are forgotten at once.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, assert_never

from ledger_server.domain.adjustments.adjustment import (
    Adjustment,
    AdjustmentPolicy,
    AdjustmentState,
    contradiction,
)
from ledger_server.domain.adjustments.commands import AdjustmentCommand
from ledger_server.domain.decisions.continuation import carry
from ledger_server.domain.decisions.enforcement import blocks
from ledger_server.domain.decisions.ledger import decide_ledger, expire
from ledger_server.domain.errors import (
    AmountNotPositive,
    LimitsContradict,
    PostingCountOutOfRange,
    SameAccount,
)
from ledger_server.domain.findings.commands import AnyFindingCommand
from ledger_server.domain.ids import TenantIds, is_epoch
from ledger_server.domain.ledger.accounts import Account, Counters, Direction
from ledger_server.domain.ledger.holds import Hold, HoldState
from ledger_server.domain.ledger.transactions import (
    Line,
    NewPosting,
    Transaction,
    TransactionType,
    check_balanced,
)
from ledger_server.domain.payments.commands import PaymentCommand
from ledger_server.domain.payments.withdrawal import WithdrawalPolicy
from ledger_server.domain.state.commands import (
    CaptureHold,
    Command,
    ContinueAccount,
    CreateTenant,
    Enforcement,
    ExpireHolds,
    ForgetPlayer,
    HoldCommand,
    IncreaseHold,
    OpenAccount,
    PlaceHold,
    PostTransaction,
    ReverseTransaction,
    SetAccountLimits,
    SetAccountState,
    SetBalanceEnforcement,
)
from ledger_server.domain.state.facts import (
    AccountChanged,
    AccountContinued,
    AdjustmentChanged,
    AdjustmentPolicySet,
    DepositChanged,
    EnforcementChanged,
    EpochBegun,
    EventRecorded,
    Fact,
    FactKind,
    FindingChanged,
    HoldCaptured,
    HoldChanged,
    PlayerForgotten,
    RequestRejected,
    TransactionPosted,
    WithdrawalChanged,
    WithdrawalPolicySet,
)
from ledger_server.domain.state.limit_survey import Unloaded
from ledger_server.domain.state.working_set import AccountEntry, HoldEntry, PostedEntry, WorkingSet

PaymentFact = DepositChanged | WithdrawalChanged | EventRecorded | WithdrawalPolicySet
WithoutAccounts = (
    PaymentFact
    | EnforcementChanged
    | RequestRejected
    | FindingChanged
    | EpochBegun
    | PlayerForgotten
    | AdjustmentChanged
    | AdjustmentPolicySet
)

# Commands whose form cannot be wrong, or that are never repeated.
Formless = (
    CreateTenant
    | SetBalanceEnforcement
    | SetAccountState
    | ContinueAccount
    | ReverseTransaction
    | HoldCommand
    | ExpireHolds
    | ForgetPlayer
    | PaymentCommand
    | AnyFindingCommand
    | AdjustmentCommand
)


class Inconsistent(Exception):
    """The journal says something that no decision can have led to at that point."""


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
        # When open holds expire; the expired ones without a recorded end, and how many of these each account
        # has.
        self._deaths: list[tuple[datetime, int]] = []
        self._dead: set[int] = set()
        self._dead_on: Counter[str] = Counter()
        # The newest record of every payment and event, and what payments have moved into wallets.
        self.payments: dict[int, int] = {}
        self.events: dict[int, int] = {}
        # The newest record of every finding, and its version.
        self.findings: dict[bytes, tuple[int, int]] = {}
        # The newest record of every adjustment; those that wait are kept in the state. And the transaction
        # just posted, if its adjustment has to follow.
        self.adjustments: dict[int, int] = {}
        self._adjusting: TransactionPosted | None = None
        # The newest record that forgot each player.
        self.forgotten: dict[str, int] = {}
        # Those that stand against ENFORCED.
        self._blocking: set[bytes] = set()
        self._booked: Counter[str] = Counter()

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

    @property
    def policy(self) -> WithdrawalPolicy:
        """What the tenant demands of withdrawals."""
        return self._begun.policy

    @property
    def adjustment_policy(self) -> AdjustmentPolicy:
        """From which amounts the tenant wants a second person for adjustments."""
        return self._begun.adjustment_policy

    @property
    def awaits_adjustment(self) -> bool:
        """Whether the next record must be the adjustment that the newest one has posted."""
        return self._adjusting is not None

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
        return self._applied(EnforcementChanged(FactKind.TENANT_CREATED, enforcement, now, switch=None))

    def begin_epoch(self, epoch: str) -> Fact:
        """Repeat the beginning of an epoch. Raises Inconsistent: it is none, or the one in force."""
        if not is_epoch(epoch) or epoch == self._ids.newest_epoch:
            raise Inconsistent(f"{epoch!r} is no new epoch")
        return self._applied(EpochBegun(FactKind.EPOCH_BEGUN, epoch))

    def refuse(self, fact: RequestRejected) -> Fact:
        """Repeat a refusal. Its reason can't be checked, since the journal does not have the request."""
        return self._applied(fact)

    def follow_payment(self, fact: PaymentFact) -> Fact:
        """Let a payment's fact take effect.

        The decision can't be checked, since the journal does not have the request. What the fact says that
        the payment has moved must be what the records before it have moved.
        """
        state = self._begun
        sequence = state.sequence + 1
        if isinstance(fact, DepositChanged):
            deposit = fact.deposit
            moved = deposit.captured - deposit.refunded - deposit.disputed
            self._check_booked(self._ids.deposit_id(deposit.number), moved)
            self.payments[deposit.number] = sequence
        elif isinstance(fact, WithdrawalChanged):
            withdrawal = fact.withdrawal
            self._check_booked(self._ids.withdrawal_id(withdrawal.number), -withdrawal.debited)
            self.payments[withdrawal.number] = sequence
        elif isinstance(fact, EventRecorded):
            self.events[fact.stored.number] = sequence
        applied = self._applied(fact)
        # Only the newest record of each is needed.
        state.payments.clear()
        state.refs.clear()
        state.events.clear()
        return applied

    def follow_finding(self, fact: FindingChanged) -> Fact:
        """Let a finding's change take effect; its versions follow one another."""
        finding = fact.finding
        _, version = self.findings.get(finding.fingerprint, (0, 0))
        if finding.version != version + 1:
            raise Inconsistent(f"version {finding.version} of a finding follows version {version}")
        applied = self._applied(fact)
        self.findings[finding.fingerprint] = (self.sequence, finding.version)
        (self._blocking.add if blocks(finding) else self._blocking.discard)(finding.fingerprint)
        self._begun.findings.clear()
        return applied

    def follow_adjustment(self, fact: AdjustmentChanged | AdjustmentPolicySet) -> Fact:
        """Let an adjustment's fact take effect, if it can follow from what was known of it.

        Raises:
            Inconsistent: no decision can have led to it, or the record before it is not its transaction.
        """
        state = self._begun
        if isinstance(fact, AdjustmentPolicySet):
            return self._applied(fact)
        after = fact.adjustment
        known = state.adjustments.get(after.number)
        before = known.adjustment if known is not None else None
        if before is None and after.number != state.sequence + 1:
            raise Inconsistent("an adjustment that does not wait can't change")
        wrong = contradiction(before, after, state.adjustment_policy)
        if wrong:
            raise Inconsistent(f"{self._ids.adjustment_id(after.number)}: {wrong}")
        self._check_posted(after)
        applied = self._applied(fact)
        self.adjustments[after.number] = state.sequence
        if after.state is not AdjustmentState.REQUESTED:
            del state.adjustments[after.number]
        return applied

    def _check_posted(self, adjustment: Adjustment) -> None:
        """Require that an adjustment was posted by the record before, as it was asked for, if it says so."""
        posted = self._adjusting
        if adjustment.transaction is None:
            if posted is not None:
                raise Inconsistent("behind the transaction of an adjustment comes the adjustment")
            return
        if posted is None or adjustment.transaction != self.sequence:
            raise Inconsistent("the record before is not the transaction of the adjustment")
        transaction = posted.transaction
        told = (
            transaction.adjustment,
            transaction.type,
            tuple(
                NewPosting(line.account.account_id, line.direction, line.amount, line.account.currency)
                for line in posted.lines
            ),
            transaction.reference,
            transaction.metadata,
            transaction.effective_time,
        )
        if told != (
            adjustment.number,
            TransactionType.ADJUSTMENT,
            adjustment.postings,
            adjustment.reference,
            adjustment.metadata,
            adjustment.effective_time or adjustment.update_time,
        ):
            raise Inconsistent("what was posted is not what was asked for")

    def _check_booked(self, payment_id: str, moved: int) -> None:
        booked = self._booked[payment_id]
        if booked != moved:
            raise Inconsistent(f"{payment_id} says that it moved {moved}, the journal says {booked}")

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
        if isinstance(command, SetBalanceEnforcement):
            # All accounts are here, and of the findings those that matter are known by name.
            state.unloaded = Unloaded((), {}, len(self._blocking), ())
        if isinstance(command, HoldCommand) and command.number is not None:
            state.holds.setdefault(command.number, HoldEntry(None))
        fact = decide_ledger(state, command, now)
        self._check_dead_expired(fact)
        state.transactions.clear()
        return self._applied(fact)

    def carry(self, account_id: str, now: datetime) -> Fact:
        """Repeat the move of what a continued account has left."""
        self._let_die(now)
        fact = carry(self._begun, account_id, now)
        if fact is None:
            raise Inconsistent(f"{account_id} has nothing that could be moved to a successor")
        self._check_dead_expired(fact)
        return self._applied(fact)

    def _check_dead_expired(self, fact: Fact) -> None:
        for line in getattr(fact, "lines", ()):
            if self._dead_on[line.account.account_id]:
                raise Inconsistent(
                    f"a hold on {line.account.account_id} was dead and had to expire before anything else"
                )

    @property
    def _begun(self) -> WorkingSet:
        if self._state is None:
            raise Inconsistent("record 1 creates the tenant")
        return self._state

    def _applied(self, fact: Fact) -> Fact:
        state = self._begun
        if self._adjusting is not None and not isinstance(fact, AdjustmentChanged):
            raise Inconsistent("behind the transaction of an adjustment comes the adjustment")
        self._adjusting = None
        state.apply(fact)
        if isinstance(fact, AccountChanged):
            self._changed_by[fact.account.number] = state.sequence
        elif isinstance(fact, AccountContinued):
            self._changed_by[fact.account.number] = state.sequence
            self._changed_by[fact.successor.number] = state.sequence
        elif isinstance(fact, TransactionPosted):
            self._book(fact.transaction, fact.lines)
            if fact.transaction.adjustment is not None:
                self._adjusting = fact
        elif isinstance(fact, HoldChanged | HoldCaptured):
            self._follow(fact.hold, fact.kind)
            if isinstance(fact, HoldCaptured):
                self._book(fact.transaction, fact.lines)
        elif isinstance(fact, PlayerForgotten):
            self.forgotten[fact.player_id] = state.sequence
        elif isinstance(fact, WithoutAccounts):
            pass  # neither an account nor a hold changes
        else:
            assert_never(fact)
        return fact

    def _book(self, transaction: Transaction, lines: Sequence[Line]) -> None:
        """Count what a payment has moved into a wallet."""
        if not transaction.outside:
            return
        for line in lines:
            if line.account.account_id.startswith("player:"):
                sign = 1 if line.direction is Direction.CREDIT else -1
                self._booked[transaction.reference] += sign * line.amount

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
        case ContinueAccount(account_id=account_id, successor_id=successor_id):
            yield account_id
            yield successor_id
        case SetAccountLimits(account_id=account_id) | SetAccountState(account_id=account_id):
            yield account_id
        case _:
            # The records before have told everything that these name; the last three are never repeated.
            if not isinstance(
                command,
                CreateTenant
                | SetBalanceEnforcement
                | ReverseTransaction
                | HoldCommand
                | ExpireHolds
                | ForgetPlayer
                | PaymentCommand
                | AnyFindingCommand
                | AdjustmentCommand,
            ):
                assert_never(command)


def _check_form(command: Command) -> None:
    """Check a command by the rules that apply before it reaches a lane."""
    for amount in _amounts(command):
        if amount < 1:
            raise AmountNotPositive(amount_minor=amount)
    match command:
        case PostTransaction(type=TransactionType.REVERSAL) | PlaceHold(type=TransactionType.REVERSAL):
            raise Inconsistent("a reversal names what it reverses")
        case PlaceHold(type=TransactionType.CONTINUATION):
            raise Inconsistent("nothing is held for a successor")
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
            if not isinstance(command, Formless):
                assert_never(command)


def _amounts(command: Command) -> Iterator[int]:
    match command:
        case PostTransaction(postings=postings):
            for posting in postings:
                yield posting.amount
        case PlaceHold(amount=amount) | CaptureHold(amount=int(amount)) | IncreaseHold(additional=amount):
            yield amount
        case _:
            if not isinstance(command, CaptureHold | OpenAccount | SetAccountLimits | Formless):
                assert_never(command)
