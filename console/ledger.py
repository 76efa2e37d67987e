"""Owns the way to the ledger: each call carries the person for whom it is made, and the request's id."""

import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from console.metrics import Metrics
from console.sessions import Session
from console.tokens import Signer
from defter_client import (
    AccessDenied,
    Currencies,
    LedgerClient,
    LedgerError,
)
from defter_client import messages as m

_Response = TypeVar("_Response")
_REMEMBERED_SECONDS: Final = 300.0
"""For so long it is not asked again what a person may do for a tenant."""
_CURRENCIES_SECONDS: Final = 60.0
_MOST_TENANTS: Final = 16

APPROVE: Final = "defter.payments.v1.WithdrawalService/ApproveWithdrawal"
REJECT: Final = "defter.payments.v1.WithdrawalService/RejectWithdrawal"
CANCEL: Final = "defter.payments.v1.WithdrawalService/CancelWithdrawal"
MARK_PAID: Final = "defter.payments.v1.WithdrawalService/MarkWithdrawalPaid"
CLAIM: Final = "defter.payments.v1.WithdrawalService/ClaimWithdrawal"
ADD_NOTE: Final = "defter.payments.v1.WithdrawalService/AddWithdrawalNote"
SET_WITHDRAWAL_POLICY: Final = "defter.payments.v1.WithdrawalService/SetWithdrawalPolicy"
FREEZE: Final = "defter.ledger.v1.AccountService/FreezeAccount"
UNFREEZE: Final = "defter.ledger.v1.AccountService/UnfreezeAccount"
REQUEST_ADJUSTMENT: Final = "defter.ledger.v1.AdjustmentService/RequestAdjustment"
APPROVE_ADJUSTMENT: Final = "defter.ledger.v1.AdjustmentService/ApproveAdjustment"
REJECT_ADJUSTMENT: Final = "defter.ledger.v1.AdjustmentService/RejectAdjustment"
CANCEL_ADJUSTMENT: Final = "defter.ledger.v1.AdjustmentService/CancelAdjustment"
ACKNOWLEDGE: Final = "defter.reconciliation.v1.FindingService/AcknowledgeFinding"
RESOLVE: Final = "defter.reconciliation.v1.FindingService/ResolveFinding"
REOPEN: Final = "defter.reconciliation.v1.FindingService/ReopenFinding"
REPAIR: Final = "defter.reconciliation.v1.FindingService/RepairFinding"
REFUND: Final = "defter.payments.v1.DepositService/RefundDeposit"
REPLAY: Final = "defter.payments.v1.ProviderEventService/ReplayProviderEvent"
SUPERSEDE: Final = "defter.payments.v1.ProviderEventService/SupersedeProviderEvent"
STOP: Final = "defter.payments.v1.OutboundService/StopOutbound"
RESUME: Final = "defter.payments.v1.OutboundService/ResumeOutbound"
VERIFY: Final = "defter.ledger.v1.JournalService/VerifyJournal"
PREVIEW_REPORT: Final = "defter.reconciliation.v1.SettlementService/PreviewSettlementReport"
IMPORT_REPORT: Final = "defter.reconciliation.v1.SettlementService/ImportSettlementReport"
CONFIRM_BATCH: Final = "defter.reconciliation.v1.SettlementService/ConfirmSettlementBatch"
RUN: Final = "defter.reconciliation.v1.ReconciliationService/RunReconciliation"


@dataclass(frozen=True, slots=True)
class Gateway:
    """What all calls share.

    Attributes:
        signer: signs for persons; None: the ledger is an open one.
    """

    client: LedgerClient
    channel: grpc.aio.Channel
    """For the endless stream alone: the client's own watch goes on with the token that it began with."""
    signer: Signer | None
    metrics: Metrics = field(default_factory=Metrics)


