"""Owns the list of withdrawals: what waits and for whom, filtered by its address, and as a file."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import bulk, csv_lists, words
from console.catalogue import N_
from console.csv_lists import Text
from console.formats import Formats, iso
from console.ledger import APPROVE
from console.pages import Page
from console.typed_amounts import NotAnAmount, typed_amount
from console.views.allowed import if_allowed
from console.views.lists import PAGE_SIZE, Filters, csv_answer
from console.visit import Visit
from defter_client import Currencies
from defter_client import messages as m

GROUPS: Final = {
    "open": (N_("open: to review, or approved"), (m.WITHDRAWAL_STATE_REQUESTED, m.WITHDRAWAL_STATE_APPROVED)),
    "lost": (
        N_("ended without payment"),
        (
            m.WITHDRAWAL_STATE_REJECTED,
            m.WITHDRAWAL_STATE_CANCELLED,
            m.WITHDRAWAL_STATE_FAILED,
            m.WITHDRAWAL_STATE_REVERSED,
        ),
    ),
}
"""Several states that are asked for together."""
_NO_CURRENCY: Final = N_("Name the currency: an amount alone can't be compared.")
_NO_CODE: Final = N_("This is no currency code.")
_CROSSED: Final = N_("This is less than the smallest amount that was asked for.")
_COUNTED: Final = (m.WITHDRAWAL_STATE_REQUESTED, m.WITHDRAWAL_STATE_APPROVED)


@dataclass(slots=True)
class Count:
    """How many withdrawals of one state there are.

    Attributes:
        at_least: whether there may be more.
        sums: minor units by currency.
    """

    count: int = 0
    at_least: bool = False
    sums: dict[str, int] = field(default_factory=dict)


def _request(visit: Visit, filters: Filters, currencies: Currencies | None) -> m.ListWithdrawalsRequest:
    """Return what the address asks for; without a state those to review."""
    wanted = visit.query.get("state")
    states: tuple[int, ...] = ()
    if wanted is None:
        states = (m.WITHDRAWAL_STATE_REQUESTED,)
    elif wanted in GROUPS:
        states = GROUPS[wanted][1]
    elif state := filters.number("state", words.WITHDRAWAL_STATES):
        states = (state,)
    currency = filters.text("currency").upper()
    if not ((currency.isascii() and currency.isalnum()) or not currency):
        filters.problems["currency"] = visit.say(_NO_CODE)
        currency = ""
    least, most = (_amount(visit, filters, name, currency, currencies) for name in ("least", "most"))
    if most and most < least:
        filters.problems["most"] = visit.say(_CROSSED)
        most = 0
    return m.ListWithdrawalsRequest(
        tenant_id=visit.tenant_id,
        player_id=filters.text("player"),
        states=states,  # type: ignore[arg-type]  # of the words' keys
        provider=filters.text("provider"),
        reference=filters.text("reference"),
        currency_code=currency,
        min_amount_minor=least,
        max_amount_minor=most,
        from_time=filters.time("from"),
        to_time=filters.time("to"),
        newest_first=visit.query.get("order") == "newest",
        page_size=PAGE_SIZE,
        page_token=filters.page_token,
    )


def _amount(visit: Visit, filters: Filters, name: str, currency: str, currencies: Currencies | None) -> int:
    """Return an amount of a filter in minor units; 0 for none."""
    text = filters.text(name)
    if not text:
        return 0
    if not currency:
        filters.problems.setdefault("currency", visit.say(_NO_CURRENCY))
        return 0
    try:
        return typed_amount(text, visit.language, currency, currencies)
    except NotAnAmount as error:
        filters.problems[name] = visit.say(error.sentence)
        return 0


def waits_for(withdrawal: m.Withdrawal, person: str, visit: Visit) -> bool:
    """Whether a person may be the next to decide: they have not approved it, and nobody else works on it."""
    return not (
        any(each.reviewer.lower() == person.lower() for each in withdrawal.approvals)
        or bulk.claimed_by_other(withdrawal, person, visit.now)
    )


def _is_mine(visit: Visit) -> bool:
    return visit.query.get("mine") == "yes"


async def queue(visit: Visit) -> Response:
    """Show withdrawals, the oldest first unless the address says otherwise."""
    filters = Filters(visit)
    ledger = visit.ledger
    request = _request(visit, filters, await visit.console.currencies.of(ledger))
    answer = await ledger.page(ledger.client.withdrawals.list_withdrawals, request)
    # The ledger can't be asked for this: a page of it may be short, and the next one goes on.
    rows = [
        each for each in answer.withdrawals if not _is_mine(visit) or waits_for(each, ledger.person, visit)
    ]
    most = visit.console.settings.bulk_most_minor
    small = {
        each.withdrawal_id: bulk.chosen_of(each)
        for each in rows
        if each.state == m.WITHDRAWAL_STATE_REQUESTED
        and each.amount_minor <= most.get(each.currency_code, 0)
        and waits_for(each, ledger.person, visit)
    }
    if small and not (await ledger.may(visit.tenant_id, APPROVE))[APPROVE]:
        small = {}
    return await visit.page(
        "withdrawals.html",
        422 if filters.problems else 200,
        rows=rows,
        small=small,
        most_chosen=bulk.MOST,
        counts=await _counts(visit),
        request=request,
        state=visit.query.get("state", str(m.WITHDRAWAL_STATE_REQUESTED)),
        state_groups=GROUPS,
        is_mine=_is_mine(visit),
        now_seconds=int(visit.now.timestamp()),
        next_token=answer.next_page_token,
        sequence=answer.sequence,
        problems=filters.problems,
    )


async def _counts(visit: Visit) -> dict[int, Count] | None:
    """Return how many are open, by state; None where the person may not ask."""
    ledger = visit.ledger
    request = m.CountWithdrawalsRequest(tenant_id=visit.tenant_id)
    answer = await if_allowed(ledger.ask(ledger.client.withdrawals.count_withdrawals, request))
    if answer is None:
        return None
    found: dict[int, Count] = {state: Count() for state in _COUNTED}
    for each in answer.counts:
        count = found.get(each.state)
        if count is not None:
            count.count += each.count
            count.at_least = count.at_least or each.at_least
            count.sums[each.currency_code] = count.sums.get(each.currency_code, 0) + each.amount_minor
    return found


async def as_csv(visit: Visit) -> Response:
    """Return all pages of the same list as a file."""
    filters = Filters(visit)
    ledger = visit.ledger
    currencies = await visit.console.currencies.of(ledger)
    request = _request(visit, filters, currencies)
    if filters.problems:
        raise HTTPException(400)
    request.page_size, request.page_token = 1_000, ""
    formats = Formats(visit.language, visit.console.zone, currencies, visit.now)

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        pager = ledger.client.withdrawals.list_withdrawals(request, metadata=ledger.metadata)
        async for each in pager:
            if _is_mine(visit) and not waits_for(each, ledger.person, visit):
                continue
            yield (
                each.withdrawal_id,
                Text(each.player_id),
                formats.plain(each.amount_minor, each.currency_code),
                each.currency_code,
                m.WithdrawalState.Name(each.state),
                Text(each.provider),
                Text(each.provider_ref),
                Text(each.destination),
                Text(each.reference),
                iso(each.request_time),
                iso(each.approve_time),
                iso(each.paid_time),
            )

    header = "withdrawal_id,player_id,amount,currency,state,provider,provider_ref,destination,reference"
    times = ("request_time", "approve_time", "paid_time")
    return await csv_answer(visit, "withdrawals", [*header.split(","), *times], rows())


PAGES: Final = (Page("/t/{tenant}/withdrawals", queue), Page("/t/{tenant}/withdrawals.csv", as_csv))
