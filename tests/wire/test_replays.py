"""Own the promise of one key, one outcome, for every mutating RPC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import account_pb2, adjustment_pb2, error_pb2, hold_pb2, posting_pb2, tenant_pb2
from defter.ledger.v1.adjustment_pb2 import AdjustmentPolicy
from defter.payments.v1 import deposit_pb2, payment_pb2, player_pb2, provider_event_pb2, withdrawal_pb2
from defter.payments.v1.payment_pb2 import WithdrawalPolicy
from defter.reconciliation.v1 import finding_pb2

from tests.support.adjusters import Adjusters
from tests.support.cashier import CAPTURED, PLAYER, Cashier
from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.fake_provider import PROVIDER
from tests.support.findings import Desk
from tests.support.ledger import SHADOW, Ledger
from tests.support.requests import LARGEST, length, limits, new_account, timestamp, transfer
from tests.support.service import Service, serving
from tests.support.wire import refusal, reply

KEY = "the-key"
ATOMIC = account_pb2.BATCH_MODE_ATOMIC
INDEPENDENT = account_pb2.BATCH_MODE_INDEPENDENT

# Prepares a ledger and returns the fields of a request besides tenant and key.
Prepare = Callable[[Ledger, FakeClock], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Mutation:
    """One keyed request: how to make it, how it is answered, and how to make it another one."""

    method: str
    stub: Callable[[Ledger], Callable[..., Any]]
    request: Callable[..., Any]
    prepare: Prepare
    change: dict[str, Any]
    reason: str = ""
    player_id: str = ""

    def __str__(self) -> str:
        """Return the name of the test case."""
        return self.reason or self.method

    async def make(self, ledger: Ledger, clock: FakeClock) -> Any:
        """Prepare the ledger and return the request."""
        fields = await self.prepare(ledger, clock)
        return self.request(tenant_id=ledger.tenant_id, idempotency_key=KEY, **fields)

    def call(self, ledger: Ledger, request: Any) -> Any:
        """Send the request."""
        return self.stub(ledger)(request)


async def ann_with_money(ledger: Ledger) -> None:
    """Open a player's account with 10 on it."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)


async def held(ledger: Ledger, clock: FakeClock) -> str:
    """Place a hold of 5 that lives a minute."""
    await ann_with_money(ledger)
    in_a_minute = FakeClock(clock.now).advance(seconds=60)
    return (await ledger.place_hold("ann", "house", 5, expire_time=timestamp(in_a_minute))).hold_id


