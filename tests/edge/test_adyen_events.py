"""Adyen at the edge: what each notification and each transfer says to the ledger."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from defter.payments.v1 import payment_pb2
from defter.payments.v1.payment_pb2 import ProviderEvent
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.payments import events as domain
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.knowledge import CallState
from webhook_edge.adyen_scheme import AdyenScheme
from webhook_edge.reading import MOST_DEPTH
from webhook_edge.scheme import Endpoint, Secret

PAYMENT, MODIFICATION = "9913140798220028", "QFQTPCQ8HXSKGK82"
ITEM: dict[str, Any] = {
    "additionalData": {"hmacSignature": "checked before"},
    "amount": {"currency": "EUR", "value": 1_000},
    "eventCode": "CAPTURE",
    "eventDate": "2030-01-01T13:00:00+01:00",
    "merchantAccountCode": "Casino",
    "merchantReference": "dep_1",
    "originalReference": PAYMENT,
    "pspReference": MODIFICATION,
    "reason": "why",
    "success": "true",
}
TRANSFER: dict[str, Any] = {
    "id": "6JKRLZ8LOT47J7RY",
    "status": "booked",
    "sequenceNumber": 3,
    "direction": "outgoing",
    "category": "bank",
    "type": "bankTransfer",
    "reference": "wd_1",
    "amount": {"currency": "EUR", "value": 10_000},
    "reason": "approved",
    "creationDate": "2030-01-01T13:00:00+01:00",
}
NOTHING = "UNSPECIFIED"
# The event code, and what it says when it succeeded and when it did not.
CODES: list[tuple[str, str, str]] = [
    ("AUTHORISATION", "PAYMENT_AUTHORIZED", "PAYMENT_ATTEMPT_FAILED"),
    ("AUTHORISATION_ADJUSTMENT", NOTHING, NOTHING),
    ("PENDING", NOTHING, NOTHING),
    ("OFFER_CLOSED", "PAYMENT_FAILED", NOTHING),
    ("CAPTURE", "PAYMENT_CAPTURED", NOTHING),
    ("CAPTURE_FAILED", "CAPTURE_FAILED", NOTHING),
    ("CANCELLATION", "PAYMENT_FAILED", NOTHING),
    ("TECHNICAL_CANCEL", "PAYMENT_FAILED", NOTHING),
    ("EXPIRE", "PAYMENT_FAILED", NOTHING),
    ("CANCEL_OR_REFUND", NOTHING, NOTHING),
    ("REFUND", "REFUND_SUCCEEDED", "REFUND_FAILED"),
    ("REFUND_WITH_DATA", "REFUND_SUCCEEDED", "REFUND_FAILED"),
    ("POSTPONED_REFUND", "REFUND_PENDING", "REFUND_FAILED"),
    ("REFUND_FAILED", "REFUND_FAILED", NOTHING),
    ("REFUNDED_REVERSED", "REFUND_FAILED", NOTHING),
    ("VOID_PENDING_REFUND", "REFUND_FAILED", NOTHING),
    ("NOTIFICATION_OF_CHARGEBACK", "DISPUTE_OPENED", NOTHING),
    ("REQUEST_FOR_INFORMATION", "DISPUTE_OPENED", NOTHING),
    ("NOTIFICATION_OF_FRAUD", NOTHING, NOTHING),
    ("CHARGEBACK", "DISPUTE_FUNDS_WITHDRAWN", NOTHING),
    ("CHARGEBACK_REVERSED", "DISPUTE_FUNDS_REINSTATED", NOTHING),
    ("SECOND_CHARGEBACK", "DISPUTE_FUNDS_WITHDRAWN", NOTHING),
    ("PREARBITRATION_OPEN", "DISPUTE_OPENED", NOTHING),
    ("PREARBITRATION_WON", "DISPUTE_WON", NOTHING),
    ("PREARBITRATION_LOST", "DISPUTE_LOST", NOTHING),
    ("PREARBITRATION_ACCEPTED", "DISPUTE_LOST", NOTHING),
    ("PREARBITRATION_DECLINED", "DISPUTE_OPENED", NOTHING),
    ("PREARBITRATION_ISSUER_WITHDRAWN", "DISPUTE_WON", NOTHING),
    ("SCHEME_ARBITRATION", "DISPUTE_OPENED", NOTHING),
    ("INFORMATION_SUPPLIED", "DISPUTE_OPENED", NOTHING),
    ("ISSUER_COMMENTS", "DISPUTE_OPENED", NOTHING),
    ("ISSUER_RESPONSE_TIMEFRAME_EXPIRED", "DISPUTE_OPENED", NOTHING),
    ("DISPUTE_DEFENSE_PERIOD_ENDED", "DISPUTE_OPENED", NOTHING),
    ("MANUAL_REVIEW_ACCEPT", NOTHING, NOTHING),
    ("MANUAL_REVIEW_REJECT", NOTHING, NOTHING),
    ("ORDER_OPENED", NOTHING, NOTHING),
    ("ORDER_CLOSED", NOTHING, NOTHING),
    ("RECURRING_CONTRACT", NOTHING, NOTHING),
    ("REPORT_AVAILABLE", NOTHING, NOTHING),
    ("AUTORESCUE", NOTHING, NOTHING),
    ("CANCEL_AUTORESCUE", NOTHING, NOTHING),
    ("PAYOUT_THIRDPARTY", "PAYOUT_PAID", "PAYOUT_FAILED"),
    ("PAYOUT_DECLINE", "PAYOUT_FAILED", NOTHING),
    ("PAYOUT_EXPIRE", "PAYOUT_FAILED", NOTHING),
    ("PAIDOUT_REVERSED", "PAYOUT_FAILED", NOTHING),
    ("WHAT_COMES_TO_BE", NOTHING, NOTHING),
]
STATES: list[tuple[str, str]] = [
    ("received", "PAYOUT_SUBMITTED"),
    ("pending", "PAYOUT_SUBMITTED"),
    ("pendingApproval", "PAYOUT_SUBMITTED"),
    ("approvalPending", "PAYOUT_SUBMITTED"),
    ("pendingExecution", "PAYOUT_SUBMITTED"),
    ("authorised", "PAYOUT_SUBMITTED"),
    ("bookingPending", "PAYOUT_SUBMITTED"),
    ("bankTransferPending", "PAYOUT_SUBMITTED"),
    ("booked", "PAYOUT_PAID"),
    ("credited", "PAYOUT_PAID"),
    ("refused", "PAYOUT_FAILED"),
    ("rejected", "PAYOUT_FAILED"),
    ("cancelled", "PAYOUT_FAILED"),
    ("expired", "PAYOUT_FAILED"),
    ("error", "PAYOUT_FAILED"),
    ("failed", "PAYOUT_FAILED"),
    ("returned", "PAYOUT_FAILED"),
    ("reversed", "PAYOUT_FAILED"),
    ("whatComesToBe", NOTHING),
]


def endpoint(**options: str) -> Endpoint:
    """Return an endpoint with these options."""
    return Endpoint(
        name="adyen-eu",
        tenant_id="casino",
        provider="adyen-eu",
        scheme="adyen",
        secrets=[Secret(name="0", value="00" * 32)],
        options=options,
    )


def notification(*items: object, **fields: Any) -> bytes:
    """Return a body with these items."""
    wrapped = [{"NotificationRequestItem": each} for each in items]
    return json.dumps({"live": "false", "notificationItems": wrapped} | fields).encode()


def told(*items: object, options: dict[str, str] | None = None, **fields: Any) -> list[ProviderEvent]:
    """Return what a notification with these items says."""
    return AdyenScheme().events(notification(*items, **fields), {}, endpoint(**(options or {})))


def tell(code: str, options: dict[str, str] | None = None, /, **fields: Any) -> ProviderEvent:
    """Return the first that an item says."""
    return told(ITEM | {"eventCode": code} | fields, options=options)[0]


def transfer_body(kind: str = "balancePlatform.transfer.updated", /, **fields: Any) -> bytes:
    """Return the body of a transfer webhook."""
    envelope = {"type": kind, "environment": "test", "timestamp": "2030-01-01T12:00:01Z"}
    return json.dumps(envelope | {"data": TRANSFER | fields}).encode()


def told_whole(body: bytes, **options: str) -> ProviderEvent:
    """Return what a body says that was signed as a whole."""
    [event] = AdyenScheme().events(body, {"hmacsignature": "checked before"}, endpoint(**options))
    return event


def says(event: ProviderEvent) -> str:
    """Return an event's type without its prefix."""
    return payment_pb2.ProviderEventType.Name(event.type).removeprefix("PROVIDER_EVENT_TYPE_")