class PersonsLedger:
    """The ledger as one person sees it, during one request."""

    def __init__(
        self, gateway: Gateway, *, person: str, groups: tuple[str, ...], session: Session, request_id: str
    ) -> None:
        self._gateway = gateway
        self._session = session
        self._groups = groups
        self._request_id = request_id
        self.client = gateway.client
        self.person = person
        self.metadata: tuple[tuple[str, str], ...] = (("x-request-id", request_id),)
        if gateway.signer is not None:
            token = gateway.signer.token(person, groups)
            self.metadata = (*self.metadata, ("authorization", f"Bearer {token}"))

    def lasting(self, seconds: int) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call that may take so long; other calls have a token of a minute."""
        signer = self._gateway.signer
        if signer is None:
            return self.metadata
        token = signer.token(self.person, self._groups, life_seconds=seconds)
        return (("x-request-id", self._request_id), ("authorization", f"Bearer {token}"))

    async def ask(
        self,
        method: Callable[..., Awaitable[_Response]],
        request: Message,
        *,
        seconds: float | None = None,
    ) -> _Response:
        """Make a call for the person.

        Args:
            seconds: how long it may take; None: as long as calls of pages may.
        Raises:
            LedgerError: the ledger refused, or could not be reached.
        """
        longer = {} if seconds is None else {"timeout": seconds}
        with self._counted(method):
            return await method(request, metadata=self.metadata, **longer)

    async def first(self, method: Callable[..., Any], request: Message) -> Any:
        """Return the first message of a stream; what it tells of goes on without it."""
        stream = method(request, metadata=self.metadata)
        try:
            async for message in stream:
                return message
        finally:
            stream.cancel()
        raise AssertionError("a stream has a message")

    async def page(self, method: Callable[..., Any], request: Message) -> Any:
        """Return one page of a list."""
        with self._counted(method):
            async for page in method(request, metadata=self.metadata).pages():
                return page
        raise AssertionError("a list has a page")

    @contextmanager
    def _counted(self, method: Callable[..., Any]) -> Iterator[None]:
        """Count a call that fails."""
        try:
            yield
        except LedgerError as error:
            self._gateway.metrics.count_failure(getattr(method, "__name__", "other"), error)
            raise

    async def may(self, tenant_id: str, *methods: str) -> dict[str, bool]:
        """Return which methods the ledger lets the person call for a tenant; they have full names.

        All are asked for together, once in a while; the ledger decides each act anyhow.
        """
        allowed = await self._allowed(tenant_id)
        return {method: method in allowed for method in methods}

    def forget_access(self, tenant_id: str) -> None:
        """Have the ledger asked again what the person may do: it has said otherwise than was thought."""
        self._session.access.pop(tenant_id, None)

    async def _allowed(self, tenant_id: str) -> Collection[str]:
        found = self._session.access.get(tenant_id)
        now = time.monotonic()
        if found is not None and now < found[1]:
            return found[0]
        try:
            told = await self.ask(self.client.access.get_access, m.GetAccessRequest(tenant_id=tenant_id))
        except LedgerError:
            # It could not be asked: nothing is offered, and nothing remembered.
            return ()
        allowed = frozenset(map(sys.intern, told.methods))  # sessions share the names
        if len(self._session.access) >= _MOST_TENANTS:
            self._session.access.clear()
        self._session.access[tenant_id] = (allowed, now + _REMEMBERED_SECONDS)
        return allowed


class KnownCurrencies:
    """The currencies that the ledger counts in, asked for now and then."""

    def __init__(self) -> None:
        self._currencies: Currencies | None = None
        self._until = 0.0

    async def of(self, ledger: PersonsLedger) -> Currencies | None:
        """Return them; None where the person may not ask, so that amounts are shown in minor units.

        Raises:
            LedgerError: the ledger could not be reached.
        """
        now = time.monotonic()
        if self._currencies is None or now >= self._until:
            try:
                answer = await ledger.ask(ledger.client.tenants.list_currencies, m.ListCurrenciesRequest())
            except AccessDenied:
                return self._currencies
            self._currencies = Currencies.of(answer.currencies)
            self._until = now + _CURRENCIES_SECONDS
        return self._currencies
