"""Owns the bytes of journal records: encoding a decided fact, and decoding a record.

A response is always made from the bytes of the recorded fact, so a replayed response equals the first one by
construction.
"""

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import Final

from defter.identity.v1 import caller_pb2
from defter.ledger.v1 import (
    account_pb2,
    error_pb2,
    hold_pb2,
    journal_pb2,
    posting_pb2,
    tenant_pb2,
)
from defter.payments.v1 import payment_pb2
from google.protobuf.message import Message
from msgspec.structs import replace

from ledger_server.domain.ids import TenantIds
from ledger_server.domain.ledger.accounts import (
    Account,
    AccountKind,
    AccountState,
    Counters,
    Direction,
    Limits,
    available_balance,
    posted_balance,
)
from ledger_server.domain.ledger.holds import Hold
from ledger_server.domain.ledger.transactions import Line, Transaction, TransactionType
from ledger_server.domain.state.commands import Method, NamedCaller, RequestKey
from ledger_server.domain.state.facts import (
    AccountChanged,
    AccountContinued,
    AdjustmentChanged,
    AdjustmentPolicySet,
    EnforcementChanged,
    EnforcementSwitch,
    EpochBegun,
    Fact,
    FactKind,
    FindingChanged,
    HoldCaptured,
    HoldChanged,
    PlayerForgotten,
    RequestRejected,
    TransactionPosted,
)
from ledger_server.domain.state.working_set import PostedEntry, PostedLeg
from ledger_server.engine.records.adjustments import adjustment_content
from ledger_server.engine.records.findings import finding_message
from ledger_server.engine.records.payments import payment_content
from ledger_server.engine.records.times import moment, timestamp
from ledger_server.engine.records.wire_format import length_delimited, varint

NO_CHAIN_HASH: Final = bytes(32)
"""The previous chain hash of the first record."""

FIELDS: Final = {kind: kind.name.lower() for kind in FactKind}
"""The name of each fact's field in a record."""

_ACCOUNT_OPENED: Final = FactKind.ACCOUNT_OPENED
_KINDS: Final = {name: kind for kind, name in FIELDS.items()}
_FACT_TAGS: Final = {kind: varint(kind << 3 | 2) for kind in FactKind}
_METHOD_FIELDS: Final = {method: length_delimited(1, method.name.encode()) for method in Method}


def chain(previous: bytes, record: bytes) -> bytes:
    """Return the chain hash of a record: SHA-256 of the previous chain hash and the record's bytes."""
    return hashlib.sha256(previous + record).digest()


