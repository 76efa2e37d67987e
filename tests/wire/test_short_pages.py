"""Own what every list says of its pages: only the last has no token, and any other may be short or empty."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from defter.ledger.v1 import account_pb2, adjustment_pb2, hold_pb2, journal_pb2, posting_pb2, tenant_pb2
from defter.payments.v1 import (
    deposit_pb2,
    payment_pb2,
    provider_event_pb2,
    wallet_pb2,
    withdrawal_pb2,
)
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2, settlement_pb2

from ledger_server.engine.reads import runs
from ledger_server.store.queries import rendering
from tests.support.adjusters import REQUESTED, Adjusters
from tests.support.cashier import Cashier
from tests.support.clock import FakeClock
from tests.support.fake_provider import PROVIDER, SILENT_PROVIDER
from tests.support.findings import Desk
from tests.support.ledger import Ledger
from tests.support.requests import ASSET, BET, CREDIT, DEBIT, leg, timestamp, transaction
from tests.support.settlement import Settler, charge, paid, stripe_file
from tests.wire.test_lists import all_pages

SENTENCE = "Empty on the last page, and only there: a page before it may be short, or have nothing at all."
PROTOS = Path(__file__).parents[2] / "protos"


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of which few pass the filter, the last at the end, and how many pass."""

    stub: Callable[..., Any]
    request: Any
    field: str
    count: int = 1
    empty_pages: bool = True


Prepare = Callable[[Ledger, Cashier, FakeClock], Awaitable[Listed]]
LISTS: dict[str, Prepare] = {}


def lists(prepare: Prepare) -> Prepare:
    """File what prepares a list under the RPC's name."""
    LISTS["".join(word.capitalize() for word in prepare.__name__.split("_"))] = prepare
    return prepare


@lists
async def list_accounts(ledger: Ledger, _: Cashier, __: FakeClock) -> Listed:
    """Of many accounts one asset account."""
    for name in "abcde":
        await ledger.open(name)
    request = account_pb2.ListAccountsRequest(tenant_id=ledger.tenant_id, kind=ASSET)
    return Listed(ledger.stubs.accounts.ListAccounts, request, "accounts")


@lists
async def list_postings(ledger: Ledger, _: Cashier, __: FakeClock) -> Listed:
    """Of many lines one of posted money."""
    await ledger.open("ann")
    for _number in range(5):
        await ledger.place_hold("house", "ann", 1)
    await ledger.fund("ann", 1)
    request = account_pb2.ListPostingsRequest(tenant_id=ledger.tenant_id, account_id="ann")
    return Listed(ledger.stubs.accounts.ListPostings, request, "lines")


@lists
async def list_transactions(ledger: Ledger, _: Cashier, __: FakeClock) -> Listed:
    """Of many transactions one bet."""
    await ledger.open("ann")
    for _number in range(5):
        await ledger.fund("ann", 1)
    await ledger.submit(transaction(leg("ann", DEBIT, 1), leg("house", CREDIT, 1), type_=BET))
    request = posting_pb2.ListTransactionsRequest(tenant_id=ledger.tenant_id, type=BET)
    return Listed(ledger.stubs.postings.ListTransactions, request, "transactions")


@lists
async def list_holds(ledger: Ledger, _: Cashier, clock: FakeClock) -> Listed:
    """Of many holds one that has expired."""
    await ledger.open("ann")
    for _number in range(5):
        await ledger.place_hold("house", "ann", 1)
    soon = timestamp(FakeClock(clock.now).advance(seconds=1))
    await ledger.place_hold("house", "ann", 1, expire_time=soon)
    clock.advance(seconds=1)
    request = hold_pb2.ListHoldsRequest(tenant_id=ledger.tenant_id, state=hold_pb2.HOLD_STATE_EXPIRED)
    return Listed(ledger.stubs.holds.ListHolds, request, "holds")


