"""Owns the way to the ledger: each call carries the person for whom it is made, and the request's id."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from console.sessions import Session
from console.tokens import Signer
from defter_client import (
    AccessDenied,
    Currencies,
    InvalidRequest,
    LedgerClient,
    LedgerError,
    Refused,
)
from defter_client import messages as m

_Response = TypeVar("_Response")
_REMEMBERED_SECONDS: Final = 300.0
"""For so long a permission that was asked for is not asked for again; the ledger decides each act anyhow."""
_CURRENCIES_SECONDS: Final = 60.0
_MOST_PERMISSIONS: Final = 256

APPROVE: Final = "ApproveWithdrawal"
REJECT: Final = "RejectWithdrawal"
CANCEL: Final = "CancelWithdrawal"
ACKNOWLEDGE: Final = "AcknowledgeFinding"
RESOLVE: Final = "ResolveFinding"
REOPEN: Final = "ReopenFinding"
REPAIR: Final = "RepairFinding"


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


class PersonsLedger:
    """The ledger as one person sees it, during one request."""

    def __init__(
        self, gateway: Gateway, *, person: str, groups: tuple[str, ...], session: Session, request_id: str
    ) -> None:
        self._gateway = gateway
        self._session = session
        self.client = gateway.client
        self.person = person
        self.metadata: tuple[tuple[str, str], ...] = (("x-request-id", request_id),)
        if gateway.signer is not None:
            token = gateway.signer.token(person, groups)
            self.metadata = (*self.metadata, ("authorization", f"Bearer {token}"))

    async def ask(self, method: Callable[..., Awaitable[_Response]], request: Message) -> _Response:
        """Make a call for the person.

        Raises:
            LedgerError: the ledger refused, or could not be reached.
        """
        return await method(request, metadata=self.metadata)

    async def page(self, method: Callable[..., Any], request: Message) -> Any:
        """Return one page of a list."""
        async for page in method(request, metadata=self.metadata).pages():
            return page
        raise AssertionError("a list has a page")

    async def may(self, tenant_id: str, *names: str) -> dict[str, bool]:
        """Return what the ledger lets the person do: it is asked, by calls that can have no effect.

        No RPC tells what a caller may do. A request that lacks its key and its subject is refused for the
        missing permission before it is read, and else for what it lacks; nothing is ever decided by it.
        """
        return {name: await self._may(tenant_id, name) for name in names}

    async def _may(self, tenant_id: str, name: str) -> bool:
        found = self._session.permissions.get((tenant_id, name))
        now = time.monotonic()
        if found is not None and now < found[1]:
            return found[0]
        begin, request = self._empty(tenant_id)[name]
        try:
            await begin(request, metadata=self.metadata)
        except AccessDenied:
            allowed = False
        except (InvalidRequest, Refused):
            allowed = True
        except LedgerError:
            # It could not be asked: nothing is offered, and nothing remembered.
            return False
        else:
            raise AssertionError(f"{name} took a request without a subject")
        if len(self._session.permissions) >= _MOST_PERMISSIONS:
            self._session.permissions.clear()
        self._session.permissions[tenant_id, name] = (allowed, now + _REMEMBERED_SECONDS)
        return allowed

    def _empty(self, tenant_id: str) -> dict[str, tuple[Callable[..., Awaitable[Any]], Message]]:
        """Return the calls that ask for a permission.

        The client would make a key where there is none, so that these have one; they have no subject.
        """
        withdrawals, findings = self.client.withdrawals, self.client.findings
        common: dict[str, Any] = {"tenant_id": tenant_id}
        return {
            APPROVE: (withdrawals.approve_withdrawal, m.ApproveWithdrawalRequest(**common)),
            REJECT: (withdrawals.reject_withdrawal, m.RejectWithdrawalRequest(**common)),
            CANCEL: (withdrawals.cancel_withdrawal, m.CancelWithdrawalRequest(**common)),
            ACKNOWLEDGE: (findings.acknowledge_finding, m.AcknowledgeFindingRequest(**common)),
            RESOLVE: (findings.resolve_finding, m.ResolveFindingRequest(**common)),
            REOPEN: (findings.reopen_finding, m.ReopenFindingRequest(**common)),
            REPAIR: (findings.repair_finding, m.RepairFindingRequest(**common)),
        }


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
