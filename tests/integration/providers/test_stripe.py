"""Own what is Stripe's alone: a search that lags, listings to the end, and what balance transactions mean."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.providers.adapter import (
    Accepted,
    Adapter,
    Declined,
    NotFound,
    NotOurs,
    ProviderCallKind,
    Unknown,
)
from tests.integration.providers.conftest import Adapters
from tests.integration.providers.test_contract import WINDOW
from tests.support.clock import START
from tests.support.fake_stripe import error as stripe_error
from tests.support.proof import PROVEN
from tests.support.providers import StripeUnderTest, bare
from tests.support.vendor import Fault

pytestmark = pytest.mark.parametrize("provider", ["stripe"], indirect=True)

MANY = 150


async def test_find_payment_before_search_knows_is_listed(
    provider: StripeUnderTest, adapter: Adapter
) -> None:
    """The search has not caught up, so the listing is read; the payment stands on its second page."""
    call = provider.call(ProviderCallKind.CREATE_PAYMENT)
    accepted = await adapter.call(call, PROVEN)
    for _ in range(MANY):
        provider.stripe.add("payment_intents", status="succeeded")
    provider.stripe.searchable = False

    assert await adapter.find(call, "") == accepted


async def test_find_payment_in_search_needs_no_listing(provider: StripeUnderTest, adapter: Adapter) -> None:
    """A payment that the search knows is found by it alone."""
    call = provider.call(ProviderCallKind.CREATE_PAYMENT)
    accepted = await adapter.call(call, PROVEN)
    provider.fail_next(None, Fault.SERVER_ERROR)

    assert await adapter.find(call, "") == accepted


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.REFUSAL])
async def test_find_payment_when_search_fails_is_listed(
    fault: Fault, provider: StripeUnderTest, adapter: Adapter
) -> None:
    """Where an account may not search, the listing answers."""
    call = provider.call(ProviderCallKind.CREATE_PAYMENT)
    accepted = await adapter.call(call, PROVEN)
    provider.fail_next(fault)

    assert await adapter.find(call, "") == accepted


async def test_find_payout_when_second_page_fails_is_unknown(
    provider: StripeUnderTest, adapter: Adapter
) -> None:
    """Half a listing proves no absence."""
    for _ in range(MANY):
        provider.stripe.add("payouts", status="paid")
    provider.fail_next(None, Fault.SERVER_ERROR)

    found = await adapter.find(provider.call(ProviderCallKind.CREATE_PAYOUT), "")

    assert isinstance(found, Unknown)


async def test_find_payout_on_no_page_is_not_found(provider: StripeUnderTest, adapter: Adapter) -> None:
    """Only after the last page is a payout certainly not there."""
    for _ in range(MANY):
        provider.stripe.add("payouts", status="paid")

    assert await adapter.find(provider.call(ProviderCallKind.CREATE_PAYOUT), "") == NotFound()


async def test_find_payout_made_long_ago_is_found_from_first_try(
    provider: StripeUnderTest, adapter: Adapter
) -> None:
    """A payout older than the usual window is found when the call says since when to look."""
    provider.stripe.now = START - timedelta(days=90)
    call = provider.call(ProviderCallKind.CREATE_PAYOUT)
    accepted = await adapter.call(call, PROVEN)
    dated = msgspec.structs.replace(call, first_try_time=START - timedelta(days=90))

    assert await adapter.find(dated, "") == accepted


async def test_find_payout_made_twice_tells_which_was_paid(
    provider: StripeUnderTest, adapter: Adapter
) -> None:
    """Whatever made two, the one that moved money is the one that counts."""
    ours = {"our_id": "wd_1"}
    provider.stripe.add("payouts", status="failed", metadata=ours)
    paid = provider.stripe.add("payouts", status="paid", metadata=ours)
    provider.stripe.add("payouts", status="failed", metadata=ours)

    found = await adapter.find(provider.call(ProviderCallKind.CREATE_PAYOUT), "")

    assert bare(found) == Accepted(provider_ref=paid["id"], state=RemoteState.SUCCEEDED)


@pytest.mark.parametrize(
    ("collection", "status", "state"),
    [
        ("payment_intents", "requires_action", RemoteState.PENDING),
        ("payment_intents", "processing", RemoteState.PENDING),
        ("payment_intents", "requires_capture", RemoteState.AUTHORIZED),
        ("payment_intents", "succeeded", RemoteState.SUCCEEDED),
        ("payment_intents", "canceled", RemoteState.FAILED),
        ("payouts", "in_transit", RemoteState.PENDING),
        ("payouts", "paid", RemoteState.SUCCEEDED),
        ("payouts", "failed", RemoteState.FAILED),
        ("payouts", "canceled", RemoteState.FAILED),
        ("refunds", "requires_action", RemoteState.PENDING),
        ("refunds", "succeeded", RemoteState.SUCCEEDED),
        ("refunds", "failed", RemoteState.FAILED),
        ("refunds", "a_state_to_come", RemoteState.PENDING),
    ],
)
async def test_find_in_each_state_tells_ours(
    collection: str, status: str, state: RemoteState, provider: StripeUnderTest, adapter: Adapter
) -> None:
    """Every state of Stripe's has one of ours; an unheard-of one decides nothing."""
    kinds = {"payment_intents": ProviderCallKind.CREATE_PAYMENT, "payouts": ProviderCallKind.CREATE_PAYOUT}
    thing = provider.stripe.add(collection, status=status)

    found = await adapter.find(provider.call(kinds.get(collection, ProviderCallKind.REFUND)), thing["id"])

    assert bare(found) == Accepted(provider_ref=thing["id"], state=state)


