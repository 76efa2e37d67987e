"""Own the requests of the simulation: each can be put to the model and to the server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import grpc
from defter.ledger.v1 import account_pb2, adjustment_pb2, error_pb2, hold_pb2, posting_pb2, tenant_pb2
from google.protobuf.message import Message
from typing_extensions import override

from tests.simulation.strategies import Limits
from tests.support.ledger import ENFORCED, SHADOW, Ledger
from tests.support.model import UNLIMITED, Answer, LedgerModel, OpenItem, PostItem, in_words
from tests.support.requests import (
    BET,
    leg,
    length,
    moment_of,
    new_account,
    timestamp,
    transaction,
)
from tests.support.wire import REPLAYED, Refusal, read_refusal

# The model's names of transactions, holds and adjustments, with the server's ids for them.
Ids = Mapping[str, str]
Answers = Answer | list[Answer]
CALL_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, kw_only=True, repr=False)
class Seen:
    """The server's answer to one request or item."""

    reason: str = ""
    replayed: bool = False
    transaction_id: str = ""
    hold_id: str = ""
    adjustment_id: str = ""
    limit_breached: bool = False
    index: int | None = None

    def __repr__(self) -> str:
        """Return what differs from a plain success, for reading."""
        return in_words(self)


@dataclass(frozen=True)
class Reply:
    """The server's answer to one call.

    `exact` is what a retry must repeat: the response's bytes, or the refusal's words and facts.
    """

    seen: Seen | list[Seen]
    exact: object

    @property
    def replayed_count(self) -> int:
        """How many outcomes were decided by an earlier request."""
        seen = self.seen if isinstance(self.seen, list) else [self.seen]
        return sum(one.replayed for one in seen)


class Ask(ABC):
    """One request, independent of any ledger and any run of the server, so that it can be repeated."""

    service: ClassVar[str]
    method: ClassVar[str]

    @property
    def keys(self) -> tuple[str, ...]:
        """All idempotency keys of the request."""
        items: tuple[Any, ...] = getattr(self, "items", None) or (getattr(self, "item", self),)
        return tuple(item.key for item in items)

    @abstractmethod
    def expect(self, model: LedgerModel) -> Answers:
        """Return what the model says."""

    @abstractmethod
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        """Return the request as it is sent."""

    @abstractmethod
    def altered(self) -> Ask:
        """Return a request with the same key, or first key, and another body."""

    async def send(self, ledger: Ledger, ids: Ids, *, timeout_seconds: float | None = None) -> Reply:
        """Return what the server says."""
        stub = getattr(getattr(ledger.stubs, self.service), self.method)
        call = stub(self.wire(ledger.tenant_id, ids), timeout=timeout_seconds or CALL_TIMEOUT_SECONDS)
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            return read_refused(read_refusal(error))
        return self.read(response, replayed=REPLAYED in tuple(await call.trailing_metadata() or ()))

    def read(self, response: Any, *, replayed: bool) -> Reply:
        """Return what a response says."""
        posted = getattr(response, "transaction", posting_pb2.Transaction())
        hold = getattr(response, "hold", hold_pb2.Hold())
        seen = Seen(
            replayed=replayed,
            transaction_id=posted.transaction_id,
            hold_id=hold.hold_id,
            limit_breached=posted.limit_breached or hold.limit_breached,
        )
        return Reply(seen, response.SerializeToString(deterministic=True))


@dataclass(frozen=True)
class Open(Ask):
    """OpenAccount."""

    item: OpenItem
    service: ClassVar[str] = "accounts"
    method: ClassVar[str] = "OpenAccount"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.open_account(self.item)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return account_pb2.OpenAccountRequest(
            tenant_id=tenant_id, idempotency_key=self.item.key, account=wire_account(self.item)
        )

    @override
    def altered(self) -> Ask:
        return Open(replace(self.item, account=self.item.account + "x"))


@dataclass(frozen=True)
class OpenBatch(Ask):
    """BatchOpenAccounts."""

    items: tuple[OpenItem, ...]
    atomic: bool
    service: ClassVar[str] = "accounts"
    method: ClassVar[str] = "BatchOpenAccounts"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        if self.atomic:
            return model.open_atomically(self.items)
        return [model.open_account(one) for one in self.items]

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return account_pb2.BatchOpenAccountsRequest(
            tenant_id=tenant_id,
            mode=wire_mode(atomic=self.atomic),
            items=[
                account_pb2.BatchOpenAccountsItem(idempotency_key=one.key, account=wire_account(one))
                for one in self.items
            ],
        )

    @override
    def altered(self) -> Ask:
        first, *others = self.items
        return replace(self, items=(replace(first, account=first.account + "x"), *others))

    @override
    def read(self, response: Any, *, replayed: bool) -> Reply:
        return read_results(response.results)


