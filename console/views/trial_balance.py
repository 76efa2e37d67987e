"""Owns the page of the trial balance: whether all debits equal all credits, by currency."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from console import charts, csv_lists
from console.formats import Formats
from console.pages import Page
from console.views.lists import csv_answer
from console.visit import Visit
from console.words import ACCOUNT_KINDS
from defter_client import messages as m

COUNT_SECONDS: Final = 120.0
"""The ledger adds up every account of the tenant, so it may take longer than a page may."""
_GROW_BY_DEBITS: Final = (m.ACCOUNT_KIND_ASSET, m.ACCOUNT_KIND_EXPENSE)


@dataclass(frozen=True, slots=True)
class Line:
    """The sums of one kind, in minor units; they may be longer than 64 bits."""

    kind: int
    account_count: int
    posted_debits: int
    posted_credits: int
    pending_debits: int
    pending_credits: int

    @property
    def balance(self) -> int:
        """Posted money on the side on which the kind grows."""
        net = self.posted_debits - self.posted_credits
        return net if self.kind in _GROW_BY_DEBITS else -net


@dataclass(frozen=True, slots=True)
class Book:
    """The sums of one currency."""

    currency: str
    lines: tuple[Line, ...]

    @property
    def debits(self) -> int:
        """All posted debits, added up here once more: the page does not show the ledger's word alone."""
        return sum(line.posted_debits for line in self.lines)

    @property
    def credits(self) -> int:
        """All posted credits."""
        return sum(line.posted_credits for line in self.lines)

    @property
    def balances(self) -> bool:
        """Whether both are equal."""
        return self.debits == self.credits


def books_of(answer: m.GetTrialBalanceResponse) -> tuple[Book, ...]:
    """Return the answer as numbers."""
    return tuple(
        Book(
            each.currency_code,
            tuple(
                Line(
                    line.kind,
                    line.account_count,
                    int(line.posted_debits_minor or 0),
                    int(line.posted_credits_minor or 0),
                    int(line.pending_debits_minor or 0),
                    int(line.pending_credits_minor or 0),
                )
                for line in each.lines
            ),
        )
        for each in answer.trial_balances
    )


async def _asked(visit: Visit) -> m.GetTrialBalanceResponse:
    ledger = visit.ledger
    request = m.GetTrialBalanceRequest(tenant_id=visit.tenant_id)
    return await ledger.ask(ledger.client.journal.get_trial_balance, request, seconds=COUNT_SECONDS)


async def page(visit: Visit) -> Response:
    """Show the sums; at first only that they are being added up, since that takes as long as it takes."""
    if not visit.query.get("counted"):
        return await visit.page("trial_balance.html", books=None, sequence=0, pictures={})
    answer = await _asked(visit)
    books = books_of(answer)
    formats = await visit.formats()
    return await visit.page(
        "trial_balance.html",
        books=books,
        sequence=answer.sequence,
        pictures={book.currency: _picture(book, visit, formats) for book in books},
    )


def _picture(book: Book, visit: Visit, formats: Formats) -> charts.Chart:
    return charts.bars(
        [
            charts.Row(
                visit.say(ACCOUNT_KINDS.get(line.kind, str(line.kind))),
                (charts.Value(line.balance, formats.amount(line.balance, book.currency)),),
            )
            for line in book.lines
        ]
    )


async def as_csv(visit: Visit) -> Response:
    """Return the same sums as a file."""
    answer = await _asked(visit)
    formats = await visit.formats()

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        for book in books_of(answer):
            for line in book.lines:
                sums = (
                    line.posted_debits,
                    line.posted_credits,
                    line.balance,
                    line.pending_debits,
                    line.pending_credits,
                )
                yield (
                    book.currency,
                    m.AccountKind.Name(line.kind),  # type: ignore[arg-type]  # a number of the contract
                    str(line.account_count),
                    *(formats.plain(each, book.currency) for each in sums),
                    str(answer.sequence),
                )

    header = "currency,kind,accounts,posted_debits,posted_credits,balance,pending_debits,pending_credits"
    return await csv_answer(visit, "trial-balance", [*header.split(","), "as_of_record"], rows())


PAGES: Final = (
    Page("/t/{tenant}/trial-balance", page),
    Page("/t/{tenant}/trial-balance.csv", as_csv),
)
