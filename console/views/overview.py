"""Owns the pages on which one begins: the tenants, and one tenant's queues."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message
from starlette.responses import Response

from console.pages import Page
from console.views.findings import OPEN
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_COUNTED: Final = 100


async def tenants(visit: Visit) -> Response:
    """Show the tenants that the person may see."""
    ledger = visit.ledger
    wanted = visit.query.get("tenant", "").strip()
    if wanted:
        visit.request.path_params["tenant"] = wanted
        return visit.redirect(visit.path())
    try:
        answer = await ledger.page(
            ledger.client.tenants.list_tenants,
            m.ListTenantsRequest(page_size=_COUNTED, page_token=visit.query.get("page", "")),
        )
    except AccessDenied:
        return await visit.page("tenants.html", rows=[], next_token="", may_list=False)
    return await visit.page(
        "tenants.html", rows=answer.tenants, next_token=answer.next_page_token, may_list=True
    )


async def overview(visit: Visit) -> Response:
    """Show what waits for somebody."""
    ledger, tenant_id = visit.ledger, visit.tenant_id
    withdrawals, findings = await asyncio.gather(
        _page(
            visit,
            ledger.client.withdrawals.list_withdrawals,
            m.ListWithdrawalsRequest(
                tenant_id=tenant_id, state=m.WITHDRAWAL_STATE_REQUESTED, page_size=_COUNTED
            ),
        ),
        _page(
            visit,
            ledger.client.findings.list_findings,
            m.ListFindingsRequest(tenant_id=tenant_id, states=OPEN, page_size=_COUNTED),
        ),
    )
    if withdrawals is None and findings is None:
        # Nothing of the tenant may be seen, or there is none: both are told alike.
        await ledger.page(
            ledger.client.withdrawals.list_withdrawals,
            m.ListWithdrawalsRequest(tenant_id=tenant_id, page_size=1),
        )
    return await visit.page(
        "overview.html",
        withdrawals=withdrawals,
        findings=findings,
        sequence=max((each.sequence for each in (withdrawals, findings) if each is not None), default=0),
    )


async def _page(visit: Visit, method: Callable[..., Any], request: Message) -> Any:
    try:
        return await visit.ledger.page(method, request)
    except AccessDenied:
        return None
    except LedgerError as error:
        if error.reason.endswith("_NOT_FOUND"):
            return None
        raise


PAGES: Final = (
    Page("/", tenants),
    Page("/t/{tenant}", overview),
)
