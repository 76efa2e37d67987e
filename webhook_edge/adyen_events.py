"""Owns the meaning of Adyen's standard notifications: one table from event code to the ledger's words.

Only eight fields of an item are signed. Unsigned fields (`additionalData`, `reason`, `paymentMethod`, and so
the state of a dispute and the action of a modification) never decide about money; `eventDate` gives the time.
Source: https://docs.adyen.com/development-resources/webhooks/webhook-types
"""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from defter.payments.v1 import payment_pb2
from defter.payments.v1.payment_pb2 import ProviderEvent
from msgspec import Struct
from msgspec.structs import replace

from webhook_edge.reading import (
    MOVES_MONEY,
    UNSPECIFIED,
    Problem,
    Reader,
    Type,
    check_says_of_what,
    is_of_family,
    parsed,
    tell_money,
    unread,
)
from webhook_edge.scheme import Endpoint

SIGNED_TEXTS: Final = (
    "pspReference",
    "originalReference",
    "merchantAccountCode",
    "merchantReference",
    "eventCode",
    "success",
)
"""What an item's signature covers, beside the amount and its currency."""

# These fields and a time make the id of an event. A report's reference is the name of its file.
_MOST_NAME: Final = 60
_MOST_REFERENCE: Final = 90
_MOST_PAYLOAD: Final = 1024 * 1024
_PAYPAL_ERROR: Final = "paypalErrorCode"


_NEEDS_AMOUNT: Final = frozenset(
    {
        payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED,
        payment_pb2.PROVIDER_EVENT_TYPE_REFUND_SUCCEEDED,
        payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN,
        payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_REINSTATED,
        payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID,
    }
)


class _Meaning(Struct, frozen=True, kw_only=True):
    """The meaning of an event code.

    Attributes:
        names_object: whether the reference names a capture, a refund or a dispute.
        recurs: whether the event may come again after its opposite, and then counts again.
        decides: what else the event says.
        remark: why the signed fields don't tell what was done.
    """

    success: Type = UNSPECIFIED
    failure: Type = UNSPECIFIED
    names_object: bool = False
    recurs: bool = False
    stage: str = ""
    decides: Type = UNSPECIFIED
    remark: str = ""


_NOTHING: Final = _Meaning()
# These are about one payment, named by its reference. The player may have tried several payments under one
# merchant reference, for example on a payment link, and the ledger knows with which one the deposit was
# begun.
_CANCELLED: Final = _Meaning(success=payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_FAILED)
_REFUND: Final = _Meaning(
    success=payment_pb2.PROVIDER_EVENT_TYPE_REFUND_SUCCEEDED,
    failure=payment_pb2.PROVIDER_EVENT_TYPE_REFUND_FAILED,
    names_object=True,
)
_REFUND_UNDONE: Final = _Meaning(success=payment_pb2.PROVIDER_EVENT_TYPE_REFUND_FAILED, names_object=True)
_DISPUTE_GOES_ON: Final = _Meaning(success=payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_OPENED, names_object=True)
_DISPUTE_WON: Final = _Meaning(success=payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_WON, names_object=True)
_DISPUTE_LOST: Final = _Meaning(success=payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_LOST, names_object=True)
_PAYOUT_OVER: Final = _Meaning(success=payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_FAILED)

