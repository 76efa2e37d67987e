"""Owns which calls of a method the audit log is told of."""

from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor

from ledger_server.domain.errors import Refused
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.rpc.audit import DENIED, Audit, person_told, subject_of, tenant_told
from ledger_server.rpc.call_facts import CALL
from ledger_server.rpc.errors import code_of
from ledger_server.rpc.method_kinds import changes, reads_players
from ledger_server.rpc.request_id import request_id_of
from ledger_server.rpc.tenant_scope import name_of

Context = grpc.aio.ServicerContext[Any, Any]


class AuditedMethod:
    """Tells the audit log of calls of one method; requests are messages, or something else for streams."""

    def __init__(self, audit: Audit, method: MethodDescriptor) -> None:
        self._audit: Final = audit
        self._method: Final = name_of(method)
        self._changes: Final = changes(self._method)
        self._reads_players: Final = reads_players(self._method)
        self._streams: Final = method.server_streaming  # what a stream reads is told of when it begins

    def read(self, request: object, context: Context, tenant_id: str | None, caller: NamedCaller) -> None:
        """Tell of a call that was answered, if a person has read money of players by it.

        So does who sends another's request again: it is answered with what was decided then, and no record
        names the second caller.
        """
        facts = CALL.get()
        replayed = self._changes and facts is not None and facts.replayed
        if caller.person and (self._reads_players or replayed):
            self._audit.read(**self._facts(request, context, tenant_id, caller))

    def refused(
        self,
        refused: Refused,
        request: object,
        context: Context,
        tenant_id: str | None,
        caller: NamedCaller,
    ) -> None:
        """Tell of a refusal: of whatever was denied, of a change, or of a read by a person."""
        read_in_vain = self._reads_players and caller.person and not self._streams
        if self._changes or read_in_vain or code_of(refused) in DENIED:
            self._audit.refused(refused, **self._facts(request, context, tenant_id, caller))

    def _facts(
        self, request: object, context: Context, tenant_id: str | None, caller: NamedCaller
    ) -> dict[str, str]:
        facts = CALL.get()
        return {
            "identity": caller.identity,
            "person": person_told(caller.person),
            "method": self._method,
            "tenant_id": tenant_told(tenant_id),
            "subject": subject_of(request),
            "request_id": request_id_of(context.invocation_metadata()) if facts is None else facts.request_id,
            "peer": context.peer(),
        }