@dataclass(frozen=True)
class Post(Ask):
    """PostTransaction."""

    item: PostItem
    service: ClassVar[str] = "postings"
    method: ClassVar[str] = "PostTransaction"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.post(self.item)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return posting_pb2.PostTransactionRequest(
            tenant_id=tenant_id,
            idempotency_key=self.item.key,
            transaction=wire_transaction(self.item),
        )

    @override
    def altered(self) -> Ask:
        return Post(altered_item(self.item))


@dataclass(frozen=True)
class PostBatch(Ask):
    """BatchPostTransactions."""

    items: tuple[PostItem, ...]
    atomic: bool
    service: ClassVar[str] = "postings"
    method: ClassVar[str] = "BatchPostTransactions"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        if self.atomic:
            return model.post_atomically(self.items)
        return model.post_independently(self.items)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return posting_pb2.BatchPostTransactionsRequest(
            tenant_id=tenant_id, mode=wire_mode(atomic=self.atomic), items=wire_items(self.items)
        )

    @override
    def altered(self) -> Ask:
        first, *others = self.items
        return replace(self, items=(altered_item(first), *others))

    @override
    def read(self, response: Any, *, replayed: bool) -> Reply:
        return read_results(response.results)


@dataclass(frozen=True)
class PostStream(Ask):
    """StreamTransactions with one message; a malformed item is refused by itself."""

    items: tuple[PostItem, ...]
    service: ClassVar[str] = "postings"
    method: ClassVar[str] = "StreamTransactions"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.post_independently(self.items)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return posting_pb2.StreamTransactionsRequest(tenant_id=tenant_id, items=wire_items(self.items))

    @override
    def altered(self) -> Ask:
        first, *others = self.items
        return PostStream((altered_item(first), *others))

    @override
    async def send(self, ledger: Ledger, ids: Ids, *, timeout_seconds: float | None = None) -> Reply:
        message = posting_pb2.StreamTransactionsRequest(
            tenant_id=ledger.tenant_id, items=wire_items(self.items)
        )
        call = ledger.stubs.postings.StreamTransactions(
            iter([message]),
            timeout=timeout_seconds or CALL_TIMEOUT_SECONDS,
        )
        try:
            return read_results([result async for answer in call for result in answer.results])
        except grpc.aio.AioRpcError as error:
            return read_refused(read_refusal(error))


@dataclass(frozen=True)
class Reverse(Ask):
    """ReverseTransaction."""

    key: str
    transaction: str
    reference: str = ""
    service: ClassVar[str] = "postings"
    method: ClassVar[str] = "ReverseTransaction"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.reverse(self.key, self.transaction, self.reference)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return posting_pb2.ReverseTransactionRequest(
            tenant_id=tenant_id,
            idempotency_key=self.key,
            transaction_id=file_id(ids, self.transaction),
            reference=self.reference,
        )

    @override
    def altered(self) -> Ask:
        return replace(self, reference=self.reference + "x")


class OfAdjustment(Ask):
    """A request on adjustments, whose answer names the transaction as well, if there is one."""

    service: ClassVar[str] = "adjustments"

    @override
    def read(self, response: Any, *, replayed: bool) -> Reply:
        told = response.adjustment
        seen = Seen(replayed=replayed, transaction_id=told.transaction_id, adjustment_id=told.adjustment_id)
        return Reply(seen, response.SerializeToString(deterministic=True))


@dataclass(frozen=True)
class RequestAdjustment(OfAdjustment):
    """RequestAdjustment; what is asked for has no reference of its own."""

    item: PostItem
    actor: str
    method: ClassVar[str] = "RequestAdjustment"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.request_adjustment(self.item, self.actor)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        wanted = wire_transaction(self.item)
        return adjustment_pb2.RequestAdjustmentRequest(
            tenant_id=tenant_id,
            idempotency_key=self.item.key,
            postings=wanted.postings,
            reference=wanted.reference,
            reason="goodwill",
            actor=self.actor,
        )

    @override
    def altered(self) -> Ask:
        return replace(self, actor=self.actor + "x")


