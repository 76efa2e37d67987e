"""Own what reads say of when they are true: the newest record that an answer includes; nothing behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest
from defter.ledger.v1 import account_pb2, adjustment_pb2, hold_pb2, journal_pb2, posting_pb2, tenant_pb2
from defter.payments.v1 import deposit_pb2, provider_event_pb2, wallet_pb2, withdrawal_pb2
from defter.reconciliation.v1 import finding_pb2
from google.protobuf.descriptor import MethodDescriptor

from ledger_server.store.queries import journal
from tests.support.adjusters import Adjusters
from tests.support.cashier import CAPTURED, PLAYER, Cashier
from tests.support.findings import Desk
from tests.support.ledger import Ledger
from tests.support.requests import limits

FILES = {
    "ledger": ("account", "adjustment", "hold", "journal", "posting", "tenant"),
    "payments": ("deposit", "outbound", "provider_event", "wallet", "withdrawal"),
    "reconciliation": ("finding", "reconciliation", "settlement"),
}
OTHERWISE = {
    "BatchGetBalances": "each balance has it",
    "GetTenant": "the tenant's own head_sequence",
    "ListTenants": "each tenant's own head_sequence",
    "ListCurrencies": "of all tenants together",
    "GetOutbound": "of all tenants together",
    "GetRun": "runs are no part of the journal",
    "ListRuns": "runs are no part of the journal",
    "ListProviderRecords": "a provider's records are no part of the journal",
    "GetSettlementBatch": "batches are no part of the journal",
    "ListSettlementBatches": "batches are no part of the journal",
    "ListSettlementLines": "batches are no part of the journal",
}

Change = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Scene:
    """A read, and something that changes what it answers."""

    stub: Callable[..., Any]
    request: Any
    change: Change


Prepare = Callable[[Ledger, Cashier, Desk], Awaitable[Scene]]
SCENES: dict[str, Prepare] = {}
STILL = frozenset({"GetOutcome"})
"""Reads of what never changes; only the sequence moves on."""


def scene(prepare: Prepare) -> Prepare:
    """File what prepares a read under the read's name."""
    SCENES["".join(word.capitalize() for word in prepare.__name__.split("_"))] = prepare
    return prepare


def get_methods() -> dict[str, MethodDescriptor]:
    """Return all reads of the contract by name."""
    found = {}
    for package, names in FILES.items():
        for name in names:
            file = import_module(f"defter.{package}.v1.{name}_pb2").DESCRIPTOR
            for service in file.services_by_name.values():
                for method in service.methods:
                    if method.name.startswith(("Get", "List", "BatchGet", "Count")):
                        found[method.name] = method
    return found