async def test_find_failed_payout_tells_why(provider: StripeUnderTest, adapter: Adapter) -> None:
    """The failure code reaches whoever has to explain it."""
    thing = provider.stripe.add("payouts", status="failed", failure_code="account_closed")

    found = await adapter.find(provider.call(ProviderCallKind.CREATE_PAYOUT), thing["id"])

    assert bare(found) == Accepted(
        provider_ref=thing["id"], state=RemoteState.FAILED, reason="account_closed"
    )


async def test_refund_missing_payment_is_rejected(provider: StripeUnderTest, adapter: Adapter) -> None:
    """What does not exist at Stripe cannot have been refunded."""
    provider.payment_ref = "pi_missing"

    answer = await adapter.call(provider.call(ProviderCallKind.REFUND), PROVEN)

    assert answer == Declined(code="resource_missing", message="No such payment_intent")


@pytest.mark.parametrize("payment_ref", ["pi_1", "ch_1", "py_1"])
async def test_refund_names_the_payment_as_what_it_is(
    payment_ref: str, provider: StripeUnderTest, adapter: Adapter
) -> None:
    """What was paid without a PaymentIntent is refunded, and looked for, by its charge."""
    provider.payment_ref = payment_ref
    call = provider.call(ProviderCallKind.REFUND)

    made = await adapter.call(call, PROVEN)
    found = await adapter.find(call, "")
    provider.payment_ref = f"{payment_ref}0"
    other = await adapter.find(provider.call(ProviderCallKind.REFUND), "")

    assert isinstance(made, Accepted)
    assert isinstance(found, Accepted)
    assert found.provider_ref == made.provider_ref
    assert other == NotFound()


async def test_call_at_wrong_address_is_unknown(provider: StripeUnderTest, adapters: Adapters) -> None:
    """A 404 that is not about the payment says that our configuration is wrong."""
    adapter = adapters.make(address=f"{provider.address}/elsewhere")

    assert isinstance(await adapter.call(provider.call(ProviderCallKind.CREATE_PAYOUT), PROVEN), Unknown)
    assert isinstance(await adapter.find(provider.call(ProviderCallKind.CREATE_PAYOUT), "po_1"), Unknown)