def check_storable(event: ProviderEvent) -> None:
    """Check that the ledger can take the event."""
    assert event.provider == "adyen-eu"
    assert 1 <= len(event.event_id) <= 255
    assert event.event_id.isprintable()
    assert event.HasField("occur_time")
    assert 0 <= event.occur_time.seconds < 253_402_300_800
    texts = (event.provider_type, event.payment_ref, event.payment_id, event.object_ref, event.object_id)
    assert all(len(text) <= 255 and "\0" not in text for text in (*texts, event.stage, event.reason))
    assert len(event.currency_code) <= 10
    assert len(event.payload) <= 1024 * 1024


def captured(events: Sequence[ProviderEvent]) -> int:
    """Return what the ledger makes of a deposit's events, each of which it takes once."""
    time = datetime(2030, 1, 1, tzinfo=UTC)
    deposit = Deposit(
        number=1,
        player_id="p1",
        provider="adyen-eu",
        provider_ref="",
        amount=1_000,
        currency="EUR",
        hold=1,
        call_state=CallState.ACCEPTED,
        reference="",
        metadata={},
        initiate_time=time,
        update_time=time,
        balance_after=0,
        authorized=False,
        closed=False,
        failed=False,
        failure_reason="",
        payment_url="",
        payment_ref="",
        attempts=(),
        captures=(),
        refunds=(),
        disputes=(),
        fees=(),
        personal=b"",
    )
    for event in {event.event_id: event for event in reversed(events)}.values():
        said = domain.ProviderEvent(
            provider=event.provider,
            event_id=event.event_id,
            type=domain.EventType(event.type),
            provider_type=event.provider_type,
            payment_ref=event.payment_ref,
            payment_id=event.payment_id,
            payment=1,
            object_ref=event.object_ref,
            object_id=event.object_id,
            refund=None,
            provider_amount=event.provider_amount_minor,
            amount=event.provider_amount_minor,
            problem="",
            currency=event.currency_code,
            occur_time=event.occur_time.ToDatetime(UTC),
            final=event.final,
            stage=event.stage,
            reason=event.reason,
            payload=event.payload,
            unread=None,
            delivery="",
        )
        deposit = domain.with_deposit_event(deposit, said)
    return deposit.captured - deposit.disputed