async def posted(ledger: Ledger) -> Change:
    """Open a player's account with money; the change is more of it."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    return lambda: ledger.fund("ann", 1)


async def held(ledger: Ledger) -> tuple[str, Change]:
    """Place a hold; the change captures a part of it."""
    await posted(ledger)
    hold = await ledger.place_hold("ann", "house", 5)
    return hold.hold_id, lambda: ledger.capture(hold.hold_id, 1)


async def begun(cashier: Cashier) -> tuple[str, Change]:
    """Begin a deposit; the change captures it."""
    deposit = await cashier.initiate(500, provider_ref="pay")
    event = cashier.event(CAPTURED, deposit.deposit_id, 500)
    return deposit.deposit_id, lambda: cashier.ingest(event)


async def asked_out(cashier: Cashier) -> tuple[str, Change]:
    """Ask for a withdrawal; the change refuses it."""
    await cashier.captured(500)
    withdrawal = await cashier.request(100)
    return withdrawal.withdrawal_id, lambda: cashier.reject(withdrawal.withdrawal_id)


async def wrong(desk: Desk) -> tuple[str, Change]:
    """Raise a finding; the change gives it to somebody."""
    found = await desk.raised()
    return found.finding_id, lambda: desk.acknowledge(found)


@scene
async def get_account(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """One account with its balance."""
    change = await posted(ledger)
    request = account_pb2.GetAccountRequest(tenant_id=ledger.tenant_id, account_id="ann")
    return Scene(ledger.stubs.accounts.GetAccount, request, change)


@scene
async def get_balance(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """One balance."""
    change = await posted(ledger)
    request = account_pb2.GetBalanceRequest(tenant_id=ledger.tenant_id, account_id="ann")
    return Scene(ledger.stubs.accounts.GetBalance, request, change)


@scene
async def list_accounts(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """Accounts with their balances."""
    change = await posted(ledger)
    request = account_pb2.ListAccountsRequest(tenant_id=ledger.tenant_id)
    return Scene(ledger.stubs.accounts.ListAccounts, request, change)


@scene
async def list_postings(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """A statement."""
    change = await posted(ledger)
    request = account_pb2.ListPostingsRequest(tenant_id=ledger.tenant_id, account_id="ann")
    return Scene(ledger.stubs.accounts.ListPostings, request, change)


@scene
async def get_transaction(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """A transaction; the change reverses it."""
    await posted(ledger)
    done = await ledger.post("house", "ann", 5)
    request = posting_pb2.GetTransactionRequest(
        tenant_id=ledger.tenant_id, transaction_id=done.transaction_id
    )
    return Scene(ledger.stubs.postings.GetTransaction, request, lambda: ledger.reverse(done.transaction_id))


@scene
async def list_transactions(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """Transactions."""
    change = await posted(ledger)
    request = posting_pb2.ListTransactionsRequest(tenant_id=ledger.tenant_id, account_id="ann")
    return Scene(ledger.stubs.postings.ListTransactions, request, change)


@scene
async def get_hold(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """A hold."""
    hold_id, change = await held(ledger)
    request = hold_pb2.GetHoldRequest(tenant_id=ledger.tenant_id, hold_id=hold_id)
    return Scene(ledger.stubs.holds.GetHold, request, change)


@scene
async def list_holds(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """Holds."""
    change = (await held(ledger))[1]
    request = hold_pb2.ListHoldsRequest(tenant_id=ledger.tenant_id)
    return Scene(ledger.stubs.holds.ListHolds, request, change)


@scene
async def list_journal(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """Records."""
    change = await posted(ledger)
    request = journal_pb2.ListJournalRequest(tenant_id=ledger.tenant_id)
    return Scene(ledger.stubs.journal.ListJournal, request, change)


@scene
async def get_outcome(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """What became of a key."""
    change = await posted(ledger)
    await ledger.post("house", "ann", 5, key="known")
    request = journal_pb2.GetOutcomeRequest(
        tenant_id=ledger.tenant_id, method="PostTransaction", idempotency_key="known"
    )
    return Scene(ledger.stubs.journal.GetOutcome, request, change)


@scene
async def get_trial_balance(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """The sums."""
    change = await posted(ledger)
    request = journal_pb2.GetTrialBalanceRequest(tenant_id=ledger.tenant_id)
    return Scene(ledger.stubs.journal.GetTrialBalance, request, change)


@scene
async def get_wallet(ledger: Ledger, cashier: Cashier, _: Desk) -> Scene:
    """A player's wallet."""
    await cashier.captured(500)
    request = wallet_pb2.GetWalletRequest(tenant_id=ledger.tenant_id, player_id=PLAYER)
    return Scene(cashier.stubs.wallets.GetWallet, request, lambda: cashier.captured(1))


@scene
async def list_wallets(ledger: Ledger, cashier: Cashier, _: Desk) -> Scene:
    """The wallets of all players; the change is another player, too."""
    await cashier.captured(500)
    request = wallet_pb2.ListWalletsRequest(tenant_id=ledger.tenant_id)
    return Scene(cashier.stubs.wallets.ListWallets, request, lambda: cashier.captured(1, player_id="bob"))


@scene
async def get_deposit(ledger: Ledger, cashier: Cashier, _: Desk) -> Scene:
    """A deposit."""
    deposit_id, change = await begun(cashier)
    request = deposit_pb2.GetDepositRequest(tenant_id=ledger.tenant_id, deposit_id=deposit_id)
    return Scene(cashier.stubs.deposits.GetDeposit, request, change)


@scene
async def list_deposits(ledger: Ledger, cashier: Cashier, _: Desk) -> Scene:
    """Deposits."""
    change = (await begun(cashier))[1]
    request = deposit_pb2.ListDepositsRequest(tenant_id=ledger.tenant_id)
    return Scene(cashier.stubs.deposits.ListDeposits, request, change)