@dataclass(frozen=True)
class ApproveAdjustment(OfAdjustment):
    """ApproveAdjustment."""

    key: str
    adjustment: str
    person: str
    only_requested: bool
    method: ClassVar[str] = "ApproveAdjustment"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.approve_adjustment(
            self.key, self.adjustment, self.person, only_requested=self.only_requested
        )

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return adjustment_pb2.ApproveAdjustmentRequest(**self._fields(tenant_id, ids), reviewer=self.person)

    @override
    def altered(self) -> Ask:
        return replace(self, person=self.person + "x")

    def _fields(self, tenant_id: str, ids: Ids) -> dict[str, Any]:
        seen = adjustment_pb2.ADJUSTMENT_STATE_REQUESTED
        return {
            "tenant_id": tenant_id,
            "idempotency_key": self.key,
            "adjustment_id": file_id(ids, self.adjustment),
            "expected_state": seen if self.only_requested else None,
        }


@dataclass(frozen=True)
class RejectAdjustment(ApproveAdjustment):
    """RejectAdjustment."""

    method: ClassVar[str] = "RejectAdjustment"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.reject_adjustment(
            self.key, self.adjustment, self.person, only_requested=self.only_requested
        )

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return adjustment_pb2.RejectAdjustmentRequest(
            **self._fields(tenant_id, ids), reviewer=self.person, reason="no"
        )


@dataclass(frozen=True)
class CancelAdjustment(ApproveAdjustment):
    """CancelAdjustment."""

    method: ClassVar[str] = "CancelAdjustment"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.cancel_adjustment(
            self.key, self.adjustment, self.person, only_requested=self.only_requested
        )

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return adjustment_pb2.CancelAdjustmentRequest(**self._fields(tenant_id, ids), actor=self.person)


@dataclass(frozen=True)
class SetAdjustmentPolicy(Ask):
    """SetAdjustmentPolicy, of euros alone; 0: they are not named."""

    key: str
    euros_from: int
    service: ClassVar[str] = "adjustments"
    method: ClassVar[str] = "SetAdjustmentPolicy"

    @property
    def amounts(self) -> dict[str, int]:
        """The amounts by currency."""
        return {"EUR": self.euros_from} if self.euros_from else {}

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.set_adjustment_policy(self.key, self.amounts)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return adjustment_pb2.SetAdjustmentPolicyRequest(
            tenant_id=tenant_id,
            idempotency_key=self.key,
            policy=adjustment_pb2.AdjustmentPolicy(second_review_from_minor=self.amounts),
        )

    @override
    def altered(self) -> Ask:
        return replace(self, euros_from=self.euros_from + 1)


@dataclass(frozen=True)
class PlaceHold(Ask):
    """PlaceHold; `expire` in microseconds since 1970, or `lives` in microseconds."""

    key: str
    debit: str
    credit: str
    amount: int
    currency: str
    expire: int | None
    lives: int | None = None
    service: ClassVar[str] = "holds"
    method: ClassVar[str] = "PlaceHold"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.place_hold(
            self.key,
            debit=self.debit,
            credit=self.credit,
            amount=self.amount,
            currency=self.currency,
            expire=self.expire,
            lives=self.lives,
        )

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return hold_pb2.PlaceHoldRequest(
            tenant_id=tenant_id,
            idempotency_key=self.key,
            debit_account_id=self.debit,
            credit_account_id=self.credit,
            amount_minor=self.amount,
            currency_code=self.currency,
            expire_time=None if self.expire is None else timestamp(moment_of(self.expire)),
            time_to_live=None if self.lives is None else length(self.lives),
            type=BET,
        )

    @override
    def altered(self) -> Ask:
        if self.lives is not None:
            return replace(self, lives=self.lives + 1)
        return replace(self, expire=None if self.expire is not None else 1)


@dataclass(frozen=True)
class Capture(Ask):
    """CaptureHold."""

    key: str
    hold: str
    amount: int | None
    final: bool
    service: ClassVar[str] = "holds"
    method: ClassVar[str] = "CaptureHold"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.capture_hold(self.key, self.hold, self.amount, final=self.final)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return hold_pb2.CaptureHoldRequest(
            tenant_id=tenant_id,
            idempotency_key=self.key,
            hold_id=file_id(ids, self.hold),
            amount_minor=self.amount,
            final=self.final,
        )

    @override
    def altered(self) -> Ask:
        return replace(self, final=not self.final)