class RecordEncoder:
    """Makes the records of one tenant."""

    __slots__ = ("_dated", "_ids", "_now", "_opened", "_tenant", "_tenant_id", "_time_field")

    def __init__(self, tenant_id: str, ids: TenantIds) -> None:
        self._tenant_id = tenant_id
        self._ids = ids
        self._tenant = length_delimited(2, tenant_id.encode())
        self._now: datetime | None = None
        # By currency: the account that was opened last, without its name, and the bytes behind the name.
        self._opened: dict[str, tuple[Account, bytes]] = {}

    def encode(
        self,
        fact: Fact,
        *,
        sequence: int,
        record_time: datetime,
        request: RequestKey | None,
        digest: bytes | None,
        caller: NamedCaller | None,
    ) -> tuple[bytes, bytes]:
        """Return a fact's own message as bytes, and those of the record around it.

        The record is a `JournalRecord`, its fields in ascending order.
        """
        if record_time is not self._now:  # a batch shares one
            self._now = record_time
            time = timestamp(record_time)
            self._time_field = length_delimited(3, time.SerializeToString())
            # A serialized transaction with its times alone: parsing it is cheaper than setting the times.
            self._dated = posting_pb2.Transaction(record_time=time, effective_time=time).SerializeToString()
        if type(fact) is TransactionPosted:  # by far the most frequent one
            posted = self._transaction(fact.transaction, fact.lines, sequence)
            content = posted.SerializeToString(deterministic=True)
        elif type(fact) is AccountChanged and fact.kind is _ACCOUNT_OPENED:
            content = self._opened_account(fact.account)
        else:
            message = self._content(fact, sequence, record_time)
            content = message.SerializeToString(deterministic=True)
        asked = b""
        if request is not None:
            asked = length_delimited(
                4,
                _METHOD_FIELDS[request.method]
                + length_delimited(2, request.idempotency_key.encode())
                + length_delimited(3, digest or b"")
                + (length_delimited(4, request.player_id.encode()) if request.player_id else b""),
            )
        record = b"".join(
            (
                b"\x08",  # field 1, a varint
                varint(sequence),
                self._tenant,
                self._time_field,
                asked,
                b"" if caller is None else _caller_field(caller),
                _FACT_TAGS[fact.kind],
                varint(len(content)),
                content,
            )
        )
        return content, record

    def _opened_account(self, account: Account) -> bytes:
        """Return the message of an account that was opened, as bytes.

        Wallets that are opened at one time differ in their names, which come first; what follows is encoded
        once (a tenth of the time).
        """
        if account.metadata:
            return account_message(account).SerializeToString(deterministic=True)
        nameless = replace(account, number=0, account_id="")
        known = self._opened.get(account.currency)
        if known is None or known[0] != nameless:
            known = nameless, account_message(nameless).SerializeToString(deterministic=True)
            self._opened[account.currency] = known
        return length_delimited(1, account.account_id.encode()) + known[1]

    def _content(self, fact: Fact, sequence: int, record_time: datetime) -> Message:
        """Return the message of a fact of any kind but ACCOUNT_OPENED."""
        match fact:
            case AccountChanged(account=account, note=note):
                return journal_pb2.AccountChanged(account=account_message(account), note=note)
            case AccountContinued(account=account, successor=successor, note=note):
                return journal_pb2.AccountContinued(
                    account=account_message(account), successor=account_message(successor), note=note
                )
            case HoldChanged(hold=hold, lines=lines):
                message = journal_pb2.HoldChanged(hold=hold_message(self._ids, hold))
                if lines:
                    fill_balance(message.debit_balance, lines[0])
                    fill_balance(message.credit_balance, lines[1])
                return message
            case HoldCaptured(hold=hold, transaction=transaction, lines=lines, released=released):
                return journal_pb2.HoldCaptured(
                    hold=hold_message(self._ids, hold),
                    transaction=self._transaction(transaction, lines, sequence),
                    released_minor=released,
                )
            case EnforcementChanged(enforcement=enforcement, create_time=create_time, switch=switch):
                return tenant_pb2.Tenant(
                    tenant_id=self._tenant_id,
                    balance_enforcement=int(enforcement),  # type: ignore[arg-type]
                    create_time=timestamp(create_time),
                    head_sequence=sequence,
                    balance_enforcement_switch=None if switch is None else _switch_message(switch),
                )
            case RequestRejected(reason=reason, message=sentence, metadata=metadata):
                return error_pb2.Rejection(
                    reason=reason,  # type: ignore[arg-type]
                    message=sentence,
                    metadata=metadata,
                )
            case TransactionPosted(transaction=transaction, lines=lines):
                return self._transaction(transaction, lines, sequence)
            case EpochBegun() | PlayerForgotten():
                return _brief(fact)
            case FindingChanged(finding=finding):
                return finding_message(self._ids, finding)
            case AdjustmentChanged() | AdjustmentPolicySet():
                return adjustment_content(self._ids, fact)
            case _:
                return payment_content(self._ids, fact, record_time)

    def _transaction(
        self, transaction: Transaction, lines: tuple[Line, ...], sequence: int
    ) -> posting_pb2.Transaction:
        # Filled field by field: passing sub-messages to a constructor would copy each of them.
        message = posting_pb2.Transaction.FromString(self._dated)
        message.transaction_id = self._ids.transaction_id(sequence)
        message.sequence = sequence
        message.type = transaction.type  # type: ignore[assignment]
        add = message.postings.add
        for line in lines:
            posting = add()
            account = line.account
            posting.account_id = account.account_id
            posting.direction = line.direction  # type: ignore[assignment]
            posting.amount_minor = line.amount
            posting.currency_code = account.currency
            fill_balance(posting.balance, line)
        if transaction.effective_time is not self._now:
            message.effective_time.FromDatetime(transaction.effective_time)
        # Unset fields are skipped, since most transactions have none of these.
        if transaction.reference:
            message.reference = transaction.reference
        if transaction.metadata:
            message.metadata.update(transaction.metadata)
        if transaction.reverses is not None:
            message.reverses_transaction_id = self._ids.transaction_id(transaction.reverses)
        if transaction.hold is not None:
            message.hold_id = self._ids.hold_id(transaction.hold)
        if transaction.limit_breached:
            message.limit_breached = True
        if transaction.outside:
            message.outside = True
        if transaction.adjustment is not None:
            message.adjustment_id = self._ids.adjustment_id(transaction.adjustment)
        return message


def _brief(fact: EpochBegun | PlayerForgotten) -> Message:
    if isinstance(fact, EpochBegun):
        return journal_pb2.EpochBegun(epoch=fact.epoch)
    return payment_pb2.PlayerForgotten(player_id=fact.player_id, reason=fact.reason)


@lru_cache(maxsize=4_096)
def _caller_field(caller: NamedCaller) -> bytes:
    """Return field 5 of a record; the few callers of a server are encoded once."""
    return length_delimited(5, caller_message(caller).SerializeToString(deterministic=True))


def caller_message(caller: NamedCaller) -> caller_pb2.Caller:
    """Return a caller as records have it."""
    return caller_pb2.Caller(identity=caller.identity, person=caller.person)


def caller_of(record: journal_pb2.JournalRecord) -> NamedCaller | None:
    """Return whose call a record came of, if it says so."""
    return named_caller(record.caller) if record.HasField("caller") else None


def named_caller(message: caller_pb2.Caller) -> NamedCaller:
    """Return the caller that a record or a row names."""
    return NamedCaller(message.identity, message.person)