@scene
async def count_deposits(ledger: Ledger, cashier: Cashier, _: Desk) -> Scene:
    """How many there are; the change ends the one that is open."""
    change = (await begun(cashier))[1]
    request = deposit_pb2.CountDepositsRequest(tenant_id=ledger.tenant_id)
    return Scene(cashier.stubs.deposits.CountDeposits, request, change)


@scene
async def get_withdrawal(ledger: Ledger, cashier: Cashier, _: Desk) -> Scene:
    """A withdrawal."""
    withdrawal_id, change = await asked_out(cashier)
    request = withdrawal_pb2.GetWithdrawalRequest(tenant_id=ledger.tenant_id, withdrawal_id=withdrawal_id)
    return Scene(cashier.stubs.withdrawals.GetWithdrawal, request, change)


@scene
async def list_withdrawals(ledger: Ledger, cashier: Cashier, _: Desk) -> Scene:
    """Withdrawals."""
    change = (await asked_out(cashier))[1]
    request = withdrawal_pb2.ListWithdrawalsRequest(tenant_id=ledger.tenant_id)
    return Scene(cashier.stubs.withdrawals.ListWithdrawals, request, change)


@scene
async def count_withdrawals(ledger: Ledger, cashier: Cashier, _: Desk) -> Scene:
    """How many there are; the change ends the one that is open."""
    change = (await asked_out(cashier))[1]
    request = withdrawal_pb2.CountWithdrawalsRequest(tenant_id=ledger.tenant_id)
    return Scene(cashier.stubs.withdrawals.CountWithdrawals, request, change)


@scene
async def get_withdrawal_policy(ledger: Ledger, cashier: Cashier, _: Desk) -> Scene:
    """What is demanded of withdrawals."""
    request = withdrawal_pb2.GetWithdrawalPolicyRequest(tenant_id=ledger.tenant_id)
    return Scene(
        cashier.stubs.withdrawals.GetWithdrawalPolicy,
        request,
        lambda: cashier.set_policy(player_may_cancel=True),
    )


