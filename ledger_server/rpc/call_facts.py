"""Owns what is known of the call under way: every log line of the call says it."""

from collections.abc import MutableMapping
from contextvars import ContextVar, Token
from typing import Any

from msgspec import Struct

from ledger_server.rpc.request_id import Metadata, request_id_of

METADATA: ContextVar[Metadata] = ContextVar("METADATA", default=())
"""What the call under way came with: to ask gRPC for it again would make all of it anew."""


class CallFacts(Struct):
    """One call, in the task that serves it; its tenant and its caller are found out later.

    Attributes:
        method: `package.Service/Method`.
        metadata: what the call came with.
        begun: proves that the call's own task runs; None once the call has ended.
        tenant_id: None where its request names none.
        replayed: whether it was answered with what an earlier call had decided.
        code: the name of the gRPC code that it ends with, once it has ended.
        known_id: the request id, once somebody has asked for it.
    """

    method: str
    metadata: Metadata
    begun: "Token[CallFacts | None] | None" = None
    tenant_id: str | None = None
    identity: str = ""
    replayed: bool = False
    code: str = "OK"
    known_id: str = ""

    def end(self, code: str) -> None:
        """Note how the call has ended; what is logged from here on is not the call's."""
        self.code = code
        self.begun = None  # the two refer to each other

    @property
    def request_id(self) -> str:
        """The id by which answers, errors and log lines name this call; most calls have no use for one."""
        if not self.known_id:
            self.known_id = request_id_of(self.metadata)
        return self.known_id

    @property
    def under_way_here(self) -> bool:
        """Whether the call's own task runs now.

        What a call sets off, such as the commit of a lane, runs for other calls too and must not be told as
        its own.
        """
        if self.begun is None:
            return False
        try:
            CALL.reset(self.begun)
        except ValueError:  # this is a task, a callback or a thread with a copy of the call's context
            return False
        self.begun = CALL.set(self)
        return True


CALL: ContextVar[CallFacts | None] = ContextVar("CALL", default=None)


def begin_call(method: str, metadata: Metadata) -> CallFacts:
    """Note what is known of a call in the task that serves it, until its `end`.

    Args:
        method: `package.Service/Method`.
        metadata: what the call came with.
    """
    facts = CallFacts(method, metadata)
    facts.begun = CALL.set(facts)
    return facts


def add_call_facts(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the facts of the call under way to a log line, as a processor of structlog does."""
    facts = CALL.get()
    if facts is not None and facts.under_way_here:
        event.setdefault("request_id", facts.request_id)
        event.setdefault("method", facts.method)
        if facts.tenant_id:
            event.setdefault("tenant_id", facts.tenant_id)
        if facts.identity:
            event.setdefault("identity", facts.identity)
    return event
