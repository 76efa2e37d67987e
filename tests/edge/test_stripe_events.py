"""Stripe at the edge: what each event says to the ledger."""

import json
from typing import Any

import pytest
from defter.payments.v1 import payment_pb2
from defter.payments.v1.payment_pb2 import ProviderEvent
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.providers import stripe_shapes
from webhook_edge import stripe_objects
from webhook_edge.scheme import Endpoint, Secret
from webhook_edge.stripe_scheme import StripeScheme

CREATED = 1_893_499_200
INTENT = {
    "object": "payment_intent",
    "id": "pi_1",
    "status": "succeeded",
    "amount": 5_000,
    "amount_capturable": 5_000,
    "amount_received": 4_000,
    "currency": "eur",
    "latest_charge": "ch_1",
    "metadata": {"our_id": "dep_1", "player_id": "p1"},
    "cancellation_reason": None,
    "last_payment_error": None,
}
CHARGE = {
    "object": "charge",
    "id": "ch_1",
    "payment_intent": "pi_1",
    "captured": True,
    "amount": 5_000,
    "amount_captured": 4_000,
    "amount_refunded": 1_000,
    "currency": "eur",
    "balance_transaction": None,
    "failure_code": None,
    "metadata": {"our_id": "dep_1"},
    "payment_method_details": {"card": {"multicapture": {"status": "unavailable"}}, "type": "card"},
}
REFUND = {
    "object": "refund",
    "id": "re_1",
    "payment_intent": "pi_1",
    "charge": "ch_1",
    "status": "succeeded",
    "amount": 1_000,
    "currency": "eur",
    "metadata": {"our_id": "ref_1"},
    "reason": "requested_by_customer",
}
DISPUTE = {
    "object": "dispute",
    "id": "du_1",
    "payment_intent": "pi_1",
    "charge": "ch_1",
    "status": "needs_response",
    "amount": 4_000,
    "currency": "eur",
    "reason": "fraudulent",
    "balance_transactions": [],
}
SESSION = {
    "object": "checkout.session",
    "id": "cs_1",
    "status": "expired",
    "payment_intent": "pi_1",
    "amount_total": 4_000,
    "currency": "eur",
    "metadata": {"our_id": "dep_1"},
}
PAYOUT = {
    "object": "payout",
    "id": "po_1",
    "status": "pending",
    "amount": 2_000,
    "currency": "eur",
    "automatic": False,
    "failure_code": None,
    "original_payout": None,
    "metadata": {"our_id": "wd_1"},
}
TRANSFER = {
    "object": "transfer",
    "id": "tr_1",
    "amount": 2_000,
    "currency": "eur",
    "reversed": True,
    "source_transaction": None,
    "metadata": {"our_id": "wd_1"},
}
NOTHING = "UNSPECIFIED"
# Every name of the catalogue, with an object as it comes with it, and what it says.
TABLE: list[tuple[str, dict[str, Any], str]] = [
    ("payment_intent.created", INTENT, NOTHING),
    ("payment_intent.requires_action", INTENT, NOTHING),
    ("payment_intent.processing", INTENT, NOTHING),
    ("payment_intent.partially_funded", INTENT, NOTHING),
    (
        "payment_intent.amount_capturable_updated",
        INTENT | {"status": "requires_capture"},
        "PAYMENT_AUTHORIZED",
    ),
    ("payment_intent.amount_capturable_updated", INTENT | {"status": "succeeded"}, NOTHING),
    ("payment_intent.succeeded", INTENT, "PAYMENT_CAPTURED"),
    ("payment_intent.payment_failed", INTENT, "PAYMENT_ATTEMPT_FAILED"),
    ("payment_intent.canceled", INTENT, "PAYMENT_FAILED"),
    ("checkout.session.expired", SESSION, "PAYMENT_FAILED"),
    ("charge.pending", CHARGE, NOTHING),
    ("charge.succeeded", CHARGE, "PAYMENT_CAPTURED"),
    ("charge.succeeded", CHARGE | {"captured": False, "amount_captured": 0}, "PAYMENT_AUTHORIZED"),
    ("charge.captured", CHARGE, "PAYMENT_CAPTURED"),
    ("charge.failed", CHARGE, "PAYMENT_ATTEMPT_FAILED"),
    ("charge.expired", CHARGE, "PAYMENT_FAILED"),
    ("charge.refunded", CHARGE | {"amount_refunded": 300}, "REFUND_TOTAL"),
    ("charge.refunded", CHARGE | {"amount_refunded": None}, NOTHING),
    ("charge.updated", CHARGE, NOTHING),
    ("charge.updated", CHARGE | {"balance_transaction": "txn_1"}, NOTHING),
    ("refund.created", REFUND | {"status": "pending"}, "REFUND_PENDING"),
    ("refund.created", REFUND | {"status": "requires_action"}, "REFUND_PENDING"),
    ("refund.created", REFUND, "REFUND_SUCCEEDED"),
    ("refund.updated", REFUND, "REFUND_SUCCEEDED"),
    ("refund.updated", REFUND | {"status": "canceled"}, "REFUND_FAILED"),
    ("charge.refund.updated", REFUND, "REFUND_SUCCEEDED"),
    ("refund.failed", REFUND | {"status": "failed"}, "REFUND_FAILED"),
    ("refund.failed", REFUND, NOTHING),
    ("refund.updated", REFUND | {"status": "unheard_of"}, NOTHING),
    ("refund.created", REFUND | {"reason": "expired_uncaptured_charge"}, NOTHING),
    *[
        (f"charge.dispute.{name}", DISPUTE | {"status": status}, says)
        for name in ("created", "updated", "closed")
        for status, says in {
            "warning_needs_response": "DISPUTE_OPENED",
            "warning_under_review": "DISPUTE_OPENED",
            "warning_closed": "DISPUTE_WON",
            "needs_response": "DISPUTE_OPENED",
            "under_review": "DISPUTE_OPENED",
            "appeal_needs_response": "DISPUTE_OPENED",
            "appeal_under_review": "DISPUTE_OPENED",
            "won": "DISPUTE_WON",
            "lost": "DISPUTE_LOST",
            "prevented": "DISPUTE_WON",
            "unheard_of": NOTHING,
        }.items()
    ],
    ("charge.dispute.funds_withdrawn", DISPUTE, "DISPUTE_FUNDS_WITHDRAWN"),
    ("charge.dispute.funds_reinstated", DISPUTE, "DISPUTE_FUNDS_REINSTATED"),
    ("radar.early_fraud_warning.created", {"id": "issfr_1"}, NOTHING),
    ("review.opened", {"id": "prv_1"}, NOTHING),
    ("review.closed", {"id": "prv_1"}, NOTHING),
    ("payout.created", PAYOUT, "PAYOUT_SUBMITTED"),
    ("payout.updated", PAYOUT | {"status": "in_transit"}, "PAYOUT_SUBMITTED"),
    ("payout.updated", PAYOUT | {"status": "paid"}, NOTHING),
    ("payout.paid", PAYOUT, "PAYOUT_PAID"),
    ("payout.failed", PAYOUT, "PAYOUT_FAILED"),
    ("payout.canceled", PAYOUT, "PAYOUT_FAILED"),
    ("payout.reconciliation_completed", PAYOUT, NOTHING),
    ("payout.paid", PAYOUT | {"automatic": True}, NOTHING),
    ("payout.paid", PAYOUT | {"original_payout": "po_0", "amount": -2_000}, NOTHING),
    ("transfer.created", TRANSFER, "PAYOUT_PAID"),
    ("transfer.updated", TRANSFER, NOTHING),
    ("transfer.reversed", TRANSFER, "PAYOUT_FAILED"),
    ("transfer.reversed", TRANSFER | {"reversed": False}, NOTHING),
    ("transfer.created", TRANSFER | {"source_transaction": "ch_1"}, NOTHING),
    ("treasury.outbound_payment.created", PAYOUT, "PAYOUT_SUBMITTED"),
    ("treasury.outbound_payment.posted", PAYOUT, "PAYOUT_PAID"),
    ("treasury.outbound_payment.failed", PAYOUT, "PAYOUT_FAILED"),
    ("treasury.outbound_payment.canceled", PAYOUT, "PAYOUT_FAILED"),
    ("treasury.outbound_payment.returned", PAYOUT, "PAYOUT_FAILED"),
    ("treasury.outbound_payment.expected_arrival_date_updated", PAYOUT, NOTHING),
    ("treasury.outbound_payment.tracking_details_updated", PAYOUT, NOTHING),
    ("customer.created", {"id": "cus_1"}, NOTHING),
    ("what.comes.to.be", {}, NOTHING),
]


