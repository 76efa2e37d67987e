"""Owns TenantService."""

from defter.ledger.v1 import tenant_pb2

from ledger_server.domain.commands import CreateTenant, Enforcement, Method, SetBalanceEnforcement
from ledger_server.engine.ledger import Ledger
from ledger_server.rpc.outcomes import decide_one, settle
from ledger_server.rpc.requests import keyed, keyed_violations, members
from ledger_server.rpc.serving import Context, deadline_of

_ENFORCEMENTS = members(Enforcement)


class TenantServicer:
    """Opens ledgers and says how strictly they are enforced."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def CreateTenant(
        self, request: tenant_pb2.CreateTenantRequest, context: Context
    ) -> tenant_pb2.CreateTenantResponse:
        """Create a tenant and its empty journal."""
        violations = keyed_violations(request)
        enforcement: Enforcement | None = Enforcement.ENFORCED
        if request.balance_enforcement:
            enforcement = violations.enum(request.balance_enforcement, "balance_enforcement", _ENFORCEMENTS)
        violations.check()
        assert enforcement is not None
        command = CreateTenant(tenant_id=request.tenant_id, enforcement=enforcement)
        outcome = await self._ledger.create_tenant(
            request.tenant_id,
            keyed(Method.CreateTenant, request, request.idempotency_key, command),
            deadline=deadline_of(context),
        )
        fact = settle(outcome, context)
        return tenant_pb2.CreateTenantResponse(tenant=tenant_pb2.Tenant.FromString(fact))

    async def SetBalanceEnforcement(
        self, request: tenant_pb2.SetBalanceEnforcementRequest, context: Context
    ) -> tenant_pb2.SetBalanceEnforcementResponse:
        """Switch a tenant between recording and enforcing limits."""
        violations = keyed_violations(request)
        enforcement = violations.enum(request.balance_enforcement, "balance_enforcement", _ENFORCEMENTS)
        violations.check()
        assert enforcement is not None
        fact = await decide_one(
            self._ledger,
            request.tenant_id,
            keyed(
                Method.SetBalanceEnforcement,
                request,
                request.idempotency_key,
                SetBalanceEnforcement(enforcement=enforcement),
            ),
            context,
        )
        return tenant_pb2.SetBalanceEnforcementResponse(tenant=tenant_pb2.Tenant.FromString(fact))
