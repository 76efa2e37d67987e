"""Own the last word of a run: the journal verifies, and the books add up to what was sent."""

from collections.abc import Callable

import grpc
from defter.ledger.v1.journal_pb2 import (
    GetTrialBalanceRequest,
    VerifyJournalRequest,
    VerifyProgress,
    VerifyResult,
)
from defter.ledger.v1.journal_pb2_grpc import JournalServiceStub
from defter.ledger.v1.tenant_pb2 import GetTenantRequest
from defter.ledger.v1.tenant_pb2_grpc import TenantServiceStub

from bench.ledger import Asked
from bench.payloads import CURRENCY_CODE, TENANT_ID


async def verify_journal(
    channel: grpc.aio.Channel, *, on_progress: Callable[[VerifyProgress], None]
) -> tuple[bool, str]:
    """Have the ledger replay its journal; return whether it is clean, and a sentence."""
    head = await TenantServiceStub(channel).GetTenant(GetTenantRequest(tenant_id=TENANT_ID))
    result: VerifyResult | None = None
    async for response in JournalServiceStub(channel).VerifyJournal(
        VerifyJournalRequest(tenant_id=TENANT_ID)
    ):
        if response.HasField("result"):
            result = response.result
        else:
            on_progress(response.progress)
    if result is None:
        return False, "VerifyJournal ended without a result"
    if result.sequence < head.tenant.head_sequence:
        return False, (f"VerifyJournal ended at record {result.sequence:,} of {head.tenant.head_sequence:,}")
    if result.HasField("first_difference"):
        difference = result.first_difference
        return False, (
            f"VerifyJournal: record {difference.sequence}, {difference.subject}: "
            f"expected {difference.expected}, stored {difference.actual}"
        )
    return True, (
        f"VerifyJournal: clean; {result.sequence:,} records, {result.account_count:,} accounts, "
        f"{result.hold_count:,} holds, {result.posting_count:,} statement lines"
    )


async def compare_trial_balance(channel: grpc.aio.Channel, asked: Asked) -> tuple[bool, str]:
    """Compare the trial balance with what was sent and acknowledged; return verdict and sentence.

    A call that ended in an error may have taken effect, so that only a run without errors adds up.
    """
    response = await JournalServiceStub(channel).GetTrialBalance(GetTrialBalanceRequest(tenant_id=TENANT_ID))
    books = {balance.currency_code: balance for balance in response.trial_balances}
    book = books.get(CURRENCY_CODE)
    if book is None or len(books) != 1:
        return False, f"trial balance: expected {CURRENCY_CODE} alone, found {sorted(books)}"
    posted = asked.posted_minor + asked.captured_minor
    pending = asked.placed_minor - asked.captured_minor
    expected = {"posted": posted, "pending": pending}
    stored = {
        ("posted", "debits"): int(book.posted_debits_minor),
        ("posted", "credits"): int(book.posted_credits_minor),
        ("pending", "debits"): sum(int(line.pending_debits_minor) for line in book.lines),
        ("pending", "credits"): sum(int(line.pending_credits_minor) for line in book.lines),
    }
    wrong = [
        f"{what} {side} are {amount:,}, not {expected[what]:,}"
        for (what, side), amount in stored.items()
        if amount != expected[what]
    ]
    if wrong:
        return False, f"trial balance: {'; '.join(wrong)} ({CURRENCY_CODE}, minor units)"
    return True, (
        f"trial balance: debits = credits = {posted:,} posted and {pending:,} pending "
        f"({CURRENCY_CODE}, minor units), exactly what was sent"
    )
