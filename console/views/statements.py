"""Owns a player's statement: on pages, as a file, and to print with balances that add up."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import csv_lists
from console.catalogue import N_
from console.csv_lists import Text
from console.formats import Formats, iso
from console.pages import Page
from console.player_accounts import PlayerAccount
from console.statement import Line, read, summed
from console.views.lists import PAGE_SIZE, Filters, csv_answer
from console.views.players import accounts_asked, holds_of
from console.visit import Visit
from defter_client import LedgerError
from defter_client import messages as m

MOST_PRINTED: Final = 2_000
_PAGE: Final = 1_000
_HOLDS: Final = 200
_TOO_LONG: Final = N_("The period has too many lines to print. Choose a shorter one, or take it as CSV.")
_CROSSED: Final = N_("The end lies before the beginning.")
_NOT_ADDED: Final = N_(
    "The lines do not add up to the balances. Do not hand this out; tell those who run the ledger."
)
_DAYS: Final = {"month": N_("this month"), "before": N_("the month before"), "week": N_("the last 7 days")}


async def statement(visit: Visit) -> Response:
    """Show the lines of one account of a player, with the balance behind each."""
    filters = Filters(visit)
    account, accounts = await _account(visit)
    lines: list[Line] = []
    next_token = ""
    if account is not None:
        request = _request(visit, filters, account)
        request.page_size, request.page_token = PAGE_SIZE, filters.page_token
        ledger = visit.ledger
        answer = await ledger.page(ledger.client.accounts.list_postings, request)
        holds = await holds_of(visit, account.account_id, page_size=_HOLDS)
        lines = read(answer.lines, account.account.kind, () if holds is None else holds.holds)
        next_token = answer.next_page_token
    return await visit.page(
        "statement.html",
        422 if filters.problems else 200,
        player_id=visit.request.path_params["player"],
        account=account,
        accounts=accounts,
        lines=lines,
        next_token=next_token,
        problems=filters.problems,
        periods=[(visit.say(word), *_period(visit, name)) for name, word in _DAYS.items()],
    )


async def as_csv(visit: Visit) -> Response:
    """Return all pages of the same statement as a file."""
    filters = Filters(visit)
    account, _ = await _account(visit)
    if account is None:
        raise HTTPException(404)
    request = _request(visit, filters, account)
    if filters.problems:
        raise HTTPException(400)
    request.page_size = _PAGE
    ledger = visit.ledger
    currencies = await visit.console.currencies.of(ledger)
    formats = Formats(visit.language, visit.console.zone, currencies, visit.now)
    currency, kind = account.currency_code, account.account.kind

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        async for each in ledger.client.accounts.list_postings(request, metadata=ledger.metadata):
            [line] = read([each], kind)
            yield (
                iso(each.record_time),
                iso(each.effective_time),
                m.TransactionType.Name(each.type),
                m.PostingPhase.Name(each.phase),
                formats.plain(line.change_minor, currency),
                formats.plain(each.pending_change_minor, currency),
                formats.plain(each.balance.posted_balance_minor, currency),
                formats.plain(each.balance.available_balance_minor, currency),
                currency,
                Text(each.reference),
                each.transaction_id,
                account.account_id,
                str(each.sequence),
                str(each.leg),
            )

    header = (
        "record_time,effective_time,type,phase,change,pending_change,posted_balance,available_balance,currency,"
        "reference,transaction_id,account_id,sequence,leg"
    )
    return await csv_answer(visit, "statement", header.split(","), rows())


async def printed(visit: Visit) -> Response:
    """Show a statement to print: posted lines alone, oldest first, between two balances."""
    filters = Filters(visit)
    account, accounts = await _account(visit)
    if account is None:
        raise HTTPException(404)
    request = _request(visit, filters, account)
    request.include_pending, request.newest_first, request.page_size = False, False, _PAGE
    problem = next(iter(filters.problems.values()), "")
    closing = await _balance(
        visit, account, _just_before(request.end_time) if request.HasField("end_time") else None
    )
    opening = (
        await _balance(visit, account, _just_before(request.start_time))
        if request.HasField("start_time")
        else m.GetBalanceResponse()
    )
    found: list[m.StatementLine] = []
    ledger = visit.ledger
    async for line in ledger.client.accounts.list_postings(request, metadata=ledger.metadata):
        # What came between the question for the balance and this is of the next statement.
        if line.sequence > closing.sequence:
            break
        found.append(line)
        if len(found) > MOST_PRINTED:
            problem = problem or visit.say(_TOO_LONG)
            break
    lines = read(found, account.account.kind)
    total = summed(opening.balance.posted_balance_minor, lines, closing.balance.posted_balance_minor)
    if not problem and not total.adds_up:
        problem = visit.say(_NOT_ADDED)
    return await visit.page(
        "statement_print.html",
        422 if problem else 200,
        player_id=visit.request.path_params["player"],
        account=account,
        accounts=accounts,
        lines=lines,
        total=total,
        from_time=request.start_time if request.HasField("start_time") else account.account.open_time,
        to_time=request.end_time if request.HasField("end_time") else None,
        problem=problem,
    )


async def _account(visit: Visit) -> tuple[PlayerAccount | None, tuple[PlayerAccount, ...]]:
    """Return the account that the address asks for, and all of the player; another player's is none."""
    accounts = (await accounts_asked(visit, visit.request.path_params["player"])).known
    wanted = visit.query.get("account", "")
    if not wanted:
        return (
            next((each for each in accounts if each.balance.version), accounts[0] if accounts else None)
        ), accounts
    found = next((each for each in accounts if each.account_id == wanted), None)
    if found is None:
        raise HTTPException(404)
    return found, accounts


