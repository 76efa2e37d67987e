"""Standard Webhooks at the edge: verdicts on deliveries, and what a genuine one says to the ledger."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from defter.payments.v1 import payment_pb2
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from webhook_edge.secret_forms import is_standard
from webhook_edge.standard import Malformed, NotVerified, provider_events, verify

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
BODY = b'{"type":"payment.captured"}'
VECTORS = json.loads((Path(__file__).parents[1] / "conformance" / "webhook-vectors.json").read_text())[
    "vectors"
]


def signed(
    body: bytes = BODY, *, secret: str = SECRET, event_id: str = "evt_1", at: datetime = NOW
) -> dict[str, str]:
    """Return the headers of a genuine delivery."""
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, at, body.decode()),
    }


def check(body: bytes, headers: Mapping[str, str], *secrets: str) -> None:
    """Verify at the time of all tests here, with one secret unless told otherwise."""
    verify(body, headers, secrets or (SECRET,), NOW)


@pytest.mark.parametrize(
    "vector",
    [vector for vector in VECTORS if vector["provider"] == "standardwebhooks"],
    ids=lambda vector: vector["id"],
)
def test_verify_vector_of_the_specification_agrees(vector: dict[str, Any]) -> None:
    """The vendor's own vectors have the vendor's verdict here."""
    body = base64.b64decode(vector["payload_b64"])
    now = datetime.fromtimestamp(vector["now"], UTC)

    if vector["expect"] == "accept":
        verify(body, vector["header"], vector["secrets"], now)
    else:
        with pytest.raises(NotVerified):
            verify(body, vector["header"], vector["secrets"], now)


@pytest.mark.parametrize("secrets", [(SECRET,), (OTHER, SECRET), (SECRET, OTHER), ("", "nonsense", SECRET)])
def test_verify_with_any_of_several_secrets_passes(secrets: tuple[str, ...]) -> None:
    """A rotation loses nothing, and a broken secret harms no other."""
    check(BODY, signed(), *secrets)


def test_verify_with_signatures_of_several_secrets_passes_for_each() -> None:
    """A provider that rotates signs with the old and the new secret."""
    headers = signed()
    headers["webhook-signature"] += " " + signed(secret=OTHER)["webhook-signature"]

    check(BODY, headers, SECRET)
    check(BODY, headers, OTHER)


@pytest.mark.parametrize("name", ["Webhook-Id", "WEBHOOK-ID"])
def test_verify_headers_in_any_case_passes(name: str) -> None:
    """Names of headers have no case."""
    headers = signed()
    headers[name] = headers.pop("webhook-id")

    check(BODY, headers)


@pytest.mark.parametrize("entry", ["x", "v1a,AAAA", "v1,", "v1,a,b", "v1,%%%", "v2,AAAA", "é,AAAA"])
def test_verify_beside_unreadable_signature_passes(entry: str) -> None:
    """What later versions of the scheme add does not take away what is there."""
    headers = signed()
    headers["webhook-signature"] = f"{entry} {headers['webhook-signature']}"

    check(BODY, headers)


@pytest.mark.parametrize("seconds", [-300, -1, 0, 1, 300])
def test_verify_within_tolerance_passes(seconds: int) -> None:
    """The clocks of both may differ by five minutes either way."""
    check(BODY, signed(at=NOW + timedelta(seconds=seconds)))


@pytest.mark.parametrize("seconds", [-86_400, -301, 301, 10 * 365 * 86_400])
def test_verify_outside_tolerance_is_refused(seconds: int) -> None:
    """Neither the past nor the future is taken."""
    with pytest.raises(NotVerified):
        check(BODY, signed(at=NOW + timedelta(seconds=seconds)))


REFUSED: dict[str, tuple[bytes, dict[str, str], tuple[str, ...]]] = {
    "other-secret": (BODY, signed(), (OTHER,)),
    "no-secret": (BODY, signed(), ("",)),
    "broken-secret": (BODY, signed(), ("whsec_é", "whsec_A", "whsec_", "whsec_AAAA")),
    "other-body": (BODY + b" ", signed(), (SECRET,)),
    "empty-body": (b"", signed(), (SECRET,)),
    "other-id": (BODY, {**signed(), "webhook-id": "evt_2"}, (SECRET,)),
    "other-time": (BODY, {**signed(), "webhook-timestamp": str(int(NOW.timestamp()) + 1)}, (SECRET,)),
    "far-time": (BODY, {**signed(), "webhook-timestamp": "9" * 12}, (SECRET,)),
    "time-zero": (BODY, {**signed(), "webhook-timestamp": "0"}, (SECRET,)),
    "other-version": (
        BODY,
        {**signed(), "webhook-signature": signed()["webhook-signature"].replace("v1,", "v2,")},
        (SECRET,),
    ),
    "cut-signature": (BODY, {**signed(), "webhook-signature": signed()["webhook-signature"][:-1]}, (SECRET,)),
    "same-bytes-otherwise-written": (
        BODY,
        {**signed(), "webhook-signature": signed()["webhook-signature"] + "="},
        (SECRET,),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_verify_what_is_not_genuine_is_refused(name: str) -> None:
    """Whatever was changed after signing, the signature does not fit."""
    body, headers, secrets = REFUSED[name]

    with pytest.raises(NotVerified):
        check(body, headers, *secrets)


MALFORMED: dict[str, tuple[bytes, dict[str, str]]] = {
    "no-headers": (BODY, {}),
    "not-utf8": (b"\xff\xfe", signed()),
    "surrogate": (b'"\xed\xa0\x80"', signed()),
    **{f"without-{name}": (BODY, {k: v for k, v in signed().items() if k != name}) for name in signed()},
    **{f"empty-{name}": (BODY, {**signed(), name: ""}) for name in signed()},
    **{
        f"id-{value[:9]!r}": (BODY, {**signed(), "webhook-id": value})
        for value in ("a.b", "a b", "a\n", "é", "\0", "a" * 256, "\ud800")
    },
    **{
        f"time-{value[:9]!r}": (BODY, {**signed(), "webhook-timestamp": value})
        for value in (
            "x", "1893499200.0", "1e9", "-1", "+1893499200", " 1893499200", "1893499200\n", "01893499200",
            "1_893_499_200", "nan", "inf", "9" * 13, "9" * 5_000, "\u0661", "0x70", "\ud800",
        )
    },
    **{
        f"signature-{value[:9]!r}": (BODY, {**signed(), "webhook-signature": value})
        for value in (" ", "v1", "v1,", ",", "v1,a,b", "v1 a", "a" * 9_999, "v1,é", "v1,\0", "\ud800", "v1,%")
    },
    **{
        f"signature-with-{name}": (BODY, {**signed(), "webhook-signature": value})
        for name, value in {
            "two-blanks": "v1,AAAA  " + signed()["webhook-signature"],
            "blank-before": " " + signed()["webhook-signature"],
            "blank-behind": signed()["webhook-signature"] + " ",
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_verify_malformed_delivery_is_refused_as_such(name: str) -> None:
    """What is no delivery at all is told from what is not genuine."""
    body, headers = MALFORMED[name]

    with pytest.raises(Malformed):
        check(body, headers)


@given(
    body=st.binary(max_size=40),
    event_id=st.text(max_size=12),
    timestamp=st.one_of(st.text(max_size=12), st.integers(-(10**13), 10**13).map(str)),
    signature=st.text(max_size=60),
    secret=st.text(max_size=60),
)
def test_verify_anything_at_all_raises_nothing_else(
    body: bytes, event_id: str, timestamp: str, signature: str, secret: str
) -> None:
    """No input whatsoever has another end than one of the two refusals."""
    headers = {"webhook-id": event_id, "webhook-timestamp": timestamp, "webhook-signature": signature}

    with pytest.raises((Malformed, NotVerified)):
        check(body, headers, secret, "whsec_" + secret)


@pytest.mark.parametrize(
    ("secret", "verdict"),
    [
        (SECRET, True),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", True),
        ("whsec_" + base64.b64encode(bytes(64)).decode().rstrip("="), True),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), False),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), False),
        (SECRET.removeprefix("whsec_"), True),
        ("whsec_", False),
        ("", False),
        ("whsec_" + "é" * 40, False),
        ("whpk_" + base64.b64encode(bytes(32)).decode(), False),
    ],
)
def test_read_secret_tells_those_of_the_scheme(secret: str, verdict: bool) -> None:
    """Configuration can be checked before the first delivery comes."""
    assert is_standard(secret) is verdict


def message(type_: str = "payment.captured", **data: object) -> dict[str, Any]:
    """Return an event as the mock provider tells it."""
    return {
        "type": type_,
        "id": "evt_1",
        "created_at": "2030-01-01T11:59:59.123456Z",
        "data": {
            "payment_id": "mp_pay_1",
            "reference": "dep_1_2",
            "object_id": "mp_cap_1",
            "object_reference": "",
            "amount_minor": 1_000,
            "currency": "EUR",
            "final": True,
            "stage": "",
            "reason": "",
            **data,
        },
    }


def read(content: object) -> payment_pb2.ProviderEvent:
    """Read a verified delivery of bytes or of what is to be JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    (event,) = provider_events(body, {"Webhook-Id": "evt_1"}, "mock")
    assert (event.provider, event.payload) == ("mock", body)
    # What is unread leaves the id to the mended delivery, which has the same.
    assert (event.event_id == "evt_1") == (not event.unread_reason)
    assert (event.read_event_id or event.event_id) == "evt_1"
    assert payment_pb2.ProviderEvent.FromString(event.SerializeToString()) == event
    return event


