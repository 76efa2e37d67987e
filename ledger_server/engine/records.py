"""Owns the bytes of the journal: how a decided fact becomes a record, and how a record is read back.

A response is always made from the record's message, whether the outcome is new or replayed; the two
are the same by construction.
"""

import hashlib
from datetime import UTC, datetime
from typing import Final

from defter.ledger.v1 import account_pb2, error_pb2, hold_pb2, journal_pb2, posting_pb2, tenant_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from ledger_server.domain.accounts import (
    Account,
    AccountKind,
    AccountState,
    Counters,
    Direction,
    Limits,
    available_balance,
    posted_balance,
)
from ledger_server.domain.commands import Enforcement
from ledger_server.domain.facts import (
    AccountChanged,
    EnforcementChanged,
    Fact,
    FactKind,
    HoldCaptured,
    HoldChanged,
    RequestRejected,
    TransactionPosted,
)
from ledger_server.domain.holds import Hold, HoldState
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.transactions import Line, Transaction, TransactionType
from ledger_server.domain.working_set import PostedEntry, PostedLeg
from ledger_server.store.lane_store import RequestKey

NO_CHAIN_HASH: Final = bytes(32)
"""What stands in for the chain hash before the first record."""

_FIELDS: Final = {kind: kind.name.lower() for kind in FactKind}


def chain(previous: bytes, record: bytes) -> bytes:
    """Return the chain hash of a record: SHA-256 of the previous chain hash and the record's bytes."""
    return hashlib.sha256(previous + record).digest()


