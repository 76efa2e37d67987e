"""Stripe at the edge: verdicts on deliveries, whatever their bytes are."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe import WebhookSignature

from webhook_edge.scheme import Endpoint, Malformed, NotVerified, Secret
from webhook_edge.stripe_scheme import StripeScheme

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
SECRET = "whsec_of_the_endpoint"
OTHER = "whsec_of_another"
BODY = b'{"id":"evt_1","object":"event","livemode":false,"type":"charge.pending","created":1893499200}'
VECTORS = json.loads((Path(__file__).parents[1] / "conformance" / "webhook-vectors.json").read_text())[
    "vectors"
]
SCHEME = StripeScheme()


def endpoint(*secrets: str, **options: str) -> Endpoint:
    """Return an endpoint with these secrets, or with the one of all tests here."""
    return Endpoint(
        name="stripe-eu",
        tenant_id="casino",
        provider="stripe-eu",
        scheme="stripe",
        secrets=[Secret(name=str(at), value=value) for at, value in enumerate(secrets or (SECRET,))],
        options=options,
    )


def signed(body: bytes = BODY, *, secret: str = SECRET, at: datetime = NOW) -> dict[str, str]:
    """Return the headers of a genuine delivery."""
    header = WebhookSignature.generate_signature_header(body.decode(), secret, int(at.timestamp()))
    return {"stripe-signature": str(header)}


def signature(**of: Any) -> str:
    """Return a genuine signature alone, `v1=…`."""
    return signed(**of)["stripe-signature"].partition(",")[2]


def verify(body: bytes, headers: Mapping[str, str], *secrets: str, **options: str) -> str:
    """Return the name of the secret that verifies a delivery now."""
    return SCHEME.verify(body, headers, endpoint(*secrets, **options), NOW).name


@pytest.mark.parametrize(
    "vector",
    [vector for vector in VECTORS if vector["provider"] == "stripe"],
    ids=lambda vector: vector["id"],
)
def test_verify_vector_of_vendors_agrees(vector: dict[str, Any]) -> None:
    """The vendors' own vectors have their verdicts here; what is a matter of policy is refused."""
    body = base64.b64decode(vector["payload_b64"])
    headers = {name.lower(): value for name, value in vector["header"].items()}
    now = datetime.fromtimestamp(vector["now"], UTC)

    if vector["expect"] == "accept":
        assert SCHEME.verify(body, headers, endpoint(*vector["secrets"]), now).name == "0"
        assert SCHEME.events(body, headers, endpoint(*vector["secrets"]))
    else:
        with pytest.raises((Malformed, NotVerified)):
            SCHEME.verify(body, headers, endpoint(*vector["secrets"]), now)


@pytest.mark.parametrize(
    ("secrets", "name"),
    [((SECRET,), "0"), ((OTHER, SECRET), "1"), ((SECRET, OTHER), "0"), (("", " ", "é\ud800", SECRET), "3")],
)
def test_verify_with_several_secrets_names_the_one_that_signed(secrets: tuple[str, ...], name: str) -> None:
    """A rotation loses nothing, and a secret that is none harms no other."""
    assert verify(BODY, signed(), *secrets) == name


@pytest.mark.parametrize("secret", ["", " ", "\t\n"])
def test_verify_signed_with_no_real_secret_is_refused(secret: str) -> None:
    """With an empty secret anybody can sign."""
    with pytest.raises(NotVerified):
        verify(BODY, signed(secret=secret), secret)


def test_verify_signed_with_two_secrets_passes_for_each() -> None:
    """While a secret is rolled, Stripe signs with the old and the new one."""
    headers = {"stripe-signature": f"{signed()['stripe-signature']},{signature(secret=OTHER)}"}

    assert verify(BODY, headers, SECRET) == verify(BODY, headers, OTHER) == "0"


@pytest.mark.parametrize("seconds", [-300, -1, 0, 1, 300])
def test_verify_within_tolerance_passes(seconds: int) -> None:
    """The clocks of both may differ by five minutes either way."""
    assert verify(BODY, signed(at=NOW + timedelta(seconds=seconds)))


@pytest.mark.parametrize("seconds", [-86_400, -301, 301, 10 * 365 * 86_400])
def test_verify_outside_tolerance_is_refused(seconds: int) -> None:
    """Neither the past nor the future is taken, whatever the SDK thinks of the future."""
    with pytest.raises(NotVerified):
        verify(BODY, signed(at=NOW + timedelta(seconds=seconds)))