def endpoint(**options: str) -> Endpoint:
    """Return an endpoint with these options."""
    return Endpoint(
        name="stripe-eu",
        tenant_id="casino",
        provider="stripe-eu",
        scheme="stripe",
        secrets=[Secret(name="0", value="whsec_0")],
        options=options,
    )


def snapshot(name: str, thing: object, **fields: Any) -> bytes:
    """Return the body of a snapshot event."""
    envelope = {
        "id": "evt_1",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": CREATED,
        "livemode": False,
        "type": name,
        "data": {"object": thing},
    }
    return json.dumps(envelope | fields).encode()


def thin(name: str, **fields: Any) -> bytes:
    """Return the body of a thin event."""
    envelope = {
        "id": "evt_thin",
        "object": "v2.core.event",
        "created": "2030-01-01T12:00:00.500Z",
        "livemode": False,
        "type": f"v2.money_management.outbound_payment.{name}",
        "related_object": {"id": "obp_1", "type": "v2.money_management.outbound_payment", "url": "/v2/…"},
    }
    return json.dumps(envelope | fields).encode()


def told(body: bytes, **options: str) -> list[ProviderEvent]:
    """Return what a body says."""
    return StripeScheme().events(body, {}, endpoint(**options))


def tell(name: str, thing: object, **fields: Any) -> ProviderEvent:
    """Return the one event that a snapshot says."""
    [event] = told(snapshot(name, thing, **fields))
    return event


