"""Owns the page of a transaction: a picture of its legs, and who has asked for it."""

import asyncio
from typing import Any, Final

from starlette.responses import Response

from console import legs
from console.pages import Page
from console.visit import Visit
from defter_client import AccessDenied
from defter_client import messages as m


async def one(visit: Visit) -> Response:
    """Show a transaction."""
    ledger, transaction_id = visit.ledger, visit.request.path_params["transaction"]
    answer = await ledger.ask(
        ledger.client.postings.get_transaction,
        m.GetTransactionRequest(tenant_id=visit.tenant_id, transaction_id=transaction_id),
    )
    transaction = answer.transaction
    record, original = await asyncio.gather(
        _record(visit, transaction.sequence), _reversed(visit, transaction.reverses_transaction_id)
    )
    return await visit.page(
        "transaction.html",
        t=transaction,
        reversed_by=answer.reversed_by_transaction_id,
        original=original,
        record=record,
        picture=legs.picture(transaction.postings),
        sums=_sums(transaction),
    )


def _sums(transaction: m.Transaction) -> dict[str, tuple[int, int]]:
    """Return debits and credits by currency."""
    found: dict[str, tuple[int, int]] = {}
    for leg in transaction.postings:
        debited, credited = found.get(leg.currency_code, (0, 0))
        if leg.direction == m.DIRECTION_DEBIT:
            debited += leg.amount_minor
        else:
            credited += leg.amount_minor
        found[leg.currency_code] = debited, credited
    return found


async def _record(visit: Visit, sequence: int) -> Any:
    """Return the record that wrote it, which names the key and who asked; None where that may not be read."""
    if sequence < 1:
        return None
    ledger = visit.ledger
    request = m.ListJournalRequest(tenant_id=visit.tenant_id, after_sequence=sequence - 1, page_size=1)
    try:
        page = await ledger.page(ledger.client.journal.list_journal, request)
    except AccessDenied:
        return None
    return next((each.record for each in page.entries if each.sequence == sequence), None)


async def _reversed(visit: Visit, transaction_id: str) -> m.Transaction | None:
    """Return the transaction that it reverses."""
    if not transaction_id:
        return None
    ledger = visit.ledger
    answer = await ledger.ask(
        ledger.client.postings.get_transaction,
        m.GetTransactionRequest(tenant_id=visit.tenant_id, transaction_id=transaction_id),
    )
    return answer.transaction


PAGES: Final = (Page("/t/{tenant}/transactions/{transaction}", one),)
