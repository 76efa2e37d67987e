"""Owns the border: checks the shape of requests, and makes commands of them.

Nothing here knows any state. If several rules are broken, the first one in the order of `ErrorReason` is
reported, and `BadRequest` lists all of them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Final

from defter.ledger.v1 import account_pb2, hold_pb2, posting_pb2
from google.protobuf.message import Message

from ledger_server.domain.errors import (
    AccountNameReserved,
    BatchSizeOutOfRange,
    MessageTooLarge,
    PostingCountOutOfRange,
    SameAccount,
    UnbalancedTransaction,
)
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import AccountKind, Direction
from ledger_server.domain.ledger.amounts import AmountBounds
from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType, check_balanced, check_sides
from ledger_server.domain.payments.accounts import check_name
from ledger_server.domain.state.commands import (
    CaptureHold,
    Command,
    Method,
    OpenAccount,
    PlaceHold,
    PostTransaction,
    RequestKey,
    ReverseTransaction,
)
from ledger_server.engine.lane.work import Request
from ledger_server.rpc.serving import MAX_MESSAGE_BYTES
from ledger_server.rpc.shares import SIZE
from ledger_server.rpc.violations import ACCOUNT_ID, MAX_BATCH, MAX_KEY, TENANT_ID, Violations, members

MAX_POSTINGS: Final = 1_000
MAX_REFERENCE: Final = 255
# The most that an answer has beside what it repeats of the request: per posting the seven numbers of a
# balance; per item ids and times, or a refusal that names an account twice.
_ANSWER_BYTES_OF_POSTING: Final = 96
_ANSWER_BYTES_OF_ITEM: Final = 600
# The bytes of an account, a direction, an amount and a currency in a request.
_LEAST_BYTES_OF_POSTING: Final = 12
MAX_NOTE: Final = 512
# The size that a reversal counts for the transaction that it reads: more than most have, a fifth of the
# largest.
_REVERSED_BYTES: Final = 64 * 1024

_DIRECTIONS: Final = {int(direction): direction for direction in Direction}
# Both types have an RPC of their own, so a caller can't post them.
_MADE_BY_THE_LEDGER: Final = frozenset({TransactionType.REVERSAL, TransactionType.CONTINUATION})
_POSTABLE_TYPES: Final = {int(kind): kind for kind in TransactionType if kind not in _MADE_BY_THE_LEDGER}


class BatchMode(IntEnum):
    """How a batch treats a refused item."""

    ATOMIC = 1
    INDEPENDENT = 2


_POST: Final = Method.PostTransaction
_KINDS: Final = members(AccountKind)
_BATCH_MODES: Final = members(BatchMode)


def request_of(command: Command, key: RequestKey, message: Message, *, reads_bytes: int = 0) -> Request:
    """Return a request whose digest and size are those of the whole message.

    The digest tells a retry from another request under the same key.

    Args:
        reads_bytes: what the lane has to read for the request beyond the usual; this counts as part of its
            size.
    """
    body = message.SerializeToString(deterministic=True)
    return Request(command, key, hashlib.sha256(body).digest()[:16], len(body) + reads_bytes)


def keyed(
    method: Method, message: Message, idempotency_key: str, command: Command, *, reads_bytes: int = 0
) -> Request:
    """Return a request whose digest covers the whole message."""
    return request_of(
        command, RequestKey(method, idempotency_key, player_id=""), message, reads_bytes=reads_bytes
    )


def check_tenant(tenant_id: str) -> None:
    """Refuse a malformed tenant id."""
    if not TENANT_ID.fullmatch(tenant_id):
        violations = Violations()
        violations.tenant_id(tenant_id)
        violations.check()


def check_batch_size(count: int) -> None:
    """Refuse an empty batch and one of more than 1,000 items."""
    if not 1 <= count <= MAX_BATCH:
        raise BatchSizeOutOfRange(field="items", count=count, limit=MAX_BATCH)


def check_answer_size(*, items: int, postings: Iterable[int] = ()) -> None:
    """Refuse a batch whose answer might be too large for clients; after the decision it would be too late.

    Args:
        items: how many the batch has.
        postings: how many each item has; counted only if it may matter.
    """
    size = SIZE.get()
    most = size // _LEAST_BYTES_OF_POSTING
    size += items * _ANSWER_BYTES_OF_ITEM
    if size + most * _ANSWER_BYTES_OF_POSTING <= MAX_MESSAGE_BYTES:
        return
    size += sum(postings) * _ANSWER_BYTES_OF_POSTING
    if size > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(size_bytes=size, limit_bytes=MAX_MESSAGE_BYTES)


def batch_mode(mode: int) -> bool:
    """Return whether a batch is ATOMIC; refuse an unspecified mode."""
    violations = Violations()
    known = violations.enum(mode, "mode", _BATCH_MODES)
    violations.check()
    return known is BatchMode.ATOMIC


class RequestReader:
    """Turns messages into commands, by the known currencies and the bounds of amounts."""

    def __init__(self, currencies: CurrencyRegistry, bounds: AmountBounds) -> None:
        self.currencies: Final = currencies
        self.bounds: Final = bounds

    def post_item(self, idempotency_key: str, message: posting_pb2.NewTransaction, path: str = "") -> Request:
        """Read a transaction to post: of a unary call, a batch or a stream alike."""
        kind = _POSTABLE_TYPES.get(message.type)
        reference = message.reference
        metadata = message.metadata
        postings = self._postings(message)
        if (
            postings is None
            or kind is None
            or reference
            or metadata
            or message.HasField("effective_time")
            or not 1 <= len(idempotency_key) <= MAX_KEY
            or not idempotency_key.isascii()
            or not idempotency_key.isprintable()
        ):
            return self._post_item_slowly(idempotency_key, message, path)
        self._check_legs(postings, f"{path}transaction.postings")
        return request_of(
            PostTransaction(kind, postings, "", None, _NO_METADATA),
            RequestKey(_POST, idempotency_key, player_id=""),
            message,
        )

    def _postings(self, message: posting_pb2.NewTransaction) -> tuple[NewPosting, ...] | None:
        """Read postings by the fast path; None if anything is wrong with them."""
        currencies = self.currencies
        bounds = self.bounds
        postings = []
        for posting in message.postings:
            direction = _DIRECTIONS.get(posting.direction)
            account_id = posting.account_id
            amount = posting.amount_minor
            currency = posting.currency_code
            if (
                direction is None
                or not 0 < amount <= bounds.of(currency)
                or currency not in currencies
                or not ACCOUNT_ID.fullmatch(account_id)
            ):
                return None
            postings.append(NewPosting(account_id, direction, amount, currency))
        return tuple(postings) if 2 <= len(postings) <= MAX_POSTINGS else None

    def _post_item_slowly(
        self, idempotency_key: str, message: posting_pb2.NewTransaction, path: str
    ) -> Request:
        """Read a transaction that has more than the usual fields, or something wrong in it."""
        violations = Violations()
        violations.idempotency_key(idempotency_key, f"{path}idempotency_key")
        within = f"{path}transaction."
        kind = violations.enum(message.type, f"{within}type", _POSTABLE_TYPES)
        self.check_postings(violations, message.postings, f"{within}postings")
        violations.text(message.reference, f"{within}reference", MAX_REFERENCE)
        violations.metadata(message.metadata, f"{within}metadata")
        effective_time = violations.time(message, "effective_time", within=within)
        violations.check()
        assert kind is not None
        postings = self.checked_postings(violations, message.postings, f"{within}postings")
        return request_of(
            PostTransaction(kind, postings, message.reference, effective_time, dict(message.metadata)),
            RequestKey(_POST, idempotency_key, player_id=""),
            message,
        )

    def open_item(self, idempotency_key: str, message: account_pb2.NewAccount, path: str = "") -> Request:
        """Read an account to open: of a unary call or a batch alike."""
        violations = Violations()
        violations.idempotency_key(idempotency_key, f"{path}idempotency_key")
        within = f"{path}account."
        violations.account_id(message.account_id, f"{within}account_id")
        kind = violations.enum(message.kind, f"{within}kind", _KINDS)
        violations.currency(message.currency_code, f"{within}currency_code", self.currencies)
        violations.metadata(message.metadata, f"{within}metadata")
        wanted = violations.limits(message.limits, f"{within}limits")
        violations.check()
        assert kind is not None
        limits = wanted.on(kind)
        violations.ordered(limits)
        try:
            check_name(message.account_id, kind, message.currency_code)
        except AccountNameReserved as reserved:
            violations.add(AccountNameReserved(field=f"{within}account_id", **reserved.metadata))
        violations.check()
        command = OpenAccount(
            account_id=message.account_id,
            kind=kind,
            currency=message.currency_code,
            limits=limits,
            metadata=dict(message.metadata),
        )
        return keyed(Method.OpenAccount, message, idempotency_key, command)

    def reverse(self, message: posting_pb2.ReverseTransactionRequest) -> Request:
        """Read a reversal."""
        violations = keyed_violations(message)
        violations.identifier(message.transaction_id, "transaction_id")
        violations.text(message.reference, "reference", MAX_REFERENCE)
        violations.metadata(message.metadata, "metadata")
        effective_time = violations.time(message, "effective_time")
        violations.check()
        command = ReverseTransaction(
            transaction_id=message.transaction_id,
            sequence=ids_of(message.tenant_id).transaction_sequence(message.transaction_id),
            reference=message.reference,
            effective_time=effective_time,
            metadata=dict(message.metadata),
        )
        return keyed(
            Method.ReverseTransaction,
            message,
            message.idempotency_key,
            command,
            reads_bytes=_REVERSED_BYTES,
        )

    def place_hold(self, message: hold_pb2.PlaceHoldRequest) -> Request:
        """Read a hold to place."""
        violations = keyed_violations(message)
        violations.account_id(message.debit_account_id, "debit_account_id")
        violations.account_id(message.credit_account_id, "credit_account_id")
        violations.amount(message.amount_minor, "amount_minor")
        violations.bounded(message.amount_minor, "amount_minor", message.currency_code, self.bounds)
        violations.currency(message.currency_code, "currency_code", self.currencies)
        kind = violations.enum(message.type, "type", _POSTABLE_TYPES)
        violations.text(message.reference, "reference", MAX_REFERENCE)
        violations.metadata(message.metadata, "metadata")
        expire_time = violations.expiry(message)
        if message.debit_account_id and message.debit_account_id == message.credit_account_id:
            violations.add(SameAccount(account_id=message.debit_account_id[:MAX_KEY]))
        violations.check()
        assert kind is not None
        command = PlaceHold(
            debit_account_id=message.debit_account_id,
            credit_account_id=message.credit_account_id,
            amount=message.amount_minor,
            currency=message.currency_code,
            expire_time=expire_time,
            type=kind,
            reference=message.reference,
            metadata=dict(message.metadata),
        )
        return keyed(Method.PlaceHold, message, message.idempotency_key, command)

    def capture_hold(self, message: hold_pb2.CaptureHoldRequest) -> Request:
        """Read a capture."""
        violations = hold_violations(message)
        amount = message.amount_minor if message.HasField("amount_minor") else None
        if amount is not None:
            violations.amount(amount, "amount_minor")
        violations.text(message.reference, "reference", MAX_REFERENCE)
        violations.metadata(message.metadata, "metadata")
        effective_time = violations.time(message, "effective_time")
        violations.check()
        command = CaptureHold(
            hold_id=message.hold_id,
            number=hold_number(message),
            amount=amount,
            final=message.final,
            reference=message.reference,
            effective_time=effective_time,
            metadata=dict(message.metadata),
        )
        return keyed(Method.CaptureHold, message, message.idempotency_key, command)

    def check_postings(
        self, violations: Violations, wanted: Sequence[posting_pb2.NewPosting], path: str
    ) -> None:
        """Check the shape of postings, each by itself."""
        if not 2 <= len(wanted) <= MAX_POSTINGS:
            violations.add(PostingCountOutOfRange(field=path, count=len(wanted)))
        for index, posting in enumerate(wanted[: MAX_POSTINGS + 1]):
            at = f"{path}[{index}]."
            violations.account_id(posting.account_id, f"{at}account_id")
            violations.enum(posting.direction, f"{at}direction", _DIRECTIONS)
            violations.amount(posting.amount_minor, f"{at}amount_minor")
            violations.currency(posting.currency_code, f"{at}currency_code", self.currencies)

    def checked_postings(
        self, violations: Violations, wanted: Sequence[posting_pb2.NewPosting], path: str
    ) -> tuple[NewPosting, ...]:
        """Read postings whose shape is right, and check them together.

        Raises:
            Refused: they are not balanced, an account stands on both sides, or an amount is too large.
        """
        postings = tuple(
            NewPosting(
                posting.account_id,
                _DIRECTIONS[posting.direction],
                posting.amount_minor,
                posting.currency_code,
            )
            for posting in wanted
        )
        self._check_legs(postings, path)
        for index, read in enumerate(postings):
            violations.bounded(read.amount, f"{path}[{index}].amount_minor", read.currency, self.bounds)
        violations.check()
        return postings

    @staticmethod
    def _check_legs(postings: tuple[NewPosting, ...], path: str) -> None:
        try:
            check_balanced(postings)
            check_sides(postings)
        except (UnbalancedTransaction, SameAccount) as broken:
            raise type(broken)(field=path, **broken.metadata) from None


_NO_METADATA: Final[Mapping[str, str]] = {}


def ids_of(tenant_id: str) -> TenantIds:
    """Return the reader of a tenant's ids, of any history: only the lane knows which history is this one."""
    return TenantIds(tenant_key(TenantId(tenant_id)), any_history=True)


def hold_number(message: Message) -> int | None:
    """Return the hold's number, or None for an id that can't be this tenant's."""
    return ids_of(message.tenant_id).hold_sequence(message.hold_id)  # type: ignore[attr-defined]


def hold_violations(message: Message) -> Violations:
    """Check the fields that all keyed requests on a hold share."""
    violations = keyed_violations(message)
    violations.identifier(message.hold_id, "hold_id")  # type: ignore[attr-defined]
    return violations


def account_violations(message: Message) -> Violations:
    """Check the fields that all keyed requests on an account share."""
    violations = keyed_violations(message)
    violations.account_id(message.account_id, "account_id")  # type: ignore[attr-defined]
    return violations


def keyed_violations(message: Message) -> Violations:
    """Check the fields that all keyed requests share."""
    violations = Violations()
    violations.tenant_id(message.tenant_id)  # type: ignore[attr-defined]
    violations.idempotency_key(message.idempotency_key)  # type: ignore[attr-defined]
    return violations
