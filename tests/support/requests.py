"""Own short ways to write the messages of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from defter.ledger.v1 import account_pb2, posting_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

DEBIT = account_pb2.DIRECTION_DEBIT
CREDIT = account_pb2.DIRECTION_CREDIT
TRANSFER = account_pb2.TRANSACTION_TYPE_TRANSFER
BET = account_pb2.TRANSACTION_TYPE_BET
ASSET = account_pb2.ACCOUNT_KIND_ASSET
LIABILITY = account_pb2.ACCOUNT_KIND_LIABILITY
LARGEST = 2**63 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def timestamp(moment: datetime) -> Timestamp:
    """Return an aware time as a Timestamp."""
    stamp = Timestamp()
    stamp.FromDatetime(moment.astimezone(UTC))
    return stamp


def length(microseconds: int) -> Duration:
    """Return so many microseconds as a Duration."""
    duration = Duration()
    duration.FromMicroseconds(microseconds)
    return duration


def microseconds_of(moment: datetime) -> int:
    """Return whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds: int) -> datetime:
    """Return the time that many microseconds after 1970."""
    return _EPOCH + microseconds * _MICROSECOND


def limits(*, minimum: int | None = None, maximum: int | None = None) -> account_pb2.AccountLimits:
    """Return limits to ask for; None is no limit, which has to be said."""
    return account_pb2.AccountLimits(
        min_available_minor=minimum,
        max_balance_minor=maximum,
        min_unlimited=minimum is None,
        max_unlimited=maximum is None,
    )


def recorded_limits(*, minimum: int | None = None, maximum: int | None = None) -> account_pb2.AccountLimits:
    """Return limits as an answer tells them; None is no limit."""
    return account_pb2.AccountLimits(min_available_minor=minimum, max_balance_minor=maximum)


def leg(
    account_id: str,
    direction: account_pb2.Direction.ValueType,
    amount_minor: int,
    currency_code: str = "EUR",
) -> posting_pb2.NewPosting:
    """Return one posting that is asked for."""
    return posting_pb2.NewPosting(
        account_id=account_id,
        direction=direction,
        amount_minor=amount_minor,
        currency_code=currency_code,
    )


def transaction(
    *legs: posting_pb2.NewPosting,
    type_: account_pb2.TransactionType.ValueType = TRANSFER,
    reference: str = "",
    effective_time: Timestamp | None = None,
    metadata: Mapping[str, str] | None = None,
) -> posting_pb2.NewTransaction:
    """Return a transaction that is asked for."""
    return posting_pb2.NewTransaction(
        type=type_,
        postings=legs,
        reference=reference,
        effective_time=effective_time,
        metadata=metadata or {},
    )


def transfer(
    debit: str, credit: str, amount_minor: int, currency_code: str = "EUR"
) -> posting_pb2.NewTransaction:
    """Return the plain two-legged transaction."""
    return transaction(
        leg(debit, DEBIT, amount_minor, currency_code),
        leg(credit, CREDIT, amount_minor, currency_code),
    )


def item(key: str, wanted: posting_pb2.NewTransaction) -> posting_pb2.PostTransactionItem:
    """Return one item of a batch or a stream."""
    return posting_pb2.PostTransactionItem(idempotency_key=key, transaction=wanted)


def new_account(
    account_id: str,
    *,
    kind: account_pb2.AccountKind.ValueType = LIABILITY,
    currency_code: str = "EUR",
    bounds: account_pb2.AccountLimits | None = None,
    metadata: Mapping[str, str] | None = None,
) -> account_pb2.NewAccount:
    """Return an account that is asked for; without `bounds` it gets the default limits."""
    return account_pb2.NewAccount(
        account_id=account_id,
        kind=kind,
        currency_code=currency_code,
        limits=bounds,
        metadata=metadata or {},
    )
