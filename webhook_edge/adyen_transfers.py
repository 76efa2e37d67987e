"""Owns the meaning of the webhooks of Adyen's platform: transfers, by which players are paid out.

Their whole body is signed. Every other type, such as those about balances, is stored and ignored. Source:
https://docs.adyen.com/api-explorer/transfer-webhooks/latest/overview
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from defter.payments.v1 import payment_pb2
from defter.payments.v1.payment_pb2 import ProviderEvent
from google.protobuf.timestamp_pb2 import Timestamp

from webhook_edge.reading import (
    Reader,
    Type,
    check_says_of_what,
    is_of_family,
    parsed,
    tell_money,
    unread,
)
from webhook_edge.scheme import Endpoint

WHOLE_BODY: Final = "body"
"""The mark that is kept beside a payload that was signed as a whole."""

# An unknown type of these families may move money.
_FAMILY: Final = "balancePlatform.transfer."
# Types about our accounts and instruments, and about reports.
_SAY_NOTHING: Final = (
    "balancePlatform.accountHolder.",
    "balancePlatform.balanceAccount",
    "balancePlatform.paymentInstrument.",
    "balancePlatform.report.",
    "balancePlatform.transaction.",
    "merchant.",
)
_TRANSFERS: Final = frozenset({"balancePlatform.transfer.created", "balancePlatform.transfer.updated"})
_PAYOUTS: Final = frozenset({"bankTransfer", "cardTransfer"})
_MOST_ID: Final = 120
# The field with the latest time, as far as this version of the API has one.
_TIMES: Final = ("updatedAt", "creationDate", "createdAt")

_SUBMITTED: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_SUBMITTED
_PAID: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID
_FAILED: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_FAILED
# A failure after the booking, such as a return by the bank, brings the money back all the same.
_STATES: Final[Mapping[str, Type]] = {
    "received": _SUBMITTED,
    "pending": _SUBMITTED,
    "pendingApproval": _SUBMITTED,
    "approvalPending": _SUBMITTED,
    "pendingExecution": _SUBMITTED,
    "authorised": _SUBMITTED,
    "bookingPending": _SUBMITTED,
    "bankTransferPending": _SUBMITTED,
    "booked": _PAID,
    "credited": _PAID,
    "refused": _FAILED,
    "rejected": _FAILED,
    "cancelled": _FAILED,
    "expired": _FAILED,
    "error": _FAILED,
    "failed": _FAILED,
    "returned": _FAILED,
    "reversed": _FAILED,
}


def platform_events(body: bytes, endpoint: Endpoint) -> list[ProviderEvent]:
    """Return the event of a verified body, always one.

    It never fails: a body that is not as it should be makes an unread event; see `reading.unread`. Nothing is
    returned for a balance account that is not the endpoint's.
    """
    value = parsed(body)
    envelope = Reader(value)
    event = ProviderEvent(
        provider=endpoint.provider,
        event_id=f"sha256:{hashlib.sha256(body).hexdigest()}",
        provider_type=envelope.identifier("type", required=True),
        payload=body,
    )
    if not is_of_environment(value, endpoint, unless_told=False):
        envelope.note("environment is not the endpoint's", payment_pb2.UNREAD_REASON_ENVIRONMENT)
    if event.provider_type in _TRANSFERS:
        if not _is_of_account(envelope, endpoint):
            return []
        _tell_transfer(event, envelope)
        check_says_of_what(event, envelope)
    else:
        if event.provider_type and not event.provider_type.startswith(_SAY_NOTHING):
            envelope.note(f"type {event.provider_type!r} is not known", payment_pb2.UNREAD_REASON_TYPE)
        # Other types have times in many forms, and nothing follows from these times.
        event.occur_time.CopyFrom(Reader(_fields(value)).instant("timestamp") or Timestamp())
    if not envelope.problems:
        return [event]
    moves = is_of_family(event.provider_type, (_FAMILY,))
    return [unread(event, envelope.problems[0], moves_money=moves, delivery=WHOLE_BODY)]


def _is_of_account(envelope: Reader, endpoint: Endpoint) -> bool:
    """Return whether a transfer is of the endpoint's balance account, or names none."""
    wanted = endpoint.options.get("balance_account")
    told = envelope.within("data").within("balanceAccount").identifier("id")
    return wanted is None or not told or told == wanted


def is_of_environment(value: object, endpoint: Endpoint, *, unless_told: bool) -> bool:
    """Return whether a webhook is of the endpoint's environment; `unless_told` if it does not say."""
    expected, environment = endpoint.options.get("live"), _fields(value).get("environment")
    if expected is None:
        return True
    if not isinstance(environment, str):
        return unless_told
    return (environment.lower() == "live") == (expected.lower() == "true")


def _fields(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _tell_transfer(event: ProviderEvent, envelope: Reader) -> None:
    data = envelope.within("data")
    transfer_id = data.identifier("id", required=True, most=_MOST_ID)
    sequence = data.amount("sequenceNumber")
    event.event_id = f"{transfer_id}:{sequence}"
    event.payment_ref = transfer_id
    reference = data.identifier("reference")
    event.payment_id = reference if reference.startswith("wd_") else ""
    state = data.identifier("status", required=True)
    event.reason = data.text("reason")
    time = next((data.instant(name) for name in _TIMES if data.has(name)), None)
    if time is None and (time := envelope.instant("timestamp")) is None:
        return
    event.occur_time.CopyFrom(time)
    if data.identifier("direction") != "outgoing" or data.identifier("type") not in _PAYOUTS:
        event.reason = "no payout"
        return
    if state not in _STATES:
        event.reason = f"state {state} means nothing for money"
        return
    event.type = _STATES[state]
    tell_money(event, data.within("amount"), "value")
