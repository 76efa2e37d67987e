"""Owns what is known of the call under way: every log line of the call says it."""

import asyncio
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any


class CallFacts:
    """One call, in the task that serves it."""

    __slots__ = ("_task", "code", "identity", "method", "replayed", "request_id", "tenant_id")

    def __init__(self, method: str, request_id: str) -> None:
        """Take what is known when a call begins; its tenant and its caller are found out later."""
        self.method = method
        self.request_id = request_id
        self.tenant_id = ""
        self.identity = ""
        self.replayed = False
        """Whether it was answered with what an earlier call had decided."""
        self.code = "OK"
        """The name of the gRPC code that it ends with, once it has ended."""
        self._task = asyncio.current_task()

    @property
    def under_way_here(self) -> bool:
        """Whether the call's own task runs now.

        What a call sets off, such as the commit of a lane, runs for other calls too and must not be told as
        its own.
        """
        try:
            return asyncio.current_task() is self._task
        except RuntimeError:  # in another thread
            return False


CALL: ContextVar[CallFacts | None] = ContextVar("CALL", default=None)


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
