"""Adyen at the edge: verdicts on deliveries, item by item or by their whole body."""

import base64
import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from Adyen import util
from hypothesis import given
from hypothesis import strategies as st

from webhook_edge.adyen_scheme import AdyenScheme
from webhook_edge.scheme import Endpoint, Malformed, NotVerified, Secret

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
OTHER = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00"
ITEM: dict[str, Any] = {
    "amount": {"currency": "EUR", "value": 1_000},
    "eventCode": "CAPTURE",
    "eventDate": "2030-01-01T12:00:00+01:00",
    "merchantAccountCode": "Casino",
    "merchantReference": "dep_1",
    "originalReference": "9913140798220028",
    "pspReference": "QFQTPCQ8HXSKGK82",
    "reason": "",
    "success": "true",
}
VECTORS = json.loads((Path(__file__).parents[1] / "conformance" / "webhook-vectors.json").read_text())[
    "vectors"
]
SCHEME = AdyenScheme()


def endpoint(*keys: str, basic_auth: tuple[str, Secret] | None = None, **options: str) -> Endpoint:
    """Return an endpoint with these keys, or with the one of all tests here."""
    return Endpoint(
        name="adyen-eu",
        tenant_id="casino",
        provider="adyen-eu",
        scheme="adyen",
        secrets=[Secret(name=str(at), value=value) for at, value in enumerate(keys or (KEY,))],
        basic_auth=basic_auth,
        options=options,
    )


def item(key: str = KEY, /, **fields: Any) -> dict[str, Any]:
    """Return a genuine item."""
    made = copy.deepcopy(ITEM) | fields
    signature = util.generate_notification_sig(made, key).decode()
    return made | {"additionalData": {"hmacSignature": signature}}


def notification(*items: Mapping[str, Any], **fields: Any) -> bytes:
    """Return a body with these items."""
    wrapped = [{"NotificationRequestItem": each} for each in items]
    return json.dumps({"live": "false", "notificationItems": wrapped} | fields).encode()


def whole(body: bytes, key: str = KEY) -> dict[str, str]:
    """Return the headers of a body that is signed as a whole."""
    signature = util.generate_payload_sig(body, key).decode()
    return {"hmacsignature": signature, "protocol": "HmacSHA256"}


def verify(body: bytes, headers: Mapping[str, str], *keys: str, **options: Any) -> str:
    """Return the name of the key that verifies a delivery now."""
    return SCHEME.verify(body, headers, endpoint(*keys, **options), NOW).name


def verify_items(*items: Mapping[str, Any], keys: tuple[str, ...] = ()) -> str:
    """Return the name of the key that verifies a notification with these items."""
    return verify(notification(*items), {}, *keys)


ITEM_VECTORS = [vector for vector in VECTORS if vector.get("scheme") == "item-hmac"]
BODY_VECTORS = [vector for vector in VECTORS if vector.get("scheme") == "body-hmac"]


@pytest.mark.parametrize("vector", ITEM_VECTORS, ids=lambda vector: vector["id"])
def test_verify_vector_of_items_agrees(vector: dict[str, Any]) -> None:
    """The vendor's own items have the vendor's verdict."""
    if vector["expect"] == "accept":
        assert verify_items(vector["item"], keys=(vector["hmac_key"],)) == "0"
    else:
        with pytest.raises(NotVerified):
            verify_items(vector["item"], keys=(vector["hmac_key"],))


@pytest.mark.parametrize("vector", BODY_VECTORS, ids=lambda vector: vector["id"])
def test_verify_vector_of_bodies_agrees(vector: dict[str, Any]) -> None:
    """The vendor's own bodies have the vendor's verdict, and each says something or nothing."""
    body = base64.b64decode(vector["payload_b64"])
    headers = {name.lower(): value for name, value in vector["header"].items()}

    if vector["expect"] == "accept":
        assert verify(body, headers, vector["hmac_key"]) == "0"
        assert len(SCHEME.events(body, headers, endpoint())) == 1
    else:
        with pytest.raises(NotVerified):
            verify(body, headers, vector["hmac_key"])


def test_vectors_cover_both_schemes() -> None:
    """None of the vectors is left out."""
    adyen = [vector for vector in VECTORS if vector["provider"] == "adyen"]

    assert len(ITEM_VECTORS) + len(BODY_VECTORS) == len(adyen) > 10


@pytest.mark.parametrize(
    ("keys", "name"),
    [((KEY,), "0"), ((OTHER, KEY), "1"), ((KEY, OTHER), "0"), (("", "xyz", "é", "AB1", KEY), "4")],
)
def test_verify_with_several_keys_names_the_one_that_signed(keys: tuple[str, ...], name: str) -> None:
    """A rotation loses nothing, and a key that is none harms no other, item or body."""
    assert verify_items(item(), keys=keys) == name
    assert verify(b"{}", whole(b"{}"), *keys) == name