def _request(visit: Visit, filters: Filters, account: PlayerAccount) -> m.ListPostingsRequest:
    start, end = filters.time("from"), filters.time("to")
    if start is not None and end is not None and start.ToNanoseconds() > end.ToNanoseconds():
        filters.problems["to"] = visit.say(_CROSSED)
        end = None
    return m.ListPostingsRequest(
        tenant_id=visit.tenant_id,
        account_id=account.account_id,
        start_time=start,
        end_time=end,
        include_pending=visit.query.get("lines") != "posted",
        newest_first=visit.query.get("order") != "oldest",
    )


async def _balance(visit: Visit, account: PlayerAccount, at: Timestamp | None) -> m.GetBalanceResponse:
    """Return a balance as it was known then, or now; nothing from before the account was open."""
    ledger = visit.ledger
    request = m.GetBalanceRequest(tenant_id=visit.tenant_id, account_id=account.account_id, time=at)
    try:
        return await ledger.ask(ledger.client.accounts.get_balance, request)
    except LedgerError as error:
        if at is not None and error.reason == "ACCOUNT_NOT_FOUND":
            return m.GetBalanceResponse()
        raise


def _just_before(at: Timestamp) -> Timestamp:
    """Return the instant before another one; the ledger counts microseconds."""
    found = Timestamp()
    found.FromMicroseconds(at.ToMicroseconds() - 1)
    return found


def _period(visit: Visit, name: str) -> tuple[str, str]:
    """Return the ends of a period as the fields of a filter have them; empty: up to now."""
    today = visit.now.astimezone(visit.console.zone).replace(
        hour=0, minute=0, second=0, microsecond=0, tzinfo=None
    )
    first = today.replace(day=1)
    match name:
        case "month":
            return _typed(first), ""
        case "before":
            return _typed((first - timedelta(days=1)).replace(day=1)), _typed(first)
        case _:
            return _typed(today - timedelta(days=7)), ""


def _typed(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M")


_BASE: Final = "/t/{tenant}/players/{player}"
PAGES: Final = (
    Page(f"{_BASE}/statement", statement),
    Page(f"{_BASE}/statement.csv", as_csv),
    Page(f"{_BASE}/statement/print", printed),
)
