"""Owns the pages of accounts: the tree of their ids, and one with its lines and the balance after each."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from starlette.responses import Response

from console import branches, csv_lists
from console.csv_lists import Text
from console.formats import iso
from console.pages import Page
from console.views.allowed import if_allowed
from console.views.lists import PAGE_SIZE, Filters, csv_answer
from console.visit import Visit
from console.words import ACCOUNT_STATES
from defter_client import messages as m

_SHOWN: Final = 100
"""Accounts of one page of the tree."""
_MOST_PREFIX: Final = 255


def _prefix(filters: Filters) -> str:
    """Return what ids are to begin with, without what no id has: the ledger would refuse it."""
    return "".join(each for each in filters.text("prefix") if each.isascii() and not each.isspace())


async def tree(visit: Visit) -> Response:
    """Show a branch: what is below a prefix, one page of it."""
    filters = Filters(visit)
    prefix = _prefix(filters)[:_MOST_PREFIX]
    state = filters.number("state", ACCOUNT_STATES)
    ledger = visit.ledger

    async def listed(beginning: str, size: int, token: str) -> Any:
        request = m.ListAccountsRequest(
            tenant_id=visit.tenant_id,
            account_id_prefix=beginning,
            state=state,  # type: ignore[arg-type]  # a key of the words
            page_size=size,
            page_token=token,
        )
        return await ledger.page(ledger.client.accounts.list_accounts, request)

    roots = branches.ROOTS if not prefix and not filters.page_token else ()
    page, *first = await asyncio.gather(
        listed(prefix, _SHOWN, filters.page_token), *(listed(root, 1, "") for root in roots)
    )
    found = branches.branches(page.accounts, prefix, has_more=bool(page.next_page_token))
    shown = {each.prefix for each in found}
    # Ids come in their order, so that a million players stand before `psp:`: known roots are asked by name.
    beyond = [root for root, one in zip(roots, first, strict=True) if root not in shown and one.accounts]
    return await visit.page(
        "accounts.html",
        prefix=prefix,
        way=tuple(branches.way(prefix)),
        found=found,
        beyond=beyond,
        next_token=page.next_page_token,
        sequence=page.sequence,
    )


def _statement(visit: Visit, filters: Filters) -> m.ListPostingsRequest:
    """Return what the address asks for of an account's statement."""
    return m.ListPostingsRequest(
        tenant_id=visit.tenant_id,
        account_id=visit.request.path_params["account"],
        start_time=filters.time("from"),
        end_time=filters.time("to"),
        include_pending=visit.query.get("lines") != "posted",
        newest_first=visit.query.get("order") != "oldest",
        page_size=PAGE_SIZE,
        page_token=filters.page_token,
    )


async def one(visit: Visit) -> Response:
    """Show an account: what it is, what it has, and its lines."""
    filters = Filters(visit)
    ledger, account_id = visit.ledger, visit.request.path_params["account"]
    answer, lines = await asyncio.gather(
        ledger.ask(
            ledger.client.accounts.get_account,
            m.GetAccountRequest(tenant_id=visit.tenant_id, account_id=account_id),
        ),
        if_allowed(ledger.page(ledger.client.accounts.list_postings, _statement(visit, filters))),
    )
    before = None
    at = filters.time("at")
    if at is not None:
        before = await ledger.ask(
            ledger.client.accounts.get_balance,
            m.GetBalanceRequest(tenant_id=visit.tenant_id, account_id=account_id, time=at),
        )
    return await visit.page(
        "account.html",
        a=answer.account,
        b=answer.balance,
        sequence=answer.sequence,
        lines=None if lines is None else lines.lines,
        next_token="" if lines is None else lines.next_page_token,
        before=before,
        player_id=_player_of(answer.account.account_id),
        problems=filters.problems,
    )


def _player_of(account_id: str) -> str:
    """Return the player whose wallet an account is; empty for any other."""
    parts = account_id.split(":")
    return parts[1] if len(parts) > 1 and parts[0] == "player" else ""


async def as_csv(visit: Visit) -> Response:
    """Return all lines of the same statement as a file."""
    request = _statement(visit, Filters(visit))
    request.page_size, request.page_token = 1_000, ""
    ledger = visit.ledger
    formats = await visit.formats()
    answer = await ledger.ask(
        ledger.client.accounts.get_account,
        m.GetAccountRequest(tenant_id=visit.tenant_id, account_id=request.account_id),
    )
    currency = answer.account.currency_code

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        pager = ledger.client.accounts.list_postings(request, metadata=ledger.metadata)
        async for line in pager:
            amounts = (
                line.amount_minor,
                line.pending_change_minor,
                line.balance.posted_balance_minor,
                line.balance.available_balance_minor,
            )
            yield (
                str(line.sequence),
                str(line.leg),
                m.PostingPhase.Name(line.phase),
                m.Direction.Name(line.direction),
                *(formats.plain(each, currency) for each in amounts),
                currency,
                line.transaction_id,
                m.TransactionType.Name(line.type),
                Text(line.reference),
                iso(line.effective_time),
                iso(line.record_time),
            )

    header = "record,leg,phase,direction,amount,pending_change,posted_balance,available_balance,currency"
    rest = ("transaction_id", "type", "reference", "effective_time", "record_time")
    return await csv_answer(visit, "postings", [*header.split(","), *rest], rows())


PAGES: Final = (
    Page("/t/{tenant}/accounts", tree),
    Page("/t/{tenant}/accounts/{account}", one),
    Page("/t/{tenant}/accounts/{account}/postings.csv", as_csv),
)
