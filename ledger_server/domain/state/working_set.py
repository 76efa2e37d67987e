"""Owns the working set: the part of a tenant's state that decisions are made against and facts change.

The engine loads entries before a decision; an entry whose content is None stands for what is known
not to exist. `stamp` is the batch that last used or changed an entry, so that the engine can forget old ones.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any, Protocol, TypeVar, assert_never

from msgspec import Struct

from ledger_server.domain.adjustments.adjustment import (
    NO_ADJUSTMENT_POLICY,
    Adjustment,
    AdjustmentPolicy,
)
from ledger_server.domain.findings.finding import Finding
from ledger_server.domain.ids import Epoch, TenantIds
from ledger_server.domain.ledger.accounts import ZERO, Account, Counters, Direction
from ledger_server.domain.ledger.holds import Hold, HoldState
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import StoredEvent
from ledger_server.domain.payments.names import names_of
from ledger_server.domain.payments.withdrawal import NO_POLICY, Withdrawal, WithdrawalPolicy
from ledger_server.domain.state.commands import Enforcement
from ledger_server.domain.state.entry_sizes import (
    account_bytes,
    deep_bytes,
    hold_bytes,
    ref_bytes,
    transaction_bytes,
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
    FindingChanged,
    HoldCaptured,
    HoldChanged,
    PlayerForgotten,
    RequestRejected,
    TransactionPosted,
    WithdrawalChanged,
    WithdrawalPolicySet,
)
from ledger_server.domain.state.limit_survey import ALL_LOADED


class _Stamped(Protocol):
    """What a batch has used or changed."""

    stamp: int


class _Entry(_Stamped, Protocol):
    """An entry of the working set; its size in bytes is 0 until it is measured."""

    size: int


_Key = TypeVar("_Key")
_SomeEntry = TypeVar("_SomeEntry", bound=_Entry)


class AccountEntry:
    """An account with its counters, and a lower bound of the expiry of all open holds on it."""

    __slots__ = ("account", "counters", "next_expiry", "size", "stamp")

    def __init__(
        self,
        account: Account | None,
        counters: Counters = ZERO,
        next_expiry: datetime | None = None,
        stamp: int = 0,
    ) -> None:
        self.account = account
        self.counters = counters
        self.next_expiry = next_expiry
        self.size = 0
        self.stamp = stamp


class HoldEntry:
    """A hold."""

    __slots__ = ("hold", "size", "stamp")

    def __init__(self, hold: Hold | None, stamp: int = 0) -> None:
        self.hold = hold
        self.size = 0
        self.stamp = stamp


class PostedLeg(Struct, frozen=True):
    """One leg of a transaction that may be reversed; the amount in minor units."""

    account_id: str
    direction: Direction
    amount: int
    currency: str


class PostedEntry:
    """A transaction that a command wants to reverse."""

    __slots__ = ("carries", "is_reversal", "legs", "owner", "reversed_by", "size", "stamp")

    def __init__(
        self,
        legs: tuple[PostedLeg, ...] | None,
        is_reversal: bool = False,
        reversed_by: int | None = None,
        stamp: int = 0,
        *,
        owner: str = "",
        carries: bool = False,
    ) -> None:
        self.legs = legs
        # Whether the transaction moved the money of a continued account to its successor.
        self.carries = carries
        # The payment that posted it, if any did.
        self.owner = owner
        self.is_reversal = is_reversal
        self.reversed_by = reversed_by
        self.size = 0
        self.stamp = stamp


class PaymentEntry:
    """A deposit or a withdrawal."""

    __slots__ = ("payment", "size", "stamp")

    def __init__(self, payment: Deposit | Withdrawal | None, stamp: int = 0) -> None:
        self.payment = payment
        self.size = 0
        self.stamp = stamp


class RefEntry:
    """The payment that has a provider's ref, if any has."""

    __slots__ = ("number", "size", "stamp")

    def __init__(self, number: int | None, stamp: int = 0) -> None:
        self.number = number
        self.size = 0
        self.stamp = stamp


class EventEntry:
    """A stored event of a provider."""

    __slots__ = ("size", "stamp", "stored")

    def __init__(self, stored: StoredEvent | None, stamp: int = 0) -> None:
        self.stored = stored
        self.size = 0
        self.stamp = stamp


class FindingNotLoaded(Exception):
    """A decision needs a finding that no command has named: load it, and decide again.

    Which discrepancies follow from a command, and which findings they belong to, is known when it is decided.
    """

    def __init__(self, fingerprint: bytes) -> None:
        super().__init__(fingerprint.hex())
        self.fingerprint = fingerprint