@pytest.mark.parametrize("key", ["", "AB", "00" * 15])
def test_verify_signed_with_no_real_key_is_refused(key: str) -> None:
    """The SDK would take an empty key, with which anybody can sign."""
    assert util.is_valid_hmac_notification(item(key), key)
    with pytest.raises(NotVerified):
        verify_items(item(key), keys=(key,))
    with pytest.raises(NotVerified):
        verify(b"{}", whole(b"{}", key), key)


def test_verify_items_of_two_keys_names_the_one_listed_last() -> None:
    """What waited in the queue keeps the old key's signature, so the old one is still needed."""
    assert verify_items(item(), item(OTHER), item(), keys=(KEY, OTHER)) == "1"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_verify_one_forged_item_of_several_refuses_all(place: int) -> None:
    """The SDK alone would look at the first item only."""
    items = [item(), item(pspReference="A"), item(pspReference="B")]
    items[place]["amount"]["value"] = 999_999

    with pytest.raises(NotVerified):
        verify_items(*items)


@pytest.mark.parametrize("field", [*ITEM, "currency", "value"])
def test_verify_changed_field_is_refused_where_it_is_signed(field: str) -> None:
    """Eight fields are signed; of the others nothing is believed that could move money."""
    changed = item()
    if field in {"currency", "value"}:
        changed["amount"][field] = "USD" if field == "currency" else 1_001
    elif field == "amount":
        changed["amount"] = None
    else:
        changed[field] = "other"

    if field in {"eventDate", "reason"}:
        assert verify_items(changed)
    else:
        with pytest.raises(NotVerified):
            verify_items(changed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pspReference", "A:B"),
        ("originalReference", "A:"),
        ("merchantAccountCode", ":A"),
        ("eventCode", "CAPTURE:"),
        ("success", "true:"),
        ("amount", {"value": "1:0", "currency": "EUR"}),
        ("amount", {"value": 1, "currency": "EUR:"}),
    ],
)
def test_verify_colon_in_a_signed_field_is_refused(name: str, value: object) -> None:
    """Fields could shift under the same signature; refused though the SDK is content."""
    shifted = item(**{name: value})

    assert util.is_valid_hmac_notification(shifted, KEY)
    with pytest.raises(NotVerified):
        verify_items(shifted)


@pytest.mark.parametrize(
    "shifted",
    [
        {"merchantAccountCode": "Casino:x", "merchantReference": "7"},
        {"originalReference": ":Casino", "merchantAccountCode": "x", "merchantReference": "7"},
        {"merchantReference": "x", "amount": {"value": "7:1000", "currency": "EUR"}},
        {
            "merchantReference": "x:7:1000",
            "amount": {"value": "EUR", "currency": "CAPTURE"},
            "eventCode": "true",
        },
    ],
)
def test_verify_shifted_fields_are_refused(shifted: dict[str, Any]) -> None:
    """A reference with a colon verifies, and no other way to part the same signed text does."""
    genuine = item(
        merchantAccountCode="Casino",
        merchantReference="x:7",
        amount={"value": 1000, "currency": "EUR"},
        eventCode="CAPTURE",
    )
    assert verify_items(genuine) == "0"
    with pytest.raises((NotVerified, Malformed)):
        verify_items(genuine | shifted)


def test_verify_item_with_items_inside_is_verified_by_its_own_fields() -> None:
    """The SDK would verify the inner item, and the outer one would be believed."""
    forged = item() | {"amount": {"value": 999_999, "currency": "EUR"}}
    forged["notificationItems"] = [{"NotificationRequestItem": item()}]

    assert util.is_valid_hmac_notification(forged, KEY)
    with pytest.raises(NotVerified):
        verify_items(forged)


def test_verify_null_field_is_as_if_missing() -> None:
    """What is null was signed as nothing."""
    genuine = {name: value for name, value in ITEM.items() if name != "originalReference"}
    signature = util.generate_notification_sig(genuine, KEY).decode()

    assert verify_items(genuine | {"originalReference": None, "additionalData": {"hmacSignature": signature}})


@pytest.mark.parametrize("value", [1_130, "1130", 0, "0", -1, "-1", 10**20])
def test_verify_amount_in_digits_or_text_passes(value: object) -> None:
    """The signature covers the digits, whichever type they come in."""
    assert verify_items(item(amount={"value": value, "currency": "EUR"}))