TIME = f"t={int(NOW.timestamp())}"
NOT_VERIFIED: dict[str, tuple[bytes, str]] = {
    "other-secret": (BODY, f"{TIME},{signature(secret=OTHER)}"),
    "other-body": (BODY + b" ", f"{TIME},{signature()}"),
    "empty-body": (b"", f"{TIME},{signature()}"),
    "other-time": (BODY, f"t={int(NOW.timestamp()) + 1},{signature()}"),
    "version-0": (BODY, f"{TIME},{signature().replace('v1', 'v0')}"),
    "version-2": (BODY, f"{TIME},{signature().replace('v1', 'v2')}"),
    "upper-case": (BODY, f"{TIME},v1={signature()[3:].upper()}"),
    "short": (BODY, f"{TIME},{signature()[:-1]}"),
    "base64": (BODY, f"{TIME},v1=AAAA+/=="),
    "far-time": (BODY, f"t=999999999999,{signature()}"),
    "time-zero": (BODY, f"t=0,{signature()}"),
}
MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (BODY, ""),
    "commas": (BODY, ",,,,"),
    "time-alone": (BODY, TIME),
    "signature-alone": (BODY, signature()),
    "no-time": (BODY, f"t=,{signature()}"),
    "bare-time": (BODY, f"t,{signature()}"),
    "time-in-words": (BODY, f"t=now,{signature()}"),
    "time-with-space": (BODY, f"t= {int(NOW.timestamp())},{signature()}"),
    "time-with-underscore": (BODY, f"t=1_893_499_200,{signature()}"),
    "time-with-sign": (BODY, f"t=+{int(NOW.timestamp())},{signature()}"),
    "time-with-zeros": (BODY, f"t=0{int(NOW.timestamp())},{signature()}"),
    "time-negative": (BODY, f"t=-1,{signature()}"),
    "time-of-other-digits": (BODY, f"t=١٨٩٣٤٩٩٢٠٠,{signature()}"),
    "time-endless": (BODY, f"t={'9' * 5_000},{signature()}"),
    "time-twice": (BODY, f"{TIME},{TIME},{signature()}"),
    "signature-not-ascii": (BODY, f"{TIME},v1=é"),
    "space": (BODY, f"{TIME}, {signature()}"),
    "body-not-utf-8": (b"\xff", f"{TIME},{signature()}"),
    "nul": (BODY, "\0"),
    "surrogate": (BODY, "\ud800"),
}


@pytest.mark.parametrize(("body", "header"), NOT_VERIFIED.values(), ids=NOT_VERIFIED)
def test_verify_forged_delivery_is_not_verified(body: bytes, header: str) -> None:
    """What was not signed as it came is refused."""
    with pytest.raises(NotVerified):
        verify(body, {"stripe-signature": header})


@pytest.mark.parametrize(("body", "header"), MALFORMED.values(), ids=MALFORMED)
def test_verify_unreadable_delivery_is_malformed(body: bytes, header: str) -> None:
    """What can't be read is no webhook of Stripe's, and raises nothing else."""
    with pytest.raises(Malformed):
        verify(body, {"stripe-signature": header})


def test_verify_without_signature_is_malformed() -> None:
    """A header that is not there is no signature."""
    with pytest.raises(Malformed):
        verify(BODY, {})


@pytest.mark.parametrize("entry", ["v0=aa", "v1=", "v1=é", "v1=zz", "v9=x", "", "x", "=", "v1"])
def test_verify_beside_unreadable_entry_passes(entry: str) -> None:
    """What Stripe adds to the header does not take away what is there."""
    assert verify(BODY, {"stripe-signature": f"{TIME},{entry},{signature()}"})


@pytest.mark.parametrize(
    ("told", "livemode"), [(b"true", "true"), (b"false", "false"), (b"true", ""), (b"null", "true")]
)
def test_verify_right_mode_passes(told: bytes, livemode: str) -> None:
    """An event of the endpoint's mode is taken, and so is one that tells no mode."""
    body = BODY.replace(b"false", told)

    assert verify(body, signed(body), **({"livemode": livemode} if livemode else {}))


@pytest.mark.parametrize(("told", "livemode"), [(b"true", "false"), (b"false", "true"), (b"true", "yes")])
def test_verify_other_mode_is_refused(told: bytes, livemode: str) -> None:
    """Play money never reaches the live ledger, whoever signed for it."""
    body = BODY.replace(b"false", told)

    with pytest.raises(NotVerified):
        verify(body, signed(body), livemode=livemode)


@pytest.mark.parametrize(
    "text",
    ["[]", "1", "null", '"x"', "", "{", "[" * 100_000, "9" * 5_000, "NaN", "\ufeff{}", '{"id":"\\ud800"}'],
)
def test_verify_signed_oddity_passes_and_says_nothing(text: str) -> None:
    """Whatever Stripe has signed is taken and kept."""
    body = text.encode()

    assert verify(body, signed(body), livemode="true") == "0"
    [event] = SCHEME.events(body, signed(body), endpoint(livemode="true"))
    assert event.type == 0
    assert event.event_id


@given(body=st.binary(), header=st.text())
def test_verify_any_bytes_ends_in_a_refusal(body: bytes, header: str) -> None:
    """No input raises anything but the two refusals."""
    with pytest.raises((Malformed, NotVerified)):
        verify(body, {"stripe-signature": header})


@given(at=st.integers(0, len(BODY) - 1), change=st.integers(1, 255))
def test_verify_any_changed_byte_is_refused(at: int, change: int) -> None:
    """The signature covers every byte."""
    body = BODY[:at] + bytes([BODY[at] ^ change]) + BODY[at + 1 :]

    with pytest.raises((Malformed, NotVerified)):
        verify(body, signed())


@given(at=st.integers(0, len(signed()["stripe-signature"]) - 1), character=st.characters())
def test_verify_any_changed_character_of_the_header_never_passes_unsigned(at: int, character: str) -> None:
    """A header reads in one way only, so another one is another signature."""
    header = signed()["stripe-signature"]
    changed = header[:at] + character + header[at + 1 :]

    if changed != header:
        with pytest.raises((Malformed, NotVerified)):
            verify(BODY, {"stripe-signature": changed})