@pytest.mark.parametrize(("code", "success", "failure"), CODES, ids=[code for code, *_ in CODES])
def test_tell_code_of_the_catalogue_has_its_types(code: str, success: str, failure: str) -> None:
    """Each code means what the table says, done or not done, and every event can be stored."""
    done, not_done = tell(code), tell(code, success="false")

    assert (says(done), says(not_done)) == (success, failure)
    assert done.provider_type == code
    assert done.payload == notification(ITEM | {"eventCode": code})
    check_storable(done)
    check_storable(not_done)


def test_tell_modification_names_payment_and_object() -> None:
    """A capture is known by its own reference, and its payment by the original one."""
    event = tell("CAPTURE")

    assert (event.payment_ref, event.object_ref, event.payment_id) == (PAYMENT, MODIFICATION, "dep_1")
    assert (event.provider_amount_minor, event.currency_code, event.final) == (1_000, "EUR", False)
    assert (event.occur_time.seconds, event.reason) == (1_893_499_200, "why")


def test_tell_authorisation_names_the_payment_alone() -> None:
    """An authorisation's own reference is the payment's."""
    event = tell("AUTHORISATION", originalReference=None, pspReference=PAYMENT)

    assert (event.payment_ref, event.object_ref) == (PAYMENT, "")


@pytest.mark.parametrize(
    ("reference", "payment_id", "object_id"),
    [("dep_1", "dep_1", ""), ("wd_1", "wd_1", ""), ("ref_1", "", "ref_1"), ("", "", ""), ("order-7", "", "")],
)
def test_tell_reference_is_ours_where_it_looks_so(reference: str, payment_id: str, object_id: str) -> None:
    """Whatever else uses the merchant account has references of its own."""
    event = tell("REFUND", merchantReference=reference)

    assert (event.payment_id, event.object_id) == (payment_id, object_id)


