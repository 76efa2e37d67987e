"""Owns the guard of the server's methods: who calls, and whether they may, comes before anything else.

Without a guard (an open server on a loopback address) nothing here runs.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast

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
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.identity.caller import Caller
from ledger_server.identity.certificates import Authority
from ledger_server.identity.persons import check_name, person_of
from ledger_server.identity.policy import Policy
from ledger_server.identity.tokens import Expected, Token, TokenKeys
from ledger_server.rpc.audit import Audit
from ledger_server.rpc.audited_method import AuditedMethod
from ledger_server.rpc.call_facts import CALL
from ledger_server.rpc.outcome_scope import SHOWS_EVERYTHING, asked_method
from ledger_server.rpc.person_field import person_field
from ledger_server.rpc.tenant_scope import OF_THE_CALLER, TenantOf, name_of, tenant_reader

Context = grpc.aio.ServicerContext[Any, Any]

AUTHORIZATION: Final = "authorization"
PERSON: Final = "defter-person"
"""The metadata in which a service says for whom it acts, where the request has no field for it."""
_CERTIFICATE: Final = "x509_pem_cert"
_CHAIN: Final = "x509_pem_cert_chain"
_SECURITY: Final = "transport_security_type"
_MOST_REMEMBERED: Final = 8_192

SEES: ContextVar[Callable[[str], bool]] = ContextVar("SEES", default=lambda _: True)
"""Whether the caller of the call under way may see a tenant in a list of tenants."""
ALLOWED: ContextVar[Callable[[Mapping[str, str | None]], tuple[str, ...]]] = ContextVar(
    "ALLOWED", default=tuple
)
"""Returns those of some methods, each with its tenant, that the caller of the call under way may call.

It is the caller's own in methods of `OF_THE_CALLER` alone; an open server allows all.
"""
ITEM_REFUSED: ContextVar[Callable[[Refused], None]] = ContextVar("ITEM_REFUSED", default=lambda _: None)
"""Tells the audit log that an item of the call under way was refused, while the call itself is answered."""
CALLER: ContextVar[NamedCaller | None] = ContextVar("CALLER", default=None)
"""The caller of the call under way, as records name it; None on an open server.