def says(event: ProviderEvent) -> str:
    """Return an event's type without its prefix."""
    return payment_pb2.ProviderEventType.Name(event.type).removeprefix("PROVIDER_EVENT_TYPE_")


def check_storable(event: ProviderEvent) -> None:
    """Check that the ledger can take the event."""
    assert event.provider == "stripe-eu"
    assert 1 <= len(event.event_id) <= 255
    assert event.event_id.isprintable()
    assert event.HasField("occur_time")
    assert 0 <= event.occur_time.seconds < 253_402_300_800
    texts = (event.provider_type, event.payment_ref, event.payment_id, event.object_ref, event.object_id)
    assert all(len(text) <= 255 and "\0" not in text for text in (*texts, event.stage, event.reason))
    assert len(event.currency_code) <= 10


@pytest.mark.parametrize(
    ("name", "thing", "expected"), TABLE, ids=[f"{at}-{name}" for at, (name, _, _) in enumerate(TABLE)]
)
def test_tell_event_of_the_catalogue_has_its_type(name: str, thing: dict[str, Any], expected: str) -> None:
    """Each name and state means what the table says, and every event can be stored."""
    event = tell(name, thing)

    assert says(event) == expected
    assert event.provider_type == name
    assert event.payload == snapshot(name, thing)
    check_storable(event)


def test_tell_all_events_of_one_capture_name_the_same_one() -> None:
    """However often and by whatever event a capture is told, it is one, of one amount."""
    events = [
        tell("payment_intent.succeeded", INTENT),
        tell("payment_intent.succeeded", INTENT | {"latest_charge": CHARGE}),
        tell("charge.succeeded", CHARGE),
        tell("charge.captured", CHARGE),
        tell("charge.captured", CHARGE | {"payment_intent": INTENT}),
    ]

    facts = {
        (e.payment_ref, e.payment_id, e.object_ref, e.provider_amount_minor, e.currency_code, e.final)
        for e in events
    }
    assert facts == {("pi_1", "dep_1", "ch_1", 4_000, "EUR", True)}


def test_tell_event_takes_stripes_id_and_time() -> None:
    """The identity is Stripe's, and so is the time."""
    event = tell("charge.captured", CHARGE)

    assert (event.event_id, event.occur_time.seconds) == ("evt_1", CREATED)


def test_tell_capture_without_charge_means_the_payment_as_a_whole() -> None:
    """Money that came without a charge is no named capture."""
    event = tell("payment_intent.succeeded", INTENT | {"latest_charge": None})

    assert (says(event), event.object_ref, event.provider_amount_minor) == ("PAYMENT_CAPTURED", "", 4_000)