class FindingEntry:
    """A finding."""

    __slots__ = ("finding", "size", "stamp")

    def __init__(self, finding: Finding | None, stamp: int = 0) -> None:
        self.finding = finding
        self.size = 0
        self.stamp = stamp


class AdjustmentEntry:
    """An adjustment."""

    __slots__ = ("adjustment", "size", "stamp")

    def __init__(self, adjustment: Adjustment | None, stamp: int = 0) -> None:
        self.adjustment = adjustment
        self.size = 0
        self.stamp = stamp


class WorkingSet:
    """What a lane knows of its tenant: the head, and the entries that its commands named."""

    __slots__ = (
        "_undo",
        "accounts",
        "adjustment_policy",
        "adjustments",
        "create_time",
        "enforcement",
        "events",
        "findings",
        "holds",
        "ids",
        "payments",
        "policy",
        "record_time",
        "refs",
        "sequence",
        "size",
        "stamp",
        "transactions",
        "unloaded",
    )

    def __init__(
        self,
        ids: TenantIds,
        *,
        sequence: int,
        record_time: datetime,
        enforcement: Enforcement,
        create_time: datetime,
        policy: WithdrawalPolicy = NO_POLICY,
        adjustment_policy: AdjustmentPolicy = NO_ADJUSTMENT_POLICY,
    ) -> None:
        self.ids = ids
        self.create_time = create_time
        self.sequence = sequence
        self.record_time = record_time
        self.enforcement = enforcement
        self.policy = policy
        self.adjustment_policy = adjustment_policy
        self.stamp = 0
        # Approximate bytes: the sum of the entries' sizes, without the entries that came since the last
        # commit.
        self.size = 0
        self.accounts: dict[str, AccountEntry] = {}
        self.holds: dict[int, HoldEntry] = {}
        self.transactions: dict[int, PostedEntry] = {}
        self.payments: dict[int, PaymentEntry] = {}
        self.refs: dict[tuple[str, str], RefEntry] = {}
        self.events: dict[int, EventEntry] = {}
        # All findings of the payments in this working set, those that commands name, and those that a
        # FindingNotLoaded has named.
        self.findings: dict[bytes, FindingEntry] = {}
        self.adjustments: dict[int, AdjustmentEntry] = {}
        # Of accounts and findings that are not loaded: what a switch to ENFORCED has to know.
        self.unloaded = ALL_LOADED
        self._undo: list[tuple[object, str, object]] | None = None

    def account(self, account_id: str) -> AccountEntry | None:
        """Return the entry of an existing account."""
        entry = self.accounts.get(account_id)
        return entry if entry is not None and entry.account is not None else None

    def payment_by_ref(self, provider: str, provider_ref: str) -> int | None:
        """Return the number of the payment that has a provider's ref."""
        return self.refs[provider, provider_ref].number

    def payment_id(self, number: int) -> str:
        """Return the id of a loaded payment."""
        if isinstance(self.payments[number].payment, Withdrawal):
            return self.ids.withdrawal_id(number)
        return self.ids.deposit_id(number)

    def finding(self, fingerprint: bytes) -> Finding | None:
        """Return the finding with that fingerprint, if there is one."""
        entry = self.findings.get(fingerprint)
        return entry.finding if entry is not None else None

    def loaded_finding(self, fingerprint: bytes) -> Finding | None:
        """Return the finding with that fingerprint, if there is one; it may belong to any payment.

        Raises:
            FindingNotLoaded: nobody has looked.
        """
        try:
            return self.findings[fingerprint].finding
        except KeyError:
            raise FindingNotLoaded(fingerprint) from None

    def due_holds(self, account_ids: Iterable[str], now: datetime) -> list[Hold]:
        """Return the loaded holds on these accounts that are due, in the order of their placing."""
        wanted = set(account_ids)
        if not wanted:  # as nearly always, and many thousand holds may be loaded
            return []
        due = [
            hold
            for entry in self.holds.values()
            if (hold := entry.hold) is not None
            and (hold.debit_account_id in wanted or hold.credit_account_id in wanted)
            and hold.due(now)
        ]
        return sorted(due, key=lambda hold: hold.number)

    def apply(self, fact: Fact) -> None:
        """Let a decided fact take effect. After a decision this can't fail."""
        self._set(self, "sequence", self.sequence + 1)
        match fact:
            case TransactionPosted(transaction=transaction, lines=lines):
                for line in lines:
                    self._set_counters(line.account, line.after)
                if transaction.reverses is not None:
                    original = self.transactions.get(transaction.reverses)
                    if original is not None:
                        self._set(original, "reversed_by", self.sequence)
            case HoldChanged(hold=hold, lines=lines) | HoldCaptured(hold=hold, lines=lines):
                for line in lines:
                    self._set_counters(line.account, line.after)
                self._apply_hold(hold)
            case AccountChanged(account=account):
                self._set_account(account)
            case AccountContinued(account=account, successor=successor):
                self._set_account(account)
                self._set_account(successor)
            case EnforcementChanged(enforcement=enforcement):
                self._set(self, "enforcement", enforcement)
            case RequestRejected() | PlayerForgotten():
                pass
            case EpochBegun(epoch=epoch):
                # An epoch never begins within an atomic request, so only forgetting the whole tip takes it
                # back.
                self.ids.begin_epoch(Epoch(self.sequence, epoch))
            case _:
                self._apply_to_others(fact)

    def begin_atomic(self) -> None:
        """Remember every change from here on, so that `undo_atomic` can take them back; never nested."""
        assert self._undo is None
        self._undo = []

    def end_atomic(self) -> None:
        """Keep the changes since `begin_atomic`."""
        self._undo = None

    def undo_atomic(self) -> None:
        """Take back the changes since `begin_atomic`, newest first."""
        for target, name, value in reversed(self._undo or ()):
            setattr(target, name, value)
        self._undo = None

    def forget(self, committed_stamp: int, keep: int, keep_bytes: int) -> None:
        """Drop the oldest entries until about as much is left as is kept; never one of an uncommitted batch.

        Args:
            keep: how many entries of each kind stay; between two calls there may be up to twice as many.
            keep_bytes: the approximate bytes of all kinds together. If there is more, half of `keep_bytes`
                stays.
        """
        # Events are large because of their bodies, and hardly ever needed twice.
        for number in [key for key, entry in self.events.items() if entry.stamp <= committed_stamp]:
            self._drop(self.events, number)
        self._measure()
        kinds: tuple[dict[Any, Any], ...] = (
            self.accounts,
            self.holds,
            self.transactions,
            self.payments,
            self.refs,
            self.adjustments,
        )
        for entries in kinds:
            for key in _oldest(entries, committed_stamp, keep):
                self._drop(entries, key)
        if self.size > keep_bytes:
            self._shrink(kinds, committed_stamp, keep_bytes // 2)
        for fingerprint, entry in list(self.findings.items()):
            payment = entry.finding.seen.payment if entry.finding is not None else None
            # A payment is loaded together with its findings, so both are dropped together.
            if entry.stamp <= committed_stamp and payment not in self.payments:
                self._drop(self.findings, fingerprint)

    def _drop(self, entries: dict[_Key, _SomeEntry], key: _Key) -> None:
        self.size -= entries.pop(key).size

    def _shrink(self, kinds: tuple[dict[Any, Any], ...], committed_stamp: int, most_bytes: int) -> None:
        """Drop the oldest entries, of whatever kind, until the rest has no more than so many bytes."""
        old = [
            (entry.stamp, place, key)
            for place, entries in enumerate(kinds)
            for key, entry in entries.items()
            if entry.stamp <= committed_stamp
        ]
        for _, place, key in sorted(old, key=itemgetter(0)):
            if self.size <= most_bytes:
                return
            self._drop(kinds[place], key)

    def _measure(self) -> None:
        """Measure the entries that have come since the last time; they stand last in their tables."""
        tables: tuple[dict[Any, Any], ...] = (
            self.accounts,
            self.holds,
            self.transactions,
            self.payments,
            self.refs,
            self.findings,
            self.events,
            self.adjustments,
        )
        for entries in tables:
            for entry in reversed(entries.values()):
                if entry.size:
                    break
                entry.size = _bytes_of(entry)
                self.size += entry.size

    def _measure_again(self, entry: _Entry) -> None:
        """Measure an entry again after a change; an entry that was never measured is left to `_measure`."""
        if entry.size:
            size = _bytes_of(entry)
            self.size += size - entry.size
            entry.size = size

    def _set(self, target: _Stamped, name: str, value: object) -> None:
        """Change an attribute; the entry then belongs to this batch, whether or not a command has named it.

        Otherwise the entry could be forgotten before the commit, and be read again without the change.
        """
        if self._undo is not None:
            self._undo.append((target, name, getattr(target, name)))
        setattr(target, name, value)
        target.stamp = self.stamp

    def _set_counters(self, account: Account, counters: Counters) -> None:
        # The same as `_set` without its look-ups by name, since this is done for every leg.
        entry = self.accounts[account.account_id]
        if self._undo is not None:
            self._undo.append((entry, "counters", entry.counters))
        entry.counters = counters
        entry.stamp = self.stamp

    def _set_account(self, account: Account) -> None:
        entry = self._account_entry(account.account_id)
        self._set(entry, "account", account)
        self._measure_again(entry)

    def _account_entry(self, account_id: str) -> AccountEntry:
        entry = self.accounts.get(account_id)
        if entry is None:
            entry = self.accounts[account_id] = AccountEntry(None, stamp=self.stamp)
        return entry

    def _apply_to_others(
        self,
        fact: DepositChanged
        | WithdrawalChanged
        | EventRecorded
        | WithdrawalPolicySet
        | FindingChanged
        | AdjustmentChanged
        | AdjustmentPolicySet,
    ) -> None:
        match fact:
            case DepositChanged(deposit=payment) | WithdrawalChanged(withdrawal=payment):
                self._apply_payment(payment)
            case EventRecorded(stored=stored):
                event = self.events.get(stored.number)
                if event is None:
                    event = self.events[stored.number] = EventEntry(None, self.stamp)
                self._set(event, "stored", stored)
            case WithdrawalPolicySet(policy=policy):
                self._set(self, "policy", policy)
            case FindingChanged(finding=finding):
                known = self.findings.get(finding.fingerprint)
                if known is None:
                    known = self.findings[finding.fingerprint] = FindingEntry(None, self.stamp)
                self._set(known, "finding", finding)
                self._measure_again(known)
            case AdjustmentChanged() | AdjustmentPolicySet():
                self._apply_to_adjustments(fact)
            case _:
                assert_never(fact)

    def _apply_to_adjustments(self, fact: AdjustmentChanged | AdjustmentPolicySet) -> None:
        if isinstance(fact, AdjustmentPolicySet):
            self._set(self, "adjustment_policy", fact.policy)
            return
        number = fact.adjustment.number
        entry = self.adjustments.get(number)
        if entry is None:
            entry = self.adjustments[number] = AdjustmentEntry(None, self.stamp)
        self._set(entry, "adjustment", fact.adjustment)
        self._measure_again(entry)

    def _apply_payment(self, payment: Deposit | Withdrawal) -> None:
        entry = self.payments.get(payment.number)
        if entry is None:
            entry = self.payments[payment.number] = PaymentEntry(None, self.stamp)
        known = names_of(entry.payment) if entry.payment is not None else ()
        self._set(entry, "payment", payment)
        self._measure_again(entry)
        for provider_ref in names_of(payment):
            if provider_ref in known:
                # The ref's owner was looked up when the payment got the ref, and may be forgotten by now.
                continue
            place = (payment.provider, provider_ref)
            ref = self.refs.get(place)
            if ref is None:
                ref = self.refs[place] = RefEntry(None, self.stamp)
            if ref.number is None:  # should two have the same, the first keeps it
                self._set(ref, "number", payment.number)

    def _apply_hold(self, hold: Hold) -> None:
        entry = self.holds.get(hold.number)
        if entry is None:
            entry = self.holds[hold.number] = HoldEntry(None, stamp=self.stamp)
        self._set(entry, "hold", hold)
        self.watch_expiry(hold)

    def watch_expiry(self, hold: Hold) -> None:
        """Have the accounts of a hold that is open looked at once its time has come; both are loaded."""
        if hold.state is HoldState.OPEN and hold.expire_time is not None:
            for account_id in (hold.debit_account_id, hold.credit_account_id):
                account = self.accounts[account_id]
                if account.next_expiry is None or hold.expire_time < account.next_expiry:
                    self._set(account, "next_expiry", hold.expire_time)


def _oldest(entries: Mapping[_Key, _Stamped], committed_stamp: int, keep: int) -> list[_Key]:
    """Return the keys of the oldest entries, once there are twice as many as are kept."""
    surplus = len(entries) - keep
    if surplus < keep:
        return []
    old = [(entry.stamp, key) for key, entry in entries.items() if entry.stamp <= committed_stamp]
    return [key for _, key in sorted(old)[:surplus]]


def _bytes_of(entry: object) -> int:
    """Return how much memory an entry takes, about."""
    match entry:
        case AccountEntry(account=account):
            return account_bytes(account.metadata if account is not None else None)
        case HoldEntry(hold=hold):
            return hold_bytes(hold.metadata if hold is not None else None)
        case PostedEntry(legs=legs):
            return transaction_bytes(len(legs or ()))
        case RefEntry():
            return ref_bytes()
        case PaymentEntry(payment=content) | FindingEntry(finding=content) | EventEntry(stored=content):
            return deep_bytes(content)
        case AdjustmentEntry(adjustment=content):
            return deep_bytes(content)
        case _:
            raise AssertionError(f"no entry: {entry!r}")