async def plain_account(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For OpenAccount."""
    return {"account": new_account("ann")}


async def account_there(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For what changes an account."""
    await ledger.open("ann")
    return {"account_id": "ann"}


async def limits_wanted(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For SetAccountLimits."""
    return {**await account_there(ledger, clock), "limits": limits(maximum=100)}


async def frozen_account(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For UnfreezeAccount."""
    fields = await account_there(ledger, clock)
    await ledger.freeze("ann")
    return fields


async def plain_transfer(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For PostTransaction."""
    await ann_with_money(ledger)
    return {"transaction": transfer("ann", "house", 3)}


async def transaction_there(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ReverseTransaction."""
    await ann_with_money(ledger)
    return {"transaction_id": (await ledger.post("ann", "house", 3)).transaction_id}


async def plain_hold(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For PlaceHold."""
    await ann_with_money(ledger)
    return {
        "debit_account_id": "ann",
        "credit_account_id": "house",
        "amount_minor": 3,
        "currency_code": "EUR",
        "type": account_pb2.TRANSACTION_TYPE_BET,
    }


async def hold_there(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For what changes a hold."""
    return {"hold_id": await held(ledger, clock)}


async def later_expiry(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ExtendHold."""
    in_an_hour = FakeClock(clock.now).advance(seconds=3600)
    return {**await hold_there(ledger, clock), "expire_time": timestamp(in_an_hour)}


async def hold_for_a_time(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For PlaceHold, with a length of life instead of its end."""
    return {**await plain_hold(ledger, clock), "time_to_live": length(60_000_000)}


async def life_for_longer(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ExtendHold, with a length of life instead of its end."""
    return {**await hold_there(ledger, clock), "time_to_live": length(3_600_000_000)}


async def more_to_hold(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For IncreaseHold."""
    return {**await hold_there(ledger, clock), "additional_minor": 2}


async def shadow(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For SetBalanceEnforcement."""
    return {"balance_enforcement": SHADOW}


async def player_to_forget(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ForgetPlayer."""
    return {"player_id": "ann", "reason": "asked to"}


async def nothing(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For CreateTenant, which names only the tenant."""
    return {}


async def unknown_account(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For what changes an account."""
    return {"account_id": "nobody"}


async def unknown_account_with_limits(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For SetAccountLimits."""
    return {"account_id": "nobody", "limits": limits()}


async def taken_account(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For OpenAccount."""
    return {"account": new_account("house")}


async def full_account(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For CloseAccount."""
    await ann_with_money(ledger)
    return {"account_id": "ann"}


async def transfer_too_large(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For PostTransaction."""
    await ann_with_money(ledger)
    return {"transaction": transfer("ann", "house", 11)}


async def hold_too_large(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For PlaceHold."""
    return {**await plain_hold(ledger, clock), "amount_minor": 11}


async def unknown_transaction(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ReverseTransaction."""
    return {"transaction_id": "tx_nothing"}


async def dead_hold(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For CaptureHold."""
    fields = await hold_there(ledger, clock)
    clock.advance(seconds=60)
    return fields


async def unknown_hold(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ReleaseHold."""
    return {"hold_id": "hold_nothing"}


async def expiry_in_past(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ExtendHold."""
    return {**await hold_there(ledger, clock), "expire_time": timestamp(clock.now)}


async def too_much_more(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For IncreaseHold."""
    return {**await hold_there(ledger, clock), "additional_minor": LARGEST}


async def plain_deposit(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For InitiateDeposit."""
    return {
        "player_id": PLAYER,
        "provider": PROVIDER,
        "amount_minor": 500,
        "currency_code": "EUR",
        "provider_ref": "pay",
    }


async def deposit_with_taken_ref(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For InitiateDeposit."""
    await Cashier(ledger).initiate(provider_ref="pay")
    return await plain_deposit(ledger, clock)


async def captured_deposit(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For RefundDeposit."""
    deposit = await Cashier(ledger).captured(500)
    return {"deposit_id": deposit.deposit_id, "amount_minor": 1}


async def deposit_in_vain(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For RefundDeposit."""
    deposit = await Cashier(ledger).initiate()
    return {"deposit_id": deposit.deposit_id, "amount_minor": 1}


async def plain_withdrawal(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For RequestWithdrawal."""
    await Cashier(ledger).captured(500)
    return await withdrawal_without_account(ledger, clock)


async def withdrawal_too_large(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For RequestWithdrawal."""
    return {**await plain_withdrawal(ledger, clock), "amount_minor": 600}


async def withdrawal_without_account(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For RequestWithdrawal."""
    return {
        "player_id": PLAYER,
        "provider": PROVIDER,
        "amount_minor": 100,
        "currency_code": "EUR",
        "destination": "bank-1",
    }


async def withdrawal_there(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For steps on a withdrawal."""
    cashier = Cashier(ledger)
    await cashier.captured(500)
    return {"withdrawal_id": (await cashier.request()).withdrawal_id}


async def withdrawal_of_player(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For CancelWithdrawal."""
    await Cashier(ledger).set_policy(player_may_cancel=True)
    return await withdrawal_there(ledger, clock)


async def reviewed_withdrawal(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For steps of a reviewer."""
    return {**await withdrawal_there(ledger, clock), "reviewer": "eve"}


async def noted_withdrawal(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For AddWithdrawalNote."""
    return {**await reviewed_withdrawal(ledger, clock), "text": "called the bank"}


async def note_on_nothing(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For AddWithdrawalNote."""
    return {**await noted_withdrawal(ledger, clock), "withdrawal_id": "wd_nothing"}


async def withdrawal_seen_otherwise(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ApproveWithdrawal: it has no approval yet."""
    return {**await reviewed_withdrawal(ledger, clock), "expected_approvals": 1}


async def rejected_withdrawal(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For RejectWithdrawal."""
    fields = await reviewed_withdrawal(ledger, clock)
    await Cashier(ledger).reject(fields["withdrawal_id"])
    return fields


async def approved_withdrawal(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For MarkWithdrawalPaid."""
    fields = await reviewed_withdrawal(ledger, clock)
    await Cashier(ledger).approve(fields["withdrawal_id"])
    await Cashier(ledger).until_called()
    return fields


async def unknown_withdrawal(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ApproveWithdrawal."""
    return {"withdrawal_id": "wd_nothing", "reviewer": "eve"}


async def plain_policy(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For SetWithdrawalPolicy."""
    return {"policy": WithdrawalPolicy(player_may_cancel=True, second_review_from_minor={"EUR": 5, "USD": 6})}


async def plain_adjustment(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For RequestAdjustment, which waits."""
    await ledger.open("ann")
    asked = Adjusters(ledger).asked()
    return {"postings": asked.postings, "reason": asked.reason, "actor": asked.actor}


async def small_adjustment(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For RequestAdjustment, which is posted at once."""
    await Adjusters(ledger).set_policy({"EUR": 1_000})
    return await plain_adjustment(ledger, clock)


async def adjustment_too_large(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For RequestAdjustment: it would be posted at once, and there is no money."""
    await Adjusters(ledger).set_policy({"EUR": 1_000})
    await ledger.open("ann")
    asked = Adjusters(ledger).asked("ann", "house")
    return {"postings": asked.postings, "reason": asked.reason, "actor": asked.actor}


async def adjustment_there(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For steps on an adjustment that ada has asked for."""
    await ledger.open("ann")
    return {"adjustment_id": (await Adjusters(ledger).request()).adjustment_id}


async def adjustment_of_ada(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For CancelAdjustment."""
    return {**await adjustment_there(ledger, clock), "actor": "ada"}


async def adjustment_to_review(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ApproveAdjustment."""
    return {**await adjustment_there(ledger, clock), "reviewer": "grace"}


async def adjustment_to_reject(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For RejectAdjustment."""
    return {**await adjustment_to_review(ledger, clock), "reason": "no"}


async def adjustment_of_reviewer(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ApproveAdjustment, by who asked."""
    return {**await adjustment_there(ledger, clock), "reviewer": "ada"}


async def adjustment_of_another(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For CancelAdjustment, by somebody else."""
    return {**await adjustment_there(ledger, clock), "actor": "grace"}


async def rejected_adjustment(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For RejectAdjustment, once more."""
    fields = await adjustment_to_reject(ledger, clock)
    await Adjusters(ledger).reject(fields["adjustment_id"])
    return fields


async def plain_amounts(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For SetAdjustmentPolicy."""
    return {"policy": AdjustmentPolicy(second_review_from_minor={"EUR": 5, "USD": 6})}


async def stored_event(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ReplayProviderEvent."""
    cashier = Cashier(ledger)
    [ingested] = await cashier.ingest(cashier.event(CAPTURED, amount_minor=5, payment_ref="early"))
    return {"provider_event_id": ingested.event.provider_event_id}


async def unknown_event(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ReplayProviderEvent."""
    return {"provider_event_id": "evt_nothing"}


async def unread_and_read_event(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For SupersedeProviderEvent."""
    cashier = Cashier(ledger)
    unread = cashier.event(
        payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED,
        unread_reason=payment_pb2.UNREAD_REASON_FIELD,
        moves_money=True,
    )
    stored = await cashier.ingest(unread, cashier.event(CAPTURED, amount_minor=5, payment_ref="early"))
    first, second = (each.event.provider_event_id for each in stored)
    return {"provider_event_id": first, "superseded_by_event_id": second}


async def event_that_was_read(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For SupersedeProviderEvent."""
    named = await unread_and_read_event(ledger, clock)
    read = named["superseded_by_event_id"]
    return {"provider_event_id": read, "superseded_by_event_id": named["provider_event_id"]}


async def unread_event_alone(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For SupersedeProviderEvent; nothing becomes what it is itself."""
    unread = (await unread_and_read_event(ledger, clock))["provider_event_id"]
    return {"provider_event_id": unread, "superseded_by_event_id": unread}


async def finding_there(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For steps on a finding."""
    found = await Desk(ledger).raised()
    return {"finding_id": found.finding_id, "expected_version": 1, "actor": "ada"}


async def finding_to_look_after(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For AcknowledgeFinding."""
    return {**await finding_there(ledger, clock), "assignee": "bob"}


async def finding_to_resolve(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ResolveFinding."""
    reason = finding_pb2.RESOLUTION_REASON_WRITTEN_OFF
    return {**await finding_there(ledger, clock), "reason": reason}


async def finding_with_unknown_correction(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ResolveFinding; the transaction is yet to come."""
    await ledger.open("ann")
    posted = await ledger.post("house", "ann", 1)
    unknown = posted.transaction_id.removesuffix(str(posted.sequence)) + "99"
    return {**await finding_to_resolve(ledger, clock), "correction_transaction_id": unknown}


async def finding_read_too_early(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ResolveFinding; somebody else was faster."""
    fields = await finding_to_resolve(ledger, clock)
    [found] = await Desk(ledger).findings()
    await Desk(ledger).acknowledge(found)
    return fields


async def resolved_finding(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For ReopenFinding."""
    fields = await finding_there(ledger, clock)
    [found] = await Desk(ledger).findings()
    resolved = await Desk(ledger).resolve(found)
    return {**fields, "expected_version": resolved.version}


async def unknown_finding(ledger: Ledger, clock: FakeClock) -> dict[str, Any]:
    """For AcknowledgeFinding."""
    return {"finding_id": "fnd_nothing", "expected_version": 1, "actor": "ada", "assignee": "bob"}


def account_rpc(method: str, prepare: Prepare, reason: str = "", **change: Any) -> Mutation:
    """Return a mutation of AccountService."""
    request = getattr(account_pb2, f"{method}Request")
    return Mutation(method, lambda x: getattr(x.stubs.accounts, method), request, prepare, change, reason)


def posting_rpc(method: str, prepare: Prepare, reason: str = "", **change: Any) -> Mutation:
    """Return a mutation of PostingService."""
    request = getattr(posting_pb2, f"{method}Request")
    return Mutation(method, lambda x: getattr(x.stubs.postings, method), request, prepare, change, reason)


def adjustment_rpc(method: str, prepare: Prepare, reason: str = "", **change: Any) -> Mutation:
    """Return a mutation of AdjustmentService."""
    request = getattr(adjustment_pb2, f"{method}Request")
    return Mutation(method, lambda x: getattr(x.stubs.adjustments, method), request, prepare, change, reason)


def hold_rpc(method: str, prepare: Prepare, reason: str = "", **change: Any) -> Mutation:
    """Return a mutation of HoldService."""
    request = getattr(hold_pb2, f"{method}Request")
    return Mutation(method, lambda x: getattr(x.stubs.holds, method), request, prepare, change, reason)


def deposit_rpc(method: str, prepare: Prepare, reason: str = "", **change: Any) -> Mutation:
    """Return a mutation of DepositService."""
    request = getattr(deposit_pb2, f"{method}Request")
    player_id = PLAYER if method == "InitiateDeposit" else ""
    return Mutation(
        method, lambda x: getattr(x.stubs.deposits, method), request, prepare, change, reason, player_id
    )


def player_rpc(method: str, prepare: Prepare, reason: str = "", **change: Any) -> Mutation:
    """Return a mutation of PlayerService."""
    request = getattr(player_pb2, f"{method}Request")
    return Mutation(method, lambda x: getattr(x.stubs.players, method), request, prepare, change, reason)


def withdrawal_rpc(method: str, prepare: Prepare, reason: str = "", **change: Any) -> Mutation:
    """Return a mutation of WithdrawalService."""
    request = getattr(withdrawal_pb2, f"{method}Request")
    player_id = PLAYER if method == "RequestWithdrawal" else ""
    return Mutation(
        method, lambda x: getattr(x.stubs.withdrawals, method), request, prepare, change, reason, player_id
    )


def event_rpc(method: str, prepare: Prepare, reason: str = "", **change: Any) -> Mutation:
    """Return a mutation of ProviderEventService."""
    request = getattr(provider_event_pb2, f"{method}Request")
    return Mutation(method, lambda x: getattr(x.stubs.events, method), request, prepare, change, reason)


def finding_rpc(method: str, prepare: Prepare, reason: str = "", **change: Any) -> Mutation:
    """Return a mutation of FindingService."""
    request = getattr(finding_pb2, f"{method}Request")
    return Mutation(method, lambda x: getattr(x.stubs.findings, method), request, prepare, change, reason)


def tenant_rpc(method: str, prepare: Prepare, reason: str = "", **change: Any) -> Mutation:
    """Return a mutation of TenantService."""
    request = getattr(tenant_pb2, f"{method}Request")
    return Mutation(method, lambda x: getattr(x.stubs.tenants, method), request, prepare, change, reason)


SUCCESSES = [
    account_rpc("OpenAccount", plain_account, account=new_account("ann", currency_code="USD")),
    account_rpc("SetAccountLimits", limits_wanted, limits=limits(maximum=101)),
    account_rpc("FreezeAccount", account_there, note="changed"),
    account_rpc("UnfreezeAccount", frozen_account, note="changed"),
    account_rpc("CloseAccount", account_there, note="changed"),
    account_rpc("ContinueAccount", full_account, note="changed"),
    posting_rpc("PostTransaction", plain_transfer, transaction=transfer("ann", "house", 4)),
    posting_rpc("ReverseTransaction", transaction_there, reference="changed"),
    adjustment_rpc("RequestAdjustment", plain_adjustment, description="changed"),
    adjustment_rpc("RequestAdjustment", small_adjustment, actor="mallory"),
    adjustment_rpc("ApproveAdjustment", adjustment_to_review, reviewer="mallory"),
    adjustment_rpc("RejectAdjustment", adjustment_to_reject, reviewer="mallory"),
    adjustment_rpc("CancelAdjustment", adjustment_of_ada, adjustment_id="adj_other"),
    adjustment_rpc("SetAdjustmentPolicy", plain_amounts, policy=AdjustmentPolicy()),
    hold_rpc("PlaceHold", plain_hold, amount_minor=4),
    hold_rpc("PlaceHold", hold_for_a_time, time_to_live=length(60_000_001)),
    hold_rpc("ExtendHold", life_for_longer, time_to_live=length(3_600_000_001)),
    hold_rpc("CaptureHold", hold_there, final=True),
    hold_rpc("ReleaseHold", hold_there, hold_id="hold_other"),
    hold_rpc("ExtendHold", later_expiry, expire_time=timestamp(FakeClock().advance(seconds=7200))),
    hold_rpc("IncreaseHold", more_to_hold, additional_minor=3),
    tenant_rpc("SetBalanceEnforcement", shadow, balance_enforcement=2),
    deposit_rpc("InitiateDeposit", plain_deposit, amount_minor=501),
    deposit_rpc("RefundDeposit", captured_deposit, amount_minor=2),
    withdrawal_rpc("RequestWithdrawal", plain_withdrawal, destination="bank-2"),
    withdrawal_rpc("ApproveWithdrawal", reviewed_withdrawal, reviewer="mallory"),
    withdrawal_rpc("RejectWithdrawal", reviewed_withdrawal, reviewer="mallory"),
    withdrawal_rpc("ClaimWithdrawal", reviewed_withdrawal, take_over=True),
    withdrawal_rpc("AddWithdrawalNote", noted_withdrawal, text="another one"),
    withdrawal_rpc("CancelWithdrawal", withdrawal_of_player, withdrawal_id="wd_other"),
    withdrawal_rpc("MarkWithdrawalPaid", approved_withdrawal, provider_ref="changed"),
    withdrawal_rpc("SetWithdrawalPolicy", plain_policy, policy=WithdrawalPolicy(player_may_cancel=False)),
    player_rpc("ForgetPlayer", player_to_forget, player_id="bob"),
    event_rpc("ReplayProviderEvent", stored_event, provider_event_id="evt_other"),
    event_rpc("SupersedeProviderEvent", unread_and_read_event, superseded_by_event_id="evt_other"),
    finding_rpc("AcknowledgeFinding", finding_to_look_after, assignee="mallory"),
    finding_rpc("ResolveFinding", finding_to_resolve, note="changed"),
    finding_rpc("ReopenFinding", resolved_finding, actor="mallory"),
]
REJECTIONS = [
    account_rpc("OpenAccount", taken_account, "ACCOUNT_ALREADY_EXISTS"),
    account_rpc("SetAccountLimits", unknown_account_with_limits, "ACCOUNT_NOT_FOUND"),
    account_rpc("FreezeAccount", unknown_account, "ACCOUNT_NOT_FOUND"),
    account_rpc("UnfreezeAccount", account_there, "ILLEGAL_TRANSITION"),
    account_rpc("CloseAccount", full_account, "ACCOUNT_NOT_EMPTY"),
    account_rpc("ContinueAccount", unknown_account, "ACCOUNT_NOT_FOUND"),
    posting_rpc("PostTransaction", transfer_too_large, "INSUFFICIENT_FUNDS"),
    posting_rpc("ReverseTransaction", unknown_transaction, "TRANSACTION_NOT_FOUND"),
    adjustment_rpc("RequestAdjustment", adjustment_too_large, "INSUFFICIENT_FUNDS"),
    adjustment_rpc("ApproveAdjustment", adjustment_of_reviewer, "SECOND_PERSON_REQUIRED"),
    adjustment_rpc("RejectAdjustment", rejected_adjustment, "ILLEGAL_TRANSITION"),
    adjustment_rpc("CancelAdjustment", adjustment_of_another, "REQUESTER_REQUIRED"),
    hold_rpc("PlaceHold", hold_too_large, "INSUFFICIENT_FUNDS"),
    hold_rpc("CaptureHold", dead_hold, "HOLD_EXPIRED"),
    hold_rpc("ReleaseHold", unknown_hold, "HOLD_NOT_FOUND"),
    hold_rpc("ExtendHold", expiry_in_past, "EXPIRE_TIME_NOT_LATER"),
    hold_rpc("IncreaseHold", too_much_more, "AMOUNT_OVERFLOW"),
    tenant_rpc("CreateTenant", nothing, "TENANT_ALREADY_EXISTS"),
    deposit_rpc("InitiateDeposit", deposit_with_taken_ref, "PROVIDER_REF_TAKEN"),
    deposit_rpc("RefundDeposit", deposit_in_vain, "ILLEGAL_TRANSITION"),
    withdrawal_rpc("RequestWithdrawal", withdrawal_too_large, "INSUFFICIENT_FUNDS"),
    withdrawal_rpc("RequestWithdrawal", withdrawal_without_account, "ACCOUNT_NOT_FOUND"),
    withdrawal_rpc("ApproveWithdrawal", unknown_withdrawal, "WITHDRAWAL_NOT_FOUND"),
    withdrawal_rpc("ApproveWithdrawal", withdrawal_seen_otherwise, "WITHDRAWAL_STATE_MISMATCH"),
    withdrawal_rpc("RejectWithdrawal", rejected_withdrawal, "ILLEGAL_TRANSITION"),
    withdrawal_rpc("ClaimWithdrawal", rejected_withdrawal, "ILLEGAL_TRANSITION"),
    withdrawal_rpc("AddWithdrawalNote", note_on_nothing, "WITHDRAWAL_NOT_FOUND"),
    withdrawal_rpc("CancelWithdrawal", withdrawal_there, "PLAYER_CANCEL_NOT_ALLOWED"),
    withdrawal_rpc("MarkWithdrawalPaid", reviewed_withdrawal, "ILLEGAL_TRANSITION"),
    event_rpc("ReplayProviderEvent", unknown_event, "PROVIDER_EVENT_NOT_FOUND"),
    event_rpc("SupersedeProviderEvent", unread_event_alone, "EVENT_CANNOT_SUPERSEDE"),
    event_rpc("SupersedeProviderEvent", event_that_was_read, "ILLEGAL_TRANSITION"),
    finding_rpc("AcknowledgeFinding", unknown_finding, "FINDING_NOT_FOUND"),
    finding_rpc("ResolveFinding", finding_read_too_early, "FINDING_VERSION_MISMATCH"),
    finding_rpc("ResolveFinding", finding_with_unknown_correction, "TRANSACTION_NOT_FOUND"),
    finding_rpc("ReopenFinding", finding_there, "ILLEGAL_TRANSITION"),
]


@pytest.mark.parametrize("mutation", SUCCESSES, ids=str)
async def test_retry_success_replays_response(
    mutation: Mutation, server: Service, ledger: Ledger, clock: FakeClock
) -> None:
    """The retry is answered with the same bytes and a mark, and writes nothing; a restart too."""
    request = await mutation.make(ledger, clock)
    first = await reply(mutation.call(ledger, request))
    await Cashier(ledger).until_called()
    head = await ledger.head()

    second = await reply(mutation.call(ledger, request))
    await server.crash()
    await server.restart()
    third = await reply(mutation.call(server.ledger(), request))

    assert [first.replayed, second.replayed, third.replayed] == [False, True, True]
    assert first.response == second.response == third.response
    assert await server.ledger().head() == head
    await assert_ledger_coherent(server.ledger())


@pytest.mark.parametrize("mutation", REJECTIONS, ids=lambda m: f"{m.method}-{m.reason}")
async def test_retry_rejection_replays_refusal(
    mutation: Mutation, server: Service, ledger: Ledger, clock: FakeClock
) -> None:
    """The retry is refused in the same words with a mark, and writes nothing; a restart too."""
    request = await mutation.make(ledger, clock)
    first = await refusal(mutation.call(ledger, request))
    head = await ledger.head()

    second = await refusal(mutation.call(ledger, request))
    await server.crash()
    await server.restart()
    third = await refusal(mutation.call(server.ledger(), request))

    assert first.reason == mutation.reason
    assert [first.replayed, second.replayed, third.replayed] == [False, True, True]
    for later in (second, third):
        assert (later.code, later.reason) == (first.code, first.reason)
        assert (later.message, later.metadata) == (first.message, first.metadata)
    assert await server.ledger().head() == head


@pytest.mark.parametrize("mutation", SUCCESSES, ids=str)
async def test_reuse_key_with_other_body_is_refused(
    mutation: Mutation, ledger: Ledger, clock: FakeClock
) -> None:
    """Nothing moves, nothing is recorded, and the first outcome stays."""
    request = await mutation.make(ledger, clock)
    first = await mutation.call(ledger, request)
    await Cashier(ledger).until_called()
    head = await ledger.head()
    changed = type(request)()
    changed.CopyFrom(request)
    for field in mutation.change:
        changed.ClearField(field)
    changed.MergeFrom(mutation.request(**mutation.change))

    refused = await refusal(mutation.call(ledger, changed))

    assert refused.reason == "IDEMPOTENCY_KEY_REUSED"
    assert refused.code == grpc.StatusCode.ALREADY_EXISTS
    assert refused.metadata == {"idempotency_key": KEY, "method": mutation.method}
    assert await ledger.head() == head
    assert await mutation.call(ledger, request) == first


@pytest.mark.parametrize("mutation", SUCCESSES, ids=str)
async def test_get_outcome_of_success_returns_its_record(
    mutation: Mutation, ledger: Ledger, clock: FakeClock
) -> None:
    """The record names the method, the key and the digest of the request."""
    request = await mutation.make(ledger, clock)
    await mutation.call(ledger, request)

    entry = await ledger.outcome(mutation.method, KEY, player_id=mutation.player_id)

    asked = [one for one in await ledger.entries() if one.record.HasField("request")]
    assert entry == asked[-1]
    assert entry.record.request.player_id == mutation.player_id
    assert entry.record.request.method == mutation.method
    assert entry.record.request.idempotency_key == KEY
    assert len(entry.record.request.digest) == 16
    assert not entry.record.HasField("request_rejected")


@pytest.mark.parametrize("mutation", [each for each in SUCCESSES if "time_to_live" in each.change], ids=str)
@pytest.mark.parametrize("seconds", [1, 59, 60, 3_600, 100_000])
async def test_retry_with_time_to_live_later_answers_the_first_end(
    mutation: Mutation, seconds: int, server: Service, ledger: Ledger, clock: FakeClock
) -> None:
    """A length is counted once: whenever a retry comes, even after the end, it makes nothing live longer."""
    request = await mutation.make(ledger, clock)
    lives = request.time_to_live.ToTimedelta()
    end = clock.now + lives
    first = await reply(mutation.call(ledger, request))

    clock.advance(seconds=seconds)
    await server.crash()
    await server.restart()
    again = await reply(mutation.call(server.ledger(), request))

    assert (first.replayed, again.replayed) == (False, True)
    assert first.response == again.response
    assert first.response.hold.expire_time == timestamp(end)
    found = await server.ledger().hold(first.response.hold.hold_id)
    assert found.expire_time == timestamp(end)
    assert found.state == (hold_pb2.HOLD_STATE_EXPIRED if clock.now >= end else hold_pb2.HOLD_STATE_OPEN)
    verified = await server.ledger().verify()
    assert not verified.HasField("first_difference")


async def test_use_one_key_for_two_players_makes_two_outcomes(ledger: Ledger) -> None:
    """A key of a request that names a player is that player's own."""
    cashier = Cashier(ledger)
    request = cashier.initiate_request(500, key=KEY, player_id="ann", provider_ref="one")
    other = cashier.initiate_request(700, key=KEY, player_id="bob", provider_ref="two")

    deposits = [await reply(cashier.stubs.deposits.InitiateDeposit(one)) for one in (request, other, request)]

    assert [one.replayed for one in deposits] == [False, False, True]
    assert deposits[0].response == deposits[2].response != deposits[1].response
    recorded = [await ledger.outcome("InitiateDeposit", KEY, player_id=name) for name in ("ann", "bob")]
    assert [entry.record.deposit_changed.amount_minor for entry in recorded] == [500, 700]
    assert (await refusal(ledger.outcome("InitiateDeposit", KEY))).reason == "OUTCOME_NOT_FOUND"
    assert (await ledger.outcome("InitiateDeposit", KEY, player_id="ann")).record.request.player_id == "ann"


async def test_use_one_key_for_two_methods_makes_two_outcomes(ledger: Ledger) -> None:
    """A key is scoped by its RPC."""
    await ledger.open("ann", key=KEY)
    await ledger.post("house", "ann", 5, key=KEY)

    await ledger.freeze("ann", key=KEY)

    assert (await ledger.outcome("FreezeAccount", KEY)).record.HasField("account_frozen")
    assert await ledger.posted("ann") == 5


async def test_use_one_key_in_two_tenants_makes_two_outcomes(server: Service, ledger: Ledger) -> None:
    """A key is scoped by its tenant."""
    other = await server.new_ledger("other")

    await ledger.open("ann", key=KEY)
    await other.open("ann", key=KEY)

    assert (await other.outcome("OpenAccount", KEY)).record.tenant_id == "other"
    assert (await ledger.outcome("OpenAccount", KEY)).record.tenant_id == ledger.tenant_id


async def test_retry_refused_post_after_money_came_is_refused_again(ledger: Ledger) -> None:
    """A refusal is final for its key; a new key may try again."""
    await ann_with_money(ledger)
    await refusal(ledger.post("ann", "house", 15, key=KEY))
    await ledger.fund("ann", 10)

    refused = await refusal(ledger.post("ann", "house", 15, key=KEY))
    await ledger.post("ann", "house", 15)

    assert refused.replayed
    assert refused.metadata["available_balance_minor"] == "10"
    assert await ledger.posted("ann") == 5


async def test_send_malformed_request_leaves_key_unused(ledger: Ledger) -> None:
    """What never reached a decision does not use up its key."""
    await ledger.open("ann")
    await refusal(ledger.post("house", "ann", 0, key=KEY))
    unused = await refusal(ledger.outcome("PostTransaction", KEY))

    await ledger.post("house", "ann", 1, key=KEY)

    assert unused.reason == "OUTCOME_NOT_FOUND"
    assert await ledger.posted("ann") == 1


async def test_create_tenant_again_with_same_key_replays(server: Service) -> None:
    """Creating a tenant is keyed like everything else."""
    request = tenant_pb2.CreateTenantRequest(tenant_id="casino", idempotency_key=KEY)
    first = await reply(server.stubs.tenants.CreateTenant(request))
    await server.ledger().open_house()

    second = await reply(server.stubs.tenants.CreateTenant(request))

    assert (first.replayed, second.replayed) == (False, True)
    assert first.response == second.response
    assert first.response.tenant.head_sequence == 1
    assert await server.ledger().head() == 2


async def test_share_key_between_unary_batch_and_stream_replays(ledger: Ledger) -> None:
    """An item may be retried by any of the three RPCs, whichever decided it first."""
    await ledger.open("ann")
    items = [ledger.transfer_item("house", "ann", 5, key=key) for key in ("u", "b", "s")]
    posted = [
        await ledger.submit(items[0].transaction, key="u"),
        (await ledger.batch(items[1]))[0].transaction,
        (await ledger.stream(items[2]))[0].transaction,
    ]
    head = await ledger.head()

    by_unary = [await ledger.submit(one.transaction, key=one.idempotency_key) for one in items]
    by_batch = await ledger.batch(*items)
    by_atomic_batch = await ledger.batch(*items, mode=ATOMIC)
    by_stream = await ledger.stream(*items)

    assert by_unary == posted
    for results in (by_batch, by_atomic_batch, by_stream):
        assert [result.transaction for result in results] == posted
        assert all(result.replayed for result in results)
    assert await ledger.head() == head


async def test_share_key_of_refusal_between_rpcs_replays(ledger: Ledger) -> None:
    """A refusal too is one for all three RPCs."""
    await ann_with_money(ledger)
    item = ledger.transfer_item("ann", "house", 11, key=KEY)
    (first,) = await ledger.stream(item)

    by_unary = await refusal(ledger.submit(item.transaction, key=KEY))
    (by_batch,) = await ledger.batch(item)
    by_atomic_batch = await refusal(ledger.batch(item, mode=ATOMIC))

    assert first.rejection.reason == error_pb2.ERROR_REASON_INSUFFICIENT_FUNDS
    assert not first.replayed
    assert (by_unary.reason, by_unary.replayed) == ("INSUFFICIENT_FUNDS", True)
    assert (by_batch.rejection, by_batch.replayed) == (first.rejection, True)
    assert (by_atomic_batch.reason, by_atomic_batch.replayed) == ("INSUFFICIENT_FUNDS", True)
    assert by_atomic_batch.metadata["index"] == "0"


async def test_open_account_by_batch_shares_key_with_unary(ledger: Ledger) -> None:
    """Items of BatchOpenAccounts are OpenAccount keys."""
    opened = await ledger.open("ann", key=KEY)
    request = account_pb2.BatchOpenAccountsRequest(
        tenant_id=ledger.tenant_id,
        mode=INDEPENDENT,
        items=[
            account_pb2.BatchOpenAccountsItem(idempotency_key=KEY, account=new_account("ann")),
            account_pb2.BatchOpenAccountsItem(idempotency_key="k", account=new_account("ann")),
        ],
    )

    results = (await ledger.stubs.accounts.BatchOpenAccounts(request)).results

    assert (results[0].account, results[0].replayed) == (opened, True)
    assert results[1].rejection.reason == error_pb2.ERROR_REASON_ACCOUNT_ALREADY_EXISTS


async def test_send_one_key_at_once_to_two_servers_has_one_effect(
    database_url: str, server: Service, ledger: Ledger
) -> None:
    """Two servers share a database and nothing else; each retry hears the same outcome."""
    await ledger.open("ann")
    async with serving(database_url) as second:
        both = [ledger, second.ledger()]

        rounds = [
            await asyncio.gather(
                *(side.post("house", "ann", 1, key=f"key-{n}") for side in both for _ in range(3))
            )
            for n in range(20)
        ]

    assert all(one == answers[0] for answers in rounds for one in answers)
    assert await ledger.posted("ann") == 20
    await assert_ledger_coherent(ledger)


async def test_send_one_key_with_two_bodies_at_once_decides_one(
    database_url: str, server: Service, ledger: Ledger
) -> None:
    """Of two bodies one wins; the other is a reuse, whichever server it came to."""
    await ledger.open("ann")
    async with serving(database_url) as second:
        both = [(ledger, 1), (second.ledger(), 2)]

        answers = [
            await asyncio.gather(
                *(side.post("house", "ann", amount, key=f"key-{n}") for side, amount in both),
                return_exceptions=True,
            )
            for n in range(20)
        ]

    winners = [[one for one in pair if not isinstance(one, BaseException)] for pair in answers]
    assert [len(pair) for pair in winners] == [1] * 20
    posted = sum(pair[0].postings[0].amount_minor for pair in winners)
    assert await ledger.posted("ann") == posted
    await assert_ledger_coherent(ledger)


async def test_reverse_transaction_whose_id_was_guessed_before_it_was_posted_succeeds(ledger: Ledger) -> None:
    """A refusal is about its moment: what was not there is looked for again."""
    await ledger.open("ann")
    first = await ledger.post("house", "ann", 5)
    prefix = first.transaction_id.removesuffix(str(first.sequence))
    guessed = f"{prefix}{first.sequence + 2}"
    assert (await refusal(ledger.reverse(guessed))).reason == "TRANSACTION_NOT_FOUND"
    posted = await ledger.post("house", "ann", 7)

    reversal = await ledger.reverse(posted.transaction_id)

    assert posted.transaction_id == guessed
    assert reversal.reverses_transaction_id == guessed