@lists
async def list_journal(ledger: Ledger, _: Cashier, __: FakeClock) -> Listed:
    """All records; it has no filter."""
    await ledger.open("ann")
    request = journal_pb2.ListJournalRequest(tenant_id=ledger.tenant_id)
    return Listed(ledger.stubs.journal.ListJournal, request, "entries", 3, empty_pages=False)


@lists
async def list_tenants(ledger: Ledger, _: Cashier, __: FakeClock) -> Listed:
    """All tenants; it has no filter."""
    request = tenant_pb2.ListTenantsRequest()
    return Listed(ledger.stubs.tenants.ListTenants, request, "tenants", empty_pages=False)


@lists
async def list_wallets(ledger: Ledger, cashier: Cashier, _: FakeClock) -> Listed:
    """Of many players' accounts only the last is a wallet."""
    for name in "abcde":
        await ledger.open(f"player:{name}:loans:EUR")
    await cashier.captured(500, player_id="zoe")
    request = wallet_pb2.ListWalletsRequest(tenant_id=ledger.tenant_id)
    return Listed(cashier.stubs.wallets.ListWallets, request, "wallets")


@lists
async def list_deposits(ledger: Ledger, cashier: Cashier, _: FakeClock) -> Listed:
    """Of many deposits of a player one at the other provider."""
    for _number in range(5):
        await cashier.initiate(1)
    await cashier.initiate(2, provider=SILENT_PROVIDER)
    request = deposit_pb2.ListDepositsRequest(
        tenant_id=ledger.tenant_id, player_id="ann", provider=SILENT_PROVIDER
    )
    return Listed(cashier.stubs.deposits.ListDeposits, request, "deposits")


@lists
async def list_withdrawals(ledger: Ledger, cashier: Cashier, _: FakeClock) -> Listed:
    """Of many withdrawals of a player one that was refused."""
    await cashier.captured(1_000)
    asked = [await cashier.request(100) for _ in range(6)]
    await cashier.reject(asked[-1].withdrawal_id)
    request = withdrawal_pb2.ListWithdrawalsRequest(
        tenant_id=ledger.tenant_id, player_id="ann", state=payment_pb2.WITHDRAWAL_STATE_REJECTED
    )
    return Listed(cashier.stubs.withdrawals.ListWithdrawals, request, "withdrawals")


@lists
async def list_adjustments(ledger: Ledger, _: Cashier, __: FakeClock) -> Listed:
    """Adjustments; their filters are asked in the statement itself."""
    adjusters = Adjusters(ledger)
    await ledger.open("ann")
    for _number in range(3):
        await adjusters.request()
    await adjusters.reject((await adjusters.request()).adjustment_id)
    request = adjustment_pb2.ListAdjustmentsRequest(tenant_id=ledger.tenant_id, states=[REQUESTED])
    return Listed(adjusters.stub.ListAdjustments, request, "adjustments", 3, empty_pages=False)


@lists
async def list_provider_events(ledger: Ledger, cashier: Cashier, _: FakeClock) -> Listed:
    """Of many ignored events one of the other provider."""
    kind = payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
    for _number in range(5):
        await cashier.ingest(cashier.event(kind))
    await cashier.ingest(cashier.event(kind, provider=SILENT_PROVIDER))
    request = provider_event_pb2.ListProviderEventsRequest(
        tenant_id=ledger.tenant_id,
        provider=SILENT_PROVIDER,
        state=payment_pb2.PROVIDER_EVENT_STATE_IGNORED,
    )
    return Listed(cashier.stubs.events.ListProviderEvents, request, "events")


@lists
async def list_findings(ledger: Ledger, _: Cashier, __: FakeClock) -> Listed:
    """Of many findings somebody looks after the first."""
    desk = Desk(ledger)
    first = await desk.raised()
    for _number in range(4):
        await desk.raised()
    await desk.acknowledge(first, assignee="ada")
    request = finding_pb2.ListFindingsRequest(tenant_id=ledger.tenant_id, assignee="ada")
    return Listed(desk.stubs.findings.ListFindings, request, "findings")