def test_tell_refund_and_its_failure_name_the_same_one() -> None:
    """A refund that comes back is the one that had left."""
    assert tell("REFUND").object_ref == tell("REFUND_FAILED").object_ref == MODIFICATION


def test_tell_id_is_adyens_key_of_duplicates() -> None:
    """Deliveries that differ in what is not signed are one."""
    event = tell("REFUND")

    assert event.event_id == f"Casino:REFUND:{MODIFICATION}:true"
    assert event.event_id == tell("REFUND", eventDate="2030-01-02T00:00:00Z", reason="x").event_id
    assert event.event_id != tell("REFUND", success="false").event_id


@pytest.mark.parametrize("code", ["CAPTURE", "CAPTURE_FAILED"])
def test_tell_capture_again_is_another_event(code: str) -> None:
    """A capture that failed may be made again under its own reference."""
    one, same = tell(code), tell(code, eventDate="2030-01-01T12:00:00Z")

    assert one.event_id == same.event_id == f"Casino:{code}:{MODIFICATION}:true:2030-01-01T12:00:00Z"
    assert one.event_id != tell(code, eventDate="2030-01-09T12:00:00Z").event_id


AT = [f"2030-01-0{day}T12:00:00Z" for day in range(1, 6)]
AUTO = {"auto_capture": "true"}


@pytest.mark.parametrize("options", [{}, AUTO], ids=["captures", "auto-captures"])
@pytest.mark.parametrize(("told_count", "expected"), [(2, 1_000), (3, 0), (4, 1_000), (5, 0)])
def test_tell_capture_failed_and_made_again_ends_as_the_last_one_says(
    options: dict[str, str], told_count: int, expected: int
) -> None:
    """In every order, and with each told twice, the ledger ends with what stands."""
    items = [
        ITEM
        | {
            "eventCode": "AUTHORISATION",
            "pspReference": PAYMENT,
            "originalReference": "",
            "eventDate": AT[0],
        },
        *[
            ITEM | {"eventCode": code, "eventDate": date}
            for code, date in zip(["CAPTURE", "CAPTURE_FAILED"] * 2, AT[1:], strict=True)
        ],
    ][:told_count]

    for order in permutations(items):
        events = [event for item in (*order, *order) for event in told(item, options=options)]
        assert captured(events) == expected


def test_tell_authorisation_of_an_account_that_captures_by_itself_says_both() -> None:
    """Where no CAPTURE may ever come, the authorisation is one, of the payment as a whole."""
    item = ITEM | {"eventCode": "AUTHORISATION", "pspReference": PAYMENT, "originalReference": None}

    authorized, capture = told(item, options=AUTO)

    assert (says(authorized), says(capture)) == ("PAYMENT_AUTHORIZED", "PAYMENT_CAPTURED")
    assert capture.event_id == f"{authorized.event_id}:captured"
    assert (capture.object_ref, capture.payment_ref, capture.final) == ("", PAYMENT, True)
    assert capture.provider_amount_minor == 1_000


