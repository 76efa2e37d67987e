"""Owns the pages for which the ledger counts: money by day and provider, and what stands against limits."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from console import charts, figures
from console.catalogue import N_
from console.formats import Formats
from console.pages import Page
from console.visit import Visit
from defter_client import messages as m

_DAYS: Final = 7
_COUNT_SECONDS: Final = 60.0
"""The ledger counts payments, or looks at every account: it may take longer than a page may."""


async def money(visit: Visit) -> Response:
    """Show money in and out by day and provider: two calls for each day."""
    formats = await visit.formats()
    days = figures.days_before(visit.now, visit.console.zone, _DAYS)
    counts = await asyncio.gather(*(_day(visit, day) for day in days))
    by_day = [(day, figures.moved(*both)) for day, both in zip(days, counts, strict=True)]
    currencies = sorted({row.currency for _, rows in by_day for row in rows})
    rates = figures.rates(
        [each for deposits, _ in counts for each in deposits],
        [each for _, withdrawals in counts for each in withdrawals],
    )
    return await visit.page(
        "money.html",
        by_day=by_day,
        currencies=currencies,
        pictures={each: _picture(by_day, each, visit, formats) for each in currencies},
        rates=rates,
        cut=any(row.at_least for _, rows in by_day for row in rows),
        of_currency=figures.of_currency,
    )


async def _day(visit: Visit, day: figures.Day) -> tuple[list[m.DepositCount], list[m.WithdrawalCount]]:
    ledger = visit.ledger
    window: dict[str, Any] = {"tenant_id": visit.tenant_id, "from_time": day.begin, "to_time": day.end}
    deposits, withdrawals = await asyncio.gather(
        ledger.ask(
            ledger.client.deposits.count_deposits,
            m.CountDepositsRequest(**window),
            seconds=_COUNT_SECONDS,
        ),
        ledger.ask(
            ledger.client.withdrawals.count_withdrawals,
            m.CountWithdrawalsRequest(**window),
            seconds=_COUNT_SECONDS,
        ),
    )
    return list(deposits.counts), list(withdrawals.counts)


def _picture(
    by_day: Sequence[tuple[figures.Day, tuple[figures.Moved, ...]]],
    currency: str,
    visit: Visit,
    formats: Formats,
) -> charts.Chart:
    rows = []
    for day, all_moved in by_day:
        both = figures.of_currency(all_moved, currency)
        values = (
            charts.Value(both.in_minor, formats.amount(both.in_minor, currency), 0),
            charts.Value(both.out_minor, formats.amount(both.out_minor, currency), 1),
        )
        rows.append(charts.Row(formats.date(day.date), values))
    return charts.bars(rows, (visit.say(N_("in")), visit.say(N_("out"))))


async def enforcement(visit: Visit) -> Response:
    """Show how strictly limits are kept and what stands against it; at first that the ledger counts."""
    if not visit.query.get("counted"):
        return await visit.page("enforcement.html", found=None)
    ledger = visit.ledger
    found = await ledger.ask(
        ledger.client.tenants.get_balance_enforcement,
        m.GetBalanceEnforcementRequest(tenant_id=visit.tenant_id),
        seconds=_COUNT_SECONDS,
    )
    return await visit.page("enforcement.html", found=found)


PAGES: Final = (
    Page("/t/{tenant}/money", money),
    Page("/t/{tenant}/enforcement", enforcement),
)
