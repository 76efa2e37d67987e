"""A server is open on loopback, or guarded with all that this needs; all else is refused by name."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ledger_server.process.identity_settings import guarded, is_loopback
from ledger_server.process.settings import Settings

FILE = Path("file")
VALUES: dict[str, Any] = {
    "tls_certificate_file": FILE,
    "tls_key_file": FILE,
    "client_authority_file": FILE,
    "token_keys_file": FILE,
    "token_issuer": "issuer",
    "token_audience": "audience",
    "token_port": 0,
    "policy_file": FILE,
}
TLS = {"tls_certificate_file", "tls_key_file", "policy_file"}
TOKENS = {"token_keys_file", "token_issuer", "token_audience"}
OPEN: frozenset[str] = frozenset()
GUARDED = {
    frozenset(TLS | {"client_authority_file"}),
    frozenset(TLS | TOKENS),
    frozenset(TLS | TOKENS | {"client_authority_file", "token_port"}),
}
CHOICES = [
    frozenset(name for name, there in zip(VALUES, bits, strict=True) if there)
    for bits in product((False, True), repeat=len(VALUES))
]


def settings(names: frozenset[str], host: str) -> Settings:
    """Return settings with these set."""
    return Settings(host=host, **{name: VALUES[name] for name in names})


def test_two_ports_are_two() -> None:
    """Else each connection would come to one of two kinds, as the kernel deals them out."""
    whole = {name: VALUES[name] for name in TLS | TOKENS | {"client_authority_file"}}
    with pytest.raises(ValueError, match=r"^DEFTER_TOKEN_PORT: "):
        guarded(Settings(port=7, token_port=7, **whole))
    assert guarded(Settings(port=7, token_port=8, **whole)) is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_each_choice_of_settings_is_whole_or_refused_by_name(host: str) -> None:
    """Of all 256 choices, one is open (on loopback alone) and three are guarded."""
    assert len(set(CHOICES)) == 256
    for names in CHOICES:
        if names == OPEN and is_loopback(host):
            assert guarded(settings(names, host)) is None
        elif names in GUARDED:
            assert guarded(settings(names, host)) is not None
        else:
            with pytest.raises(ValueError, match=r"^DEFTER_[A-Z_]+: ") as caught:
                guarded(settings(names, host))
            named = str(caught.value).partition(":")[0]
            assert named.removeprefix("DEFTER_").lower() in {*VALUES, "host"}


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("[::]", False),
        ("", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("128.0.0.1", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:
    """What is not known to be loopback is none."""
    assert is_loopback(host) == loopback