Tasks that a call begins inherit it, jobs among them. So it is read in `rpc` alone: for journal records by
`CallersLedger`, else by the servicer.
"""


def caller_now() -> str:
    """Return the identity of the caller of the call under way; empty on an open server."""
    caller = CALLER.get()
    return "" if caller is None else caller.identity


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """What counts at a moment. What was verified by it is remembered with it, and forgotten with it."""

    policy: Policy
    authority: Authority | None
    token_keys: TokenKeys | None
    expected: Expected | None


class Credentials(NamedTuple):
    """What a call has shown of its caller.

    gRPC forgets it when the caller goes away, while messages of the call may still be at hand. So it is read
    once, when the call begins, and what is checked later is checked by it.
    """

    tokens: tuple[str, ...]
    persons: tuple[str, ...]
    """For whom the caller acts, as the metadata says."""
    is_secure: bool
    """Whether the connection has TLS."""
    certificate: bytes | None
    chain: Sequence[bytes]


def credentials_of(context: Context) -> Credentials:
    """Return what a call that begins has shown of its caller."""
    facts = CALL.get()
    tokens: tuple[str, ...] = ()
    persons: tuple[str, ...] = ()
    for name, value in (context.invocation_metadata() or ()) if facts is None else facts.metadata:
        if name == AUTHORIZATION:
            tokens = (*tokens, str(value))
        elif name == PERSON:
            persons = (*persons, str(value))
    peer = cast("Mapping[str, Sequence[bytes]]", context.auth_context())
    certificate = peer.get(_CERTIFICATE)
    return Credentials(
        tokens,
        persons,
        peer.get(_SECURITY, (b"",))[0] == b"ssl",
        certificate[0] if certificate else None,
        peer.get(_CHAIN, ()),
    )


class Admission:
    """A call that was admitted: its request, and what ends it if it is no longer permitted."""

    __slots__ = ("_again", "refused", "request")

    def __init__(self, request: Any, again: Callable[[], object]) -> None:
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

    def __init__(self, in_force: InForce, now: Callable[[], datetime], audit: Audit | None = None) -> None:
        """Take what is in force at first, a clock whose times have a zone, and where calls are told of."""
        self._now = now
        self._audit = audit
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
        return Door(
            self,
            name_of(method),
            tenant_reader(method),
            person_field=person_field(method),
            audited=None if self._audit is None else AuditedMethod(self._audit, method),
            has_items="items" in method.input_type.fields_by_name,
        )

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

    def identify(self, credentials: "Credentials") -> Caller:
        """Return who calls.

        Raises:
            Unauthenticated: nobody knows, for one of its reasons.
        """
        tokens, certificate = credentials.tokens, credentials.certificate
        if not credentials.is_secure:
            raise TokenOverPlaintext if tokens else IdentityMissing
        if len(tokens) + bool(certificate) > 1:
            raise IdentityGivenTwice
        if certificate:
            return self._by_certificate(certificate, credentials.chain)
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
        caller, end = self._in_force.authority.caller(pem, now)
        if len(self._certificates) >= _MOST_REMEMBERED:
            self._certificates.clear()
        self._certificates[certificate] = (caller, end)
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

    def __init__(
        self,
        guard: Guard,
        method: str,
        tenant_of: TenantOf,
        *,
        person_field: str,
        audited: AuditedMethod | None,
        has_items: bool,
    ) -> None:
        self.guard = guard
        self.tenant_of = tenant_of
        self._method = method
        self._person_field = person_field
        self._audited = audited
        self._has_items = has_items
        self._is_of_the_caller = method in OF_THE_CALLER

    def admit(self, request: Any, context: Context) -> Admission:
        """Admit a call, whose request has not been looked at yet.

        Args:
            request: a message, the refusal of a broken one, or the messages of a stream, each of which is
                checked as it comes.
        Raises:
            Unauthenticated, PermissionMissing, PersonOther, PersonMalformed, PersonNotPermitted: nothing was
                done.
            Refused: the request was broken; its caller may at least call the method.
        """
        tenant_id = self.tenant_of(request) if isinstance(request, Message) else None
        named = self._named(request) if self._person_field else ""
        asked = asked_method(self._method, request) if isinstance(request, Message) else ""
        credentials = credentials_of(context)
        caller = self.check(credentials, tenant_id, named, asked)
        CALLER.set(caller)
        if isinstance(request, Refused):
            raise request
        if isinstance(request, Message):
            if self._person_field and caller.person:
                # Before the request is digested: a person who is left out and one who is written out are the
                # same request, and another person's is another one.
                check_name(caller.person)
                setattr(request, self._person_field, caller.person)
            if self._has_items:
                ITEM_REFUSED.set(lambda refused: self.tell_refused(refused, request, context))
            return Admission(request, lambda: self.check(credentials, tenant_id, named, asked))
        stream = Stream(self, credentials, request)
        ITEM_REFUSED.set(lambda refused: self.tell_refused(refused, stream, context))
        return Admission(stream, stream.check)

    def check(
        self, credentials: Credentials, tenant_id: str | None, named: str = "", asked: str = ""
    ) -> NamedCaller:
        """Check a call of this method for a tenant; return whose it is.

        Args:
            credentials: as they were when the call began.
            named: the person whom the request names.
            asked: the method whose outcome the request asks for.
        Raises:
            Unauthenticated, PermissionMissing, PersonOther, PersonMalformed, PersonNotPermitted: it is not
                permitted.
        """
        caller, acted_for = self.guard.identify(credentials), credentials.persons
        facts = CALL.get()
        if facts is not None:
            facts.identity, facts.tenant_id = caller.identity, tenant_id
        policy = self.guard.in_force.policy
        if self._is_of_the_caller:
            return _told_of_itself(policy, caller, acted_for)
        policy.check(caller, self._method, tenant_id)
        if asked and not policy.allows(caller, SHOWS_EVERYTHING, tenant_id):
            policy.check(caller, asked, tenant_id)
        if tenant_id is None:
            SEES.set(policy.sees(caller, self._method))
        if not named and not acted_for:
            return caller.by_itself
        person = person_of(
            caller,
            (named, *acted_for),
            check_permitted=lambda name: policy.check_acting(caller, self._method, tenant_id, name),
        )
        return NamedCaller(caller.identity, person)

    def tell_read(self, request: object, context: Context) -> None:
        """Tell the audit log of a call that was answered, if that is its business."""
        caller = CALLER.get()
        if self._audited is not None and caller is not None:
            self._audited.read(request, context, self._tenant_of(request), caller)

    def tell_refused(self, refused: Refused, request: object, context: Context) -> None:
        """Tell the audit log of a refusal, if that is its business.

        Args:
            request: a message, or what was admitted of a stream.
        """
        if self._audited is None:
            return
        caller = CALLER.get()
        if caller is None:  # it was not admitted
            try:
                known = self.guard.identify(credentials_of(context))
                caller = NamedCaller(known.identity, known.subject or refused.metadata.get("person", ""))
            except Refused:
                caller = NamedCaller("", "")
        self._audited.refused(refused, request, context, self._tenant_of(request), caller)

    def _tenant_of(self, request: object) -> str | None:
        if isinstance(request, Message):
            return self.tenant_of(request)
        return request.tenant_id if isinstance(request, Stream) else None

    def _named(self, request: object) -> str:
        return str(getattr(request, self._person_field)) if isinstance(request, Message) else ""


class Stream:
    """The messages of one stream, each checked for its tenant, or for that of the messages before it."""

    def __init__(self, door: Door, credentials: Credentials, requests: AsyncIterator[Any]) -> None:
        self._door = door
        self._credentials = credentials
        self._checked = self._check_each(requests)
        self.tenant_id: str | None = None
        """That of the first message that names one."""

    def __aiter__(self) -> AsyncIterator[Any]:
        """Return the messages."""
        return self._checked

    def __anext__(self) -> Awaitable[Any]:
        """Return the next message."""
        return self._checked.__anext__()

    def check(self) -> NamedCaller:
        """Check what was checked last; see `Door.check`."""
        return self._door.check(self._credentials, self.tenant_id)

    async def _check_each(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield the messages; in place of one that is refused its refusal, as for a broken one."""
        async for request in requests:
            try:
                if isinstance(request, Message):
                    tenant_id = self._door.tenant_of(request)
                    if self.tenant_id is None:
                        self.tenant_id = tenant_id
                    elif tenant_id is not None:
                        # Whatever is still told of the messages before it is of their tenant.
                        self._door.check(self._credentials, tenant_id)
                CALLER.set(self.check())
            except Refused as refused:
                yield refused
                return
            yield request


def _told_of_itself(policy: Policy, caller: Caller, acted_for: tuple[str, ...]) -> NamedCaller:
    """Let a caller ask what it may do, itself or for a person whom it names; return whose call it is.

    Raises:
        PersonOther, PersonMalformed: the person can't be the one for whom it is asked.
    """
    person = person_of(caller, acted_for, check_permitted=lambda _: None)
    of_others = "" if caller.subject else person
    ALLOWED.set(lambda needed: policy.allowed(caller, needed, person=of_others))
    return NamedCaller(caller.identity, person)


def wall_clock() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)