# An unknown code of these families may move money.
_FAMILIES: Final = ("CAPTURE", "REFUND", "CHARGEBACK", "SECOND_CHARGEBACK", "PAYOUT", "PAIDOUT")
# All events of one dispute have the same reference.
_MEANINGS: Final[Mapping[str, _Meaning]] = {
    "AUTHORISATION": _Meaning(
        success=payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_AUTHORIZED,
        # The player may try again.
        failure=payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_ATTEMPT_FAILED,
    ),
    "CAPTURE": _Meaning(
        success=payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED, names_object=True, recurs=True
    ),
    "CAPTURE_FAILED": _Meaning(
        success=payment_pb2.PROVIDER_EVENT_TYPE_CAPTURE_FAILED, names_object=True, recurs=True
    ),
    "CANCELLATION": _CANCELLED,
    "TECHNICAL_CANCEL": _CANCELLED,
    "EXPIRE": _CANCELLED,
    "OFFER_CLOSED": _CANCELLED,
    "CANCEL_OR_REFUND": _Meaning(remark="what was done, cancel or refund, is not signed"),
    "AUTHORISATION_ADJUSTMENT": _NOTHING,
    "MANUAL_REVIEW_ACCEPT": _NOTHING,
    "MANUAL_REVIEW_REJECT": _NOTHING,
    "NOTIFICATION_OF_FRAUD": _NOTHING,
    "ORDER_CLOSED": _NOTHING,
    "ORDER_OPENED": _NOTHING,
    "PENDING": _NOTHING,
    "RECURRING_CONTRACT": _NOTHING,
    "REPORT_AVAILABLE": _NOTHING,
    "REFUND": _REFUND,
    "REFUND_WITH_DATA": _REFUND,
    "POSTPONED_REFUND": replace(_REFUND, success=payment_pb2.PROVIDER_EVENT_TYPE_REFUND_PENDING),
    "REFUND_FAILED": _REFUND_UNDONE,
    "REFUNDED_REVERSED": _REFUND_UNDONE,
    "VOID_PENDING_REFUND": _REFUND_UNDONE,
    "NOTIFICATION_OF_CHARGEBACK": _DISPUTE_GOES_ON,
    "REQUEST_FOR_INFORMATION": _DISPUTE_GOES_ON,
    "INFORMATION_SUPPLIED": _DISPUTE_GOES_ON,
    "ISSUER_COMMENTS": _DISPUTE_GOES_ON,
    "ISSUER_RESPONSE_TIMEFRAME_EXPIRED": _DISPUTE_GOES_ON,
    "DISPUTE_DEFENSE_PERIOD_ENDED": _DISPUTE_GOES_ON,
    "PREARBITRATION_OPEN": _DISPUTE_GOES_ON,
    "PREARBITRATION_DECLINED": _DISPUTE_GOES_ON,
    "SCHEME_ARBITRATION": _DISPUTE_GOES_ON,
    "PREARBITRATION_WON": _DISPUTE_WON,
    "PREARBITRATION_ISSUER_WITHDRAWN": _DISPUTE_WON,
    "PREARBITRATION_LOST": _DISPUTE_LOST,
    "PREARBITRATION_ACCEPTED": _DISPUTE_LOST,
    "CHARGEBACK": _Meaning(
        success=payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN,
        names_object=True,
        stage="chargeback",
    ),
    # Not the end: a second chargeback may follow.
    "CHARGEBACK_REVERSED": _Meaning(
        success=payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_REINSTATED,
        names_object=True,
        stage="chargeback",
    ),
    "SECOND_CHARGEBACK": _Meaning(
        success=payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN,
        names_object=True,
        stage="second_chargeback",
        decides=payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_LOST,
    ),
    # Payouts before the Transfers API: no further event tells that one was paid.
    "PAYOUT_THIRDPARTY": _Meaning(
        success=payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID,
        failure=payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_FAILED,
    ),
    "PAYOUT_DECLINE": _PAYOUT_OVER,
    "PAYOUT_EXPIRE": _PAYOUT_OVER,
    "PAIDOUT_REVERSED": _PAYOUT_OVER,
}


def items_of(value: object) -> list[dict[str, object]]:
    """Return a notification's items; none if any part has another shape."""
    wrappers = value.get("notificationItems") if isinstance(value, dict) else None
    items = [
        wrapper.get("NotificationRequestItem") if isinstance(wrapper, dict) else None
        for wrapper in (wrappers if isinstance(wrappers, list) else [])
    ]
    objects = [item for item in items if isinstance(item, dict)]
    return objects if len(objects) == len(items) else []


def _told_live(value: object) -> str | None:
    live = value.get("live") if isinstance(value, dict) else None
    return str(live).lower() if isinstance(live, str | bool) else None


def is_of_environment(value: object, endpoint: Endpoint, *, unless_told: bool) -> bool:
    """Return whether a notification is of the endpoint's environment; `unless_told` if it does not say."""
    expected, live = endpoint.options.get("live"), _told_live(value)
    return expected is None or (unless_told if live is None else live == expected.lower())


def notification_events(body: bytes, endpoint: Endpoint) -> list[ProviderEvent]:
    """Return the events of a verified notification: one for each item, or two if the item says two things.

    It never fails: an item that is not as it should be makes an unread event; see `reading.unread`. Items of
    merchant accounts that are not the endpoint's are left out.
    """
    value = parsed(body)
    items = items_of(value)
    is_ours = is_of_environment(value, endpoint, unless_told=False)
    environment = Problem("live is not the endpoint's", payment_pb2.UNREAD_REASON_ENVIRONMENT)
    problems = [] if is_ours else [environment]
    events: list[ProviderEvent] = []
    for item in items:
        if not _is_of_account(item, endpoint):
            continue
        # Each of several items is stored alone; otherwise each event would store the whole delivery again.
        payload = body if len(items) == 1 else _encoded(value, item)
        events.extend(_events(Reader(item, "item", list(problems)), payload, endpoint))
    return events


def stored_item_events(stored: ProviderEvent, endpoint: Endpoint) -> list[ProviderEvent]:
    """Return the events of a stored notification, whole or of one item alone."""
    value = parsed(stored.payload)
    if isinstance(value, dict) and "eventCode" in value and "notificationItems" not in value:
        # The environment stood outside the item, and was checked when the delivery came.
        live = endpoint.options.get("live", "")
        return list(_events(Reader(value, "item"), _encoded({"live": live}, value), endpoint))
    return notification_events(stored.payload, endpoint)