@pytest.mark.parametrize(
    ("status", "type_", "code", "outcome"),
    [
        (402, "card_error", "card_declined", Declined),
        (400, "invalid_request_error", "amount_too_small", Declined),
        (400, "invalid_request_error", None, Declined),
        (404, "invalid_request_error", "resource_missing", Declined),
        (404, "invalid_request_error", None, Unknown),
        (400, "idempotency_error", None, NotOurs),
        (400, "invalid_request_error", "rate_limit", Unknown),
        (400, "invalid_request_error", "idempotency_key_in_use", Unknown),
        (401, "invalid_request_error", "api_key_expired", Unknown),
        (403, "invalid_request_error", None, Unknown),
        (409, "idempotency_error", "idempotency_key_in_use", Unknown),
        (409, "invalid_request_error", "lock_timeout", Unknown),
        (429, "invalid_request_error", "lock_timeout", Unknown),
        (500, "api_error", None, Unknown),
        (503, "api_error", None, Unknown),
        (302, "api_error", None, Unknown),
    ],
)
async def test_call_answered_with_error_has_outcome(
    status: int,
    type_: str,
    code: str | None,
    outcome: type[object],
    provider: StripeUnderTest,
    adapter: Adapter,
) -> None:
    """Only errors of the card and of the request are refusals."""
    provider.stripe.faults.append(stripe_error(status, type_, code, "So it is."))

    answer = await adapter.call(provider.call(ProviderCallKind.CREATE_PAYOUT), PROVEN)

    assert isinstance(answer, outcome)
    if isinstance(answer, Declined):
        assert answer == Declined(code=code or "invalid_request", message="So it is.")


CHARGE = {
    "id": "ch_1",
    "object": "charge",
    "status": "succeeded",
    "payment_intent": "pi_1",
    "amount": 5000,
    "amount_captured": 5000,
    "currency": "eur",
    "metadata": {"our_id": "dep_1"},
}
REFUND = {
    "id": "re_1",
    "object": "refund",
    "status": "pending",
    "payment_intent": "pi_1",
    "charge": "ch_1",
    "amount": 700,
    "currency": "eur",
    "metadata": {"our_id": "ref_1"},
}
DISPUTE = {
    "id": "du_1",
    "object": "dispute",
    "status": "needs_response",
    "payment_intent": "pi_1",
    "charge": "ch_1",
    "amount": 5000,
    "currency": "eur",
    "metadata": {},
}
PAYOUT = {
    "id": "po_1",
    "object": "payout",
    "status": "failed",
    "amount": 900,
    "currency": "eur",
    "metadata": {"our_id": "wd_1"},
}
YEN_CHARGE = {**CHARGE, "amount": 800, "amount_captured": 600, "currency": "jpy"}
UNCAPTURED = {**REFUND, "id": "re_2", "metadata": {}, "amount": 200, "currency": "jpy"}
FAILED_REFUND = {**REFUND, "status": "failed"}
PAYMENT_REFUND = {**REFUND, "id": "pyr_1", "status": "succeeded", "metadata": {}}
AUTOMATIC = {**PAYOUT, "id": "po_2", "status": "paid", "automatic": True, "metadata": {}}
COPIED = {**AUTOMATIC, "metadata": {"our_id": "wd_1"}}
BY_HAND = {**PAYOUT, "id": "po_3", "status": "paid", "automatic": False, "metadata": {}}


