"""Own histories for a fake and a server: commands that are chosen at random."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from defter.ledger.v1 import account_pb2, adjustment_pb2, hold_pb2, posting_pb2, tenant_pb2
from defter.payments.v1 import (
    deposit_pb2,
    payment_pb2,
    provider_event_pb2,
    withdrawal_pb2,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.clients.both import METHODS, Pair
from tests.support.clock import START
from tests.support.fake_provider import PROVIDER
from tests.support.requests import (
    BET,
    CREDIT,
    DEBIT,
    TRANSFER,
    leg,
    limits,
    new_account,
    timestamp,
    transaction,
)

ACCOUNTS: Final = (
    "house",
    "cash",
    "pot",
    "player:ann:real:EUR",
    "player:bob:real:EUR",
    "player:ann:bonus:EUR",
)
PLAYERS: Final = ("ann", "bob")
REFERENCES: Final = ("", "", "round-1", "round-2")
EVENTS: Final = (
    payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_AUTHORIZED,
    payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED,
    payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED,
    payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_FAILED,
    payment_pb2.PROVIDER_EVENT_TYPE_FEE_CHARGED,
    payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID,
    payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_FAILED,
)
OF_CAPTURED: Final = (
    payment_pb2.PROVIDER_EVENT_TYPE_REFUND_SUCCEEDED,
    payment_pb2.PROVIDER_EVENT_TYPE_REFUND_FAILED,
    payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN,
    payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_REINSTATED,
)


class History:
    """Commands chosen at random, about the few accounts, holds and payments of one tenant."""

    def __init__(self, pair: Pair, tenant_id: str, choice: random.Random) -> None:
        self._pair = pair
        self._tenant = tenant_id
        self._choice = choice
        self.sent: list[tuple[str, Any]] = []
        self.accounts = list(ACCOUNTS)
        self.transactions = ["tx_unknown"]
        self.holds = ["hold_unknown"]
        self.deposits: dict[str, str] = {"dep_unknown": "nothing"}
        self.captured: set[str] = set()
        self.withdrawals = ["wd_unknown"]
        self.adjustments = ["adj_unknown"]
        self.events = ["evt_unknown"]
        self._numbers = iter(range(1, 1_000_000))

    async def begin(self, enforcement: Any) -> None:
        """Create the tenant; each withdrawal needs two reviewers, of whom one never comes."""
        await self._send("CreateTenant", tenant_pb2.CreateTenantRequest(balance_enforcement=enforcement))
        policy = payment_pb2.WithdrawalPolicy(player_may_cancel=True)
        policy.second_review_from_minor["EUR"] = 1
        await self._send("SetWithdrawalPolicy", withdrawal_pb2.SetWithdrawalPolicyRequest(policy=policy))
        amounts = adjustment_pb2.AdjustmentPolicy(second_review_from_minor={"EUR": 40})
        await self._send("SetAdjustmentPolicy", adjustment_pb2.SetAdjustmentPolicyRequest(policy=amounts))
        for account_id in (*ACCOUNTS[:-1], "house"):  # the last one is opened by chance, the first one twice
            await self._send("OpenAccount", self._open(account_id, _kind_of(account_id)))
        for account_id in ACCOUNTS[1:]:
            legs = (leg("house", DEBIT, 3_000), leg(account_id, CREDIT, 3_000))
            await self._send(
                "PostTransaction", posting_pb2.PostTransactionRequest(transaction=transaction(*legs))
            )

    async def step(self) -> None:
        """Give a command, or let time pass."""
        commands: list[tuple[int, Callable[[], Any]]] = [
            (12, self._post),
            (6, self._batch),
            (3, self._open_some),
            (4, self._limit),
            (3, self._switch),
            (5, self._reverse),
            (12, self._place),
            (10, self._use_hold),
            (8, self._deposit),
            (12, self._event),
            (5, self._withdraw),
            (6, self._review),
            (6, self._adjust),
            (8, self._review_adjustment),
            (3, self._replay_event),
            (6, self._again),
            (3, self._stream),
            (8, self._wait),
            (6, self._look),
            (3, self._continue),
        ]
        weights, made = zip(*commands, strict=True)
        [command] = self._choice.choices(made, weights)
        await command()

    async def _send(self, name: str, request: Any, key: str = "") -> Any:
        request.tenant_id = self._tenant
        if "idempotency_key" in request.DESCRIPTOR.fields_by_name and not request.idempotency_key:
            request.idempotency_key = key or f"key-{next(self._numbers)}"
        self.sent.append((name, request))
        return await self._pair.ask(name, request)

    async def _again(self) -> None:
        """Send an earlier request again, or another one with its key."""
        name, request = self._choice.choice(self.sent)
        if name == "PostTransaction" and self._choice.random() < 0.4:
            other = type(request)()
            other.CopyFrom(request)
            other.transaction.reference = f"other-{next(self._numbers)}"
            request = other
        await self._pair.ask(name, request)

    async def _wait(self) -> None:
        by = self._choice.choice([timedelta(microseconds=1), timedelta(seconds=30), timedelta(hours=2)])
        await self._pair.pass_time(by, sweep=self._choice.random() < 0.5)

    async def _look(self) -> None:
        """Read as of an instant, after which nothing may be recorded at or before it."""
        seconds = self._choice.choice([0, 0, 0, -1, -30, 0.00001])
        time = timestamp(self._pair.clock() + timedelta(seconds=seconds))
        request = account_pb2.GetBalanceRequest(tenant_id=self._tenant, account_id=self._account(), time=time)
        await self._pair.ask("GetBalance", request)

    def _account(self) -> str:
        return self._choice.choice(self.accounts)

    def _amount(self) -> int:
        return self._choice.choices([1, 2, 50, 100, 1_000, 10**6, 0], [5, 5, 5, 5, 5, 2, 1])[0]

    def _known(self, ids: Sequence[str]) -> str:
        """Return one of the newest ids, or now and then the first one, which is unknown."""
        return self._choice.choice(ids[1:][-6:] if len(ids) > 1 and self._choice.random() < 0.95 else ids)

    def _transaction(self) -> posting_pb2.NewTransaction:
        amount = self._amount()
        debit, credit = self._choice.sample(self.accounts, 2)
        if self._choice.random() < 0.5 and credit != "house":
            debit = "house"
        legs = [leg(debit, DEBIT, amount), leg(credit, CREDIT, amount)]
        if self._choice.random() < 0.15:
            legs += [leg(self._account(), DEBIT, 7), leg(self._account(), CREDIT, 7)]
        if self._choice.random() < 0.1:
            legs[0].amount_minor += 1
        return transaction(
            *legs,
            type_=self._choice.choice([BET, TRANSFER]),
            reference=self._choice.choice(REFERENCES),
            effective_time=timestamp(START) if self._choice.random() < 0.2 else None,
            metadata={"a": "1"} if self._choice.random() < 0.2 else None,
        )

    async def _post(self) -> None:
        wanted = posting_pb2.PostTransactionRequest(transaction=self._transaction())
        response = await self._send("PostTransaction", wanted)
        if response is not None:
            self.transactions.append(response.transaction.transaction_id)

    async def _batch(self) -> None:
        mode = self._choice.choice([account_pb2.BATCH_MODE_ATOMIC, account_pb2.BATCH_MODE_INDEPENDENT])
        request = posting_pb2.BatchPostTransactionsRequest(mode=mode, items=self._items())
        await self._send("BatchPostTransactions", request)

    async def _stream(self) -> None:
        await self._pair.stream(self._tenant, self._items())

    def _items(self) -> Sequence[posting_pb2.PostTransactionItem]:
        return [
            posting_pb2.PostTransactionItem(
                idempotency_key=f"item-{self._choice.randrange(40)}", transaction=self._transaction()
            )
            for _ in range(self._choice.randrange(1, 4))
        ]

    def _open(self, account_id: str, kind: Any) -> account_pb2.OpenAccountRequest:
        bounds = self._choice.choice([None, limits(minimum=0, maximum=5_000), limits(minimum=-100)])
        currency = self._choice.choices(["EUR", "USD", "XXX"], [17, 2, 1])[0]
        if kind == _kind_of(account_id):
            bounds, currency = None, "EUR"
        return account_pb2.OpenAccountRequest(
            account=new_account(account_id, kind=kind, bounds=bounds, currency_code=currency)
        )

    async def _open_some(self) -> None:
        kind = self._choice.choice([account_pb2.ACCOUNT_KIND_ASSET, account_pb2.ACCOUNT_KIND_LIABILITY])
        if self._choice.random() < 0.2:
            items = [
                account_pb2.BatchOpenAccountsItem(
                    idempotency_key=f"open-{self._choice.randrange(20)}",
                    account=new_account(self._choice.choice(ACCOUNTS), kind=kind),
                )
                for _ in range(2)
            ]
            mode = account_pb2.BATCH_MODE_INDEPENDENT
            await self._send(
                "BatchOpenAccounts", account_pb2.BatchOpenAccountsRequest(mode=mode, items=items)
            )
            return
        await self._send("OpenAccount", self._open(self._account(), kind))

    async def _limit(self) -> None:
        bounds = self._choice.choice([limits(minimum=0), limits(minimum=-500, maximum=10**7), limits()])
        request = account_pb2.SetAccountLimitsRequest(account_id=self._account(), limits=bounds)
        await self._send("SetAccountLimits", request)

    async def _switch(self) -> None:
        name = self._choice.choice(["FreezeAccount", "UnfreezeAccount", "UnfreezeAccount", "CloseAccount"])
        account_id = self._account()
        if account_id == "house":
            return
        request = GetMessageClass(METHODS[name].input_type)(account_id=account_id, note="why")
        await self._send(name, request)

    async def _continue(self) -> None:
        """Continue an account, with holds on it or without; its name is used on, too."""
        request = account_pb2.ContinueAccountRequest(
            account_id=self._choice.choice(self.accounts[1:]), note="why"
        )
        response = await self._send("ContinueAccount", request)
        if response is not None:
            self.accounts.append(response.successor.account_id)

    async def _reverse(self) -> None:
        wanted = self._known(self.transactions)
        await self._send("ReverseTransaction", posting_pb2.ReverseTransactionRequest(transaction_id=wanted))

    async def _place(self) -> None:
        request = hold_pb2.PlaceHoldRequest(
            debit_account_id=self._choice.choice([self._account(), "player:ann:real:EUR"]),
            credit_account_id=self._choice.choice([self._account(), "house"]),
            amount_minor=self._amount(),
            currency_code="EUR",
            type=BET,
            reference=self._choice.choice(REFERENCES),
        )
        life = self._choice.choice([None, 10, 3_600, 36_000])
        if life is not None:
            request.time_to_live.FromSeconds(life)
        response = await self._send("PlaceHold", request)
        if response is not None:
            self.holds.append(response.hold.hold_id)

    async def _use_hold(self) -> None:
        hold_id = self._known(self.holds)
        match self._choice.randrange(5):
            case 0:
                request: Message = hold_pb2.CaptureHoldRequest(hold_id=hold_id)
            case 1:
                request = hold_pb2.CaptureHoldRequest(hold_id=hold_id, amount_minor=1)
            case 2:
                request = hold_pb2.ReleaseHoldRequest(hold_id=hold_id)
            case 3:
                request = hold_pb2.IncreaseHoldRequest(hold_id=hold_id, additional_minor=5)
            case _:
                request = hold_pb2.ExtendHoldRequest(hold_id=hold_id)
                request.time_to_live.FromSeconds(7_200)
        response = await self._send(type(request).__name__.removesuffix("Request"), request)
        if isinstance(response, hold_pb2.CaptureHoldResponse):
            self.transactions.append(response.transaction.transaction_id)

    async def _deposit(self) -> None:
        ref = f"pay-{self._choice.randrange(30)}"
        request = deposit_pb2.InitiateDepositRequest(
            player_id=self._choice.choice(PLAYERS),
            provider=PROVIDER,
            amount_minor=self._amount(),
            currency_code="EUR",
            provider_ref=ref,
            reference=self._choice.choice(REFERENCES),
        )
        response = await self._send("InitiateDeposit", request)
        if response is not None:
            self.deposits[response.deposit.deposit_id] = ref

    async def _event(self) -> None:
        deposit_id = self._known(list(self.deposits))
        kinds = (*EVENTS, *OF_CAPTURED) if deposit_id in self.captured else EVENTS
        kind = self._choice.choice(kinds)
        payment_id, payment_ref = deposit_id, self.deposits[deposit_id]
        if kind in EVENTS[-2:]:
            payment_id, payment_ref = self._known(self.withdrawals), ""
        number = next(self._numbers)
        event = payment_pb2.ProviderEvent(
            provider=PROVIDER,
            event_id=f"event-{self._choice.choice([number, number, 1])}",
            type=kind,
            payment_id=self._choice.choice([payment_id, ""]) if payment_ref else payment_id,
            payment_ref=payment_ref,
            object_ref=f"object-{number}" if kind in OF_CAPTURED else "",
            provider_amount_minor=self._choice.choice([1, 50, 100]),
            currency_code="EUR",
            occur_time=timestamp(START),
            payload=b"{}",
        )
        request = provider_event_pb2.IngestProviderEventsRequest(events=[event])
        response = await self._send("IngestProviderEvents", request)
        if response is not None:
            told = response.events[0].event
            self.events.append(told.provider_event_id)
            applied = told.state == payment_pb2.PROVIDER_EVENT_STATE_APPLIED
            if applied and told.event.type == payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED:
                self.captured.add(told.payment_id)

    async def _replay_event(self) -> None:
        event_id = self._known(self.events)
        await self._send(
            "ReplayProviderEvent",
            provider_event_pb2.ReplayProviderEventRequest(provider_event_id=event_id),
        )

    async def _withdraw(self) -> None:
        request = withdrawal_pb2.RequestWithdrawalRequest(
            player_id=self._choice.choice(PLAYERS),
            provider=PROVIDER,
            amount_minor=self._amount(),
            currency_code="EUR",
            destination="bank-1",
            reference=self._choice.choice(REFERENCES),
        )
        response = await self._send("RequestWithdrawal", request)
        if response is not None:
            self.withdrawals.append(response.withdrawal.withdrawal_id)

    async def _adjust(self) -> None:
        debited, credited = self._choice.choice(self.accounts), self._choice.choice(self.accounts)
        amount = self._amount()
        request = adjustment_pb2.RequestAdjustmentRequest(
            postings=[leg(debited, DEBIT, amount), leg(credited, CREDIT, amount)],
            reason="goodwill",
            actor=self._choice.choice(["ada", "eve"]),
        )
        response = await self._send("RequestAdjustment", request)
        if response is not None:
            self.adjustments.append(response.adjustment.adjustment_id)

    async def _review_adjustment(self) -> None:
        adjustment_id = self._known(self.adjustments)
        who = self._choice.choice(["ada", "eve"])
        match self._choice.randrange(4):
            case 0:
                request: Message = adjustment_pb2.RejectAdjustmentRequest(
                    adjustment_id=adjustment_id, reviewer=who, reason="no"
                )
            case 1:
                request = adjustment_pb2.CancelAdjustmentRequest(
                    adjustment_id=adjustment_id,
                    actor=who,
                    expected_state=self._choice.choice(adjustment_pb2.AdjustmentState.values()),
                )
            case _:
                request = adjustment_pb2.ApproveAdjustmentRequest(adjustment_id=adjustment_id, reviewer=who)
        await self._send(type(request).__name__.removesuffix("Request"), request)

    async def _review(self) -> None:
        withdrawal_id = self._known(self.withdrawals)
        reviewer = self._choice.choice(["eve", "Eve", "bob"])
        match self._choice.randrange(8):
            case 0:
                request: Message = withdrawal_pb2.ApproveWithdrawalRequest(
                    withdrawal_id=withdrawal_id, reviewer="eve"
                )
            case 4:
                request = withdrawal_pb2.ApproveWithdrawalRequest(
                    withdrawal_id=withdrawal_id,
                    reviewer="eve",
                    expected_state=payment_pb2.WITHDRAWAL_STATE_REQUESTED,
                    expected_approvals=self._choice.randrange(2),
                )
            case 5 | 6:
                request = withdrawal_pb2.ClaimWithdrawalRequest(
                    withdrawal_id=withdrawal_id,
                    reviewer=reviewer,
                    claim_seconds=self._choice.choice([0, 60, 3_600]),
                    take_over=self._choice.random() < 0.2,
                    release=self._choice.random() < 0.2,
                )
            case 7:
                request = withdrawal_pb2.AddWithdrawalNoteRequest(
                    withdrawal_id=withdrawal_id, reviewer=reviewer, text="seen"
                )
            case 1:
                request = withdrawal_pb2.RejectWithdrawalRequest(
                    withdrawal_id=withdrawal_id, reviewer="eve", reason="no"
                )
            case 2:
                request = withdrawal_pb2.CancelWithdrawalRequest(withdrawal_id=withdrawal_id)
            case _:
                request = withdrawal_pb2.MarkWithdrawalPaidRequest(
                    withdrawal_id=withdrawal_id, reviewer="eve", provider_ref=f"out-{next(self._numbers)}"
                )
        await self._send(type(request).__name__.removesuffix("Request"), request)


def _kind_of(account_id: str) -> Any:
    """Return the kind that an account is meant to have."""
    is_wallet = account_id.startswith("player:")
    return account_pb2.ACCOUNT_KIND_LIABILITY if is_wallet else account_pb2.ACCOUNT_KIND_ASSET
