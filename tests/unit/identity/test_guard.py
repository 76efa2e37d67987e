"""Who calls is what the connection and the metadata of the call prove, whatever else they say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from ledger_server.domain import errors
from ledger_server.identity.certificates import Authority
from ledger_server.identity.policy import Policy
from ledger_server.identity.tokens import Expected, TokenKeys
from ledger_server.rpc.guard import Context, Guard, InForce, credentials_of
from tests.support.certificates import AUDIENCE, ISSUER, Signer, TestAuthority, key_set
from tests.support.guarded import POLICY, authorization

NOW = datetime(2026, 11, 28, tzinfo=UTC)
AUTHORITY, SIGNER = TestAuthority(), Signer()
EDGE = AUTHORITY.issue(uris=["spiffe://d/edge"])
TOKEN = authorization(SIGNER.sign(NOW.timestamp()))
TLS = {"transport_security_type": [b"ssl"]}
CERTIFICATE = {"x509_pem_cert": [EDGE.pem]}
BOTH = InForce(
    policy=Policy(POLICY.encode()),
    authority=Authority(AUTHORITY.root.pem),
    token_keys=TokenKeys(key_set(SIGNER)),
    expected=Expected(issuer=ISSUER, audience=AUDIENCE),
)


class Call:
    """A call as gRPC tells of it."""

    def __init__(self, peer: dict[str, list[bytes]], metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._peer = peer
        self._metadata = metadata

    def auth_context(self) -> dict[str, list[bytes]]:
        """What is known of the connection."""
        return self._peer

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """What came with the call."""
        return self._metadata


def identify(guard: Guard, peer: Any, metadata: tuple[tuple[str, str], ...] = ()) -> str:
    """Return who the guard says is calling."""
    return guard.identify(credentials_of(cast("Context", Call(peer, metadata)))).identity


@pytest.mark.parametrize(
    "security", [{}, {"transport_security_type": [b"local"]}, {"transport_security_type": [b""]}]
)
def test_without_tls_nobody_is_known(security: dict[str, list[bytes]]) -> None:
    """Not by a token, which was readable, and not by what a connection without TLS says of certificates."""
    guard = Guard(BOTH, lambda: NOW)
    for peer in (security, security | CERTIFICATE):
        with pytest.raises(errors.IdentityMissing):
            identify(guard, peer)
        with pytest.raises(errors.TokenOverPlaintext):
            identify(guard, peer, TOKEN)


@pytest.mark.parametrize(
    ("peer", "metadata", "expected"),
    [
        (TLS | CERTIFICATE, (), "spiffe://d/edge"),
        (TLS, TOKEN, "token:ada"),
        (TLS, (("x-identity", "spiffe://d/root"), *TOKEN), "token:ada"),
        (TLS | {"x509_common_name": [b"spiffe://d/root"]}, TOKEN, "token:ada"),
        (TLS | CERTIFICATE | {"x509_pem_cert_chain": [AUTHORITY.root.pem]}, (), "spiffe://d/edge"),
        (TLS | CERTIFICATE | {"x509_pem_cert_chain": [EDGE.pem, AUTHORITY.root.pem]}, (), "spiffe://d/edge"),
        (TLS, (), errors.IdentityMissing),
        (TLS | {"x509_common_name": [b"spiffe://d/root"]}, (), errors.IdentityMissing),
        (TLS | {"x509_pem_cert_chain": [EDGE.pem]}, (), errors.IdentityMissing),
        (TLS, (("x-forwarded-client-cert", "spiffe://d/root"),), errors.IdentityMissing),
        (TLS | CERTIFICATE, TOKEN, errors.IdentityGivenTwice),
        (TLS, TOKEN * 2, errors.IdentityGivenTwice),
    ],
)
def test_proof_is_the_leaf_or_one_token(peer: Any, metadata: Any, expected: Any) -> None:
    """And no header, common name or further certificate."""
    guard = Guard(BOTH, lambda: NOW)
    for _ in range(2):  # the second time from what is remembered
        if isinstance(expected, str):
            assert identify(guard, peer, metadata) == expected
        else:
            with pytest.raises(expected):
                identify(guard, peer, metadata)


@pytest.mark.parametrize("kind", ["authority", "token_keys"])
def test_what_is_remembered_is_forgotten_with_what_it_was_verified_by(kind: str) -> None:
    """A kind of proof that is not configured proves nothing either."""
    guard = Guard(BOTH, lambda: NOW)
    peer, metadata = (TLS | CERTIFICATE, ()) if kind == "authority" else (TLS, TOKEN)
    identify(guard, peer, metadata)
    others: dict[str, list[Any]] = {
        "authority": [None, Authority(TestAuthority().root.pem)],
        "token_keys": [None, TokenKeys(key_set(Signer()))],
    }
    for other in others[kind]:
        guard.in_force = replace(BOTH, **{kind: other})
        with pytest.raises(errors.Unauthenticated):
            identify(guard, peer, metadata)
    guard.in_force = BOTH
    identify(guard, peer, metadata)


def test_what_is_remembered_ends_in_its_time() -> None:
    """To the second, though nothing was replaced."""
    now = NOW
    guard = Guard(BOTH, lambda: now)
    short = AUTHORITY.issue(uris=["spiffe://d/edge"], valid_until=NOW + timedelta(seconds=10))
    peer = TLS | {"x509_pem_cert": [short.pem]}
    token = authorization(SIGNER.sign(NOW.timestamp(), exp=NOW.timestamp() + 10))
    for second in range(20):
        now = NOW + timedelta(seconds=second)
        for caller, metadata, ends in ((peer, (), 11), (TLS, token, 10)):
            if second < ends:
                identify(guard, caller, metadata)
            else:
                with pytest.raises((errors.CertificateExpired, errors.TokenExpired)):
                    identify(guard, caller, metadata)
