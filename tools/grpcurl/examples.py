"""Own the examples of docs/grpcurl.md: for each RPC what is sent, in an order in which all of them succeed.

tests/wire/test_grpcurl.py runs them in this order against a server.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

_LEDGER: Final = "ledger.v1"
_PAYMENTS: Final = "payments.v1"
_RECONCILIATION: Final = "reconciliation.v1"
_BACKFILL: Final = "backfill.v1"
Message = dict[str, Any]


class Call(NamedTuple):
    """One call.

    Attributes:
        messages: what is sent; `$NAME` stands for what an earlier call has kept.
        keeps: names, each with the place in the answer that it stands for from then on.
        seconds: after how long the caller ends it; 0: it ends by itself.
    """

    messages: tuple[Message, ...]
    keeps: tuple[tuple[str, str], ...] = ()
    seconds: int = 0


class Example(NamedTuple):
    """The calls of one RPC, and the file that they read, if any."""

    service: str
    method: str
    calls: tuple[Call, ...]
    remark: str = ""


REPORT: Final = """\
balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id,automatic_payout_id,payment_intent_id
txn_1,2026-11-20 09:00:00,eur,20.00,0.50,19.50,charge,ch_1,po_1,pi_1
txn_2,2026-11-20 10:00:00,eur,-19.50,0.00,-19.50,payout,po_1,po_1,
"""
"""What `report.csv` has in the example of a settlement report."""


def _one(service: str, method: str, /, *keeps: tuple[str, str], remark: str = "", **fields: Any) -> Example:
    return Example(service, method, (Call((fields,), keeps),), remark)


def _of(service: str, method: str, *calls: Call, remark: str = "") -> Example:
    return Example(service, method, calls, remark)


def _ledger(
    service: str, method: str, /, *keeps: tuple[str, str], remark: str = "", **fields: Any
) -> Example:
    return _one(f"{_LEDGER}.{service}", method, *keeps, remark=remark, tenant_id="casino", **fields)


def _payments(
    service: str, method: str, /, *keeps: tuple[str, str], remark: str = "", **fields: Any
) -> Example:
    return _one(f"{_PAYMENTS}.{service}", method, *keeps, remark=remark, tenant_id="casino", **fields)


def _findings(method: str, /, *keeps: tuple[str, str], remark: str = "", **fields: Any) -> Example:
    service = f"{_RECONCILIATION}.FindingService"
    return _one(service, method, *keeps, remark=remark, tenant_id="casino", **fields)


def _runs(service: str, method: str, /, *keeps: tuple[str, str], remark: str = "", **fields: Any) -> Example:
    return _one(f"{_RECONCILIATION}.{service}", method, *keeps, remark=remark, tenant_id="casino", **fields)


_REPORT_FILE: Final = Call(
    (
        {
            "header": {
                "tenant_id": "casino",
                "provider": "mock",
                "format": "REPORT_FORMAT_STRIPE_PAYOUT_RECONCILIATION",
                "file_name": "report.csv",
            }
        },
        {"chunk": "$(base64 -w0 report.csv)"},
    )
)


def _account(account_id: str, kind: str) -> Message:
    return {"account_id": account_id, "kind": f"ACCOUNT_KIND_{kind}", "currency_code": "EUR"}


def _opening(account_id: str, kind: str) -> Call:
    return Call(
        (
            {
                "tenant_id": "casino",
                "idempotency_key": f"open-{account_id}",
                "account": _account(account_id, kind),
            },
        )
    )


def _transaction(kind: str, debited: str, credited: str, amount_minor: int) -> Message:
    legs = ((debited, "DIRECTION_DEBIT"), (credited, "DIRECTION_CREDIT"))
    return {
        "type": f"TRANSACTION_TYPE_{kind}",
        "postings": [
            {
                "account_id": account,
                "direction": side,
                "amount_minor": amount_minor,
                "currency_code": "EUR",
            }
            for account, side in legs
        ],
    }


def _item(key: str, *words: Any) -> Message:
    return {"idempotency_key": key, "transaction": _transaction(*words)}


def _deposit(key: str, provider: str, provider_ref: str, name: str) -> Call:
    fields = {
        "tenant_id": "casino",
        "idempotency_key": key,
        "player_id": "42",
        "provider": provider,
        "provider_ref": provider_ref,
        "amount_minor": 2000,
        "currency_code": "EUR",
    }
    return Call((fields,), ((name, "deposit.deposit_id"),))


def _withdrawal(key: str, name: str) -> Call:
    fields = {
        "tenant_id": "casino",
        "idempotency_key": key,
        "player_id": "42",
        "provider": "mock",
        "amount_minor": 300,
        "currency_code": "EUR",
        "destination": "bank-account-of-42",
    }
    return Call((fields,), ((name, "withdrawal.withdrawal_id"),))


def _adjustment(key: str, amount_minor: int, name: str) -> Call:
    fields = {
        "tenant_id": "casino",
        "idempotency_key": key,
        "postings": _transaction("ADJUSTMENT", _BANK, _WALLET, amount_minor)["postings"],
        "reason": "goodwill, case 4711",
        "actor": "ada",
    }
    return Call((fields,), ((name, "adjustment.adjustment_id"),))


_WALLET: Final = "player:42:real:EUR"
_GAMES: Final = "house:games:EUR"
_BANK: Final = "bank:main:EUR"

_TENANTS: Final = (
    _ledger("TenantService", "CreateTenant", idempotency_key="tenant-1"),
    _ledger("TenantService", "GetTenant"),
    _one(f"{_LEDGER}.TenantService", "ListTenants"),
    _one(f"{_LEDGER}.TenantService", "ListCurrencies"),
    _one("identity.v1.AccessService", "GetAccess", tenant_id="casino"),
    _ledger("TenantService", "GetBalanceEnforcement"),
    _ledger(
        "TenantService",
        "SetBalanceEnforcement",
        idempotency_key="enforce-1",
        balance_enforcement="BALANCE_ENFORCEMENT_ENFORCED",
        reason="balances agree with the old system",
    ),
)

_ACCOUNTS: Final = (
    _of(
        f"{_LEDGER}.AccountService",
        "OpenAccount",
        _opening(_WALLET, "LIABILITY"),
        _opening(_GAMES, "REVENUE"),
        _opening(_BANK, "ASSET"),
    ),
    _ledger(
        "AccountService",
        "BatchOpenAccounts",
        mode="BATCH_MODE_ATOMIC",
        items=[
            {"idempotency_key": f"open-{name}", "account": _account(name, "EXPENSE")}
            for name in ("house:promo:EUR", "house:jackpot:EUR")
        ],
    ),
    _ledger("AccountService", "GetAccount", account_id=_WALLET),
    _ledger("AccountService", "ListAccounts", account_id_prefix="player:"),
    _ledger(
        "AccountService",
        "SetAccountLimits",
        idempotency_key="limits-1",
        account_id=_WALLET,
        limits={"min_available_minor": 0, "max_balance_minor": 1000000},
    ),
    _ledger(
        "AccountService", "FreezeAccount", idempotency_key="freeze-1", account_id=_WALLET, note="asked by ada"
    ),
    _ledger(
        "AccountService", "UnfreezeAccount", idempotency_key="thaw-1", account_id=_WALLET, note="asked by ada"
    ),
    _ledger("AccountService", "CloseAccount", idempotency_key="close-1", account_id="house:jackpot:EUR"),
    _ledger(
        "AccountService",
        "ContinueAccount",
        idempotency_key="continue-1",
        account_id="house:promo:EUR",
        note="its counters are nearly full",
    ),
)

_POSTINGS: Final = (
    _ledger(
        "PostingService",
        "PostTransaction",
        ("TRANSACTION", "transaction.transaction_id"),
        idempotency_key="bonus-1",
        transaction=_transaction("ADJUSTMENT", _BANK, _WALLET, 5000),
    ),
    _ledger(
        "PostingService",
        "BatchPostTransactions",
        mode="BATCH_MODE_ATOMIC",
        items=[_item("bet-1", "BET", _WALLET, _GAMES, 500), _item("win-1", "WIN", _GAMES, _WALLET, 900)],
    ),
    _of(
        f"{_LEDGER}.PostingService",
        "StreamTransactions",
        Call(
            tuple(
                {"tenant_id": "casino", "items": [_item(f"bet-{number}", "BET", _WALLET, _GAMES, 100)]}
                for number in (2, 3)
            )
        ),
        remark="Messages follow one another; each has one item or many.",
    ),
    _ledger("PostingService", "GetTransaction", transaction_id="$TRANSACTION"),
    _ledger("PostingService", "ListTransactions", account_id=_WALLET, newest_first=True),
    _ledger("PostingService", "ReverseTransaction", idempotency_key="undo-1", transaction_id="$TRANSACTION"),
    _ledger("AccountService", "GetBalance", account_id=_GAMES),
    _ledger("AccountService", "BatchGetBalances", account_ids=[_WALLET, _GAMES]),
    _ledger("AccountService", "ListPostings", account_id=_GAMES, include_pending=True),
)

_ADJUSTMENTS: Final = (
    _ledger(
        "AdjustmentService",
        "SetAdjustmentPolicy",
        idempotency_key="adjustments-1",
        policy={"second_review_from_minor": {"EUR": 1000}},
    ),
    _ledger("AdjustmentService", "GetAdjustmentPolicy"),
    _of(
        f"{_LEDGER}.AdjustmentService",
        "RequestAdjustment",
        _adjustment("goodwill-1", 700, "SMALL_ADJUSTMENT"),
        _adjustment("goodwill-2", 2500, "ADJUSTMENT"),
        _adjustment("goodwill-3", 9000, "OTHER_ADJUSTMENT"),
        _adjustment("goodwill-4", 9000, "THIRD_ADJUSTMENT"),
        remark="The first one is posted at once; the others wait for a second person.",
    ),
    _ledger(
        "AdjustmentService",
        "ApproveAdjustment",
        idempotency_key="approve-goodwill-2",
        adjustment_id="$ADJUSTMENT",
        reviewer="grace",
        note="seen the case",
        expected_state="ADJUSTMENT_STATE_REQUESTED",
    ),
    _ledger(
        "AdjustmentService",
        "RejectAdjustment",
        idempotency_key="reject-goodwill-3",
        adjustment_id="$OTHER_ADJUSTMENT",
        reviewer="grace",
        reason="the wrong player",
    ),
    _ledger(
        "AdjustmentService",
        "CancelAdjustment",
        idempotency_key="cancel-goodwill-4",
        adjustment_id="$THIRD_ADJUSTMENT",
        actor="ada",
        reason="asked for twice",
    ),
    _ledger("AdjustmentService", "GetAdjustment", adjustment_id="$ADJUSTMENT"),
    _ledger(
        "AdjustmentService",
        "ListAdjustments",
        states=["ADJUSTMENT_STATE_REQUESTED", "ADJUSTMENT_STATE_POSTED"],
        newest_first=True,
    ),
)

_HOLDS: Final = (
    _ledger(
        "HoldService",
        "PlaceHold",
        ("HOLD", "hold.hold_id"),
        idempotency_key="hold-1",
        debit_account_id=_GAMES,
        credit_account_id=_WALLET,
        amount_minor=400,
        currency_code="EUR",
        type="TRANSACTION_TYPE_WIN",
        time_to_live="3600s",
    ),
    _ledger("HoldService", "GetHold", hold_id="$HOLD"),
    _ledger("HoldService", "ListHolds", state="HOLD_STATE_OPEN"),
    _ledger("HoldService", "ExtendHold", idempotency_key="extend-1", hold_id="$HOLD", time_to_live="7200s"),
    _ledger(
        "HoldService", "IncreaseHold", idempotency_key="increase-1", hold_id="$HOLD", additional_minor=100
    ),
    _ledger("HoldService", "CaptureHold", idempotency_key="capture-1", hold_id="$HOLD", amount_minor=200),
    _ledger("HoldService", "ReleaseHold", idempotency_key="release-1", hold_id="$HOLD"),
)

_DEPOSITS: Final = (
    _of(
        f"{_PAYMENTS}.DepositService",
        "InitiateDeposit",
        _deposit("deposit-1", "mock", "pi_1", "DEPOSIT"),
        _deposit("deposit-2", "stripe-eu", "pi_2", "OTHER_DEPOSIT"),
    ),
    _payments(
        "ProviderEventService",
        "IngestProviderEvents",
        ("EVENT", "events.0.event.provider_event_id"),
        ("UNREAD_EVENT", "events.1.event.provider_event_id"),
        ("PARKED_EVENT", "events.2.event.provider_event_id"),
        remark="A webhook edge calls it, with events whose signature it has verified.",
        events=[
            {
                "provider": "mock",
                "event_id": "evt-1",
                "type": "PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED",
                "provider_type": "payment.captured",
                "payment_ref": "pi_1",
                "provider_amount_minor": 2000,
                "currency_code": "EUR",
                "occur_time": "2026-11-20T10:00:00Z",
                "final": True,
            },
            {
                "provider": "mock",
                "event_id": "evt-2",
                "provider_type": "payment.captured.v2",
                "unread_reason": "UNREAD_REASON_TYPE",
                "moves_money": True,
                "payload": "e30=",
                "occur_time": "2026-11-20T10:00:00Z",
            },
            {
                "provider": "mock",
                "event_id": "evt-3",
                "type": "PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED",
                "provider_type": "payment.captured",
                "payment_ref": "pi_unknown",
                "provider_amount_minor": 700,
                "currency_code": "EUR",
                "occur_time": "2026-11-20T10:00:00Z",
            },
        ],
    ),
    _payments("ProviderEventService", "GetProviderEvent", provider_event_id="$EVENT"),
    _payments("ProviderEventService", "ListProviderEvents", provider="mock"),
    _payments(
        "ProviderEventService",
        "ReplayProviderEvent",
        idempotency_key="replay-1",
        provider_event_id="$PARKED_EVENT",
    ),
    _payments(
        "ProviderEventService",
        "SupersedeProviderEvent",
        idempotency_key="supersede-1",
        provider_event_id="$UNREAD_EVENT",
        superseded_by_event_id="$EVENT",
    ),
    _payments("DepositService", "GetDeposit", deposit_id="$DEPOSIT"),
    _payments("DepositService", "ListDeposits", player_id="42"),
    _payments("DepositService", "CountDeposits", from_time="2026-01-01T00:00:00Z"),
    _payments(
        "DepositService", "RefundDeposit", idempotency_key="refund-1", deposit_id="$DEPOSIT", amount_minor=400
    ),
    _payments("WalletService", "GetWallet", player_id="42"),
    _payments("WalletService", "ListWallets"),
)

_WITHDRAWALS: Final = (
    _one(
        f"{_PAYMENTS}.OutboundService",
        "StopOutbound",
        ("EPOCH", "outbound.epoch"),
        remark="No call to a provider is begun any more, for all tenants.",
        note="the provider pays twice",
        actor="ada",
    ),
    _payments(
        "WithdrawalService",
        "SetWithdrawalPolicy",
        idempotency_key="policy-1",
        policy={"player_may_cancel": True},
    ),
    _payments("WithdrawalService", "GetWithdrawalPolicy"),
    _of(
        f"{_PAYMENTS}.WithdrawalService",
        "RequestWithdrawal",
        _withdrawal("cash-out-1", "WITHDRAWAL"),
        _withdrawal("cash-out-2", "OTHER_WITHDRAWAL"),
        _withdrawal("cash-out-3", "THIRD_WITHDRAWAL"),
    ),
    _payments(
        "WithdrawalService",
        "ClaimWithdrawal",
        idempotency_key="mine-1",
        withdrawal_id="$WITHDRAWAL",
        reviewer="ada",
        claim_seconds=600,
    ),
    _payments(
        "WithdrawalService",
        "AddWithdrawalNote",
        idempotency_key="note-1",
        withdrawal_id="$WITHDRAWAL",
        reviewer="ada",
        text="the bank has confirmed the account",
    ),
    _payments(
        "WithdrawalService",
        "ApproveWithdrawal",
        idempotency_key="yes-1",
        withdrawal_id="$WITHDRAWAL",
        reviewer="ada",
        expected_state="WITHDRAWAL_STATE_REQUESTED",
        expected_approvals=0,
    ),
    _payments(
        "WithdrawalService",
        "RejectWithdrawal",
        idempotency_key="no-1",
        withdrawal_id="$OTHER_WITHDRAWAL",
        reviewer="ada",
        reason="the account's holder is somebody else",
    ),
    _payments(
        "WithdrawalService",
        "CancelWithdrawal",
        idempotency_key="back-1",
        withdrawal_id="$THIRD_WITHDRAWAL",
        reason="the player has changed their mind",
    ),
    _payments(
        "WithdrawalService",
        "MarkWithdrawalPaid",
        idempotency_key="paid-1",
        withdrawal_id="$WITHDRAWAL",
        provider_ref="transfer-1",
        reviewer="ada",
    ),
    _payments("WithdrawalService", "GetWithdrawal", withdrawal_id="$WITHDRAWAL"),
    _payments("WithdrawalService", "ListWithdrawals", player_id="42", newest_first=True),
    _payments("WithdrawalService", "CountWithdrawals"),
    _one(f"{_PAYMENTS}.OutboundService", "GetOutbound"),
    _one(
        f"{_PAYMENTS}.OutboundService",
        "ResumeOutbound",
        epoch="$EPOCH",
        note="the provider pays once again",
        actor="ada",
        allow_unreconciled=True,
    ),
)

_RECONCILIATIONS: Final = (
    _runs(
        "ReconciliationService",
        "RunReconciliation",
        ("RUN", "run.run_id"),
        idempotency_key="run-1",
        provider="stripe-eu",
        from_time="2026-11-20T00:00:00Z",
        to_time="2026-11-20T12:00:00Z",
    ),
    _runs("ReconciliationService", "GetRun", run_id="$RUN"),
    _runs("ReconciliationService", "ListRuns", provider="stripe-eu"),
    _runs("ReconciliationService", "ListProviderRecords", provider="stripe-eu"),
    _of(
        f"{_BACKFILL}.BackfillService",
        "ImportOpeningBalances",
        Call(
            (
                {
                    "header": {
                        "tenant_id": "casino",
                        "import_id": "legacy-1",
                        "control_sums": [{"currency_code": "EUR", "amount_minor": 2500}],
                    }
                },
                *(
                    {
                        "items": [
                            {
                                "line_number": 1,
                                "player_id": "77",
                                "currency_code": "EUR",
                                "real_minor": 2500,
                            }
                        ],
                        "pass_end": True,
                    },
                )
                * 2,
            ),
            (("SEQUENCE", "result.sequence"),),
        ),
        remark="The lines are sent twice: they are checked, then posted.",
    ),
    _of(
        f"{_BACKFILL}.BackfillService",
        "CompareBalances",
        Call(
            (
                {
                    "header": {
                        "tenant_id": "casino",
                        "source": "legacy",
                        "sequence": "$SEQUENCE",
                        "partial": True,
                        "buckets": ["BUCKET_REAL"],
                    }
                },
                {
                    "lines": {
                        "balances": [
                            {"player_id": "77", "currency_code": "EUR", "real_minor": 2600},
                        ]
                    }
                },
                {"end": {"line_count": 1}},
            )
        ),
        remark="`defter compare` reads a file and waits for its turn.",
    ),
    _findings(
        "ListFindings",
        ("DRIFT", "findings.FINDING_CLASS_BALANCE_DRIFT.finding_id"),
        ("LOST_WEBHOOK", "findings.FINDING_CLASS_STATUS_MISMATCH.finding_id"),
        states=["FINDING_STATE_OPEN"],
    ),
    _findings("CountFindings"),
    _findings("GetFinding", finding_id="$DRIFT"),
    _findings(
        "AcknowledgeFinding",
        idempotency_key="seen-1",
        finding_id="$DRIFT",
        expected_version=1,
        assignee="ada",
        actor="ada",
    ),
    _findings(
        "ResolveFinding",
        idempotency_key="resolve-1",
        finding_id="$DRIFT",
        expected_version=2,
        reason="RESOLUTION_REASON_TIMING",
        actor="ada",
    ),
    _findings(
        "ReopenFinding", idempotency_key="reopen-1", finding_id="$DRIFT", expected_version=3, actor="ada"
    ),
    _findings("RepairFinding", finding_id="$LOST_WEBHOOK", actor="ada"),
    _of(f"{_RECONCILIATION}.SettlementService", "PreviewSettlementReport", _REPORT_FILE),
    _of(
        f"{_RECONCILIATION}.SettlementService",
        "ImportSettlementReport",
        _REPORT_FILE,
        remark="`defter settlement import` reads files of any size.",
    ),
    _runs("SettlementService", "ListSettlementBatches", provider="mock"),
    _runs("SettlementService", "GetSettlementBatch", provider="mock", batch_id="po_1", currency_code="EUR"),
    _runs("SettlementService", "ListSettlementLines", provider="mock", batch_id="po_1", currency_code="EUR"),
    _runs(
        "SettlementService",
        "ConfirmSettlementBatch",
        provider="mock",
        batch_id="po_1",
        currency_code="EUR",
        bank="main",
        actor="ada",
    ),
)

_LAST: Final = (
    _payments("PlayerService", "RevealPersonalMetadata", payment_id="$DEPOSIT"),
    _payments(
        "PlayerService",
        "ForgetPlayer",
        idempotency_key="forget-1",
        player_id="42",
        reason="asked for by the player",
    ),
    _ledger("JournalService", "ListJournal", page_size=10),
    _of(
        f"{_LEDGER}.JournalService",
        "WatchJournal",
        Call(({"tenant_id": "casino", "after_sequence": 0},), seconds=1),
        remark="It has no end: `-max-time` ends it after so many seconds.",
    ),
    _ledger("JournalService", "GetOutcome", method="PostTransaction", idempotency_key="bet-2"),
    _ledger("JournalService", "GetTrialBalance"),
    _ledger("JournalService", "VerifyJournal"),
)

EXAMPLES: Final[tuple[Example, ...]] = (
    *_TENANTS,
    *_ACCOUNTS,
    *_POSTINGS,
    *_ADJUSTMENTS,
    *_HOLDS,
    *_DEPOSITS,
    *_WITHDRAWALS,
    *_RECONCILIATIONS,
    *_LAST,
)
"""In the order in which they are run."""
