"""Sample webhooks: each is taken by the scheme that it was made for, and by no other secret."""

from datetime import timedelta

import pytest
from defter.payments.v1 import payment_pb2

from tests.edge.harness import OTHER, SECRET
from tests.support.clock import START
from webhook_edge.scheme import Endpoint, NotVerified, Secret
from webhook_edge.schemes import scheme_named
from webhook_edge.sending import Sample, SendingFailed, send, signed

HEX = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
OTHER_HEX = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00"
SCHEMES = {
    "standard": (SECRET, OTHER, "payment.captured"),
    "stripe": ("whsec_one", "whsec_other", "payment_intent.succeeded"),
    "adyen": (HEX, OTHER_HEX, "CAPTURE"),
}


def endpoint(scheme: str, secret: str) -> Endpoint:
    """Return an endpoint of a scheme with one secret."""
    return Endpoint(
        name="one",
        tenant_id="casino",
        provider="psp",
        scheme=scheme,
        secrets=[Secret(name="s", value=secret)],
        options={},
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sign_sample_is_verified_and_understood(scheme: str) -> None:
    """What the command sends is what a provider would."""
    secret, other, type_ = SCHEMES[scheme]
    sample = Sample(type=type_, reference="dep_1_2", payment_ref="pay-1", amount_minor=700)
    webhook = signed(scheme, sample, secret, START)
    verifier = scheme_named(scheme)

    verified = verifier.verify(webhook.body, webhook.headers, endpoint(scheme, secret), START)
    with pytest.raises(NotVerified):
        verifier.verify(webhook.body, webhook.headers, endpoint(scheme, other), START)

    [event] = verifier.events(webhook.body, webhook.headers, endpoint(scheme, secret))
    assert verified.name == "s"
    assert (event.provider, event.provider_amount_minor, event.currency_code) == ("psp", 700, "EUR")
    assert (event.payment_ref, event.payment_id) == ("pay-1", "dep_1_2")
    assert event.type == payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sign_sample_with_fixed_id_is_the_same_event(scheme: str) -> None:
    """A duplicate can be tried out."""
    secret, _, type_ = SCHEMES[scheme]
    sample = Sample(type=type_, event_id="EVT1")
    verifier = scheme_named(scheme)

    ids = set()
    for at in (START, START + timedelta(seconds=60)):
        webhook = signed(scheme, sample, secret, at)
        ids |= {
            event.event_id
            for event in verifier.events(webhook.body, webhook.headers, endpoint(scheme, secret))
        }

    assert len(ids) == 1


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        ("standard", ""),
        ("standard", "whsec_c2hvcnQ="),
        ("adyen", "no-hex"),
        ("stripe", ""),
        ("paypal", SECRET),
    ],
)
def test_sign_with_no_secret_of_the_scheme_is_refused(scheme: str, secret: str) -> None:
    """The words of the refusal don't repeat the secret."""
    with pytest.raises(ValueError, match="scheme") as refused:
        signed(scheme, Sample(type="x"), secret, START)

    assert not secret or secret not in str(refused.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "nonsense", "http://[/"])
def test_send_where_nobody_answers_says_so(url: str) -> None:
    """A wrong address is a clear end."""
    with pytest.raises(SendingFailed):
        send(url, "standard", Sample(type="x"), SECRET)
