"""Own the list of bad input to payments: each is refused by name, and nothing is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from defter.payments.v1 import deposit_pb2, payment_pb2, provider_event_pb2, wallet_pb2, withdrawal_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from tests.support.cashier import Cashier
from tests.support.fake_provider import LARGEST_AMOUNT
from tests.support.requests import transfer
from tests.support.service import serving
from tests.support.wire import MIB, refusal

LONG = "x" * 256
NOTE = "x" * 513
FAR = 253_402_300_800  # The first second of the year 10000.
OUT_OF_ENUM = 99
UNKNOWN_TYPE = payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED


@dataclass(frozen=True)
class Bad:
    """A call that must be refused before anything is decided."""

    name: str
    reason: str
    field: str
    call: Callable[[Cashier], Awaitable[object]]


def depositing(name: str, reason: str, field: str, /, **changes: Any) -> Bad:
    """Return a bad InitiateDeposit: a good one with some fields changed."""
    return Bad(name, reason, field, lambda cashier: cashier.initiate(**changes))


def withdrawing(name: str, reason: str, field: str, /, **changes: Any) -> Bad:
    """Return a bad RequestWithdrawal: a good one with some fields changed."""
    return Bad(name, reason, field, lambda cashier: cashier.request(**changes))


def delivering(name: str, reason: str, field: str, /, **changes: Any) -> Bad:
    """Return a bad IngestProviderEvents: the second of its two events is bad."""

    def call(cashier: Cashier) -> Awaitable[object]:
        return cashier.ingest(cashier.event(UNKNOWN_TYPE), cashier.event(**{"kind": UNKNOWN_TYPE, **changes}))

    return Bad(name, reason, f"events[1].{field}", call)


def delivering_many(name: str, count: int) -> Bad:
    """Return an IngestProviderEvents with too few or too many events."""

    def call(cashier: Cashier) -> Awaitable[object]:
        return cashier.ingest(*(cashier.event(UNKNOWN_TYPE) for _ in range(count)))

    return Bad(name, "BATCH_SIZE_OUT_OF_RANGE", "events", call)


def sending(name: str, reason: str, field: str, service: str, message: Any) -> Bad:
    """Return a bad call of any RPC; the message gets its tenant, and a key where it has one."""

    def call(cashier: Cashier) -> Awaitable[object]:
        request = type(message)()
        request.CopyFrom(message)
        request.tenant_id = cashier.ledger.tenant_id
        if "idempotency_key" in request.DESCRIPTOR.fields_by_name:
            request.idempotency_key = cashier.ledger.new_key()
        method = type(message).__name__.removesuffix("Request")
        answer: Awaitable[object] = getattr(getattr(cashier.stubs, service), method)(request)
        return answer

    return Bad(name, reason, field, call)


def sending_each(
    service: str, messages: Sequence[Any], rows: Sequence[tuple[str, str, str, dict[str, Any]]], **common: Any
) -> list[Bad]:
    """Return a bad call of each of some RPCs for each row: name, reason, field, and what is bad."""
    return [
        sending(f"{name}_{message.DESCRIPTOR.name}", reason, field, service, message(**{**common, **fields}))
        for message in messages
        for name, reason, field, fields in rows
    ]


def policy(**amounts: int) -> withdrawal_pb2.SetWithdrawalPolicyRequest:
    """Return a policy to set, by currency."""
    wanted = payment_pb2.WithdrawalPolicy(second_review_from_minor=amounts)
    return withdrawal_pb2.SetWithdrawalPolicyRequest(policy=wanted)


IN_EUROS = {"currency_code": "EUR"}
BAD_LISTS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("long_ref", "FIELD_TOO_LONG", "provider_ref", {"provider_ref": LONG}),
    ("long_reference", "FIELD_TOO_LONG", "reference", {"reference": LONG}),
    ("reference_with_nul", "FIELD_MALFORMED", "reference", {"reference": "a\x00"}),
    ("long_currency", "FIELD_TOO_LONG", "currency_code", {"currency_code": "x" * 65}),
    ("unknown_states", "FIELD_MALFORMED", "states", {"states": [1, OUT_OF_ENUM]}),
    ("negative_state", "FIELD_MALFORMED", "states", {"states": [-1]}),
    ("amounts_from_alone", "FIELD_MISSING", "currency_code", {"min_amount_minor": 1}),
    ("amounts_to_alone", "FIELD_MISSING", "currency_code", {"max_amount_minor": 1}),
    ("negative_minimum", "FIELD_OUT_OF_RANGE", "min_amount_minor", {"min_amount_minor": -1, **IN_EUROS}),
    ("negative_maximum", "FIELD_OUT_OF_RANGE", "max_amount_minor", {"max_amount_minor": -1, **IN_EUROS}),
    (
        "amounts_crossed",
        "FIELD_OUT_OF_RANGE",
        "max_amount_minor",
        {"min_amount_minor": 3, "max_amount_minor": 2, **IN_EUROS},
    ),
]
BAD_COUNTS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("to_alone", "FIELD_MISSING", "from_time", {"to_time": Timestamp(seconds=1)}),
    ("from_nowhen", "FIELD_OUT_OF_RANGE", "from_time", {"from_time": Timestamp(seconds=-1)}),
    (
        "to_nowhen",
        "FIELD_OUT_OF_RANGE",
        "to_time",
        {"from_time": Timestamp(seconds=1), "to_time": Timestamp(seconds=FAR)},
    ),
]
BAD_INPUT = [
    # New payments.
    depositing("no_player", "FIELD_MISSING", "player_id", player_id=""),
    depositing("long_player", "FIELD_TOO_LONG", "player_id", player_id="x" * 65),
    depositing("player_with_colon", "FIELD_MALFORMED", "player_id", player_id="a:b"),
    depositing("player_beyond_ascii", "FIELD_MALFORMED", "player_id", player_id="é"),
    depositing("no_provider", "FIELD_MISSING", "provider", provider=""),
    depositing("long_provider", "FIELD_TOO_LONG", "provider", provider="x" * 64),
    depositing("provider_in_capitals", "FIELD_MALFORMED", "provider", provider="Mock"),
    depositing("unknown_provider", "PROVIDER_UNKNOWN", "provider", provider="stripe-eu"),
    depositing("zero_amount", "AMOUNT_NOT_POSITIVE", "amount_minor", amount_minor=0),
    depositing("negative_amount", "AMOUNT_NOT_POSITIVE", "amount_minor", amount_minor=-5),
    depositing("no_currency", "FIELD_MISSING", "currency_code", currency_code=""),
    depositing("unknown_currency", "CURRENCY_UNKNOWN", "currency_code", currency_code="ZZZ"),
    depositing(
        "amount_not_taken", "PROVIDER_CURRENCY_UNSUPPORTED", "amount_minor", amount_minor=LARGEST_AMOUNT + 1
    ),
    depositing("long_ref", "FIELD_TOO_LONG", "provider_ref", provider_ref=LONG),
    depositing("long_reference", "FIELD_TOO_LONG", "reference", reference=LONG),
    depositing("metadata_of_ours", "FIELD_MALFORMED", "metadata", metadata={"defter_payment_id": "dep_1"}),
    depositing("many_metadata", "FIELD_TOO_LONG", "metadata", metadata={str(n): "" for n in range(33)}),
    withdrawing("no_destination", "FIELD_MISSING", "destination", destination=""),
    withdrawing("long_destination", "FIELD_TOO_LONG", "destination", destination=LONG),
    withdrawing("destination_with_nul", "FIELD_MALFORMED", "destination", destination="a\x00"),
    # The fake takes deposits of any amount, and payouts of whole hundreds.
    withdrawing("payout_not_taken", "PROVIDER_CURRENCY_UNSUPPORTED", "amount_minor", amount_minor=150),
    withdrawing("other_metadata_of_ours", "FIELD_MALFORMED", "metadata", metadata={"defter_x": ""}),
    # Steps.
    sending("refund_of_none", "FIELD_MISSING", "deposit_id", "deposits", deposit_pb2.RefundDepositRequest()),
    sending(
        "refund_of_nothing",
        "AMOUNT_NOT_POSITIVE",
        "amount_minor",
        "deposits",
        deposit_pb2.RefundDepositRequest(deposit_id="x"),
    ),
    sending(
        "approval_by_nobody",
        "FIELD_MISSING",
        "reviewer",
        "withdrawals",
        withdrawal_pb2.ApproveWithdrawalRequest(withdrawal_id="x"),
    ),
    sending(
        "approval_by_long_name",
        "FIELD_TOO_LONG",
        "reviewer",
        "withdrawals",
        withdrawal_pb2.ApproveWithdrawalRequest(withdrawal_id="x", reviewer="x" * 256),
    ),
    sending(
        "long_note",
        "FIELD_TOO_LONG",
        "note",
        "withdrawals",
        withdrawal_pb2.ApproveWithdrawalRequest(withdrawal_id="x", reviewer="x", note=NOTE),
    ),
    sending(
        "rejection_by_nobody",
        "FIELD_MISSING",
        "reviewer",
        "withdrawals",
        withdrawal_pb2.RejectWithdrawalRequest(withdrawal_id="x"),
    ),
    sending(
        "long_reason",
        "FIELD_TOO_LONG",
        "reason",
        "withdrawals",
        withdrawal_pb2.CancelWithdrawalRequest(withdrawal_id="x", reason=NOTE),
    ),
    *sending_each(
        "withdrawals",
        [
            withdrawal_pb2.ApproveWithdrawalRequest,
            withdrawal_pb2.RejectWithdrawalRequest,
            withdrawal_pb2.MarkWithdrawalPaidRequest,
            withdrawal_pb2.ClaimWithdrawalRequest,
        ],
        [
            ("reviewer_whom_nobody_sees", "FIELD_MALFORMED", "reviewer", {"reviewer": " \u200b\u3164"}),
            ("reviewer_of_blanks", "FIELD_MALFORMED", "reviewer", {"reviewer": "  "}),
        ],
        withdrawal_id="x",
    ),
    *sending_each(
        "withdrawals",
        [withdrawal_pb2.ApproveWithdrawalRequest, withdrawal_pb2.RejectWithdrawalRequest],
        [
            ("unknown_state_seen", "FIELD_MALFORMED", "expected_state", {"expected_state": OUT_OF_ENUM}),
            ("negative_state_seen", "FIELD_MALFORMED", "expected_state", {"expected_state": -1}),
            ("few_approvals_seen", "FIELD_OUT_OF_RANGE", "expected_approvals", {"expected_approvals": -1}),
        ],
        withdrawal_id="x",
        reviewer="x",
    ),
    *sending_each(
        "withdrawals",
        [withdrawal_pb2.ClaimWithdrawalRequest],
        [
            ("of_none", "FIELD_MISSING", "withdrawal_id", {"withdrawal_id": ""}),
            ("by_nobody", "FIELD_MISSING", "reviewer", {"reviewer": ""}),
            ("by_long_name", "FIELD_TOO_LONG", "reviewer", {"reviewer": LONG}),
            ("for_less_than_none", "FIELD_OUT_OF_RANGE", "claim_seconds", {"claim_seconds": -1}),
            ("for_a_moment", "FIELD_OUT_OF_RANGE", "claim_seconds", {"claim_seconds": 59}),
            ("for_days", "FIELD_OUT_OF_RANGE", "claim_seconds", {"claim_seconds": 86_401}),
        ],
        withdrawal_id="x",
        reviewer="x",
    ),
    *sending_each(
        "withdrawals",
        [withdrawal_pb2.AddWithdrawalNoteRequest],
        [
            ("of_none", "FIELD_MISSING", "withdrawal_id", {"withdrawal_id": ""}),
            ("by_nobody", "FIELD_MISSING", "reviewer", {"reviewer": ""}),
            ("by_nobody_whom_one_sees", "FIELD_MALFORMED", "reviewer", {"reviewer": " \u200b\u3164"}),
            ("without_text", "FIELD_MISSING", "text", {"text": ""}),
            ("too_long", "FIELD_TOO_LONG", "text", {"text": NOTE}),
            ("with_nul", "FIELD_MALFORMED", "text", {"text": "\x00"}),
        ],
        withdrawal_id="x",
        reviewer="x",
        text="x",
    ),
    sending(
        "payment_of_none",
        "FIELD_MISSING",
        "withdrawal_id",
        "withdrawals",
        withdrawal_pb2.MarkWithdrawalPaidRequest(reviewer="x"),
    ),
    sending(
        "payment_with_long_ref",
        "FIELD_TOO_LONG",
        "provider_ref",
        "withdrawals",
        withdrawal_pb2.MarkWithdrawalPaidRequest(withdrawal_id="x", reviewer="x", provider_ref=LONG),
    ),
    sending(
        "no_policy",
        "FIELD_MISSING",
        "policy",
        "withdrawals",
        withdrawal_pb2.SetWithdrawalPolicyRequest(),
    ),
    sending(
        "policy_in_unknown_currency",
        "CURRENCY_UNKNOWN",
        "policy.second_review_from_minor",
        "withdrawals",
        policy(ZZZ=5),
    ),
    sending(
        "policy_from_nothing_on",
        "AMOUNT_NOT_POSITIVE",
        "policy.second_review_from_minor",
        "withdrawals",
        policy(EUR=0),
    ),
    sending(
        "replay_of_none",
        "FIELD_MISSING",
        "provider_event_id",
        "events",
        provider_event_pb2.ReplayProviderEventRequest(),
    ),
    sending(
        "superseding_nothing",
        "FIELD_MISSING",
        "provider_event_id",
        "events",
        provider_event_pb2.SupersedeProviderEventRequest(superseded_by_event_id="evt_1"),
    ),
    sending(
        "superseded_by_nothing",
        "FIELD_MISSING",
        "superseded_by_event_id",
        "events",
        provider_event_pb2.SupersedeProviderEventRequest(provider_event_id="evt_1"),
    ),
    # Events.
    delivering_many("no_events", 0),
    delivering_many("101_events", 101),
    delivering("event_of_unknown_provider", "PROVIDER_UNKNOWN", "provider", provider="nobody"),
    delivering("event_of_no_provider", "FIELD_MISSING", "provider", provider=""),
    delivering("event_without_id", "FIELD_MISSING", "event_id", event_id=""),
    delivering("event_with_long_id", "FIELD_TOO_LONG", "event_id", event_id=LONG),
    delivering("event_with_line_break_in_id", "FIELD_MALFORMED", "event_id", event_id="a\nb"),
    delivering("event_without_time", "FIELD_MISSING", "occur_time", occur_time=None),
    delivering("event_after_9999", "FIELD_OUT_OF_RANGE", "occur_time", occur_time=Timestamp(seconds=FAR)),
    delivering("event_with_long_ref", "FIELD_TOO_LONG", "payment_ref", payment_ref=LONG),
    delivering("event_with_nul", "FIELD_MALFORMED", "stage", stage="\x00"),
    delivering("event_with_long_reason", "FIELD_TOO_LONG", "reason", reason=NOTE),
    delivering("event_with_long_read_id", "FIELD_TOO_LONG", "read_event_id", read_event_id=LONG),
    delivering("event_with_long_delivery", "FIELD_TOO_LONG", "delivery", delivery=LONG),
    delivering("event_with_nul_in_delivery", "FIELD_MALFORMED", "delivery", delivery="\x00"),
    delivering(
        "event_read_and_unread",
        "FIELD_MALFORMED",
        "unread_reason",
        kind=payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED,
        unread_reason=payment_pb2.UNREAD_REASON_FIELD,
    ),
    delivering("event_with_huge_payload", "FIELD_TOO_LONG", "payload", payload=b"x" * (MIB + 1)),
    # Reads.
    sending("read_no_deposit", "FIELD_MISSING", "deposit_id", "deposits", deposit_pb2.GetDepositRequest()),
    sending(
        "list_of_bad_player",
        "FIELD_MALFORMED",
        "player_id",
        "deposits",
        deposit_pb2.ListDepositsRequest(player_id="a b"),
    ),
    *sending_each("deposits", [deposit_pb2.ListDepositsRequest], BAD_LISTS),
    *sending_each("withdrawals", [withdrawal_pb2.ListWithdrawalsRequest], BAD_LISTS),
    *sending_each("deposits", [deposit_pb2.CountDepositsRequest], BAD_COUNTS),
    *sending_each("withdrawals", [withdrawal_pb2.CountWithdrawalsRequest], BAD_COUNTS),
    sending(
        "list_of_unknown_state",
        "FIELD_MALFORMED",
        "state",
        "deposits",
        deposit_pb2.ListDepositsRequest(state=OUT_OF_ENUM),  # type: ignore[arg-type]  # that is the point
    ),
    sending(
        "list_of_bad_provider",
        "FIELD_MALFORMED",
        "provider",
        "events",
        provider_event_pb2.ListProviderEventsRequest(provider="A"),
    ),
    sending(
        "list_from_nowhen",
        "FIELD_OUT_OF_RANGE",
        "from_time",
        "events",
        provider_event_pb2.ListProviderEventsRequest(from_time=Timestamp(seconds=-1)),
    ),
    sending(
        "wallet_of_bad_player",
        "FIELD_MALFORMED",
        "player_id",
        "wallets",
        wallet_pb2.GetWalletRequest(player_id="a:b"),
    ),
    sending(
        "huge_page_of_wallets",
        "FIELD_OUT_OF_RANGE",
        "page_size",
        "wallets",
        wallet_pb2.ListWalletsRequest(page_size=1001),
    ),
]


@pytest.mark.parametrize("bad", BAD_INPUT, ids=lambda bad: bad.name)
async def test_send_bad_payment_input_is_refused_and_writes_nothing(bad: Bad, cashier: Cashier) -> None:
    """The reason names the rule, the field is pointed at, and the journal is what it was."""
    head = await cashier.ledger.head()

    refused = await refusal(bad.call(cashier))

    assert (refused.reason, refused.code) == (bad.reason, grpc.StatusCode.INVALID_ARGUMENT)
    assert refused.metadata["field"] == bad.field
    assert bad.field in refused.violated_fields
    assert await cashier.ledger.head() == head


async def test_send_key_of_ours_to_any_rpc_with_metadata_is_refused(cashier: Cashier) -> None:
    """Keys that begin with `defter_` are the server's own, wherever metadata goes."""
    ledger = cashier.ledger
    request = ledger.post_request(transfer("house", "house", 1))
    request.transaction.metadata["defter_payment_id"] = "dep_1"

    refused = await refusal(ledger.stubs.postings.PostTransaction(request))

    assert (refused.reason, refused.metadata) == ("FIELD_MALFORMED", {"field": "transaction.metadata"})