@pytest.mark.parametrize(
    ("movement", "expected"),
    [
        pytest.param(
            {"type_": "charge", "source": CHARGE, "amount": 5000},
            ("PAYMENT", "pi_1", "pi_1", "dep_1", "SUCCEEDED", 5000, "EUR"),
            id="charge",
        ),
        pytest.param(
            {"type_": "charge", "source": YEN_CHARGE, "amount": 495},
            ("PAYMENT", "pi_1", "pi_1", "dep_1", "SUCCEEDED", 800, "JPY"),
            id="charge settled in another currency, authorised in full",
        ),
        pytest.param(
            {
                "type_": "refund",
                "source": UNCAPTURED,
                "amount": -124,
                "reporting_category": "partial_capture_reversal",
            },
            ("PAYMENT", "pi_1", "pi_1", "", "SUCCEEDED", -200, "JPY"),
            id="what was not captured of it",
        ),
        pytest.param(
            {"type_": "payment", "source": "py_1", "amount": 5000},
            ("PAYMENT", "py_1", "", "", "SUCCEEDED", 5000, "EUR"),
            id="payment whose source was not sent along",
        ),
        pytest.param(
            {"type_": "payment_failure_refund", "source": PAYMENT_REFUND, "amount": -700},
            ("PAYMENT", "pi_1", "pi_1", "", "FAILED", -700, "EUR"),
            id="payment that failed later",
        ),
        pytest.param(
            {"type_": "refund", "source": REFUND, "amount": -700},
            ("REFUND", "re_1", "pi_1", "ref_1", "PENDING", -700, "EUR"),
            id="refund",
        ),
        pytest.param(
            {"type_": "refund_failure", "source": FAILED_REFUND, "amount": 700},
            ("REFUND", "re_1", "pi_1", "ref_1", "FAILED", 700, "EUR"),
            id="refund that came back",
        ),
        pytest.param(
            {
                "type_": "adjustment",
                "source": FAILED_REFUND,
                "amount": 700,
                "reporting_category": "refund_failure",
            },
            ("REFUND", "re_1", "pi_1", "ref_1", "FAILED", 700, "EUR"),
            id="refund that came back, as an adjustment",
        ),
        pytest.param(
            {
                "type_": "adjustment",
                "source": {**REFUND, "status": "succeeded"},
                "amount": 700,
                "reporting_category": "refund_failure",
            },
            ("REFUND", "re_1", "pi_1", "ref_1", "FAILED", 700, "EUR"),
            id="refund that came back before its state says so",
        ),
        pytest.param(
            {"type_": "payout", "source": PAYOUT, "amount": -900},
            ("PAYOUT", "po_1", "", "wd_1", "FAILED", -900, "EUR"),
            id="payout that failed later",
        ),
        pytest.param(
            {"type_": "payout_failure", "source": PAYOUT, "amount": 900},
            ("PAYOUT", "po_1", "", "wd_1", "FAILED", 900, "EUR"),
            id="its money coming back",
        ),
        pytest.param(
            {"type_": "payout_cancel", "source": "po_1", "amount": 900},
            ("PAYOUT", "po_1", "", "", "FAILED", 900, "EUR"),
            id="cancelled payout whose source was not sent along",
        ),
        pytest.param(
            {"type_": "payout", "source": AUTOMATIC, "amount": -900},
            ("SETTLEMENT", "po_2", "", "", "SUCCEEDED", -900, "EUR"),
            id="automatic payout to our own bank",
        ),
        pytest.param(
            {"type_": "payout", "source": COPIED, "amount": -900},
            ("SETTLEMENT", "po_2", "", "wd_1", "SUCCEEDED", -900, "EUR"),
            id="automatic payout, whatever its metadata",
        ),
        pytest.param(
            {"type_": "payout", "source": BY_HAND, "amount": -900},
            ("SETTLEMENT", "po_3", "", "", "SUCCEEDED", -900, "EUR"),
            id="payout to our own bank that somebody asked for by hand",
        ),
        pytest.param(
            {"type_": "payout_failure", "source": AUTOMATIC, "amount": 900},
            ("SETTLEMENT", "po_2", "", "", "FAILED", 900, "EUR"),
            id="payout to our own bank that came back",
        ),
        pytest.param(
            {
                "type_": "adjustment",
                "source": DISPUTE,
                "amount": -5000,
                "reporting_category": "dispute",
            },
            ("DISPUTE", "du_1", "pi_1", "", "SUCCEEDED", -5000, "EUR"),
            id="dispute",
        ),
        pytest.param(
            {
                "type_": "adjustment",
                "source": DISPUTE,
                "amount": 5000,
                "reporting_category": "dispute_reversal",
            },
            ("DISPUTE", "du_1", "pi_1", "", "SUCCEEDED", 5000, "EUR"),
            id="dispute that was won",
        ),
        pytest.param(
            {"type_": "stripe_fee", "source": None, "amount": -20, "fee": 0},
            ("FEE", "txn_1", "", "", "SUCCEEDED", -20, "EUR"),
            id="fee of the account",
        ),
        pytest.param(
            {"type_": "adjustment", "source": None, "amount": -20, "reporting_category": "fee"},
            ("FEE", "txn_1", "", "", "SUCCEEDED", -20, "EUR"),
            id="fee as an adjustment",
        ),
        *(
            pytest.param(
                {"type_": type_, "source": None, "amount": -20},
                ("OTHER", "txn_1", "", "", "SUCCEEDED", -20, "EUR"),
                id=type_,
            )
            for type_ in ("adjustment", "contribution", "reserve_hold", "topup", "transfer")
        ),
        pytest.param(
            {"type_": "a_type_to_come", "source": None, "amount": -20},
            ("UNKNOWN", "txn_1", "", "", "SUCCEEDED", -20, "EUR"),
            id="a type that nobody knows",
        ),
        pytest.param(
            {"type_": "charge", "source": None, "amount": 550, "currency": "isk"},
            ("PAYMENT", "txn_1", "", "", "SUCCEEDED", None, "ISK"),
            id="amount that the ledger cannot write",
        ),
    ],
)
async def test_list_movement_becomes_record(
    movement: dict[str, Any],
    expected: tuple[object, ...],
    provider: StripeUnderTest,
    adapter: Adapter,
) -> None:
    """Each balance transaction is one record, by its own id and of the object that the ledger knows."""
    provider.stripe.move(**movement)

    (record,) = (await adapter.list_provider_records(*WINDOW, "", 10)).records

    assert facts(record) == expected
    assert (record.record_id, record.provider_type) == ("txn_1", movement["type_"])
    assert record.batch == (record.provider_ref if record.kind is ProviderRecordKind.SETTLEMENT else "")


