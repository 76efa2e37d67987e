"""Own that a refusal reaches a client with gRPC's default options, whatever the request was like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import quote

import grpc
import pytest
from defter.ledger.v1 import account_pb2, posting_pb2
from defter.payments.v1 import payment_pb2, provider_event_pb2, withdrawal_pb2
from defter.payments.v1.provider_event_pb2_grpc import ProviderEventServiceStub

from tests.support.cashier import Cashier
from tests.support.ledger import Ledger
from tests.support.requests import CREDIT, DEBIT, TRANSFER, leg
from tests.support.settlement import Settler, stripe_file
from tests.support.wire import read_refusal

# gRPC's default: below this a client drops nothing, and each entry counts for 32 bytes more.
RECEIVED_BYTES = 8 * 1024
ENTRY_BYTES = 32

Provoke = Callable[[Ledger], Awaitable[object]]


def post(ledger: Ledger, *legs: posting_pb2.NewPosting) -> Awaitable[object]:
    """Post a transaction of these legs."""
    wanted = posting_pb2.NewTransaction(type=TRANSFER, postings=legs)
    return ledger.stubs.postings.PostTransaction(ledger.post_request(wanted))


def post_empty_legs(ledger: Ledger) -> Awaitable[object]:
    """Four things are wrong with each of a thousand legs."""
    return post(ledger, *[posting_pb2.NewPosting()] * 1_000)


def post_unknown_currency(ledger: Ledger) -> Awaitable[object]:
    """What a caller gets wrong in one place is wrong in all legs."""
    code = "💣" * 64
    return post(ledger, *[leg("house", DEBIT, 1, code), leg("ann", CREDIT, 1, code)] * 25)


def ask_for_malformed_accounts(ledger: Ledger) -> Awaitable[object]:
    """A thousand ids."""
    request = account_pb2.BatchGetBalancesRequest(tenant_id=ledger.tenant_id, account_ids=["?"] * 1_000)
    return ledger.stubs.accounts.BatchGetBalances(request)


def deliver_empty_events(ledger: Ledger) -> Awaitable[object]:
    """A hundred of them."""
    request = provider_event_pb2.IngestProviderEventsRequest(
        tenant_id=ledger.tenant_id, events=[payment_pb2.ProviderEvent()] * 100
    )
    return ProviderEventServiceStub(ledger.channel).IngestProviderEvents(request)


def ask_for_transaction_of_emoji(ledger: Ledger) -> Awaitable[object]:
    """An id is repeated in the message and in the facts."""
    request = posting_pb2.GetTransactionRequest(tenant_id=ledger.tenant_id, transaction_id="💣" * 255)
    return ledger.stubs.postings.GetTransaction(request)


def send_report_of_emoji(ledger: Ledger) -> Awaitable[object]:
    """Ten lines are told, each with the cell that is wrong."""
    code = "💣" * 200
    rows = [f"txn_{n},2030-01-01 00:00:00,{code},1.00,0,1.00,charge,ch_{n},po_1,pi_{n}" for n in range(10)]
    return Settler(ledger).send(stripe_file(rows))


@pytest.mark.parametrize(
    ("provoke", "code", "reason"),
    [
        (post_empty_legs, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_MISSING"),
        (post_unknown_currency, grpc.StatusCode.INVALID_ARGUMENT, "CURRENCY_UNKNOWN"),
        (ask_for_malformed_accounts, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_MALFORMED"),
        (deliver_empty_events, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_MISSING"),
        (ask_for_transaction_of_emoji, grpc.StatusCode.NOT_FOUND, "TRANSACTION_NOT_FOUND"),
        (send_report_of_emoji, grpc.StatusCode.INVALID_ARGUMENT, "REPORT_MALFORMED"),
    ],
)
async def test_refuse_bulky_input_reaches_default_client(
    ledger: Ledger, provoke: Provoke, code: grpc.StatusCode, reason: str
) -> None:
    """Its reason arrives, with room to spare for what else a server says behind an answer."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await provoke(ledger)

    refused = read_refusal(caught.value)
    assert (refused.code, refused.reason) == (code, reason)
    sizes = [len(quote(refused.message)) + len("grpc-message") + ENTRY_BYTES]
    for key, value in caught.value.trailing_metadata() or ():
        # Bytes travel as base64.
        length = -(-len(value) // 3) * 4 if isinstance(value, bytes) else len(value)
        sizes.append(len(key) + length + ENTRY_BYTES)
    assert sum(sizes) < RECEIVED_BYTES


async def test_refuse_many_fields_lists_first_and_counts_the_others(ledger: Ledger) -> None:
    """The caller sees where to begin, and how much more there is."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await post_empty_legs(ledger)

    refused = read_refusal(caught.value)
    listed = [
        f"transaction.postings[{n}].{name}"
        for n in range(4)
        for name in ("account_id", "direction", "amount_minor", "currency_code")
    ]
    assert refused.violated_fields == tuple(listed)
    assert refused.message.endswith("; 3984 more not listed")


async def test_refuse_field_behind_many_lists_the_one_that_is_told(ledger: Ledger) -> None:
    """The first reason in the order of precedence comes from the last field, and is listed all the same."""
    legs = [leg("?", DEBIT, 1)] * 20 + [posting_pb2.NewPosting(direction=CREDIT, amount_minor=20)]

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await post(ledger, *legs)

    refused = read_refusal(caught.value)
    assert refused.metadata == {"field": "transaction.postings[20].account_id"}
    assert refused.metadata["field"] in refused.violated_fields


async def test_set_policy_of_countless_currencies_is_refused(cashier: Cashier) -> None:
    """There are not that many, so they are not looked at one by one."""
    amounts = {f"c{n}": 1 for n in range(100_000)}
    request = withdrawal_pb2.SetWithdrawalPolicyRequest(
        tenant_id=cashier.ledger.tenant_id,
        idempotency_key="many",
        policy=payment_pb2.WithdrawalPolicy(second_review_from_minor=amounts),
    )

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await cashier.stubs.withdrawals.SetWithdrawalPolicy(request)

    refused = read_refusal(caught.value)
    assert refused.reason == "FIELD_TOO_LONG"
    assert refused.metadata["field"] == "policy.second_review_from_minor"
    assert 100 < int(refused.metadata["limit"]) < 500
