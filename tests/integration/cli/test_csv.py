"""Lists as CSV from a real ledger: the same amounts as the answers of its calls, to the unit."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

from tests.integration.cli.conftest import TENANT, CommandLine, Ran
from tests.support.cashier import WALLET, Cashier
from tests.support.findings import Desk
from tests.support.requests import BET, CREDIT, DEBIT, leg, transaction
from tests.support.service import Service

FORMULA = "=1+1"


def rows_of(ran: Ran) -> list[dict[str, str]]:
    """Return the rows of a list that was printed whole."""
    assert ran.code == 0, ran
    return list(csv.DictReader(io.StringIO(ran.output, newline=""), strict=True))


async def test_lists_say_what_the_calls_answer(cli: CommandLine, reconciling: Service) -> None:
    """Statement, trial balance, findings and withdrawals, with a reference that wants to be a formula."""
    ledger = reconciling.ledger(TENANT)
    cashier, desk = Cashier(ledger), Desk(ledger)
    found = await desk.raised()
    await ledger.open_house()
    await ledger.submit(
        transaction(leg(WALLET, DEBIT, 199), leg("house", CREDIT, 199), type_=BET, reference=FORMULA)
    )
    asked = await cashier.request(5)

    statement = rows_of(await cli.run("accounts", "statement", WALLET, "--pending", "--csv"))
    posted = rows_of(await cli.run("accounts", "statement", WALLET, "--csv", "--limit", "2"))
    sums = rows_of(await cli.run("accounts", "trial-balance", "--csv"))
    findings = rows_of(await cli.run("findings", "list", "--csv"))
    withdrawals = rows_of(await cli.run("withdrawals", "list", "--csv"))
    unknown = await cli.run("accounts", "statement", "nobody", "--csv")

    lines = await ledger.statement(WALLET)
    assert [Decimal(row["available_balance"]) * 100 for row in statement] == [
        line.balance.available_balance_minor for line in lines
    ]
    assert [Decimal(row["amount"]) * 100 for row in statement] == [line.amount_minor for line in lines]
    assert f"'{FORMULA}" in [row["reference"] for row in statement]
    assert len(posted) == 2
    assert sum(Decimal(row["posted_debits"]) - Decimal(row["posted_credits"]) for row in sums) == 0
    assert [row["finding_id"] for row in findings] == [found.finding_id]
    assert [(row["withdrawal_id"], row["amount"]) for row in withdrawals] == [(asked.withdrawal_id, "0.05")]
    assert (unknown.code, unknown.output, "ACCOUNT_NOT_FOUND" in unknown.errors) == (2, "", True)
    assert "\x1b" not in unknown.errors