SHAPES: dict[str, Callable[[dict[str, Any]], object]] = {
    "item-null": lambda _: None,
    "item-list": lambda it: [it],
    "item-text": lambda _: "item",
    "item-number": lambda _: 1,
    "item-empty": lambda _: {},
    "no-additional-data": lambda it: {key: it[key] for key in ITEM},
    "additional-data-null": lambda it: it | {"additionalData": None},
    "additional-data-list": lambda it: it | {"additionalData": ["hmacSignature"]},
    "no-signature": lambda it: it | {"additionalData": {}},
    "signature-empty": lambda it: it | {"additionalData": {"hmacSignature": ""}},
    "signature-null": lambda it: it | {"additionalData": {"hmacSignature": None}},
    "signature-number": lambda it: it | {"additionalData": {"hmacSignature": 1}},
    "signature-not-ascii": lambda it: it | {"additionalData": {"hmacSignature": "é" * 44}},
    "signature-surrogate": lambda it: it | {"additionalData": {"hmacSignature": "\ud800"}},
    "signature-short": lambda it: it | {"additionalData": {"hmacSignature": "AAAA"}},
    "signature-44": lambda it: it | {"additionalData": {"hmacSignature": "A" * 43 + "="}},
    "success-true": lambda it: it | {"success": True},
    "success-number": lambda it: it | {"success": 1},
    "success-null": lambda it: it | {"success": None},
    "reference-number": lambda it: it | {"merchantReference": 1},
    "reference-list": lambda it: it | {"pspReference": ["x"]},
    "reference-object": lambda it: it | {"pspReference": {}},
    "reference-surrogate": lambda it: it | {"pspReference": "\ud800"},
    "reference-nul": lambda it: it | {"pspReference": "\0"},
    "amount-null": lambda it: it | {"amount": None},
    "amount-list": lambda it: it | {"amount": []},
    "amount-number": lambda it: it | {"amount": 1_000},
    "value-float": lambda it: it | {"amount": {"value": 1_000.0, "currency": "EUR"}},
    "value-true": lambda it: it | {"amount": {"value": True, "currency": "EUR"}},
    "value-list": lambda it: it | {"amount": {"value": [], "currency": "EUR"}},
    "value-huge": lambda it: it | {"amount": {"value": 10**4_000, "currency": "EUR"}},
    "value-missing": lambda it: it | {"amount": {"currency": "EUR"}},
    "currency-number": lambda it: it | {"amount": {"value": 1_000, "currency": 978}},
    "currency-missing": lambda it: it | {"amount": {"value": 1_000}},
}


@pytest.mark.parametrize("change", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("beside", [0, 1])
def test_verify_item_of_another_shape_is_refused(
    change: Callable[[dict[str, Any]], object], beside: int
) -> None:
    """Whatever an item is, alone or beside a good one, it ends in a refusal."""
    items: list[Any] = [*[item()] * beside, change(item())]

    with pytest.raises((Malformed, NotVerified)):
        verify_items(*items)


BODIES = {
    "empty": b"",
    "not-utf-8": b"\xff",
    "not-json": b"{",
    "list": b"[]",
    "number": b"1",
    "null": b"null",
    "digits": b"9" * 5_000,
    "deep": b"[" * 100_000,
    "deep-items": b'{"notificationItems":' + b"[" * 100_000,
    "no-items": b'{"live":"false"}',
    "items-empty": b'{"live":"false","notificationItems":[]}',
    "items-null": b'{"notificationItems":null}',
    "items-object": b'{"notificationItems":{}}',
    "items-of-null": b'{"notificationItems":[null]}',
    "items-unwrapped": b'{"notificationItems":[{}]}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_verify_body_without_items_is_malformed(body: bytes) -> None:
    """What has no items and no signature of the whole is no webhook of Adyen's."""
    with pytest.raises(Malformed):
        verify(body, {})


HEADERS: dict[str, dict[str, str]] = {
    "no-protocol": {"hmacsignature": whole(b"{}")["hmacsignature"]},
    "other-protocol": whole(b"{}") | {"protocol": "HmacSHA1"},
    "empty": whole(b"{}") | {"hmacsignature": ""},
    "not-base64": whole(b"{}") | {"hmacsignature": "%" * 44},
    "not-ascii": whole(b"{}") | {"hmacsignature": "é" * 44},
    "endless": whole(b"{}") | {"hmacsignature": "A" * 10_000},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_verify_unreadable_signature_of_the_body_is_malformed(headers: dict[str, str]) -> None:
    """Header and protocol are both needed."""
    with pytest.raises(Malformed):
        verify(b"{}", headers)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{} ", whole(b"{}")),
        (b"{}", whole(b"{}", OTHER)),
        (notification(item()), whole(b"{}")),
        (b"{}", whole(b"{}") | {"hmacsignature": "ab" * 32}),
    ],
)
def test_verify_forged_signature_of_the_body_is_refused(body: bytes, headers: dict[str, str]) -> None:
    """Every byte is signed; and items that are good save no body that is not."""
    with pytest.raises(NotVerified):
        verify(body, headers)


def test_verify_body_signed_as_a_whole_never_brings_items_in() -> None:
    """What one signature covers is not read as what the other would have to cover."""
    forged = notification(item() | {"amount": {"value": 999_999, "currency": "EUR"}})

    assert verify(forged, whole(forged))
    [event] = SCHEME.events(forged, whole(forged), endpoint())
    assert event.type == 0


PASSWORD = ("defter", Secret(name="basic_auth", value="pässword"))


def basic(text: str, kind: str = "Basic") -> dict[str, str]:
    """Return the header with these credentials."""
    return {"authorization": f"{kind} {base64.b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize("kind", ["Basic", "basic"])
def test_verify_with_credentials_passes(kind: str) -> None:
    """Username and password come in beside the signature."""
    assert verify(notification(item()), basic("defter:pässword", kind), basic_auth=PASSWORD)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Basic"},
        {"authorization": "Basic %"},
        {"authorization": "Basic é"},
        basic("defter:pässword", "Bearer"),
        basic("defter:"),
        basic("defter"),
        basic(":pässword"),
        basic("other:pässword"),
        basic("defter:other"),
        basic("defter:pässword "),
    ],
)
def test_verify_with_other_credentials_is_refused(headers: dict[str, str]) -> None:
    """A good signature alone does not do where credentials are asked for."""
    with pytest.raises(NotVerified):
        verify(notification(item()), headers, basic_auth=PASSWORD)


