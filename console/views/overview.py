"""Owns the pages on which one begins: the tenants, and what waits in one of them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from console import charts, figures
from console.formats import Formats
from console.pages import Page
from console.views.allowed import if_allowed
from console.visit import Visit
from console.words import FINDING_CLASSES
from defter_client import AccessDenied
from defter_client import messages as m

_LISTED: Final = 100
_ACCOUNTS: Final = 200


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
            m.ListTenantsRequest(page_size=_LISTED, page_token=visit.query.get("page", "")),
        )
    except AccessDenied:
        return await visit.page("tenants.html", rows=[], next_token="", may_list=False)
    return await visit.page(
        "tenants.html", rows=answer.tenants, next_token=answer.next_page_token, may_list=True
    )


async def overview(visit: Visit) -> Response:
    """Show what waits for somebody, and how the tenant stands: nine calls at once, each bounded."""
    ledger = visit.ledger
    client = ledger.client
    tenant: dict[str, Any] = {"tenant_id": visit.tenant_id}
    balanced, unbalanced = (
        m.ListSettlementBatchesRequest(tenant_id=visit.tenant_id, state=state, page_size=_LISTED)
        for state in (m.SETTLEMENT_BATCH_STATE_BALANCED, m.SETTLEMENT_BATCH_STATE_UNBALANCED)
    )
    asked = (
        ledger.ask(client.withdrawals.count_withdrawals, m.CountWithdrawalsRequest(**tenant)),
        ledger.ask(client.deposits.count_deposits, m.CountDepositsRequest(**tenant)),
        ledger.ask(client.findings.count_findings, m.CountFindingsRequest(**tenant)),
        ledger.ask(client.tenants.get_tenant, m.GetTenantRequest(**tenant)),
        ledger.page(
            client.accounts.list_accounts,
            m.ListAccountsRequest(**tenant, account_id_prefix="psp:", page_size=_ACCOUNTS),
        ),
        ledger.page(client.settlements.list_settlement_batches, balanced),
        ledger.page(client.settlements.list_settlement_batches, unbalanced),
        ledger.page(client.reconciliation.list_runs, m.ListRunsRequest(**tenant, page_size=_LISTED)),
        ledger.ask(client.outbound.get_outbound, m.GetOutboundRequest()),
    )
    withdrawals, deposits, findings, known, accounts, ready, wrong, runs, outbound = await asyncio.gather(
        *(if_allowed(each) for each in asked)
    )
    if withdrawals is None and findings is None and known is None:
        # Nothing of the tenant may be seen, or there is none: both are told alike.
        await ledger.page(
            client.withdrawals.list_withdrawals, m.ListWithdrawalsRequest(**tenant, page_size=1)
        )
    formats = await visit.formats()
    batches = [each for page in (ready, wrong) if page is not None for each in page.batches]
    return await visit.page(
        "overview.html",
        withdrawals=withdrawals and figures.waiting(withdrawals.counts, figures.WITHDRAWALS_OPEN),
        deposits=deposits and figures.waiting(deposits.counts, figures.DEPOSITS_OPEN),
        findings=findings,
        classes=None if findings is None else _classes(findings.counts),
        picture=None if findings is None else _picture_of_findings(findings.counts, visit, formats),
        tenant_now=known and known.tenant,
        clearings=None if accounts is None else figures.clearings(accounts.accounts, batches),
        clearings_cut=any(page is not None and page.next_page_token for page in (accounts, ready, wrong)),
        runs=None if runs is None else _newest_runs(runs.runs),
        outbound=outbound and outbound.outbound,
        sequence=max(
            (each.sequence for each in (withdrawals, findings, deposits) if each is not None), default=0
        ),
    )


def _classes(counts: Sequence[m.FindingCount]) -> Mapping[int, tuple[int, int, bool]]:
    """Return of each class how many are open and how many of these critical, and whether there are more."""
    found: dict[int, tuple[int, int, bool]] = {}
    for each in counts:
        count, critical, cut = found.get(each.finding_class, (0, 0, False))
        is_critical = each.severity == m.SEVERITY_CRITICAL
        found[each.finding_class] = (
            count + each.count,
            critical + (each.count if is_critical else 0),
            cut or each.at_least,
        )
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def _picture_of_findings(counts: Sequence[m.FindingCount], visit: Visit, formats: Formats) -> charts.Chart:
    return charts.bars(
        [
            charts.Row(
                visit.say(FINDING_CLASSES.get(kind, str(kind))),
                (charts.Value(count, formats.number(count) + ("+" if cut else "")),),
            )
            for kind, (count, _, cut) in _classes(counts).items()
        ]
    )


def _newest_runs(runs: Sequence[m.Run]) -> list[m.Run]:
    """Return the newest run of each provider account and legacy system; the list has the newest first."""
    found: dict[tuple[str, bool], m.Run] = {}
    for run in runs:
        found.setdefault((run.provider, run.HasField("comparison")), run)
    return [found[name] for name in sorted(found)]


PAGES: Final = (
    Page("/", tenants),
    Page("/t/{tenant}", overview),
)
