"""Own what tests of the reports by SQL know of them: the names, the document, and the commands in it."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Final

import asyncpg
from defter.ledger.v1 import account_pb2, posting_pb2

from tests.support.ledger import LARGEST_PAGE, Ledger
from tests.support.tools import REPOSITORY

ROLE: Final = "defter_reports"
VIEWS: Final = {"ledger_transactions", "wallet_balances"}
DOCUMENT: Final = REPOSITORY / "docs" / "operations" / "reports.md"


def commands() -> list[str]:
    """Return the statements by which the document gives access and makes indexes."""
    return re.findall(r"^ {4,}((?:CREATE|ALTER|GRANT) .*;)$", DOCUMENT.read_text(), re.MULTILINE)


async def assert_transactions_agree(database_url: str, ledger: Ledger) -> None:
    """Compare each row of a tenant's transactions with what the RPCs tell, whoever wrote it."""
    keys = {
        entry.sequence: entry.record.request.idempotency_key or None
        for entry in await ledger.entries()
        if entry.record.HasField("request")
    }
    found = await _transactions(ledger)
    reversed_ids = {each.reverses_transaction_id for each in found}
    expected = [
        (
            each.transaction_id,
            account_pb2.TransactionType.Name(each.type).removeprefix("TRANSACTION_TYPE_"),
            account_pb2.Direction.Name(posting.direction).removeprefix("DIRECTION_"),
            posting.amount_minor,
            posting.currency_code,
            "REVERSED" if each.transaction_id in reversed_ids else "POSTED",
            each.record_time.ToDatetime(tzinfo=UTC),
            posting.account_id,
            each.sequence,
            place,
        )
        for each in found
        for place, posting in enumerate(each.postings)
    ]
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(_ROWS, ledger.tenant_id)
    finally:
        await connection.close()
    assert [tuple(row)[:-1] for row in rows] == expected
    for row in rows:
        # What a payment moves has its payment's key, and no request of its own.
        assert row["sequence"] not in keys or row["idempotency_key"] == keys[row["sequence"]]


_ROWS: Final = """
SELECT tx_id, type, direction, amount, currency, status, created_at, account_id, sequence, leg,
    idempotency_key
FROM ledger_transactions WHERE tenant_id = $1 ORDER BY sequence, leg
"""


async def _transactions(ledger: Ledger) -> list[posting_pb2.Transaction]:
    request = posting_pb2.ListTransactionsRequest(tenant_id=ledger.tenant_id, page_size=LARGEST_PAGE)
    found: list[posting_pb2.Transaction] = []
    while True:
        page = await ledger.stubs.postings.ListTransactions(request)
        found += page.transactions
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
