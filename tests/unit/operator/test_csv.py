"""Lists as CSV: exact, harmless, by RFC 4180, page by page, and never silently short."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import account_pb2, journal_pb2, posting_pb2
from defter.payments.v1 import payment_pb2, withdrawal_pb2
from defter.reconciliation.v1 import finding_pb2
from hypothesis import given
from hypothesis import strategies as st

from defter_client import LedgerError
from defter_client._async.services import Withdrawals
from ledger_server.operator import shadow, sheets
from ledger_server.operator.connection import Exit, Stopped
from ledger_server.operator.csv_output import CsvOutput, Number, exact, harmless, print_csv
from ledger_server.operator.money import Money

PAGE = Path(__file__).parents[3] / "docs/operations/csv.md"
MONEY = Money({"EUR": 2, "JPY": 0, "BTC": 8})
COLUMNS = {
    "Statement": sheets.STATEMENT,
    "Trial balance": sheets.TRIAL_BALANCE,
    "Findings": sheets.FINDINGS,
    "Withdrawals": sheets.WITHDRAWALS,
    "Shadow": shadow.COLUMNS,
}
FORMULA = '=HYPERLINK("http://evil.example","a,b")'
HOSTILE = st.text(st.sampled_from("=+-@'\"\t\r\n,;＝ａa1 "), max_size=8)


def read(text: str) -> list[list[str]]:
    """Return the rows as a program reads them that follows RFC 4180."""
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def test_columns_are_those_of_the_page() -> None:
    """Each column of each list is told, in its order, and no other."""
    told: dict[str, tuple[str, ...]] = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, table = section.partition("\n")
        told[title] = tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))

    assert told == COLUMNS


def given_back(cell: str) -> str:
    """Return the text of a cell, as the page tells programs to do."""
    return "".join(part.removeprefix("'") for part in re.split("([;\t\r\n\v\f])", cell))


def looks_like_a_formula(cell: str) -> bool:
    """Whether a spreadsheet might run a cell."""
    return (
        cell.lstrip('\u200b\ufeff\u202e"')
        .strip()
        .lstrip('\u200b\ufeff\u202e"')
        .startswith(tuple("=+-@＝＋－＠"))
    )


@pytest.mark.parametrize("begin", list("=+-@'＝＋－＠"))
@pytest.mark.parametrize("before", ["", "a;", "a\t", "a;b\r\n"])
@pytest.mark.parametrize("unseen", ["", " ", "\u00a0", "\u200b", "\ufeff", "\u202e", "\x1b", '"'])
def test_text_that_begins_like_a_formula_is_text(begin: str, before: str, unseen: str) -> None:
    """Whatever it begins with, nothing runs it, and nothing of it is lost."""
    assert harmless(f"{before}{unseen}{begin}1+1") == f"{before}'{unseen}{begin}1+1"


@given(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=4))
def test_texts_come_back_as_they_were(rows: list[tuple[str, str]]) -> None:
    """Quotes, separators and apostrophes survive; in no country does a cell begin like a formula."""
    written = io.StringIO(newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", written)
        CsvOutput(("one", "other")).rows(rows)

    names, *cells = read(written.getvalue())

    assert names == ["one", "other"]
    assert [tuple(map(given_back, row)) for row in cells] == rows
    for separator in ",;\t":
        elsewhere = csv.reader(io.StringIO(written.getvalue(), newline=""), delimiter=separator)
        assert not [cell for row in elsewhere for cell in row if looks_like_a_formula(cell)]
    assert written.getvalue().endswith("\r\n")


@given(st.integers(-(2**70), 2**70), st.sampled_from(["EUR", "JPY", "BTC"]))
def test_amounts_are_exact(amount_minor: int, code: str) -> None:
    """Also beyond what a float can hold, and what one int64 can count."""
    places = {"EUR": 2, "JPY": 0, "BTC": 8}[code]

    text = exact(MONEY, amount_minor, code)

    assert re.fullmatch(r"-?\d+(\.\d+)?", text)
    assert len(text.partition(".")[2]) == places
    assert int(text.replace(".", "")) == amount_minor


def test_amount_of_unknown_currency_is_no_guess() -> None:
    """Without its decimal places the amount could be a hundred times too large."""
    with pytest.raises(Stopped, match="XYZ"):
        exact(MONEY, 1, "XYZ")


def filled(message: Any) -> Any:
    """Return a message whose texts are all formulas, with EUR where a currency is meant."""
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            continue
        if field.type == field.TYPE_STRING:
            setattr(message, field.name, "EUR" if field.name == "currency_code" else FORMULA)
        elif field.message_type is not None and field.message_type.name == "Side":
            filled(getattr(message, field.name))
    return message


ACCOUNT = account_pb2.Account(account_id="-ann", currency_code="EUR")
LINE = account_pb2.StatementLine(sequence=7, amount_minor=-5)
BET = account_pb2.TRANSACTION_TYPE_BET


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (sheets.STATEMENT, lambda: sheets.statement(ACCOUNT, MONEY).rows(filled(LINE))),
        (sheets.FINDINGS, lambda: sheets.findings(MONEY).rows(filled(finding_pb2.Finding()))),
        (sheets.WITHDRAWALS, lambda: sheets.withdrawals(MONEY).rows(filled(payment_pb2.Withdrawal()))),
        (
            shadow.COLUMNS,
            lambda: shadow.transaction_rows(filled(posting_pb2.Transaction(type=BET)), {}, MONEY),
        ),
    ],
    ids=["statement", "findings", "withdrawals", "shadow"],
)
def test_whatever_texts_say_no_list_runs_them(
    columns: tuple[str, ...], rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every text field of the contract is a formula here; numbers stay numbers."""
    CsvOutput(columns).rows(rows())

    names, row = read(capsys.readouterr().out)

    assert tuple(names) == columns
    assert any(cell == f"'{FORMULA}" for cell in row)
    assert not any(cell.startswith(("=", "+", "@")) for cell in row)
    if columns is sheets.STATEMENT:
        assert (row[names.index("amount")], row[names.index("account_id")]) == ("-0.05", "'-ann")