async def test_send_longest_documented_texts_are_taken(cashier: Cashier) -> None:
    """Bounds are inclusive, and counted in characters."""
    deposit = await cashier.initiate(
        player_id="x" * 64, provider_ref="é" * 255, reference="é" * 255, metadata={"k" * 64: "é" * 512}
    )
    event = cashier.event(
        UNKNOWN_TYPE,
        event_id="é" * 255,
        payment_ref="é" * 255,
        stage="é" * 255,
        reason="é" * 512,
        payload=b"x" * MIB,
    )

    [ingested] = await cashier.ingest(event)

    assert deposit.provider_ref == "é" * 255
    assert (await cashier.stored_event(ingested.event.provider_event_id)).event == event


async def test_send_id_of_other_tenant_in_event_is_no_id_of_ours(cashier: Cashier) -> None:
    """What a provider echoes is a hint: garbage and strangers' ids leave the event parked."""
    stranger = TenantIds(tenant_key(TenantId("other")))
    captured = payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED

    answers = await cashier.ingest(
        *(
            cashier.event(captured, payment_id, 5, object_id="ref_x")
            for payment_id in (stranger.deposit_id(2), "dep_", "garbage", "💣")
        )
    )

    assert {one.event.state for one in answers} == {payment_pb2.PROVIDER_EVENT_STATE_PARKED}


async def test_ask_server_without_providers_is_refused(database_url: str, cashier: Cashier) -> None:
    """A server serves the provider accounts that it is configured with."""
    async with serving(database_url) as bare:
        refused = await refusal(Cashier(bare.ledger()).initiate())

    assert refused.reason == "PROVIDER_UNKNOWN"
