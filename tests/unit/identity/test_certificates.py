"""A certificate proves one name, if the authority in force issued it for clients and it is its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ledger_server.domain import errors
from ledger_server.identity.caller import Caller
from ledger_server.identity.certificates import Authority
from tests.support.certificates import CLIENT, SERVER, TestAuthority

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ISSUING = TestAuthority()
EDGE = "spiffe://casino.example/edge"


@pytest.mark.parametrize(
    ("uris", "dns", "identity"),
    [
        ([EDGE], [], EDGE),
        ([EDGE], ["edge.casino.example", "edge"], EDGE),
        ([], ["Edge.Casino.example"], "edge.casino.example"),
        (["https://casino.example/edge"], [], "https://casino.example/edge"),
    ],
)
def test_name_certificate_by_its_uri_else_by_its_dns_name(
    uris: list[str], dns: list[str], identity: str
) -> None:
    """The common name, which is a URI here, counts for nothing."""
    issued = ISSUING.issue(uris=uris, dns=dns)
    assert Authority(ISSUING.root.pem).caller(issued.pem, NOW)[0] == Caller(identity)


@pytest.mark.parametrize(
    ("uris", "dns"),
    [
        ([], []),
        ([EDGE, EDGE + "2"], []),
        ([], ["a.example", "b.example"]),
        ([], ["*.example"]),
        (["spiffe://casino.example/*"], []),
        (["token:ada"], []),
        (["TOKEN:ada"], []),
        (["spiffe://casino.example/a b"], []),
        (["spiffe://casino.example/" + "a" * 300], []),
        (["edge.casino.example"], []),
        (["spiffe://casino.example/\x7fedge"], []),
    ],
)
def test_name_certificate_without_one_clear_name_is_refused(uris: list[str], dns: list[str]) -> None:
    """Several names, a wildcard, and what might pass for a token or a DNS name stand for nobody."""
    issued = ISSUING.issue(uris=uris, dns=dns)
    with pytest.raises(errors.CertificateIdentityUnclear):
        Authority(ISSUING.root.pem).caller(issued.pem, NOW)


@pytest.mark.parametrize("seconds", [-86_400, -1, 0, 1, 86_400])
def test_certificate_counts_in_its_time_alone(seconds: int) -> None:
    """Both ends of its time belong to it."""
    begin, end = NOW, NOW + timedelta(hours=1)
    issued = ISSUING.issue(uris=[EDGE], valid_from=begin, valid_until=end)
    authority = Authority(ISSUING.root.pem)
    for at, reason, refused in (
        (begin, errors.CertificateNotYetValid, seconds < 0),
        (end, errors.CertificateExpired, seconds > 0),
    ):
        now = at + timedelta(seconds=seconds)
        if refused:
            with pytest.raises(reason):
                authority.caller(issued.pem, now)
        elif begin <= now <= end:
            assert authority.caller(issued.pem, now)[0].identity == EDGE


def test_certificate_of_another_authority_is_not_trusted() -> None:
    """Not even of one with the same name; with both authorities in the file, both are."""
    other = TestAuthority()
    issued = other.issue(uris=[EDGE])
    with pytest.raises(errors.CertificateNotTrusted):
        Authority(ISSUING.root.pem).caller(issued.pem, NOW)
    assert Authority(ISSUING.root.pem + other.root.pem).caller(issued.pem, NOW)[0].identity == EDGE


def test_certificate_that_another_one_has_signed_is_not_trusted() -> None:
    """A service can't issue identities with its own certificate."""
    edge = ISSUING.issue(uris=[EDGE])
    thief = TestAuthority()
    thief.root = edge
    issued = thief.issue(uris=["spiffe://casino.example/console"])
    with pytest.raises(errors.CertificateNotTrusted):
        Authority(ISSUING.root.pem).caller(issued.pem + edge.pem, NOW)


@pytest.mark.parametrize(("usages", "trusted"), [(CLIENT, True), (None, True), (SERVER, False)])
def test_certificate_for_servers_is_no_identity(usages: tuple[object, ...] | None, trusted: bool) -> None:
    """A server's certificate that is stolen is no caller's."""
    issued = ISSUING.issue(uris=[EDGE], usages=usages)  # type: ignore[arg-type]
    authority = Authority(ISSUING.root.pem)
    if trusted:
        assert authority.caller(issued.pem, NOW)[0].identity == EDGE
    else:
        with pytest.raises(errors.CertificateNotTrusted):
            authority.caller(issued.pem, NOW)


@pytest.mark.parametrize(
    "pem", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_broken_certificate_is_refused(pem: bytes) -> None:
    """As a caller's with its reason, as an authority's with a sentence for the operator."""
    with pytest.raises(errors.CertificateNotTrusted):
        Authority(ISSUING.root.pem).caller(pem, NOW)
    with pytest.raises(ValueError, match="no certificates"):
        Authority(pem)


def test_certificate_of_a_service_is_no_authority() -> None:
    """An authority file with the wrong file in it is told at once."""
    with pytest.raises(ValueError, match="not an authority"):
        Authority(ISSUING.issue(uris=[EDGE]).pem)


def test_identity_counts_until_the_first_of_its_chain_ends() -> None:
    """Whoever remembers an identity asks again by then: the leaf, what is between, or the authority."""
    for root, leaf in ((timedelta(hours=1), timedelta(hours=2)), (timedelta(hours=2), timedelta(hours=1))):
        issuing = TestAuthority(valid_until=NOW + root)
        issued = issuing.issue(uris=[EDGE], valid_until=NOW + leaf)
        _, end = Authority(issuing.root.pem).caller(issued.pem, NOW)
        assert end == NOW + timedelta(hours=1)


def test_short_rsa_key_proves_nothing() -> None:
    """As a token's does not."""
    issued = ISSUING.issue(uris=[EDGE], key=rsa.generate_private_key(65_537, 1_024))
    with pytest.raises(errors.CertificateNotTrusted):
        Authority(ISSUING.root.pem).caller(issued.pem, NOW)