@dataclass(frozen=True)
class Release(Ask):
    """ReleaseHold."""

    key: str
    hold: str
    service: ClassVar[str] = "holds"
    method: ClassVar[str] = "ReleaseHold"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.release_hold(self.key, self.hold)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return hold_pb2.ReleaseHoldRequest(
            tenant_id=tenant_id,
            idempotency_key=self.key,
            hold_id=file_id(ids, self.hold),
        )

    @override
    def altered(self) -> Ask:
        return replace(self, hold=self.hold + "x")


@dataclass(frozen=True)
class Extend(Ask):
    """ExtendHold; `expire` in microseconds since 1970, or `lives` in microseconds."""

    key: str
    hold: str
    expire: int | None
    lives: int | None = None
    service: ClassVar[str] = "holds"
    method: ClassVar[str] = "ExtendHold"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.extend_hold(self.key, self.hold, self.expire, self.lives)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return hold_pb2.ExtendHoldRequest(
            tenant_id=tenant_id,
            idempotency_key=self.key,
            hold_id=file_id(ids, self.hold),
            expire_time=None if self.expire is None else timestamp(moment_of(self.expire)),
            time_to_live=None if self.lives is None else length(self.lives),
        )

    @override
    def altered(self) -> Ask:
        if self.lives is not None:
            return replace(self, lives=self.lives + 1)
        return replace(self, expire=(self.expire or 0) + 1)


@dataclass(frozen=True)
class Increase(Ask):
    """IncreaseHold."""

    key: str
    hold: str
    additional: int
    service: ClassVar[str] = "holds"
    method: ClassVar[str] = "IncreaseHold"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.increase_hold(self.key, self.hold, self.additional)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return hold_pb2.IncreaseHoldRequest(
            tenant_id=tenant_id,
            idempotency_key=self.key,
            hold_id=file_id(ids, self.hold),
            additional_minor=self.additional,
        )

    @override
    def altered(self) -> Ask:
        return replace(self, additional=1 if self.additional != 1 else 2)


@dataclass(frozen=True)
class SetLimits(Ask):
    """SetAccountLimits."""

    key: str
    account: str
    limits: Limits
    service: ClassVar[str] = "accounts"
    method: ClassVar[str] = "SetAccountLimits"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.set_limits(self.key, self.account, self.limits)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return account_pb2.SetAccountLimitsRequest(
            tenant_id=tenant_id,
            idempotency_key=self.key,
            account_id=self.account,
            limits=wire_limits(self.limits),
        )

    @override
    def altered(self) -> Ask:
        return replace(self, account=self.account + "x")


@dataclass(frozen=True)
class Freeze(Ask):
    """FreezeAccount."""

    key: str
    account: str
    service: ClassVar[str] = "accounts"
    method: ClassVar[str] = "FreezeAccount"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.change_state(self.method, self.key, self.account)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        request = getattr(account_pb2, f"{self.method}Request")(
            tenant_id=tenant_id, idempotency_key=self.key, account_id=self.account
        )
        assert isinstance(request, Message)
        return request

    @override
    def altered(self) -> Ask:
        return replace(self, account=self.account + "x")


class Unfreeze(Freeze):
    """UnfreezeAccount."""

    method: ClassVar[str] = "UnfreezeAccount"


class Close(Freeze):
    """CloseAccount."""

    method: ClassVar[str] = "CloseAccount"


class Continue(Freeze):
    """ContinueAccount."""

    method: ClassVar[str] = "ContinueAccount"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.continue_account(self.key, self.account)


@dataclass(frozen=True)
class SetEnforcement(Ask):
    """SetBalanceEnforcement."""

    key: str
    enforced: bool
    forced: bool = False
    service: ClassVar[str] = "tenants"
    method: ClassVar[str] = "SetBalanceEnforcement"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.set_enforcement(self.key, enforced=self.enforced, forced=self.forced)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return tenant_pb2.SetBalanceEnforcementRequest(
            tenant_id=tenant_id,
            idempotency_key=self.key,
            balance_enforcement=ENFORCED if self.enforced else SHADOW,
            force=self.forced,
            reason="forced" if self.forced else "",
        )

    @override
    def altered(self) -> Ask:
        return replace(self, enforced=not self.enforced)