@pytest.mark.parametrize("changes", [{"success": "false"}, {"amount": {"value": 0, "currency": "EUR"}}])
def test_tell_authorisation_that_took_nothing_is_no_capture(changes: dict[str, Any]) -> None:
    """Neither a refusal nor the trying of a card takes money."""
    assert len(told(ITEM | {"eventCode": "AUTHORISATION"} | changes, options=AUTO)) == 1


def test_tell_auto_capture_and_capture_count_once() -> None:
    """Should a CAPTURE come all the same, it is the same money."""
    authorisation = ITEM | {"eventCode": "AUTHORISATION", "pspReference": PAYMENT, "originalReference": ""}

    assert captured([*told(authorisation, options=AUTO), *told(ITEM, options=AUTO)]) == 1_000


def test_tell_chargebacks_move_money_stage_by_stage() -> None:
    """Taken, given back, taken for good: one dispute, three movements."""
    codes = ["CHARGEBACK", "CHARGEBACK_REVERSED", "SECOND_CHARGEBACK"]
    events = [tell("CAPTURE")]

    left = []
    for code in codes:
        events += told(ITEM | {"eventCode": code, "pspReference": "9915555555555555"})
        left.append(captured([*events, *events]))

    assert left == [0, 1_000, 0]


def test_tell_second_chargeback_decides_the_dispute() -> None:
    """It is final."""
    withdrawn, lost = told(ITEM | {"eventCode": "SECOND_CHARGEBACK"})

    assert (withdrawn.stage, says(lost), lost.object_ref) == (
        "second_chargeback",
        "DISPUTE_LOST",
        MODIFICATION,
    )
    assert lost.event_id == f"{withdrawn.event_id}:decided"


@pytest.mark.parametrize("action", ["refund", "cancel"])
def test_tell_cancel_or_refund_believes_no_unsigned_action(action: str) -> None:
    """Which of both was done is not signed, so the ledger finds out by reading."""
    event = tell("CANCEL_OR_REFUND", additionalData={"modification.action": action})

    assert (says(event), event.reason) == (NOTHING, "what was done, cancel or refund, is not signed")


def test_tell_capture_that_paypal_refused_is_none() -> None:
    """Adyen says success where PayPal says that it is none."""
    event = tell("CAPTURE", additionalData={"paypalErrorCode": "INSTRUMENT_DECLINED"})

    assert (says(event), event.reason) == (NOTHING, "paypalErrorCode INSTRUMENT_DECLINED")
    assert event.event_id != tell("CAPTURE").event_id


@pytest.mark.parametrize("status", ["Lost", "Won", "Undefended"])
def test_tell_dispute_believes_no_unsigned_state(status: str) -> None:
    """What decides a dispute is its code."""
    assert says(tell("CHARGEBACK", additionalData={"disputeStatus": status})) == "DISPUTE_FUNDS_WITHDRAWN"
    assert (
        says(tell("DISPUTE_DEFENSE_PERIOD_ENDED", additionalData={"disputeStatus": status}))
        == "DISPUTE_OPENED"
    )


# Around what is in an item: the whole, its list, its wrapper and the item itself.
DEPTH_OF_ITEM = 4


@pytest.mark.parametrize(
    ("depth", "told_count"), [(10, 2), (MOST_DEPTH - DEPTH_OF_ITEM, 2), (MOST_DEPTH - DEPTH_OF_ITEM + 1, 0)]
)
def test_tell_item_of_great_depth_beside_another_is_kept_or_all_is_refused(
    depth: int, told_count: int
) -> None:
    """What is read can be written again; what is too deep is read nowhere, so no signature verifies it."""
    flat = notification(ITEM, ITEM | {"pspReference": "OTHER", "extra": 0})
    body = flat.replace(b'"extra": 0', b'"extra": ' + b"[" * depth + b"]" * depth)

    events = AdyenScheme().events(body, {}, endpoint())

    assert len(events) == told_count
    for event in events:
        assert says(event) == "PAYMENT_CAPTURED"
        assert AdyenScheme().read_again(event, endpoint()) == [event]
        check_storable(event)