def test_read_event_says_everything_in_words_of_the_ledger() -> None:
    """Every field has its place."""
    event = read(message(stage="chargeback", reason="fraudulent"))

    assert event.type == payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED
    assert event.provider_type == "payment.captured"
    assert (event.payment_ref, event.payment_id) == ("mp_pay_1", "dep_1_2")
    assert (event.object_ref, event.object_id) == ("mp_cap_1", "")
    assert (event.provider_amount_minor, event.currency_code, event.final) == (1_000, "EUR", True)
    assert event.occur_time.ToDatetime(UTC) == NOW - timedelta(microseconds=876_544)
    assert (event.stage, event.reason) == ("chargeback", "fraudulent")


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        ("payment.authorized", "PAYMENT_AUTHORIZED"),
        ("payment.captured", "PAYMENT_CAPTURED"),
        ("payment.attempt_failed", "PAYMENT_ATTEMPT_FAILED"),
        ("payment.failed", "PAYMENT_FAILED"),
        ("payment.capture_failed", "CAPTURE_FAILED"),
        ("refund.pending", "REFUND_PENDING"),
        ("refund.succeeded", "REFUND_SUCCEEDED"),
        ("refund.failed", "REFUND_FAILED"),
        ("dispute.opened", "DISPUTE_OPENED"),
        ("dispute.funds_withdrawn", "DISPUTE_FUNDS_WITHDRAWN"),
        ("dispute.funds_reinstated", "DISPUTE_FUNDS_REINSTATED"),
        ("dispute.won", "DISPUTE_WON"),
        ("dispute.lost", "DISPUTE_LOST"),
        ("fee.charged", "FEE_CHARGED"),
        ("payout.submitted", "PAYOUT_SUBMITTED"),
        ("payout.paid", "PAYOUT_PAID"),
        ("payout.failed", "PAYOUT_FAILED"),
        ("payout.celebrated", "UNSPECIFIED"),
        ("Payment.Captured", "UNSPECIFIED"),
    ],
)
def test_read_type_becomes_the_ledgers_own(type_: str, name: str) -> None:
    """Every type has its meaning; an unknown one is kept without."""
    event = read(message(type_))

    assert payment_pb2.ProviderEventType.Name(event.type) == f"PROVIDER_EVENT_TYPE_{name}"
    assert event.provider_type == type_