def _switch_message(switch: EnforcementSwitch) -> tenant_pb2.BalanceEnforcementSwitch:
    return tenant_pb2.BalanceEnforcementSwitch(
        reason=switch.reason,
        forced=switch.forced,
        below_limit_count=switch.below_limit_count,
        blocking_finding_count=switch.blocking_finding_count,
    )


def fill_balance(message: account_pb2.AccountBalance, line: Line) -> None:
    """Write the account's balance after a statement line into a message."""
    fill_counters(message, line.account.kind, line.after)


def fill_counters(message: account_pb2.AccountBalance, kind: AccountKind, counters: Counters) -> None:
    """Write an account's counters, and the balances that follow from them, into a message."""
    message.posted_debits_minor = counters.posted_debits
    message.posted_credits_minor = counters.posted_credits
    if counters.pending_debits:
        message.pending_debits_minor = counters.pending_debits
    if counters.pending_credits:
        message.pending_credits_minor = counters.pending_credits
    message.posted_balance_minor = posted_balance(kind, counters)
    message.available_balance_minor = available_balance(kind, counters)
    message.version = counters.version


def balance_message(kind: AccountKind, counters: Counters) -> account_pb2.AccountBalance:
    """Return an account's counters with the balances that follow from them."""
    message = account_pb2.AccountBalance()
    fill_counters(message, kind, counters)
    return message


def hold_message(ids: TenantIds, hold: Hold) -> hold_pb2.Hold:
    """Return a hold as callers see it."""
    message = hold_pb2.Hold(
        hold_id=ids.hold_id(hold.number),
        debit_account_id=hold.debit_account_id,
        credit_account_id=hold.credit_account_id,
        amount_minor=hold.amount,
        captured_minor=hold.captured,
        released_minor=hold.released,
        remaining_minor=hold.remaining,
        currency_code=hold.currency,
        state=int(hold.state),  # type: ignore[arg-type]
        type=int(hold.type),  # type: ignore[arg-type]
        reference=hold.reference,
        metadata=hold.metadata,
        place_time=timestamp(hold.place_time),
        limit_breached=hold.limit_breached,
    )
    if hold.expire_time is not None:
        message.expire_time.FromDatetime(hold.expire_time)
    if hold.end_time is not None:
        message.end_time.FromDatetime(hold.end_time)
    return message


def account_message(account: Account) -> account_pb2.Account:
    """Return an account as callers see it."""
    return account_pb2.Account(
        account_id=account.account_id,
        kind=int(account.kind),  # type: ignore[arg-type]
        currency_code=account.currency,
        state=int(account.state),  # type: ignore[arg-type]
        limits=account_pb2.AccountLimits(
            min_available_minor=account.limits.min_available,
            max_balance_minor=account.limits.max_balance,
        ),
        open_time=timestamp(account.open_time),
        metadata=account.metadata,
        continues_account_id=account.continues,
        continued_by_account_id=account.continued_by,
    )


def content_of(record: journal_pb2.JournalRecord) -> tuple[FactKind, bytes]:
    """Return what a record says: the kind of its fact, and the fact's own message as bytes."""
    name = record.WhichOneof("fact")
    assert name is not None, "every record says something"
    content: Message = getattr(record, name)
    return _KINDS[name], content.SerializeToString(deterministic=True)


def transaction_of(record: journal_pb2.JournalRecord) -> posting_pb2.Transaction | None:
    """Return the transaction that a record posts, if it posts one."""
    match record.WhichOneof("fact"):
        case "transaction_posted":
            return record.transaction_posted
        case "hold_captured":
            return record.hold_captured.transaction
        case _:
            return None


def reversible(record: bytes, reversed_by: int | None) -> PostedEntry:
    """Return what a reversal needs to know of the transaction that a record posts."""
    transaction = transaction_of(journal_pb2.JournalRecord.FromString(record))
    if transaction is None:
        return PostedEntry(None)
    legs = tuple(
        PostedLeg(
            posting.account_id,
            Direction(posting.direction),
            posting.amount_minor,
            posting.currency_code,
        )
        for posting in transaction.postings
    )
    owner = transaction.reference if transaction.outside else ""
    return PostedEntry(
        legs,
        bool(transaction.reverses_transaction_id),
        reversed_by,
        owner=owner,
        carries=int(transaction.type) == TransactionType.CONTINUATION,
    )


def account_of_message(message: account_pb2.Account, number: int) -> Account:
    """Return the account in a record."""
    limits = message.limits
    return Account(
        number=number,
        account_id=message.account_id,
        kind=AccountKind(message.kind),
        currency=message.currency_code,
        state=AccountState(message.state),
        limits=Limits(
            min_available=limits.min_available_minor if limits.HasField("min_available_minor") else None,
            max_balance=limits.max_balance_minor if limits.HasField("max_balance_minor") else None,
        ),
        open_time=moment(message.open_time),
        metadata=dict(message.metadata),
        continues=message.continues_account_id,
        continued_by=message.continued_by_account_id,
    )