def test_tell_several_items_gives_each_its_own_payload() -> None:
    """A large delivery is not stored once for every item in it."""
    items = [ITEM | {"pspReference": f"PSP{at}", "reason": "é\ud800"} for at in range(3)]

    events = told(*items)

    assert [event.object_ref for event in events] == ["PSP0", "PSP1", "PSP2"]
    stored = [json.loads(event.payload)["notificationItems"] for event in events]
    assert [[item["NotificationRequestItem"] for item in each] for each in stored] == [
        [item] for item in items
    ]


@pytest.mark.parametrize("live", ["true", None, 1])
def test_tell_other_or_no_environment_is_left_unread(live: object) -> None:
    """What does not say that it is of the endpoint's environment moves nothing."""
    [event] = told(ITEM, live=live, options={"live": "false"})

    assert (says(event), event.reason) == (NOTHING, "live is not the endpoint's")


ODD: list[Any] = [None, True, 1.5, -1, 2**63, 10**400, "", "x", [], {}, "\0", "\ud800", "y" * 300, "a\nb"]


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("field", ["amount", "value", "currency", "eventDate", "success", "eventCode"])
def test_tell_odd_field_moves_nothing(field: str, value: object) -> None:
    """An item that can't be read all through moves nothing, and stands in nobody's way."""
    changes: dict[str, Any] = {field: value}
    if field in {"value", "currency"}:
        changes = {"amount": ITEM["amount"] | changes}

    [event] = told(ITEM | changes)

    assert says(event) == NOTHING
    assert event.event_id != tell("CAPTURE").event_id
    check_storable(event)


@pytest.mark.parametrize(
    "value", ["2030-01-01T13:00:00", "2030-01-01", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]
)
def test_tell_time_that_is_no_instant_moves_nothing(value: str) -> None:
    """A time without an offset may mean any of a day's hours."""
    assert tell("CAPTURE", eventDate=value).reason == "item.eventDate is no time"


@pytest.mark.parametrize("value", ["1000", 1_000])
def test_tell_amount_in_text_is_one(value: object) -> None:
    """Older notifications write numbers as text."""
    assert tell("CAPTURE", amount={"value": value, "currency": "EUR"}).provider_amount_minor == 1_000


@pytest.mark.parametrize("value", ["01", "+1", "1.0", "1e3", " 1", "-1", "١", "9" * 30])
def test_tell_other_text_is_no_amount(value: str) -> None:
    """An amount is written in one way."""
    event = tell("CAPTURE", amount={"value": value, "currency": "EUR"})

    assert (says(event), event.HasField("provider_amount_minor")) == (NOTHING, False)


@pytest.mark.parametrize(("state", "expected"), STATES)
@pytest.mark.parametrize("kind", ["balancePlatform.transfer.created", "balancePlatform.transfer.updated"])
def test_tell_state_of_a_transfer_has_its_type(kind: str, state: str, expected: str) -> None:
    """Each state means what the table says."""
    event = told_whole(transfer_body(kind, status=state), live="false")

    assert (says(event), event.provider_type) == (expected, kind)
    assert (event.event_id, event.payment_ref, event.payment_id) == (
        "6JKRLZ8LOT47J7RY:3",
        "6JKRLZ8LOT47J7RY",
        "wd_1",
    )
    assert event.occur_time.seconds == 1_893_499_200
    check_storable(event)