@pytest.mark.parametrize(
    ("reference", "object_reference", "payment_id", "object_id"),
    [
        ("wd_1_2", "", "wd_1_2", ""),
        ("dep_1_2", "ref_1_3", "dep_1_2", "ref_1_3"),
        ("order-77", "refund-7", "", ""),
        ("", "", "", ""),
        ("ref_1", "dep_1", "", ""),
    ],
)
def test_read_references_takes_only_our_own(
    reference: str, object_reference: str, payment_id: str, object_id: str
) -> None:
    """What others wrote into a reference is no id of ours."""
    event = read(message(reference=reference, object_reference=object_reference))

    assert (event.payment_id, event.object_id) == (payment_id, object_id)


def test_read_event_that_says_little_leaves_the_rest_absent() -> None:
    """A missing amount is not an amount of zero."""
    event = read({"type": "payout.paid", "data": {"payment_id": "mp_out_1", "amount_minor": None}})

    assert event.type == payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID
    assert not event.HasField("provider_amount_minor")
    assert not event.HasField("occur_time")


def test_read_amount_of_zero_is_told_from_none() -> None:
    """An amount of zero is an amount."""
    assert read(message(amount_minor=0)).HasField("provider_amount_minor")


NO_EVENTS: list[bytes] = [
    b"",
    b"hello",
    b"\xff",
    b"[]",
    b"1",
    b"null",
    b"\xef\xbb\xbf{}",
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b'{"type":"payment.captured","data":{"amount_minor":' + b"9" * 5_000 + b"}}",
    b'{"type":"payment.captured","data":{"amount_minor":NaN}}',
    b'{"type":"payment.captured"',
]