@pytest.mark.parametrize(("seconds", "passes"), [(1, True), (0, False), (-1, False)])
def test_verify_password_counts_until_it_is_over(seconds: int, passes: bool) -> None:
    """A password past its end opens nothing."""
    end = NOW + timedelta(seconds=seconds)
    over = ("defter", Secret(name="basic_auth", value="pässword", not_after=end))

    if passes:
        assert verify(notification(item()), basic("defter:pässword"), basic_auth=over)
    else:
        with pytest.raises(NotVerified):
            verify(notification(item()), basic("defter:pässword"), basic_auth=over)


@pytest.mark.parametrize(
    ("told", "live", "passes"),
    [
        ("true", "true", True),
        ("false", "false", True),
        (True, "true", True),
        (None, "true", True),
        ("false", "true", False),
        ("true", "false", False),
        (False, "true", False),
        ("x", "false", False),
    ],
)
def test_verify_items_of_the_other_environment_are_refused(told: object, live: str, passes: bool) -> None:
    """Play money never reaches the live ledger; what does not tell is taken, and left unread."""
    body = notification(item(), live=told, environment="live")

    if passes:
        assert verify(body, {}, live=live)
    else:
        with pytest.raises(NotVerified):
            verify(body, {}, live=live)


@pytest.mark.parametrize(
    ("told", "live", "passes"),
    [
        ("live", "true", True),
        ("test", "false", True),
        (None, "true", True),
        ("test", "true", False),
        ("live", "false", False),
    ],
)
def test_verify_body_of_the_other_environment_is_refused(told: object, live: str, passes: bool) -> None:
    """The platform names the environment instead."""
    body = json.dumps({"environment": told, "live": "x"}).encode()

    if passes:
        assert verify(body, whole(body), live=live)
    else:
        with pytest.raises(NotVerified):
            verify(body, whole(body), live=live)


def test_success_is_what_old_integrations_must_answer() -> None:
    """The word satisfies old integrations, and 200 the new ones."""
    assert (SCHEME.success.status, SCHEME.success.body) == (200, b"[accepted]")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()), signature=st.none() | st.text())
def test_verify_any_bytes_ends_in_a_refusal(body: bytes, signature: str | None) -> None:
    """No input raises anything but the two refusals."""
    headers = {} if signature is None else {"hmacsignature": signature, "protocol": "HmacSHA256"}

    with pytest.raises((Malformed, NotVerified)):
        verify(body, headers)


@given(st.data())
def test_verify_mutated_item_passes_only_where_nothing_signed_changed(data: st.DataObject) -> None:
    """Whatever becomes of a field, it ends in a refusal or was not signed."""
    field = data.draw(st.sampled_from(sorted(item())))
    value = data.draw(JSON)

    try:
        verify_items(item() | {field: value})
    except (Malformed, NotVerified):
        return
    assert field in {"eventDate", "reason"} or value == item()[field]