def test_tell_payout_says_amount_and_reason() -> None:
    """The amount is the transfer's, the reason Adyen's word."""
    event = told_whole(transfer_body(status="failed", reason="counterpartyAccountClosed"))

    assert (event.provider_amount_minor, event.currency_code) == (10_000, "EUR")
    assert event.reason == "counterpartyAccountClosed"


@pytest.mark.parametrize(
    "changes",
    [
        {"direction": "incoming"},
        {"direction": None},
        {"type": "internalTransfer"},
        {"type": "capture"},
        {"type": None},
    ],
)
def test_tell_transfer_that_pays_nobody_out_says_nothing(changes: dict[str, Any]) -> None:
    """Money between our own accounts, or coming in, is no withdrawal."""
    event = told_whole(transfer_body(**changes))

    assert (says(event), event.reason) == (NOTHING, "no payout")


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"updatedAt": "2030-01-01T12:00:09Z"}, 1_893_499_209),
        ({"creationDate": None, "createdAt": "2030-01-01T12:00:05Z"}, 1_893_499_205),
        ({"creationDate": None}, 1_893_499_201),
    ],
)
def test_tell_transfer_takes_its_latest_time(changes: dict[str, Any], seconds: int) -> None:
    """What tells when the state began goes before what tells when the transfer did."""
    assert told_whole(transfer_body(**changes)).occur_time.seconds == seconds


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"balancePlatform.transaction.created","data":{"id":"1"},"timestamp":"2030-01-01T12:00:00Z"}',
        b'{"type":"merchant.created","createdAt":"01-01-2024"}',
        b'{"type":"balancePlatform.transaction.created","timestamp":7}',
    ],
)
def test_tell_other_type_of_the_platform_is_kept_and_says_nothing(body: bytes) -> None:
    """Every webhook of the platform is stored, by what it is made of."""
    event = told_whole(body)

    assert (says(event), event.event_id) == (NOTHING, f"sha256:{hashlib.sha256(body).hexdigest()}")
    check_storable(event)


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("field", ["id", "sequenceNumber", "amount", "status", "updatedAt"])
def test_tell_odd_transfer_moves_nothing(field: str, value: object) -> None:
    """A transfer that can't be read all through moves nothing."""
    if (field == "id" and value == "x") or (field == "updatedAt" and value is None):
        # An id may be short, and not every version tells this time.
        return

    event = told_whole(transfer_body(**{field: value}))

    assert says(event) == NOTHING
    check_storable(event)


@pytest.mark.parametrize("environment", ["live", None, 1])
def test_tell_transfer_of_other_or_no_environment_is_left_unread(environment: object) -> None:
    """What does not say that it is of the endpoint's environment moves nothing."""
    body = json.dumps(json.loads(transfer_body()) | {"environment": environment}).encode()

    assert says(told_whole(body, live="false")) == NOTHING


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.data())
def test_tell_mutated_item_can_always_be_stored(data: st.DataObject) -> None:
    """Whatever becomes of a field, events come out that the ledger can take."""
    code = data.draw(st.sampled_from([code for code, *_ in CODES]))
    field = data.draw(st.sampled_from(sorted(ITEM)))
    mutated = ITEM | {"eventCode": code} | {field: data.draw(JSON)}
    beside = [ITEM] * data.draw(st.integers(0, 1))

    for event in told(*beside, mutated, options=AUTO):
        check_storable(event)


@given(st.data())
def test_tell_mutated_transfer_can_always_be_stored(data: st.DataObject) -> None:
    """Nor do transfers bring out anything else."""
    field = data.draw(st.sampled_from(sorted(TRANSFER)))

    check_storable(told_whole(transfer_body(**{field: data.draw(JSON)})))


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_tell_any_body_moves_nothing(body: bytes) -> None:
    """Any bytes at all say nothing, in either scheme."""
    event = told_whole(body)

    assert says(event) == NOTHING
    check_storable(event)
    assert AdyenScheme().events(body, {}, endpoint()) == []
