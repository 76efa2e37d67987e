"""Own the reads of all kinds that a fake and a server are compared by."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from defter.ledger.v1 import account_pb2, adjustment_pb2, hold_pb2, journal_pb2, posting_pb2
from defter.payments.v1 import (
    deposit_pb2,
    provider_event_pb2,
    wallet_pb2,
    withdrawal_pb2,
)
from google.protobuf.message_factory import GetMessageClass

from tests.clients.both import METHODS
from tests.clients.histories import PLAYERS, History
from tests.support.clock import START
from tests.support.fake_provider import PROVIDER
from tests.support.requests import (
    BET,
    TRANSFER,
    timestamp,
)


def reads_of(history: History, tenant_id: str, head: int, now: datetime) -> Iterator[tuple[str, Any]]:
    """Return reads of all kinds, with each filter."""
    yield "GetTrialBalance", journal_pb2.GetTrialBalanceRequest(tenant_id=tenant_id)
    yield "GetWithdrawalPolicy", withdrawal_pb2.GetWithdrawalPolicyRequest(tenant_id=tenant_id)
    yield (
        "BatchGetBalances",
        account_pb2.BatchGetBalancesRequest(tenant_id=tenant_id, account_ids=["house", "house"]),
    )
    for account_id in [*history.accounts, "player:ann:real:USD"]:
        place: dict[str, Any] = {"tenant_id": tenant_id, "account_id": account_id}
        yield "GetAccount", account_pb2.GetAccountRequest(**place)
        for sequence in range(1, head + 2, 7):
            yield "GetBalance", account_pb2.GetBalanceRequest(**place, sequence=sequence)
        for seconds in (-(10**6), -7_200, -30, 0, 0.00001, 5, 100):
            time = timestamp(now + timedelta(seconds=seconds))
            yield "GetBalance", account_pb2.GetBalanceRequest(**place, time=time)
    for transaction_id in history.transactions:
        yield (
            "GetTransaction",
            posting_pb2.GetTransactionRequest(tenant_id=tenant_id, transaction_id=transaction_id),
        )
    for hold_id in history.holds:
        yield "GetHold", hold_pb2.GetHoldRequest(tenant_id=tenant_id, hold_id=hold_id)
    window: dict[str, Any] = {
        "from_time": timestamp(START + timedelta(seconds=30)),
        "to_time": timestamp(now - timedelta(hours=1)),
    }
    for fields in ({}, {"from_time": window["from_time"]}, window):
        yield "CountDeposits", deposit_pb2.CountDepositsRequest(tenant_id=tenant_id, **fields)
        yield "CountWithdrawals", withdrawal_pb2.CountWithdrawalsRequest(tenant_id=tenant_id, **fields)
    for deposit_id in history.deposits:
        yield "GetDeposit", deposit_pb2.GetDepositRequest(tenant_id=tenant_id, deposit_id=deposit_id)
    for withdrawal_id in history.withdrawals:
        yield (
            "GetWithdrawal",
            withdrawal_pb2.GetWithdrawalRequest(tenant_id=tenant_id, withdrawal_id=withdrawal_id),
        )
    yield from _reads_of_adjustments(history, tenant_id)
    for event_id in history.events:
        yield (
            "GetProviderEvent",
            provider_event_pb2.GetProviderEventRequest(tenant_id=tenant_id, provider_event_id=event_id),
        )
    for player_id in (*PLAYERS, "nobody"):
        yield "GetWallet", wallet_pb2.GetWalletRequest(tenant_id=tenant_id, player_id=player_id)
    for name, request in history.sent[::9]:
        key = getattr(request, "idempotency_key", "")
        wanted = journal_pb2.GetOutcomeRequest(tenant_id=tenant_id, method=name, idempotency_key=key)
        yield "GetOutcome", wanted


def _reads_of_adjustments(history: History, tenant_id: str) -> Iterator[tuple[str, Any]]:
    yield "GetAdjustmentPolicy", adjustment_pb2.GetAdjustmentPolicyRequest(tenant_id=tenant_id)
    for adjustment_id in history.adjustments:
        yield (
            "GetAdjustment",
            adjustment_pb2.GetAdjustmentRequest(tenant_id=tenant_id, adjustment_id=adjustment_id),
        )


def lists_of(history: History, tenant_id: str, now: datetime) -> Iterator[tuple[str, Any]]:
    """Return lists of all kinds, with each filter."""
    span: dict[str, Any] = {
        "start_time": timestamp(START + timedelta(seconds=30)),
        "end_time": timestamp(now - timedelta(hours=1)),
    }
    filters: dict[str, list[dict[str, Any]]] = {
        "ListAccounts": [
            {},
            {"account_id_prefix": "player:"},
            {"kind": 1},
            {"currency_code": "USD"},
            *({"state": state} for state in (1, 2, 3)),
        ],
        "ListTransactions": [
            {},
            {"newest_first": True},
            {"type": BET},
            {"reference": "round-1"},
            {"only_limit_breached": True},
            {"account_id": "house", "type": TRANSFER},
            {"account_id": "house", "reference": "round-2"},
            span,
            {**span, "newest_first": True, "account_id": "player:ann:real:EUR"},
        ],
        "ListHolds": [
            {},
            {"newest_first": True},
            *({"state": state} for state in (1, 2, 3, 4)),
            {"account_id": "house"},
            {"account_id": "pot", "state": 1},
            {"expire_before_time": timestamp(now + timedelta(hours=2))},
            {"expire_before_time": timestamp(now + timedelta(hours=2)), "state": 1},
            {"only_limit_breached": True},
        ],
        "ListJournal": [{}, {"after_sequence": 5, "bytes_only": True}],
        "ListDeposits": [
            {},
            {"player_id": "ann"},
            *({"state": state} for state in (1, 3, 4)),
            {"provider": PROVIDER, "provider_ref": "pay-3"},
            {"provider_ref": "pay-4", "newest_first": True},
            {"states": [1, 3], "newest_first": True},
            {"reference": "round-1"},
            {"currency_code": "EUR", "min_amount_minor": 2, "max_amount_minor": 100},
            {"from_time": span["start_time"], "to_time": span["end_time"]},
        ],
        "ListWithdrawals": [
            {},
            {"player_id": "bob"},
            {"provider": PROVIDER},
            {"state": 1},
            {"states": [1, 2, 4], "player_id": "ann"},
            {"reference": "round-2", "newest_first": True},
            {"currency_code": "EUR", "max_amount_minor": 50, "newest_first": True},
        ],
        "ListProviderEvents": [
            {},
            *({"state": state} for state in (1, 2, 3, 4)),
            {"provider": PROVIDER},
            *({"payment_id": payment} for payment in list(history.deposits)[:4]),
        ],
        "ListAdjustments": [
            {},
            {"newest_first": True},
            *({"states": [state]} for state in (1, 2, 3, 4)),
            {"states": [1, 3], "newest_first": True},
            {"from_time": span["start_time"], "to_time": span["end_time"]},
        ],
        "ListWallets": [{}],
        "ListPostings": [
            {"account_id": account_id, **more}
            for account_id in history.accounts
            for more in (
                {},
                {"include_pending": True},
                {"include_pending": True, "newest_first": True},
                span,
            )
        ],
    }
    for name, wanted in filters.items():
        for fields in wanted:
            request = GetMessageClass(METHODS[name].input_type)
            yield name, request(tenant_id=tenant_id, **fields)
