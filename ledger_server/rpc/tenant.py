"""Owns TenantService."""

from defter.ledger.v1 import tenant_pb2

from ledger_server.domain.errors import FieldMissing
from ledger_server.domain.ids import finding_id
from ledger_server.domain.ledger.currency import turnover_bound
from ledger_server.domain.state.commands import CreateTenant, Enforcement, Method, SetBalanceEnforcement
from ledger_server.domain.state.limit_survey import NO_SURVEY
from ledger_server.engine.lane.kept_currencies import KeptCurrencies
from ledger_server.engine.reads.enforcement import EnforcementReads
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.journal import caller_message
from ledger_server.engine.records.times import timestamp
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.guard import SEES
from ledger_server.rpc.outcomes import decide_one, settle
from ledger_server.rpc.page_token import page_position, page_size, page_token
from ledger_server.rpc.read_requests import tenant_violations
from ledger_server.rpc.requests import MAX_NOTE, keyed, keyed_violations
from ledger_server.rpc.serving import Context, deadline_of
from ledger_server.rpc.violations import Violations, members
from ledger_server.store.lane_store import Head

_ENFORCEMENTS = members(Enforcement)


class TenantServicer:
    """Opens ledgers and says how strictly they are enforced."""

    def __init__(self, ledger: CallersLedger, reads: Reads, currencies: KeptCurrencies) -> None:
        self._currencies = currencies
        self._ledger = ledger
        self._reads = reads
        self._enforcement = EnforcementReads(reads)

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

    async def GetTenant(
        self, request: tenant_pb2.GetTenantRequest, _: Context
    ) -> tenant_pb2.GetTenantResponse:
        """Read one tenant with the head of its journal."""
        tenant_violations(request).check()
        return tenant_pb2.GetTenantResponse(tenant=_tenant(await self._reads.tenant(request.tenant_id)))

    async def ListCurrencies(
        self, _request: tenant_pb2.ListCurrenciesRequest, _: Context
    ) -> tenant_pb2.ListCurrenciesResponse:
        """List the currencies that accounts may have, by code."""
        exponents = await self._currencies.exponents()
        return tenant_pb2.ListCurrenciesResponse(
            currencies=[
                tenant_pb2.Currency(
                    currency_code=code,
                    decimal_places=exponent,
                    withdrawn=code in self._currencies.withdrawn,
                    turnover_bound=turnover_bound(exponent),
                )
                for code, exponent in sorted(exponents.items())
            ]
        )

    async def ListTenants(
        self, request: tenant_pb2.ListTenantsRequest, _: Context
    ) -> tenant_pb2.ListTenantsResponse:
        """List the tenants that the caller may see by id."""
        violations = Violations()
        size = page_size(request, violations)
        position = page_position(request, violations, like=("",))
        violations.check()
        after = str(position[0]) if position else ""
        page = await self._reads.tenants(after=after, size=size, sees=SEES.get())
        return tenant_pb2.ListTenantsResponse(
            tenants=[_tenant(head) for head in page.items],
            next_page_token="" if page.next is None else page_token(request, (page.next,)),
        )

    async def GetBalanceEnforcement(
        self, request: tenant_pb2.GetBalanceEnforcementRequest, _: Context
    ) -> tenant_pb2.GetBalanceEnforcementResponse:
        """Read a tenant's mode, who set it and why, and what stands against ENFORCED now."""
        tenant_violations(request).check()
        now = await self._enforcement.now(request.tenant_id)
        return tenant_pb2.GetBalanceEnforcementResponse(
            tenant=_tenant(now.head),
            switch_sequence=now.switch_sequence,
            switch_time=timestamp(now.switch_time),
            switched_by=None if now.switched_by is None else caller_message(now.switched_by),
            newest_switch=now.switch,
            below_limit_count=now.below_count,
            below_limit_account_ids=now.account_ids,
            breached_transaction_count=now.breaches.transactions,
            breached_hold_count=now.breaches.holds,
            blocking_finding_count=now.finding_count,
            blocking_finding_ids=[finding_id(each) for each in now.fingerprints],
            sequence=now.head.sequence,
        )

    async def SetBalanceEnforcement(
        self, request: tenant_pb2.SetBalanceEnforcementRequest, context: Context
    ) -> tenant_pb2.SetBalanceEnforcementResponse:
        """Switch a tenant between recording and enforcing limits."""
        violations = keyed_violations(request)
        enforcement = violations.enum(request.balance_enforcement, "balance_enforcement", _ENFORCEMENTS)
        violations.text(request.reason, "reason", MAX_NOTE)
        if request.force and not request.reason.strip():
            violations.add(FieldMissing(field="reason"))
        violations.check()
        assert enforcement is not None
        survey = NO_SURVEY
        if enforcement is Enforcement.ENFORCED:
            survey = await self._enforcement.survey(request.tenant_id)
        fact = await decide_one(
            self._ledger,
            request.tenant_id,
            keyed(
                Method.SetBalanceEnforcement,
                request,
                request.idempotency_key,
                SetBalanceEnforcement(
                    enforcement=enforcement, reason=request.reason, force=request.force, survey=survey
                ),
            ),
            context,
        )
        return tenant_pb2.SetBalanceEnforcementResponse(tenant=tenant_pb2.Tenant.FromString(fact))


def _tenant(head: Head) -> tenant_pb2.Tenant:
    return tenant_pb2.Tenant(
        tenant_id=head.tenant_id,
        balance_enforcement=int(head.enforcement),  # type: ignore[arg-type]
        create_time=timestamp(head.create_time),
        head_sequence=head.sequence,
        head_chain_hash=head.chain_hash,
        head_epoch=head.epochs[-1].name if head.epochs else "",
    )
