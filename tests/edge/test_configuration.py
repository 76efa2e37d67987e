"""The file of endpoints: what it says; what is wrong with it is said clearly, and without secrets."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.edge.harness import OTHER, SECRET
from tests.support.clock import START
from webhook_edge.configuration import Configuration, ConfigurationError, RateLimits, read_configuration
from webhook_edge.scheme import Endpoint, Secret
from webhook_edge.server import _proof
from webhook_edge.settings import EdgeSettings
from webhook_edge.throttle import rate_limit

ENVIRONMENT = {
    "SECRET": SECRET,
    "OTHER": OTHER,
    "PASSWORD": "pass-word",
    "EMPTY": "",
    "SHORT": "whsec_c2hvcnQ=",
}
MINIMAL = 'scheme = "standard"\ntenant = "casino"\nprovider = "mock"\n'
ENDPOINT = f'[endpoints.one]\n{MINIMAL}secrets = [{{ name = "s", env = "SECRET" }}]\n'


def read(folder: Path, content: str | bytes) -> Configuration:
    """Read a file of endpoints with this content."""
    file = folder / "endpoints.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_configuration(file, ENVIRONMENT, START)


def test_read_endpoint_takes_all_that_it_says(tmp_path: Path) -> None:
    """Secrets come from the environment and from files beside; options become texts."""
    (tmp_path / "old").write_text(OTHER + "\n")
    configuration = read(
        tmp_path,
        f"""
        [endpoints.mock-eu]
        {MINIMAL}
        mode = "observe"
        secrets = [
            {{ name = "new", env = "SECRET" }},
            {{ name = "old", file = "old", not_after = 2030-06-01T00:00:00Z }},
        ]
        basic_auth = {{ username = "defter", password_env = "PASSWORD" }}
        rate_limit = "600/minute"
        address_rate_limit = "10 per second"
        """,
    )

    found = configuration.endpoint("standard", "mock-eu")
    assert found is not None
    assert found.endpoint == Endpoint(
        name="mock-eu",
        tenant_id="casino",
        provider="mock",
        scheme="standard",
        secrets=(
            Secret(name="new", value=SECRET),
            Secret(name="old", value=OTHER, not_after=datetime(2030, 6, 1, tzinfo=UTC)),
        ),
        basic_auth=("defter", Secret(name="basic_auth", value="pass-word")),
        options={},
    )
    assert found.observes
    assert found.rates == RateLimits(verified=rate_limit("600/minute"), address=rate_limit("10/second"))
    assert configuration.files == (tmp_path / "endpoints.toml", tmp_path / "old")
    assert configuration.endpoint("stripe", "mock-eu") is None


def test_read_endpoint_that_says_little_is_live_with_the_usual_limits(tmp_path: Path) -> None:
    """What is left out has its default."""
    found = read(tmp_path, ENDPOINT).endpoints["one"]

    assert (found.observes, found.rates, found.endpoint.basic_auth) == (False, RateLimits(), None)


def test_read_empty_file_has_no_endpoints(tmp_path: Path) -> None:
    """That is a configuration too."""
    assert read(tmp_path, "").endpoints == {}


def test_read_secret_that_is_over_needs_no_value_any_more(tmp_path: Path) -> None:
    """What a rotation has retired can be taken away before its entry is."""
    content = (
        f"[endpoints.one]\n{MINIMAL}"
        'secrets = [{ name = "old", env = "GONE", not_after = 2030-01-01T12:00:00Z },'
        ' { name = "new", env = "SECRET" }]'
    )

    found = read(tmp_path, content).endpoints["one"]

    assert [secret.name for secret in found.endpoint.secrets] == ["new"]


def test_count_secrets_of_an_endpoint_ends_with_the_last(tmp_path: Path) -> None:
    """An endpoint none of whose secrets counts is none."""
    content = (
        f"[endpoints.one]\n{MINIMAL}"
        'secrets = [{ name = "a", env = "SECRET", not_after = 2030-01-01T12:00:01Z },'
        ' { name = "b", env = "OTHER", not_after = 2030-01-01T12:00:02Z }]'
    )
    found = read(tmp_path, content).endpoints["one"]

    counting = [found.counting(START + timedelta(seconds=seconds)) for seconds in (0, 1, 2)]

    assert [one and [secret.name for secret in one.secrets] for one in counting] == [["a", "b"], ["b"], None]


def secret_entry(entry: str) -> str:
    """Return a file whose one endpoint has this as its only secret."""
    return f"[endpoints.one]\n{MINIMAL}secrets = [{entry}]"


WRONG: dict[str, tuple[str | bytes, str]] = {
    "no-toml": ("endpoints = ", "endpoints.toml"),
    "no-utf8": (b"# \xff", "endpoints.toml"),
    "other-table": ("[endpoint.one]", "endpoint"),
    "other-field": (ENDPOINT + "tennant = 1", "tennant"),
    "no-tenant": ('[endpoints.one]\nscheme = "standard"\nprovider = "x"\nsecrets = []', "tenant"),
    "no-secrets": ("[endpoints.one]\n" + MINIMAL, "secrets"),
    "bad-name": (ENDPOINT.replace(".one", '."a/b"'), "endpoints"),
    "bad-mode": (ENDPOINT + 'mode = "trusting"', "mode"),
    "unknown-scheme": (ENDPOINT.replace('"standard"', '"paypal"'), "'paypal'"),
    "bad-rate": (ENDPOINT + 'rate_limit = "often"', "often"),
    "rate-of-nothing": (ENDPOINT + 'rate_limit = "0/minute"', "0/minute"),
    "bad-option": (ENDPOINT + "options = { a = [] }", "options"),
    "secret-inline": (secret_entry(f'{{ name = "s", value = "{SECRET}" }}'), "value"),
    "secret-nowhere": (secret_entry('{ name = "s" }'), "'s'"),
    "secret-twice": (secret_entry('{ name = "s", env = "SECRET", file = "x" }'), "'s'"),
    "secret-not-there": (secret_entry('{ name = "s", env = "GONE" }'), "GONE"),
    "secret-file-not-there": (secret_entry('{ name = "s", file = "gone" }'), "gone"),
    "secret-file-is-folder": (secret_entry('{ name = "s", file = "." }'), "'s'"),
    "secret-empty": (secret_entry('{ name = "s", env = "EMPTY" }'), "'s'"),
    "secret-short": (secret_entry('{ name = "s", env = "SHORT" }'), "'s'"),
    "secret-of-other-kind": (secret_entry('{ name = "s", env = "PASSWORD" }'), "'s'"),
    "secret-without-zone": (
        secret_entry('{ name = "s", env = "SECRET", not_after = 2030-06-01T00:00:00 }'),
        "not_after",
    ),
    "two-of-a-name": (
        secret_entry('{ name = "s", env = "SECRET" }, { name = "s", env = "OTHER" }'),
        "same name",
    ),
    "no-password": (ENDPOINT + 'basic_auth = { username = "x" }', "basic_auth"),
    "empty-password": (ENDPOINT + 'basic_auth = { username = "x", password_env = "EMPTY" }', "basic_auth"),
}


@pytest.mark.parametrize("name", WRONG)
def test_read_what_is_wrong_says_where_and_no_secret(name: str, tmp_path: Path) -> None:
    """An operator finds the place; who reads the log finds no secret."""
    content, hint = WRONG[name]

    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, content)

    message = str(refused.value)
    assert hint in message
    assert not any(value in message for value in ENVIRONMENT.values() if value)


def test_read_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    """An edge without a file does not start."""
    with pytest.raises(ConfigurationError, match=r"gone\.toml"):
        read_configuration(tmp_path / "gone.toml", {}, START)


@pytest.mark.parametrize("content", [b"\xff" * 60, b"x" * 5_000])
def test_read_secret_file_that_is_no_secret_is_refused(content: bytes, tmp_path: Path) -> None:
    """A file is bounded and text."""
    (tmp_path / "secret").write_bytes(content)

    with pytest.raises(ConfigurationError, match="'s'"):
        read(tmp_path, secret_entry('{ name = "s", file = "secret" }'))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"ledger_certificate_file": "c", "ledger_key_file": "k"}, "DEFTER_EDGE_LEDGER_"),
        (
            {"ledger_authority_file": "a", "ledger_certificate_file": "c"},
            "DEFTER_EDGE_LEDGER_CERTIFICATE_FILE",
        ),
        ({"ledger_authority_file": "a", "ledger_key_file": "k"}, "DEFTER_EDGE_LEDGER_KEY_FILE"),
        ({"ledger_authority_file": "missing"}, "DEFTER_EDGE_LEDGER_AUTHORITY_FILE"),
    ],
)
def test_proof_of_the_edge_that_does_nothing_names_its_setting(fields: dict[str, str], named: str) -> None:
    """An edge that seems to be protected and is not would be worse than one that does not start."""
    with pytest.raises(ConfigurationError) as caught:
        _proof(EdgeSettings(**fields))  # type: ignore[arg-type]
    assert str(caught.value).startswith(named)