def _is_of_account(item: Mapping[str, object], endpoint: Endpoint) -> bool:
    """Return whether an item is of the endpoint's merchant account, or names none."""
    wanted, told = endpoint.options.get("merchant_account"), item.get("merchantAccountCode")
    return wanted is None or not told or told == wanted


def _events(item: Reader, payload: bytes, endpoint: Endpoint) -> Iterator[ProviderEvent]:
    """Yield the events of one item."""
    code = item.identifier("eventCode", required=True, most=_MOST_NAME)
    psp_reference = item.identifier("pspReference", required=True, most=_MOST_REFERENCE)
    reference = item.identifier("merchantReference")
    success = item.identifier("success")
    meaning = _MEANINGS.get(code, _NOTHING)
    auto_captures = endpoint.options.get("auto_capture", "").lower() == "true"
    event = ProviderEvent(
        provider=endpoint.provider,
        type=meaning.success if success == "true" else meaning.failure,
        provider_type=code,
        payment_ref=item.identifier("originalReference") or psp_reference,
        payment_id=reference if reference.startswith(("dep_", "wd_")) else "",
        object_ref=psp_reference if meaning.names_object else "",
        object_id=reference if reference.startswith("ref_") else "",
        stage=meaning.stage,
        reason=item.text("reason"),
        payload=payload,
    )
    account = item.identifier("merchantAccountCode", required=True, most=_MOST_NAME)
    event.event_id = f"{account}:{code}:{psp_reference}:{success}"
    _note_meaning(item, code, success)
    time = item.instant("eventDate")
    if time is not None:
        event.occur_time.CopyFrom(time)
        if meaning.recurs:
            # Adyen may repeat a failed capture under the same reference (and it may fail again): by the key
            # alone the repetition would be taken for a duplicate. A true duplicate with another date, which
            # may also come, changes nothing unless the opposite came in between.
            event.event_id += f":{time.ToJsonString()}"
    if event.type in _NEEDS_AMOUNT or (event.type != UNSPECIFIED and item.has("amount")):
        tell_money(event, item.within("amount"), "value", in_text=True)
    check_says_of_what(event, item)
    if code == "CAPTURE" and (error := item.within("additionalData").text(_PAYPAL_ERROR)):
        # Not signed, but this can only keep money from being booked, and a later delivery can still book it.
        item.note(f"{_PAYPAL_ERROR} {error}")
    if auto_captures and meaning.recurs:
        # The account captures the payment as a whole, so no event names a capture.
        event.object_ref = ""
    if item.problems:
        moves_money = _moves_money(code, meaning, auto_captures=auto_captures)
        unread(event, item.problems[0], moves_money=moves_money)
        if not (account and code and psp_reference):
            # An id with a missing part must not be the id of any later event.
            event.read_event_id = ""
        yield event
        return
    yield event
    if UNSPECIFIED not in {meaning.decides, event.type}:
        yield _also(event, "decided", meaning.decides)
    authorized = event.type == payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_AUTHORIZED
    # An authorisation of zero only checks whether a card is valid.
    if auto_captures and authorized and event.provider_amount_minor:
        yield _also(event, "captured", payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED, final=True)


def _note_meaning(item: Reader, code: str, success: str) -> None:
    """Note a problem if the meaning can't be told: the code is unknown, or depends on unsigned fields."""
    if success not in {"true", "false"}:
        item.note("success is neither true nor false")
    if code and code not in _MEANINGS:
        item.note(f"eventCode {code!r} is not known", payment_pb2.UNREAD_REASON_TYPE)
    elif success == "true" and (remark := _MEANINGS.get(code, _NOTHING).remark):
        item.note(remark, payment_pb2.UNREAD_REASON_UNSIGNED)


def _moves_money(code: str, meaning: _Meaning, *, auto_captures: bool) -> bool:
    if code not in _MEANINGS:
        return is_of_family(code, _FAMILIES)
    captures = auto_captures and meaning.success == payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_AUTHORIZED
    return captures or bool(meaning.remark) or not MOVES_MONEY.isdisjoint({meaning.success, meaning.failure})


def _encoded(value: object, item: Mapping[str, object]) -> bytes:
    """Return a notification of one item alone, with the environment of the whole one."""
    around = {"live": value["live"]} if isinstance(value, dict) and "live" in value else {}
    content = {**around, "notificationItems": [{"NotificationRequestItem": item}]}
    try:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return text.encode()[:_MOST_PAYLOAD]
    except UnicodeEncodeError:
        # Characters without a UTF-8 form stay escaped.
        return json.dumps(content, separators=(",", ":")).encode()[:_MOST_PAYLOAD]


def _also(event: ProviderEvent, suffix: str, tells: Type, *, final: bool = False) -> ProviderEvent:
    """Return a second event that the same item tells."""
    told = ProviderEvent()
    told.CopyFrom(event)
    told.event_id = f"{event.event_id}:{suffix}"
    told.type, told.stage, told.final = tells, "", final
    return told
