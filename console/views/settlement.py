"""Owns the pages of settlement batches: the list, and one with its lines."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import csv_lists, words
from console.catalogue import N_
from console.csv_lists import Text
from console.formats import Formats, iso
from console.ledger import CONFIRM_BATCH, IMPORT_REPORT
from console.pages import Page
from console.side_charts import Pair, paired
from console.views.lists import PAGE_SIZE, Filters, csv_answer
from console.visit import Visit
from defter_client import AccessDenied
from defter_client import messages as m


def _request(visit: Visit, filters: Filters) -> m.ListSettlementBatchesRequest:
    return m.ListSettlementBatchesRequest(
        tenant_id=visit.tenant_id,
        provider=filters.text("provider"),
        state=filters.number("state", words.BATCH_STATES),  # type: ignore[arg-type]  # one of the words' keys
        page_size=PAGE_SIZE,
        page_token=filters.page_token,
    )


async def batches(visit: Visit) -> Response:
    """Show batches, those seen first last on top."""
    ledger = visit.ledger
    request = _request(visit, Filters(visit))
    answer = await ledger.page(ledger.client.settlements.list_settlement_batches, request)
    return await visit.page(
        "settlement.html",
        rows=answer.batches,
        state=request.state,
        next_token=answer.next_page_token,
        may_import=await _may(visit, IMPORT_REPORT),
    )


async def batches_csv(visit: Visit) -> Response:
    """Return all pages of the same list as a file."""
    request = _request(visit, Filters(visit))
    request.page_size, request.page_token = 1_000, ""
    ledger = visit.ledger
    formats = await _formats(visit)

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        pager = ledger.client.settlements.list_settlement_batches(request, metadata=ledger.metadata)
        async for each in pager:
            sums = (
                each.gross_minor,
                -each.fee_minor,
                -each.refund_minor,
                -each.chargeback_minor,
                each.correction_minor,
                each.computed_minor,
            )
            told = each.HasField("paid_out_minor")
            yield (
                Text(each.batch_id),
                Text(each.provider),
                each.currency_code,
                m.SettlementBatchState.Name(each.state),
                *(formats.plain(amount, each.currency_code) for amount in sums),
                formats.plain(each.paid_out_minor, each.currency_code) if told else "",
                formats.plain(each.difference_minor, each.currency_code) if told else "",
                str(each.line_count),
                iso(each.paid_out_time),
                each.transaction_id,
            )

    header = "batch_id,provider,currency,state,gross,fees,refunds,chargebacks,corrections,computed,paid_out"
    rest = ("difference", "lines", "paid_out_time", "transaction_id")
    return await csv_answer(visit, "settlement-batches", [*header.split(","), *rest], rows())


async def one(visit: Visit) -> Response:
    """Show one batch: its equation, and its lines by page."""
    ledger = visit.ledger
    batch = await batch_of(visit)
    lines = await ledger.page(
        ledger.client.settlements.list_settlement_lines,
        m.ListSettlementLinesRequest(
            **name_of(visit), page_size=PAGE_SIZE, page_token=Filters(visit).page_token
        ),
    )
    formats = await _formats(visit)
    return await visit.page(
        "settlement_batch.html",
        b=batch,
        chart=_chart(visit, batch, formats),
        lines=lines.lines,
        next_token=lines.next_page_token,
        may_confirm=await _may(visit, CONFIRM_BATCH),
        is_confirmable=batch.state == m.SETTLEMENT_BATCH_STATE_BALANCED,
        findings=await _findings(visit),
    )


async def lines_csv(visit: Visit) -> Response:
    """Return all lines of a batch as a file."""
    ledger = visit.ledger
    await batch_of(visit)
    request = m.ListSettlementLinesRequest(**name_of(visit), page_size=1_000)
    formats = await _formats(visit)

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        async for each in ledger.client.settlements.list_settlement_lines(request, metadata=ledger.metadata):
            amounts = (each.gross_minor, each.fee_minor, each.net_minor)
            yield (
                Text(each.line_id),
                str(each.line_number),
                m.RecordKind.Name(each.kind),
                Text(each.provider_type),
                each.currency_code,
                *(formats.plain(amount, each.currency_code) for amount in amounts),
                "yes" if each.is_payout else "no",
                iso(each.create_time),
            )

    header = "line_id,line_number,kind,type,currency,gross,fee,net,is_payout,create_time"
    return await csv_answer(visit, "settlement-lines", header.split(","), rows())


def path_of(visit: Visit, batch: m.SettlementBatch) -> str:
    """Return a batch's page; ids of providers may have any characters, so they stand in the query."""
    return visit.path(
        "settlement",
        "batch",
        provider=batch.provider,
        batch=batch.batch_id,
        currency=batch.currency_code,
    )


def name_of(visit: Visit) -> dict[str, Any]:
    """Return what names a batch, as its address has it."""
    filters = Filters(visit)
    return {
        "tenant_id": visit.tenant_id,
        "provider": filters.text("provider"),
        "batch_id": filters.text("batch"),
        "currency_code": filters.text("currency"),
    }


async def batch_of(visit: Visit) -> m.SettlementBatch:
    """Return the batch of the address.

    Raises:
        HTTPException: the address names none.
        LedgerError: there is none, or it could not be asked for.
    """
    name = name_of(visit)
    if not all(name.values()):
        raise HTTPException(404)
    ledger = visit.ledger
    answer = await ledger.ask(
        ledger.client.settlements.get_settlement_batch, m.GetSettlementBatchRequest(**name)
    )
    return answer.batch


async def _may(visit: Visit, method: str) -> bool:
    return (await visit.ledger.may(visit.tenant_id, method))[method]


async def _formats(visit: Visit) -> Formats:
    currencies = await visit.console.currencies.of(visit.ledger)
    return Formats(visit.language, visit.console.zone, currencies, visit.now)


def _chart(visit: Visit, batch: m.SettlementBatch, formats: Formats) -> Any:
    """Return both totals as bars; None while one of them is not known."""
    if not batch.HasField("paid_out_minor"):
        return None
    computed, paid_out = batch.computed_minor, batch.paid_out_minor
    written = [formats.amount(amount, batch.currency_code) for amount in (computed, paid_out)]
    pair = Pair(batch.currency_code, computed, paid_out, *written)
    return paired([pair], visit.say(N_("By its lines")), visit.say(N_("Paid out")))


async def _findings(visit: Visit) -> list[m.Finding]:
    """Return the open findings about this batch; none where the person may not see them."""
    ledger, name = visit.ledger, name_of(visit)
    request = m.ListFindingsRequest(
        tenant_id=visit.tenant_id,
        states=[m.FINDING_STATE_OPEN, m.FINDING_STATE_ACKNOWLEDGED, m.FINDING_STATE_REOPENED],
        finding_class=m.FINDING_CLASS_SETTLEMENT_TOTAL_MISMATCH,
        provider=name["provider"],
        page_size=1_000,
    )
    try:
        found = await ledger.page(ledger.client.findings.list_findings, request)
    except AccessDenied:
        return []
    wanted = (name["batch_id"], name["currency_code"])
    return [each for each in found.findings if (each.at_provider.ref, each.currency_code) == wanted]


PAGES: Final = (
    Page("/t/{tenant}/settlement", batches),
    Page("/t/{tenant}/settlement.csv", batches_csv),
    Page("/t/{tenant}/settlement/batch", one),
    Page("/t/{tenant}/settlement/batch.csv", lines_csv),
)