def test_trial_balance_has_sums_beyond_one_account() -> None:
    """A sum may exceed an int64: it comes as text and stays exact."""
    line = journal_pb2.TrialBalance.Line(
        kind=account_pb2.ACCOUNT_KIND_ASSET,
        account_count=3,
        posted_debits_minor=str(2**64),
        posted_credits_minor="0",
        pending_debits_minor="0",
        pending_credits_minor="0",
    )
    answer = journal_pb2.GetTrialBalanceResponse(
        sequence=9, trial_balances=[journal_pb2.TrialBalance(currency_code="EUR", lines=[line])]
    )

    [row] = sheets.trial_balance(answer, MONEY)

    assert list(row[:6]) == ["9", "EUR", "ASSET", "3", "184467440737095516.16", "0.00"]
    assert all(isinstance(row[place], Number) for place in (0, 3, 4, 5, 6, 7))


class Paged:
    """Answers page by page, and fails at one page, if at any; notes what was printed before each."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *, fails_at: int | None = None) -> None:
        self._capsys = capsys
        self._fails_at = fails_at
        self.printed: list[int] = []

    async def read(
        self, _: str, request: withdrawal_pb2.ListWithdrawalsRequest, *__: object, **___: object
    ) -> Any:
        """Return the page that the token asks for, two withdrawals each, three pages."""
        page = int(request.page_token or 0)
        self.printed.append(len(read(self._capsys.readouterr().out)))
        if page == self._fails_at:
            code = grpc.StatusCode.FAILED_PRECONDITION
            raise LedgerError(code=code, reason="ANY", message="no", metadata={}, replayed=False)
        asked = [payment_pb2.Withdrawal(withdrawal_id=f"wd_{page}", currency_code="EUR") for _ in range(2)]
        return withdrawal_pb2.ListWithdrawalsResponse(
            withdrawals=asked, next_page_token="" if page == 2 else str(page + 1)
        )


async def printed_by(paged: Paged, limit: int | None = None) -> int:
    """Print the withdrawals."""
    caller: Any = paged
    request = withdrawal_pb2.ListWithdrawalsRequest()
    method = Withdrawals(caller).list_withdrawals
    return await print_csv(method, request, sheets.withdrawals(MONEY), limit=limit)


async def test_page_is_printed_before_the_next_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    """So memory has one page, however long the list is."""
    paged = Paged(capsys)

    assert await printed_by(paged) == Exit.DONE
    # The columns' names come with the first page.
    assert paged.printed == [0, 3, 2]


async def test_limit_ends_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    """No further page is read than is needed."""
    paged = Paged(capsys)

    assert await printed_by(paged, limit=3) == Exit.DONE
    assert len(read(capsys.readouterr().out)) == 1
    assert paged.printed == [0, 3]


async def test_break_off_behind_the_first_row_has_its_own_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever reads the file by program hears that it is not all, whatever the reason."""
    with pytest.raises(Stopped, match="broke off after 4 rows") as stopped:
        await printed_by(Paged(capsys, fails_at=2))

    assert stopped.value.code is Exit.INTERRUPTED


async def test_refusal_before_the_first_row_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """It is a refusal like any other, and no file without rows."""
    with pytest.raises(LedgerError):
        await printed_by(Paged(capsys, fails_at=0))

    assert not capsys.readouterr().out