@pytest.mark.parametrize(("captured", "final"), [(1_000, False), (5_000, True)])
def test_tell_one_of_several_captures_is_final_when_nothing_is_left(captured: int, final: bool) -> None:
    """With multicapture the remainder stays reserved."""
    details = {"card": {"multicapture": {"status": "available"}}}

    event = tell("charge.captured", CHARGE | {"amount_captured": captured, "payment_method_details": details})

    assert (event.final, event.provider_amount_minor) == (final, captured)


def test_tell_charge_of_its_own_is_the_payment() -> None:
    """A charge without PaymentIntent is known by its own id."""
    assert tell("charge.captured", CHARGE | {"payment_intent": None}).payment_ref == "ch_1"


@pytest.mark.parametrize("name", ["refund.created", "refund.updated", "charge.refund.updated"])
def test_tell_refund_names_it_and_ours(name: str) -> None:
    """All events of one refund name it by its id and echo ours, so that it is one."""
    event = tell(name, REFUND)

    assert (event.payment_ref, event.object_ref, event.object_id) == ("pi_1", "re_1", "ref_1")
    assert (event.provider_amount_minor, event.currency_code, event.payment_id) == (1_000, "EUR", "")


@pytest.mark.parametrize("our_id", ["wd_1", "dep_1", "", None, "REF_1", "https://example.com"])
def test_tell_refund_with_other_metadata_echoes_nothing(our_id: str | None) -> None:
    """Metadata may be anybody's: only an id of a refund is one."""
    assert tell("refund.created", REFUND | {"metadata": {"our_id": our_id}}).object_id == ""


def test_tell_failure_says_why() -> None:
    """Reasons are Stripe's words."""
    failed = tell("payment_intent.payment_failed", INTENT | {"last_payment_error": {"code": "card_declined"}})
    cancelled = tell("payment_intent.canceled", INTENT | {"cancellation_reason": "abandoned"})
    bounced = tell("payout.failed", PAYOUT | {"failure_code": "account_closed"})

    assert [failed.reason, cancelled.reason, bounced.reason] == [
        "card_declined",
        "abandoned",
        "account_closed",
    ]


def movement(ref: str, amount: int, *, fee: int = 0, currency: str = "eur", at: int = 1) -> dict[str, Any]:
    """Return a balance transaction of a dispute."""
    return {"id": ref, "amount": amount, "fee": fee, "currency": currency, "created": at}


WITHDRAWN = "charge.dispute.funds_withdrawn"
REINSTATED = "charge.dispute.funds_reinstated"


@pytest.mark.parametrize(
    ("name", "movements", "amount", "stage"),
    [
        (WITHDRAWN, None, 4_000, ""),
        (WITHDRAWN, [], 4_000, ""),
        (WITHDRAWN, [movement("txn_1", -3_500)], 3_500, ""),
        (WITHDRAWN, [movement("txn_1", -3_500, currency="usd")], 4_000, ""),
        (REINSTATED, [movement("txn_1", -3_500), movement("txn_2", 3_000, at=2)], 3_000, ""),
        (
            WITHDRAWN,
            [movement("txn_3", -3_000, at=3), movement("txn_2", 3_000, at=2), movement("txn_1", -3_500)],
            3_000,
            "2",
        ),
    ],
)
def test_tell_dispute_moves_what_its_balance_transaction_says(
    name: str, movements: list[dict[str, Any]] | None, amount: int, stage: str
) -> None:
    """The movement counts, in the payment's currency; one after a lost appeal is another one."""
    event = tell(name, DISPUTE | {"balance_transactions": movements})

    assert (event.object_ref, event.payment_ref) == ("du_1", "pi_1")
    assert (event.provider_amount_minor, event.stage, event.currency_code) == (amount, stage, "EUR")


@pytest.mark.parametrize("field", ["amount", "fee"])
@pytest.mark.parametrize("value", [-(10**30), 10**30, True, "1", None])
def test_tell_dispute_with_odd_balance_transaction_can_be_stored(field: str, value: object) -> None:
    """A movement too large to be one is none."""
    thing = DISPUTE | {"balance_transactions": [movement("txn_1", -1) | {field: value}]}

    for event in told(snapshot(WITHDRAWN, thing)):
        check_storable(event)


