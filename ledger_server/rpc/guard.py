"""Owns the guard of the server's methods: who calls, and whether they may, comes before anything else.

Without a guard (an open server on a loopback address) nothing here runs.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from ledger_server.domain.errors import (
    CertificateNotTrusted,
    IdentityGivenTwice,
    IdentityMissing,
    Refused,
    TokenKeyUnknown,
    TokenOverPlaintext,
)
from ledger_server.identity.caller import Caller
from ledger_server.identity.certificates import Authority, end_of
from ledger_server.identity.policy import Policy
from ledger_server.identity.tokens import Expected, Token, TokenKeys
from ledger_server.rpc.call_facts import CALL
from ledger_server.rpc.tenant_scope import TenantOf, name_of, tenant_reader

Context = grpc.aio.ServicerContext[Any, Any]

AUTHORIZATION: Final = "authorization"
_CERTIFICATE: Final = "x509_pem_cert"
_CHAIN: Final = "x509_pem_cert_chain"
_SECURITY: Final = "transport_security_type"
_MOST_REMEMBERED: Final = 8_192

SEES: ContextVar[Callable[[str], bool]] = ContextVar("SEES", default=lambda _: True)
"""Whether the caller of the call under way may see a tenant in a list of tenants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """What counts at a moment. What was verified by it is remembered with it, and forgotten with it."""

    policy: Policy
    authority: Authority | None
    token_keys: TokenKeys | None
    expected: Expected | None


class Admission:
    """A call that was admitted: its request, and what ends it if it is no longer permitted."""

    __slots__ = ("_again", "refused", "request")

    def __init__(self, request: Any, again: Callable[[], None]) -> None:
        self.request = request
        self._again = again
        self.refused: Refused | None = None
        """Why the call was ended, once it was."""

    def still_refused(self) -> bool:
        """Check again what was checked last; return whether the call must end."""
        try:
            self._again()
        except Refused as refused:
            self.refused = refused
        return self.refused is not None


class Guard:
    """Knows what is in force, and the streams that are open."""

    def __init__(self, in_force: InForce, now: Callable[[], datetime]) -> None:
        """Take what is in force at first, and a clock whose times have a zone."""
        self._now = now
        self._in_force = in_force
        self._certificates: dict[bytes, tuple[Caller, datetime]] = {}
        self._tokens: dict[str, Token] = {}
        self._open: dict[Admission, asyncio.Task[Any]] = {}

    @property
    def in_force(self) -> InForce:
        """What is in force; once it is replaced, nothing that was verified before counts any more."""
        return self._in_force

    @in_force.setter
    def in_force(self, in_force: InForce) -> None:
        self._in_force = in_force
        self._certificates = {}
        self._tokens = {}

    def door(self, method: MethodDescriptor) -> "Door":
        """Return the door of a method.

        Raises:
            TenantUnclear: nobody has said what permission the method needs.
        """
        return Door(self, name_of(method), tenant_reader(method))

    def recheck(self) -> None:
        """End each open stream that would not be admitted any more."""
        for admission, task in tuple(self._open.items()):
            if admission.refused is None and admission.still_refused():
                task.cancel()

    @contextlib.contextmanager
    def watching(self, admission: Admission) -> Iterator[None]:
        """Have the stream of the current task ended when its permission is withdrawn."""
        task = asyncio.current_task()
        assert task is not None
        self._open[admission] = task
        try:
            yield
        finally:
            del self._open[admission]

    def identify(self, context: Context) -> Caller:
        """Return who calls.

        Raises:
            Unauthenticated: nobody knows, for one of its reasons.
        """
        peer = cast("Mapping[str, Sequence[bytes]]", context.auth_context())
        certificate = peer.get(_CERTIFICATE)
        tokens = [str(value) for key, value in context.invocation_metadata() or () if key == AUTHORIZATION]
        if peer.get(_SECURITY, (b"",))[0] != b"ssl":
            raise TokenOverPlaintext if tokens else IdentityMissing
        if len(tokens) + bool(certificate) > 1:
            raise IdentityGivenTwice
        if certificate:
            return self._by_certificate(certificate[0], peer.get(_CHAIN, ()))
        if tokens:
            return self._by_token(tokens[0])
        raise IdentityMissing

    def _by_certificate(self, certificate: bytes, chain: Sequence[bytes]) -> Caller:
        now = self._now()
        known = self._certificates.get(certificate)
        if known is not None and now <= known[1]:
            return known[0]
        if self._in_force.authority is None:
            raise CertificateNotTrusted(problem="this server has no authority for certificates")
        # gRPC leaves the caller's own certificate out of the chain: what is first there is another's.
        pem = b"".join((certificate, *(each for each in chain if each != certificate)))
        caller = self._in_force.authority.caller(pem, now)
        if len(self._certificates) >= _MOST_REMEMBERED:
            self._certificates.clear()
        self._certificates[certificate] = (caller, end_of(pem))
        return caller

    def _by_token(self, authorization: str) -> Caller:
        token = self._tokens.get(authorization)
        if token is None:
            keys, expected = self._in_force.token_keys, self._in_force.expected
            if keys is None or expected is None:
                raise TokenKeyUnknown(key_id="")
            token = keys.token(authorization, expected)
            if len(self._tokens) >= _MOST_REMEMBERED:
                self._tokens.clear()
            self._tokens[authorization] = token
        token.check_time(self._now().timestamp())
        return token.caller


class Door:
    """The guard of one method."""

    def __init__(self, guard: Guard, method: str, tenant_of: TenantOf) -> None:
        self.guard = guard
        self.tenant_of = tenant_of
        self._method = method

    def admit(self, request: Any, context: Context) -> Admission:
        """Admit a call, whose request has not been looked at yet.

        Args:
            request: a message, the refusal of a broken one, or the messages of a stream, each of which is
                checked as it comes.
        Raises:
            Unauthenticated, PermissionMissing: nothing was done.
            Refused: the request was broken; its caller may at least call the method.
        """
        tenant_id = self.tenant_of(request) if isinstance(request, Message) else None
        self.check(context, tenant_id)
        if isinstance(request, Refused):
            raise request
        if isinstance(request, Message):
            return Admission(request, lambda: self.check(context, tenant_id))
        stream = _Stream(self, context)
        return Admission(stream.checked(request), stream.check)

    def check(self, context: Context, tenant_id: str | None) -> None:
        """Check a call of this method for a tenant.

        Raises:
            Unauthenticated, PermissionMissing: it is not permitted.
        """
        caller = self.guard.identify(context)
        facts = CALL.get()
        if facts is not None:
            facts.identity, facts.tenant_id = caller.identity, tenant_id or ""
        policy = self.guard.in_force.policy
        policy.check(caller, self._method, tenant_id)
        if tenant_id is None:
            SEES.set(policy.sees(caller, self._method))


class _Stream:
    """The messages of one stream, each checked for its tenant, or for that of the messages before it."""

    def __init__(self, door: Door, context: Context) -> None:
        self._door = door
        self._context = context
        self._tenant_id: str | None = None

    def check(self) -> None:
        self._door.check(self._context, self._tenant_id)

    async def checked(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield the messages; in place of one that is refused its refusal, as for a broken one."""
        async for request in requests:
            try:
                if isinstance(request, Message):
                    tenant_id = self._door.tenant_of(request)
                    self._tenant_id = self._tenant_id if tenant_id is None else tenant_id
                self.check()
            except Refused as refused:
                yield refused
                return
            yield request


def wall_clock() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)
