"""Owns the pages of deposits: the list, and one with all that is known of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import csv_lists, words
from console.catalogue import N_
from console.csv_lists import Text
from console.formats import Formats, iso
from console.ledger import REFUND
from console.pages import Page
from console.timelines import of_deposit, refundable_minor, under_refund_minor
from console.typed_amounts import NotAnAmount, typed_amount
from console.views.allowed import if_allowed
from console.views.lists import PAGE_SIZE, Filters, csv_answer
from console.views.records import fields_of
from console.visit import Visit
from defter_client import Currencies
from defter_client import messages as m

_SHOWN: Final = 100
"""Of events, transactions and findings of one deposit."""
REFUNDABLE: Final = frozenset(
    {m.DEPOSIT_STATE_CAPTURED, m.DEPOSIT_STATE_PARTIALLY_REFUNDED, m.DEPOSIT_STATE_REVERSED}
)
"""States in which a form for a refund is offered; whether there is anything to refund, the ledger decides."""


STATES: Final[Mapping[str, tuple[int, ...]]] = {
    "open": (m.DEPOSIT_STATE_INITIATED, m.DEPOSIT_STATE_AUTHORIZED),
    "credited": (m.DEPOSIT_STATE_CAPTURED, m.DEPOSIT_STATE_PARTIALLY_REFUNDED),
    "returned": (
        m.DEPOSIT_STATE_PARTIALLY_REFUNDED,
        m.DEPOSIT_STATE_REFUNDED,
        m.DEPOSIT_STATE_REVERSED,
    ),
}
"""Several states under one name, as addresses have it."""
_NO_CURRENCY: Final = N_("An amount needs its currency.")
_CROSSED: Final = N_("This is less than the least.")


def _request(visit: Visit, filters: Filters, currencies: Currencies | None) -> m.ListDepositsRequest:
    """Return what the address asks for; the newest come first unless it says otherwise."""
    state = filters.number("state", words.DEPOSIT_STATES)
    least, most = (_bound(visit, filters, name, currencies) for name in ("least", "most"))
    if most and most < least:
        filters.problems["most"] = visit.say(_CROSSED)
        most = 0
    return m.ListDepositsRequest(
        tenant_id=visit.tenant_id,
        player_id=filters.text("player"),
        states=STATES.get(filters.text("state"), (state,) if state else ()),  # type: ignore[arg-type]
        provider=filters.text("provider"),
        provider_ref=filters.text("ref"),
        reference=filters.text("reference"),
        currency_code=filters.text("currency").upper(),
        min_amount_minor=least,
        max_amount_minor=most,
        from_time=filters.time("from"),
        to_time=filters.time("to"),
        newest_first=filters.text("order") != "oldest",
        page_size=PAGE_SIZE,
        page_token=filters.page_token,
    )


def _bound(visit: Visit, filters: Filters, name: str, currencies: Currencies | None) -> int:
    """Return an amount of the address in minor units; 0 for none, and for one that can't be read."""
    typed, currency = filters.text(name), filters.text("currency").upper()
    if not typed:
        return 0
    try:
        if currency:
            return typed_amount(typed, visit.language, currency, currencies)
        filters.problems[name] = visit.say(_NO_CURRENCY)
    except NotAnAmount as error:
        filters.problems[name] = visit.say(error.sentence)
    return 0


async def listed(visit: Visit) -> Response:
    """Show deposits."""
    filters = Filters(visit)
    request = _request(visit, filters, await visit.console.currencies.of(visit.ledger))
    ledger = visit.ledger
    answer = await ledger.page(ledger.client.deposits.list_deposits, request)
    return await visit.page(
        "deposits.html",
        422 if filters.problems else 200,
        rows=answer.deposits,
        chosen=filters.text("state"),
        newest_first=request.newest_first,
        next_token=answer.next_page_token,
        sequence=answer.sequence,
        problems=filters.problems,
    )


async def as_csv(visit: Visit) -> Response:
    """Return all pages of the same list as a file."""
    filters = Filters(visit)
    request = _request(visit, filters, await visit.console.currencies.of(visit.ledger))
    if filters.problems:
        raise HTTPException(400)
    request.page_size, request.page_token = 1_000, ""
    ledger = visit.ledger
    formats = await formats_of(visit)

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        pager = ledger.client.deposits.list_deposits(request, metadata=ledger.metadata)
        async for each in pager:
            money = (each.amount_minor, each.captured_minor, each.refunded_minor, each.disputed_minor)
            yield (
                each.deposit_id,
                Text(each.player_id),
                *(formats.plain(minor, each.currency_code) for minor in (*money, each.fee_minor)),
                each.currency_code,
                m.DepositState.Name(each.state),
                Text(each.provider),
                Text(each.provider_ref),
                Text(each.payment_ref),
                Text(each.reference),
                iso(each.initiate_time),
                iso(each.update_time),
            )

    header = "deposit_id,player_id,amount,captured,refunded,disputed,fees,currency,state,provider"
    rest = ("provider_ref", "payment_ref", "reference", "initiate_time", "update_time")
    return await csv_answer(visit, "deposits", [*header.split(","), *rest], rows())


async def read(visit: Visit) -> m.GetDepositResponse:
    """Return the deposit of the address."""
    deposit_id = visit.request.path_params["deposit"]
    return await visit.ledger.ask(
        visit.ledger.client.deposits.get_deposit,
        m.GetDepositRequest(tenant_id=visit.tenant_id, deposit_id=deposit_id),
    )


async def formats_of(visit: Visit) -> Formats:
    """Return how numbers and times are written on this page."""
    currencies = await visit.console.currencies.of(visit.ledger)
    return Formats(visit.language, visit.console.zone, currencies, visit.now)


async def one(visit: Visit) -> Response:
    """Show one deposit with all that is known of it."""
    answer = await read(visit)
    deposit, ledger, tenant_id = answer.deposit, visit.ledger, visit.tenant_id
    client = ledger.client
    about: dict[str, Any] = {"tenant_id": tenant_id, "page_size": _SHOWN}
    # Independent of each other, so they are asked for together; what the person may not read is left out.
    events, transactions, findings, may = await asyncio.gather(
        if_allowed(
            ledger.page(
                client.provider_events.list_provider_events,
                m.ListProviderEventsRequest(**about, payment_id=deposit.deposit_id),
            )
        ),
        if_allowed(
            ledger.page(
                client.postings.list_transactions,
                m.ListTransactionsRequest(**about, reference=deposit.deposit_id),
            )
        ),
        if_allowed(
            ledger.page(
                client.findings.list_findings,
                m.ListFindingsRequest(**about, payment_id=deposit.deposit_id),
            )
        ),
        may_refund(visit),
    )
    return await visit.page(
        "deposit.html",
        d=deposit,
        sequence=answer.sequence,
        may=may,
        left_minor=refundable_minor(deposit),
        asked_minor=under_refund_minor(deposit),
        is_refundable=deposit.state in REFUNDABLE,
        timeline=of_deposit(deposit, () if events is None else events.events),
        events=events,
        transactions=transactions,
        findings=findings,
        fields=fields_of(answer, await formats_of(visit)),
    )


async def may_refund(visit: Visit) -> dict[str, bool]:
    """Return whether the person may refund, as the templates ask for it."""
    return {"refund": (await visit.ledger.may(visit.tenant_id, REFUND))[REFUND]}


PAGES: Final = (
    Page("/t/{tenant}/deposits", listed),
    Page("/t/{tenant}/deposits.csv", as_csv),
    Page("/t/{tenant}/deposits/{deposit}", one),
)