async def test_list_charge_with_fee_yields_fee_as_well(provider: StripeUnderTest, adapter: Adapter) -> None:
    """The fee that Stripe keeps is a record of its own, of the same movement and the same payment."""
    provider.stripe.move("charge", CHARGE, amount=5000, fee=175)

    page = await adapter.list_provider_records(*WINDOW, "", 10)

    assert [(record.record_id, *facts(record)) for record in page.records] == [
        ("txn_1", "PAYMENT", "pi_1", "pi_1", "dep_1", "SUCCEEDED", 5000, "EUR"),
        ("txn_1", "FEE", "txn_1", "pi_1", "", "SUCCEEDED", -175, "EUR"),
    ]


async def test_list_dispute_lost_and_won_is_two_records_of_one_object(
    provider: StripeUnderTest, adapter: Adapter
) -> None:
    """What was taken and given back has two ids, of one dispute."""
    provider.stripe.move("adjustment", DISPUTE, amount=-5000, fee=1500, reporting_category="dispute")
    provider.stripe.move("adjustment", DISPUTE, amount=5000, reporting_category="dispute_reversal")

    page = await adapter.list_provider_records(*WINDOW, "", 10)

    assert [(record.record_id, record.kind, record.provider_ref) for record in page.records] == [
        ("txn_2", ProviderRecordKind.DISPUTE, "du_1"),
        ("txn_1", ProviderRecordKind.DISPUTE, "du_1"),
        ("txn_1", ProviderRecordKind.FEE, "txn_1"),
    ]


def facts(record: ProviderRecord) -> tuple[object, ...]:
    """Return what a record says, in brief."""
    return (
        record.kind.name,
        record.provider_ref,
        record.payment_ref,
        record.our_id,
        record.state.name,
        record.amount,
        record.currency,
    )