@lists
async def list_provider_records(ledger: Ledger, cashier: Cashier, _: FakeClock) -> Listed:
    """Of many records one of a pay-out to the bank."""
    rows = [charge(100) for _ in range(5)]
    await Settler(ledger).send(stripe_file([*rows, paid(500)]))
    request = reconciliation_pb2.ListProviderRecordsRequest(
        tenant_id=ledger.tenant_id, provider=PROVIDER, kind=finding_pb2.RECORD_KIND_SETTLEMENT
    )
    return Listed(cashier.stubs.reconciliation.ListProviderRecords, request, "records")


@lists
async def list_runs(ledger: Ledger, cashier: Cashier, clock: FakeClock) -> Listed:
    """Runs; their filters are asked in the statement itself."""
    for number in range(3):
        request = reconciliation_pb2.RunReconciliationRequest(
            tenant_id=ledger.tenant_id,
            provider=PROVIDER,
            idempotency_key=f"run-{number}",
            from_time=timestamp(clock.now.replace(hour=1)),
            to_time=timestamp(clock.now.replace(hour=2)),
        )
        async for _response in cashier.stubs.reconciliation.RunReconciliation(request):
            pass
    listed = reconciliation_pb2.ListRunsRequest(
        tenant_id=ledger.tenant_id, state=reconciliation_pb2.RUN_STATE_COMPLETE
    )
    return Listed(cashier.stubs.reconciliation.ListRuns, listed, "runs", 3, empty_pages=False)


@lists
async def list_settlement_batches(ledger: Ledger, _: Cashier, __: FakeClock) -> Listed:
    """Batches; their filters are asked in the statement itself."""
    settler = Settler(ledger)
    rows = [row for name in ("po_1", "po_2") for row in (charge(100, batch=name), paid(100, batch=name))]
    await settler.send(stripe_file(rows))
    request = settlement_pb2.ListSettlementBatchesRequest(tenant_id=ledger.tenant_id, provider=PROVIDER)
    return Listed(settler.stub.ListSettlementBatches, request, "batches", 2, empty_pages=False)


@lists
async def list_settlement_lines(ledger: Ledger, _: Cashier, __: FakeClock) -> Listed:
    """Lines of one batch; those of another one are passed over in the statement itself."""
    settler = Settler(ledger)
    rows = [charge(100, batch=name) for name in ("po_1", "po_2") for _ in range(3)]
    await settler.send(stripe_file(rows))
    request = settlement_pb2.ListSettlementLinesRequest(
        tenant_id=ledger.tenant_id, provider=PROVIDER, batch_id="po_1", currency_code="EUR"
    )
    return Listed(settler.stub.ListSettlementLines, request, "lines", 3, empty_pages=False)


def test_every_list_says_so_at_its_page_token() -> None:
    """Whoever adds a list says what its pages may be, and tests it here."""
    tokens = []
    for path in sorted(PROTOS.rglob("*.proto")):
        found = re.findall(
            r"message (\w+)Response \{(?:(?!\n\}\n).)*?\n  // ([^\n]*)\n  string next_page_token",
            path.read_text(),
            flags=re.DOTALL,
        )
        tokens += found
    assert {name for name, _ in tokens} == set(LISTS)
    assert {comment for _, comment in tokens} == {SENTENCE}


@pytest.mark.parametrize("name", sorted(LISTS))
@pytest.mark.usefixtures("database_url")  # tenants are listed, so the server is this test's own
async def test_list_ends_where_no_token_is_and_nowhere_else(
    name: str, ledger: Ledger, cashier: Cashier, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page looks at few rows, so some come empty; who reads up to the one without a token has it all."""
    prepared = await LISTS[name](ledger, cashier, clock)
    monkeypatch.setattr(rendering, "SCAN_LIMIT", 1)
    monkeypatch.setattr(runs, "_SCAN", 2)
    prepared.request.page_size = 1

    pages = await all_pages(prepared.stub, prepared.request, prepared.field)

    assert sum(map(len, pages)) == prepared.count
    assert ([] in pages[:-1]) == prepared.empty_pages
    assert prepared.empty_pages or pages[-1], "the token says that there is more"