def timestamp(moment: datetime) -> Timestamp:
    """Return a UTC datetime as a protobuf timestamp, exact to the microsecond."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def moment(message: Timestamp) -> datetime:
    """Return a protobuf timestamp as a UTC datetime, cut to the microsecond."""
    return message.ToDatetime(tzinfo=UTC)


class RecordEncoder:
    """Makes the records of one tenant."""

    __slots__ = ("_ids", "_tenant_id")

    def __init__(self, tenant_id: str, ids: TenantIds) -> None:
        self._tenant_id = tenant_id
        self._ids = ids

    def encode(
        self,
        fact: Fact,
        *,
        sequence: int,
        record_time: Timestamp,
        request: RequestKey | None,
        digest: bytes | None,
    ) -> journal_pb2.JournalRecord:
        """Return the record of a fact; its deterministic serialization is what is stored and hashed."""
        if type(fact) is TransactionPosted:  # by far the most frequent one
            record = journal_pb2.JournalRecord(
                sequence=sequence,
                tenant_id=self._tenant_id,
                record_time=record_time,
                transaction_posted=self._transaction(fact.transaction, fact.lines, sequence, record_time),
            )
        else:
            record = journal_pb2.JournalRecord(
                sequence=sequence,
                tenant_id=self._tenant_id,
                record_time=record_time,
                **{_FIELDS[fact.kind]: self._content(fact, sequence, record_time)},  # type: ignore[arg-type]
            )
        if request is not None:
            record.request.method = request.method.name
            record.request.idempotency_key = request.idempotency_key
            record.request.digest = digest or b""
        return record

    def tenant_created(
        self, enforcement: Enforcement, create_time: datetime, request: RequestKey, digest: bytes
    ) -> journal_pb2.JournalRecord:
        """Return record 1."""
        return self.encode(
            EnforcementChanged(FactKind.TENANT_CREATED, enforcement),
            sequence=1,
            record_time=timestamp(create_time),
            request=request,
            digest=digest,
        )

    def hold(self, hold: Hold) -> hold_pb2.Hold:
        """Return a hold as callers see it."""
        message = hold_pb2.Hold(
            hold_id=self._ids.hold_id(hold.number),
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

    def _content(self, fact: Fact, sequence: int, record_time: Timestamp) -> object:
        match fact:
            case AccountChanged(kind=FactKind.ACCOUNT_OPENED, account=account):
                return account_message(account)
            case AccountChanged(account=account, note=note):
                return journal_pb2.AccountChanged(account=account_message(account), note=note)
            case HoldChanged(hold=hold, lines=lines):
                debit, credit = [balance_of_line(line) for line in lines] or (None, None)
                return journal_pb2.HoldChanged(
                    hold=self.hold(hold), debit_balance=debit, credit_balance=credit
                )
            case HoldCaptured(hold=hold, transaction=transaction, lines=lines, released=released):
                return journal_pb2.HoldCaptured(
                    hold=self.hold(hold),
                    transaction=self._transaction(transaction, lines, sequence, record_time),
                    released_minor=released,
                )
            case EnforcementChanged(kind=kind, enforcement=enforcement):
                return tenant_pb2.Tenant(
                    tenant_id=self._tenant_id,
                    balance_enforcement=int(enforcement),  # type: ignore[arg-type]
                    create_time=record_time if kind is FactKind.TENANT_CREATED else None,
                )
            case RequestRejected(reason=reason, message=message, metadata=metadata):
                return error_pb2.Rejection(
                    reason=reason,  # type: ignore[arg-type]
                    message=message,
                    metadata=metadata,
                )
            case TransactionPosted(transaction=transaction, lines=lines):
                return self._transaction(transaction, lines, sequence, record_time)

    def _transaction(
        self,
        transaction: Transaction,
        lines: tuple[Line, ...],
        sequence: int,
        record_time: Timestamp,
    ) -> posting_pb2.Transaction:
        message = posting_pb2.Transaction(
            transaction_id=self._ids.transaction_id(sequence),
            sequence=sequence,
            type=int(transaction.type),  # type: ignore[arg-type]
            postings=[
                posting_pb2.Posting(
                    account_id=line.account.account_id,
                    direction=int(line.direction),  # type: ignore[arg-type]
                    amount_minor=line.amount,
                    currency_code=line.account.currency,
                    balance=balance_of_line(line),
                )
                for line in lines
            ],
            record_time=record_time,
        )
        # Only what is set is written: most transactions have none of these.
        if transaction.effective_time is not None:
            message.effective_time.FromDatetime(transaction.effective_time)
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
        return message


def balance_message(kind: AccountKind, counters: Counters) -> account_pb2.AccountBalance:
    """Return an account's counters with the balances that follow from them."""
    return account_pb2.AccountBalance(
        posted_debits_minor=counters.posted_debits,
        posted_credits_minor=counters.posted_credits,
        pending_debits_minor=counters.pending_debits,
        pending_credits_minor=counters.pending_credits,
        posted_balance_minor=posted_balance(kind, counters),
        available_balance_minor=available_balance(kind, counters),
        version=counters.version,
    )


def balance_of_line(line: Line) -> account_pb2.AccountBalance:
    """Return the account's balance after a statement line."""
    return balance_message(line.account.kind, line.after)


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
    )


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
    return PostedEntry(legs, bool(transaction.reverses_transaction_id), reversed_by)


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
    )


def hold_of_message(message: hold_pb2.Hold, number: int) -> Hold:
    """Return the hold in a record."""
    return Hold(
        number=number,
        debit_account_id=message.debit_account_id,
        credit_account_id=message.credit_account_id,
        currency=message.currency_code,
        amount=message.amount_minor,
        captured=message.captured_minor,
        released=message.released_minor,
        state=HoldState(message.state),
        expire_time=moment(message.expire_time) if message.HasField("expire_time") else None,
        type=TransactionType(message.type),
        reference=message.reference,
        metadata=dict(message.metadata),
        place_time=moment(message.place_time),
        end_time=moment(message.end_time) if message.HasField("end_time") else None,
        limit_breached=message.limit_breached,
    )


def counters_of_message(message: account_pb2.AccountBalance) -> Counters:
    """Return the counters in a record."""
    return Counters(
        message.posted_debits_minor,
        message.posted_credits_minor,
        message.pending_debits_minor,
        message.pending_credits_minor,
        message.version,
    )
