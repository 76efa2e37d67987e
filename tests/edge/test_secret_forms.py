"""Secrets and options that can't be right are refused when they are read, by what is wrong with them."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.support.clock import START
from webhook_edge import sending
from webhook_edge.configuration import ConfigurationError, read_configuration, read_without_secrets
from webhook_edge.metrics import Metrics
from webhook_edge.reloading import LiveConfiguration
from webhook_edge.scheme import Endpoint, Secret
from webhook_edge.schemes import scheme_named

BARE = base64.b64encode(bytes(range(32))).decode()
GOOD = {
    "standard": [f"whsec_{BARE}", BARE, BARE.rstrip("="), base64.b64encode(bytes(64)).decode()],
    "stripe": ["whsec_AbC123xyz", "whsec_live_one"],
    "adyen": ["0aF1" * 16, "0AF1" * 8],
}
TYPES = {"standard": "payment.captured", "stripe": "payment_intent.succeeded", "adyen": "CAPTURE"}
SPOILT = {
    "byte order mark": ["\ufeff{}", "{}\ufeff"],
    "quote": ['"{}"', "'{}'", "“{}”", '{}"'],
    "blank": [" {}", "{} ", "a {}", "{}\tb", "a\n{}", "\u00a0{}"],
    "character": ["{}é", "{}\0", "\u200b{}"],
    "API key": ["sk_live_{}", "rk_test_{}", "pk_live_{}"],
}
OTHERS = [
    ("standard", "whpk_" + BARE, "asymmetric"),
    ("standard", "whsk_" + BARE, "asymmetric"),
    ("standard", base64.b64encode(bytes(23)).decode(), "24 to 64"),
    ("standard", base64.b64encode(bytes(65)).decode(), "24 to 64"),
    ("standard", "whsec_", "24 to 64"),
    ("standard", "not-base64-at-all-but-long-enough", "24 to 64"),
    ("stripe", "AbC123xyz", "whsec_"),
    ("stripe", "whsec_", "whsec_"),
    ("stripe", "whsec_%%%", "whsec_"),
    ("adyen", "AQEyhmfxK" * 4, "hexadecimal"),
    ("adyen", "0aF1" * 7, "32 or more"),
    ("adyen", "0aF1" * 8 + "0", "32 or more"),
    *((scheme, "", "empty") for scheme in GOOD),
]
WRONG = [
    *(
        (scheme, spoil.format(good[0]), words)
        for (scheme, good), (words, ways) in itertools.product(GOOD.items(), SPOILT.items())
        for spoil in ways
    ),
    *OTHERS,
]


def files(folder: Path, scheme: str, secret: str | bytes, *, options: str = "") -> Path:
    """Write an endpoint whose secret stands in a file."""
    (folder / "secret").write_bytes(secret if isinstance(secret, bytes) else secret.encode())
    file = folder / "endpoints.toml"
    file.write_text(
        f'[endpoints.one]\nscheme = "{scheme}"\ntenant = "casino"\nprovider = "mock"\n'
        f'secrets = [{{ name = "now", file = "secret" }}]\noptions = {{ {options} }}\n'
    )
    return file


@pytest.mark.parametrize(("scheme", "secret", "words"), WRONG, ids=repr)
@pytest.mark.parametrize("place", ["file", "env"])
def test_read_secret_that_cannot_be_one_is_refused(
    place: str, scheme: str, secret: str, words: str, tmp_path: Path
) -> None:
    """The endpoint, the secret's name and the fault are named; the secret is not."""
    file = files(tmp_path, scheme, secret)
    if place == "env":
        file.write_text(file.read_text().replace('file = "secret"', 'env = "SECRET"'))

    with pytest.raises(ConfigurationError, match=r"endpoint 'one': secret 'now'") as refused:
        read_configuration(file, {"SECRET": secret}, START)

    assert words in str(refused.value)
    assert secret in {"", "whsec_"} or secret not in str(refused.value)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize(
    ("scheme", "secret"), [(scheme, secret) for scheme, secrets in GOOD.items() for secret in secrets]
)
def test_read_good_secret_verifies_what_the_vendors_sdk_has_signed(
    scheme: str, secret: str, end: str, tmp_path: Path
) -> None:
    """Also without whsec_, and with the line break that an editor leaves."""
    configuration = read_configuration(files(tmp_path, scheme, secret + end), {}, START)
    webhook = sending.signed(scheme, sending.Sample(type=TYPES[scheme]), secret, START)
    headers = {name.lower(): value for name, value in webhook.headers.items()}

    endpoint = configuration.endpoints["one"].endpoint
    verified = scheme_named(scheme).verify(webhook.body, headers, endpoint, START)

    assert verified.name == "now"


async def test_reload_of_a_secret_that_cannot_be_one_keeps_the_old_one(tmp_path: Path) -> None:
    """It is said once, loudly, and a gauge stands at 0 until the files can be used again."""
    good = GOOD["stripe"][0]
    file, metrics = files(tmp_path, "stripe", good), Metrics()
    live = LiveConfiguration(lambda: read_configuration(file, {}, START), metrics)
    gauges = []
    with capture_logs() as logs:
        for secret in (f'"{good}"', "whsec_New"):
            files(tmp_path, "stripe", secret)
            await live._replace()
            gauges.append(metrics.registry.get_sample_value("defter_edge_configuration_current"))
            if secret.startswith('"'):
                assert live.current.endpoints["one"].endpoint.secrets == (Secret(name="now", value=good),)

    assert gauges == [0, 1]
    assert live.current.endpoints["one"].endpoint.secrets == (Secret(name="now", value="whsec_New"),)
    assert [line["log_level"] for line in logs] == ["error", "info"]
    assert good not in repr(logs)


BAD_OPTIONS = [
    ("stripe", 'merchant_account = "Casino"', "no option 'merchant_account'; there are account, api_version"),
    ("stripe", "livmode = true", "no option 'livmode'"),
    ("stripe", 'livemode = "yes"', "option 'livemode': it is true or false"),
    ("stripe", 'account = "Casino"', "option 'account'"),
    ("adyen", 'account = "acct_1"', "no option 'account'"),
    ("adyen", "live = 1", "option 'live': it is true or false"),
    ("adyen", "auto_capture = 7", "option 'auto_capture'"),
    ("adyen", 'merchant_account = ""', "option 'merchant_account'"),
    ("adyen", 'merchant_account = " Casino"', "option 'merchant_account'"),
    ("standard", "livemode = true", "no option 'livemode'; it has none"),
]


@pytest.mark.parametrize(("scheme", "options", "words"), BAD_OPTIONS)
def test_read_option_that_the_scheme_has_not_is_refused_by_name(
    scheme: str, options: str, words: str, tmp_path: Path
) -> None:
    """A misspelt option would be one that never counts."""
    file = files(tmp_path, scheme, GOOD[scheme][0], options=options)

    for read in (lambda: read_configuration(file, {}, START), lambda: read_without_secrets(file)):
        with pytest.raises(ConfigurationError, match=r"endpoint 'one'") as refused:
            read()
        assert words in str(refused.value)


def test_read_without_secrets_needs_none(tmp_path: Path) -> None:
    """Whoever reads stored webhooks again has no secret, and the same options."""
    file = files(tmp_path, "adyen", b"", options='live = true, merchant_account = "Casino EU"')

    assert read_without_secrets(file) == (
        Endpoint(
            name="one",
            tenant_id="casino",
            provider="mock",
            scheme="adyen",
            secrets=(),
            options={"live": "true", "merchant_account": "Casino EU"},
        ),
    )