@scene
async def get_adjustment(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """An adjustment."""
    adjusters = Adjusters(ledger)
    await ledger.open("ann")
    asked = (await adjusters.request()).adjustment_id
    request = adjustment_pb2.GetAdjustmentRequest(tenant_id=ledger.tenant_id, adjustment_id=asked)
    return Scene(adjusters.stub.GetAdjustment, request, lambda: adjusters.approve(asked))


@scene
async def list_adjustments(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """Adjustments."""
    adjusters = Adjusters(ledger)
    await ledger.open("ann")
    await adjusters.request()
    request = adjustment_pb2.ListAdjustmentsRequest(tenant_id=ledger.tenant_id)
    return Scene(adjusters.stub.ListAdjustments, request, adjusters.request)


@scene
async def get_adjustment_policy(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """From which amounts a second person is needed."""
    adjusters = Adjusters(ledger)
    request = adjustment_pb2.GetAdjustmentPolicyRequest(tenant_id=ledger.tenant_id)
    return Scene(adjusters.stub.GetAdjustmentPolicy, request, lambda: adjusters.set_policy({"EUR": 5}))


@scene
async def get_provider_event(ledger: Ledger, cashier: Cashier, _: Desk) -> Scene:
    """An event that waits for its payment; the change is the payment, and the event applied."""
    event = cashier.event(CAPTURED, "", 500, payment_ref="late")
    [stored] = await cashier.ingest(event)
    event_id = stored.event.provider_event_id

    async def change() -> None:
        await cashier.initiate(500, provider_ref="late")
        await cashier.replay(event_id)

    request = provider_event_pb2.GetProviderEventRequest(
        tenant_id=ledger.tenant_id, provider_event_id=event_id
    )
    return Scene(cashier.stubs.events.GetProviderEvent, request, change)


@scene
async def list_provider_events(ledger: Ledger, cashier: Cashier, _: Desk) -> Scene:
    """Events."""
    change = (await begun(cashier))[1]
    request = provider_event_pb2.ListProviderEventsRequest(tenant_id=ledger.tenant_id)
    return Scene(cashier.stubs.events.ListProviderEvents, request, change)


@scene
async def get_balance_enforcement(ledger: Ledger, _: Cashier, __: Desk) -> Scene:
    """A tenant's mode; the change brings an account below its limit."""
    await ledger.open("ann")
    request = tenant_pb2.GetBalanceEnforcementRequest(tenant_id=ledger.tenant_id)
    return Scene(
        ledger.stubs.tenants.GetBalanceEnforcement,
        request,
        lambda: ledger.set_limits("ann", limits(minimum=1)),
    )


@scene
async def get_finding(ledger: Ledger, _: Cashier, desk: Desk) -> Scene:
    """A finding."""
    finding_id, change = await wrong(desk)
    request = finding_pb2.GetFindingRequest(tenant_id=ledger.tenant_id, finding_id=finding_id)
    return Scene(desk.stubs.findings.GetFinding, request, change)


@scene
async def list_findings(ledger: Ledger, _: Cashier, desk: Desk) -> Scene:
    """Findings."""
    change = (await wrong(desk))[1]
    request = finding_pb2.ListFindingsRequest(tenant_id=ledger.tenant_id)
    return Scene(desk.stubs.findings.ListFindings, request, change)


@scene
async def count_findings(ledger: Ledger, _: Cashier, desk: Desk) -> Scene:
    """How many there are; the change gives the one that is open another state."""
    change = (await wrong(desk))[1]
    request = finding_pb2.CountFindingsRequest(tenant_id=ledger.tenant_id)
    return Scene(desk.stubs.findings.CountFindings, request, change)


def test_every_read_says_when_it_is_true_or_why_not() -> None:
    """Whoever adds a read of a tenant's journal says up to which record it is true."""
    reads = get_methods()
    told = {name for name, method in reads.items() if "sequence" in method.output_type.fields_by_name}
    assert told.isdisjoint(OTHERWISE)
    assert told | set(OTHERWISE) == set(reads)
    assert told == set(SCENES)


@pytest.mark.parametrize("name", sorted(SCENES))
async def test_read_while_somebody_commits_is_as_of_the_record_that_it_names(
    name: str, ledger: Ledger, cashier: Cashier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the head and the read itself somebody commits: the answer has nothing of it."""
    prepared = await SCENES[name](ledger, cashier, Desk(ledger))
    await cashier.until_called()
    calm = await prepared.stub(prepared.request)
    head = await ledger.head()
    original = journal.newest_sequence
    changes = [prepared.change]

    async def and_then(*arguments: Any) -> int:
        found = await original(*arguments)
        if changes:
            await changes.pop()()
        return found

    monkeypatch.setattr(journal, "newest_sequence", and_then)
    during = await prepared.stub(prepared.request)
    if changes:  # read in one statement, between whose parts nobody comes
        await changes.pop()()
    after = await prepared.stub(prepared.request)

    assert calm.sequence == head
    assert during == calm
    assert after.sequence > head
    without = type(after)()
    without.CopyFrom(after)
    without.sequence = calm.sequence
    assert (without == calm) == (name in STILL)


async def test_balances_read_beside_writers_are_those_of_the_record_that_they_name(
    ledger: Ledger, cashier: Cashier
) -> None:
    """However fast others write, each answer is the balance at its sequence."""
    await cashier.captured(500)
    [account] = [each for each in await ledger.accounts() if each.account.account_id.startswith("player:")]
    player = account.account.account_id
    stubs = ledger.stubs.accounts

    async def write() -> None:
        for _ in range(40):
            await ledger.post("house", player, 1)

    async def read() -> list[tuple[int, int]]:
        found = []
        for _ in range(20):
            got = await stubs.GetAccount(
                account_pb2.GetAccountRequest(tenant_id=ledger.tenant_id, account_id=player)
            )
            found.append((got.sequence, got.balance.posted_balance_minor))
            listed = await stubs.ListAccounts(
                account_pb2.ListAccountsRequest(tenant_id=ledger.tenant_id, account_id_prefix=player)
            )
            found.append((listed.sequence, listed.accounts[0].balance.posted_balance_minor))
            wallet = await cashier.stubs.wallets.GetWallet(
                wallet_pb2.GetWalletRequest(tenant_id=ledger.tenant_id, player_id=PLAYER)
            )
            found.append((wallet.sequence, wallet.wallet.balances[0].real.posted_minor))
        return found

    _, _, found = await asyncio.gather(write(), write(), read())

    for sequence, balance in found:
        at = await stubs.GetBalance(
            account_pb2.GetBalanceRequest(tenant_id=ledger.tenant_id, account_id=player, sequence=sequence)
        )
        assert at.balance.posted_balance_minor == balance