@pytest.mark.parametrize("body", NO_EVENTS, ids=lambda body: repr(body[:12]))
def test_read_body_that_is_no_event_is_kept_without_meaning(body: bytes) -> None:
    """What was verified is stored, whatever it is."""
    event = read(body)

    assert event.type == payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
    assert event.provider_type == ""


WRONG_FIELDS: list[dict[str, Any]] = [
    {"amount_minor": "1000"},
    {"amount_minor": 1000.0},
    {"amount_minor": True},
    {"amount_minor": -1},
    {"amount_minor": 2**63},
    {"amount_minor": []},
    {"currency": 978},
    {"currency": "€"},
    {"currency": "E" * 11},
    {"final": "true"},
    {"final": 1},
    {"payment_id": 7},
    {"payment_id": "a" * 256},
    {"reference": {"id": "dep_1"}},
    {"object_id": "a\0b"},
    {"object_reference": "ref_\ud800"},
    {"stage": []},
    {"reason": {}},
]


@pytest.mark.parametrize("wrong", WRONG_FIELDS, ids=repr)
def test_read_wrong_field_keeps_what_could_be_read_without_meaning(wrong: dict[str, Any]) -> None:
    """Nothing is booked by half of an event, yet all that could be read is there to be searched."""
    event = read(message(**wrong))

    assert event.type == payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
    assert event.provider_type == "payment.captured"
    assert event.occur_time.seconds
    assert event.HasField("provider_amount_minor") is ("amount_minor" not in wrong)


@pytest.mark.parametrize("data", [None, [], "x", 1])
def test_read_event_without_data_has_no_meaning(data: object) -> None:
    """A type alone says nothing."""
    assert read({**message(), "data": data}).type == payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED


@pytest.mark.parametrize(
    "time",
    [
        1893499199,
        "yesterday",
        "2030-01-01T11:59:59",
        "2030-13-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "1969-12-31T23:59:59Z",
        "x" * 999,
    ],
)
def test_read_wrong_time_leaves_the_event_unread(time: object) -> None:
    """A time without a zone could be any; out of range is none."""
    event = read({**message(), "created_at": time})

    assert event.type == payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
    assert event.occur_time.seconds == 0


def test_read_long_reason_is_cut() -> None:
    """A wordy provider does not lose its event's meaning."""
    event = read(message(reason="é" * 1_000))

    assert event.type == payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED
    assert event.reason == "é" * 255


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    type_=ANY_JSON,
    created_at=ANY_JSON,
    data=st.dictionaries(st.sampled_from(sorted(message()["data"])), ANY_JSON),
)
def test_read_anything_at_all_never_fails(type_: object, created_at: object, data: object) -> None:
    """Whatever JSON a provider signs becomes one event that crosses the wire."""
    read({"type": type_, "created_at": created_at, "data": data})


@given(st.binary(max_size=60))
def test_read_any_bytes_never_fails(body: bytes) -> None:
    """Whatever bytes a provider signs become one event that crosses the wire."""
    read(body)