def test_tell_expired_session_names_the_session_and_no_payment_in_it() -> None:
    """A deposit that was begun with it is over; the payments tried in it have events of their own."""
    event = tell("checkout.session.expired", SESSION)
    assert (event.payment_ref, event.payment_id, event.object_ref) == ("cs_1", "dep_1", "")


def test_tell_dispute_with_fee_says_so_besides() -> None:
    """What a dispute costs is a fee of its own, by the id of its balance transaction."""
    thing = DISPUTE | {"balance_transactions": [movement("txn_1", -4_000, fee=1_500)]}

    withdrawn, fee = told(snapshot(WITHDRAWN, thing))

    assert (says(withdrawn), withdrawn.provider_amount_minor) == ("DISPUTE_FUNDS_WITHDRAWN", 4_000)
    assert (says(fee), fee.object_ref, fee.provider_amount_minor) == ("FEE_CHARGED", "txn_1", 1_500)
    assert (fee.event_id, fee.payment_ref) == ("evt_1:txn_1", "pi_1")


def test_tell_charge_with_whole_balance_transaction_says_the_fee() -> None:
    """A fee is told when Stripe tells it, by the id of its balance transaction."""
    event = tell("charge.updated", CHARGE | {"balance_transaction": movement("txn_1", 4_000, fee=145)})

    assert (says(event), event.object_ref, event.provider_amount_minor) == ("FEE_CHARGED", "txn_1", 145)


def test_tell_fee_in_another_currency_says_nothing() -> None:
    """A fee in the currency of settlement can't be booked on the payment."""
    thing = CHARGE | {"balance_transaction": movement("txn_1", 4_000, fee=145, currency="usd")}

    event = tell("charge.updated", thing)

    assert (says(event), event.HasField("provider_amount_minor")) == (NOTHING, False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("created", "PAYOUT_SUBMITTED"),
        ("posted", "PAYOUT_PAID"),
        ("failed", "PAYOUT_FAILED"),
        ("canceled", "PAYOUT_FAILED"),
        ("returned", "PAYOUT_FAILED"),
        ("updated", NOTHING),
        ("under_review", NOTHING),
    ],
)
def test_tell_thin_event_names_the_payout_alone(name: str, expected: str) -> None:
    """A thin event has an id and no amount; it has no version either."""
    [event] = told(thin(name), livemode="false", api_version="2026-10-28.endive")

    assert (says(event), event.HasField("provider_amount_minor")) == (expected, False)
    assert event.payment_ref == ("" if name == "under_review" else "obp_1")
    assert (event.occur_time.seconds, event.occur_time.nanos) == (CREATED, 500_000_000)
    check_storable(event)


def test_tell_names_of_one_kind_never_mean_the_other() -> None:
    """A snapshot with a thin event's name, or the reverse, says nothing."""
    assert says(tell("v2.money_management.outbound_payment.posted", PAYOUT)) == NOTHING
    [event] = told(thin("posted", type="payout.paid"))
    assert says(event) == NOTHING


@pytest.mark.parametrize("name", ["payment_intent.succeeded", "refund.created", "customer.created"])
@pytest.mark.parametrize("version", ["2019-01-01", None, 7])
def test_tell_other_version_is_left_unread_under_an_id_of_its_own(name: str, version: object) -> None:
    """Another version's shapes are not those known here; the same event in ours still counts afterwards."""
    body = snapshot(name, INTENT, api_version=version)

    [event] = told(body, api_version="2026-10-28.endive")

    assert says(event) == NOTHING
    assert event.reason.startswith("api_version ")
    assert event.event_id.startswith("evt_1:unread:")
    check_storable(event)


@pytest.mark.parametrize("livemode", [True, None, "false", 0])
def test_tell_other_or_no_mode_is_left_unread(livemode: object) -> None:
    """What does not say that it is of the endpoint's mode moves nothing."""
    [event] = told(snapshot("payment_intent.succeeded", INTENT, livemode=livemode), livemode="false")

    assert (says(event), event.reason) == (NOTHING, "livemode is not the endpoint's")