@dataclass(frozen=True)
class CreateTenantAgain(Ask):
    """CreateTenant for the tenant that there is already."""

    key: str
    enforced: bool = True
    service: ClassVar[str] = "tenants"
    method: ClassVar[str] = "CreateTenant"

    @override
    def expect(self, model: LedgerModel) -> Answers:
        return model.create_tenant_again(self.key, enforced=self.enforced)

    @override
    def wire(self, tenant_id: str, ids: Ids) -> Message:
        return tenant_pb2.CreateTenantRequest(
            tenant_id=tenant_id,
            idempotency_key=self.key,
            balance_enforcement=ENFORCED if self.enforced else SHADOW,
        )

    @override
    def altered(self) -> Ask:
        return replace(self, enforced=not self.enforced)


def read_refused(refusal: Refusal) -> Reply:
    """Return what a refused call says."""
    index = refusal.metadata.get("index")
    seen = Seen(
        reason=refusal.reason or f"{refusal.code.name}: {refusal.message}",
        replayed=refusal.replayed,
        index=None if index is None else int(index),
    )
    return Reply(seen, (refusal.reason, refusal.message, tuple(sorted(refusal.metadata.items()))))


def read_results(results: Sequence[Any]) -> Reply:
    """Return what the results of a batch or a stream say."""
    seen = []
    exact = []
    for result in results:
        posted = getattr(result, "transaction", posting_pb2.Transaction())
        seen.append(
            Seen(
                reason=reason_name(result.rejection.reason) if result.rejection.reason else "",
                replayed=result.replayed,
                transaction_id=posted.transaction_id,
                limit_breached=posted.limit_breached,
            )
        )
        bare = type(result)()
        bare.CopyFrom(result)
        bare.replayed = False
        exact.append(bare.SerializeToString(deterministic=True))
    return Reply(seen, tuple(exact))


def file_id(ids: Ids, name: str) -> str:
    """Return the server's id for a name; for an unknown name an id that nothing has."""
    kind = "hold" if name.startswith("hold") else "tx"
    return ids.get(name) or f"{kind}_0000000000000_{sum(name.encode())}"


def reason_name(reason: error_pb2.ErrorReason.ValueType) -> str:
    """Return a reason as a status names it."""
    return error_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


def altered_item(item: PostItem) -> PostItem:
    """Return an item with the same key and another body."""
    return replace(item, reference=item.reference + "x")


def wire_mode(*, atomic: bool) -> account_pb2.BatchMode.ValueType:
    """Return the wire's name of a mode."""
    return account_pb2.BATCH_MODE_ATOMIC if atomic else account_pb2.BATCH_MODE_INDEPENDENT


def wire_limits(wanted: Limits) -> account_pb2.AccountLimits:
    """Return limits as the wire has them."""
    low, high = wanted
    return account_pb2.AccountLimits(
        min_available_minor=low if isinstance(low, int) else None,
        max_balance_minor=high if isinstance(high, int) else None,
        min_unlimited=low == UNLIMITED,
        max_unlimited=high == UNLIMITED,
    )


def wire_account(wanted: OpenItem) -> account_pb2.NewAccount:
    """Return an account as the wire has it."""
    return new_account(
        wanted.account,
        kind=account_pb2.AccountKind.Value(f"ACCOUNT_KIND_{wanted.kind}"),
        currency_code=wanted.currency,
        bounds=None if wanted.limits is None else wire_limits(wanted.limits),
    )


def wire_items(items: Sequence[PostItem]) -> list[posting_pb2.PostTransactionItem]:
    """Return items as the wire has them."""
    return [
        posting_pb2.PostTransactionItem(idempotency_key=one.key, transaction=wire_transaction(one))
        for one in items
    ]


def wire_transaction(wanted: PostItem) -> posting_pb2.NewTransaction:
    """Return a transaction as the wire has it."""
    return transaction(
        *(
            leg(
                one.account,
                account_pb2.Direction.Value(f"DIRECTION_{one.direction}"),
                one.amount,
                one.currency,
            )
            for one in wanted.legs
        ),
        type_=account_pb2.TransactionType.Value(f"TRANSACTION_TYPE_{wanted.type}"),
        reference=wanted.reference,
    )
