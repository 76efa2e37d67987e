"""Owns AccessService."""

from defter.identity.v1 import access_pb2

from ledger_server.engine.records.journal import caller_message
from ledger_server.rpc.guard import ALLOWED, CALLER
from ledger_server.rpc.methods import every_method
from ledger_server.rpc.serving import Context
from ledger_server.rpc.tenant_scope import needed_tenant
from ledger_server.rpc.violations import Violations


class AccessServicer:
    """Tells callers of themselves."""

    def __init__(self) -> None:
        self._methods = tuple(every_method())

    async def GetAccess(
        self, request: access_pb2.GetAccessRequest, _: Context
    ) -> access_pb2.GetAccessResponse:
        """Tell who calls and what the policy allows; on an open server nobody and everything."""
        violations = Violations()
        if request.tenant_id:
            violations.tenant_id(request.tenant_id)
        violations.check()
        tenant_id = request.tenant_id or None
        caller = CALLER.get()
        return access_pb2.GetAccessResponse(
            caller=None if caller is None else caller_message(caller),
            methods=ALLOWED.get()({method: needed_tenant(method, tenant_id) for method in self._methods}),
        )