ODD: list[Any] = [
    None,
    True,
    1.0,
    1e3,
    -1,
    2**63,
    10**400,
    "4000",
    "",
    [],
    {},
    "\0",
    "\ud800",
    "x" * 300,
    "a\nb",
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(
    ("name", "thing", "field"),
    [
        ("payment_intent.succeeded", INTENT, "amount_received"),
        ("charge.captured", CHARGE, "amount_captured"),
        ("refund.created", REFUND, "amount"),
        (WITHDRAWN, DISPUTE, "amount"),
        ("payout.paid", PAYOUT, "amount"),
    ],
)
def test_tell_odd_amount_moves_nothing(name: str, thing: dict[str, Any], field: str, value: object) -> None:
    """An amount that is none is never guessed: not even the whole is meant by nothing."""
    event = tell(name, thing | {field: value})

    assert says(event) == NOTHING
    assert event.event_id.startswith("evt_1:unread:")
    check_storable(event)


@pytest.mark.parametrize(
    "value", [value for value in ODD if value != "4000"], ids=lambda value: repr(value)[:12]
)
@pytest.mark.parametrize("field", ["id", "type", "created"])
def test_tell_odd_envelope_moves_nothing(field: str, value: object) -> None:
    """Without identity, name or time nothing is booked."""
    event = tell("payment_intent.succeeded", INTENT, **{field: value})

    assert says(event) == NOTHING
    check_storable(event)


def test_tell_two_unread_events_keeps_both() -> None:
    """Two bodies without ids are two events."""
    ids = {tell("charge.captured", CHARGE | {"amount": at}, id=None).event_id for at in range(2)}

    assert len(ids) == 2


def test_tell_metadata_key_is_the_adapters() -> None:
    """What the adapter writes is what the edge reads."""
    assert stripe_objects.OUR_ID == stripe_shapes.OUR_ID


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
ROWS = [(name, thing) for name, thing, _ in TABLE if thing]


@given(st.data())
def test_tell_mutated_event_can_always_be_stored(data: st.DataObject) -> None:
    """Whatever becomes of a field, an event comes out that the ledger can take."""
    name, thing = data.draw(st.sampled_from(ROWS))
    field = data.draw(st.sampled_from(sorted(thing)))
    mutated = thing | {field: data.draw(JSON)}
    if data.draw(st.booleans()):
        mutated = {field: mutated[field]}

    for event in told(snapshot(name, mutated), livemode="false"):
        check_storable(event)


@given(st.data())
def test_tell_mutated_envelope_can_always_be_stored(data: st.DataObject) -> None:
    """Nor does any envelope bring out anything else."""
    base = json.loads(data.draw(st.sampled_from([snapshot("charge.captured", CHARGE), thin("posted")])))
    field = data.draw(st.sampled_from(sorted(base)))

    for event in told(json.dumps(base | {field: data.draw(JSON)}).encode(), api_version="1", livemode="true"):
        check_storable(event)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_tell_any_body_can_be_stored_and_moves_nothing(body: bytes) -> None:
    """Any bytes at all are one event that says nothing."""
    [event] = told(body)

    assert says(event) == NOTHING
    check_storable(event)


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "evt_1", "livemode": true, "account": "acct_1", "x": {"k": 1, "k": 2}}',
        b'{"id": "evt_1", "livemode": true, "account": "acct_1", "x": 1e999}',
        b'{"id": "evt_1", "livemode": true, "account": "acct_1", "x": ' + b"[" * 70 + b"]" * 70 + b"}",
        b"no JSON",
        b"null",
        b"[]",
    ],
    ids=["field twice", "no end", "deep", "no JSON", "null", "no object"],
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"livemode": "true"},
        {"account": "acct_1"},
        {"api_version": "1"},
        {"account": "acct_2", "livemode": "false"},
    ],
    ids=str,
)
def test_tell_body_that_cannot_be_read_is_nobody_elses(body: bytes, options: dict[str, str]) -> None:
    """It tells neither its account nor its mode: it is kept as unread, by what is wrong with it."""
    [event] = told(body, **options)

    assert event.unread_reason == payment_pb2.UNREAD_REASON_BODY
    assert event.moves_money
    assert says(event) == NOTHING
