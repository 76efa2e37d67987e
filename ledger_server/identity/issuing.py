"""Owns the making of certificates, keys and tokens for development and for small installations."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ledger_server.domain.errors import PersonMalformed
from ledger_server.identity.persons import check_name

ALGORITHM: Final = "ES256"
_LEEWAY: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate with its private key, both in PEM."""

    certificate: bytes
    key: bytes


class Issuer:
    """An authority that was just made; its key is kept nowhere but here."""

    def __init__(self, *, now: datetime, life: timedelta) -> None:
        self._now = now
        self._life = life
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Defter development authority")])
        builder = _builder(name, name, self._key, now, life)
        self._certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate(self) -> bytes:
        """The authority's certificate in PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def server(self, hosts: Sequence[str]) -> Issued:
        """Issue a server's certificate for host names and addresses."""
        names = [host_name(host) for host in hosts]
        return self._issue(hosts[0], names, ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, uri: str) -> Issued:
        """Issue a certificate that proves an identity."""
        return self._issue(uri, [x509.UniformResourceIdentifier(uri)], ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(self, name: str, names: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        certificate = (
            _builder(subject, self._certificate.subject, key, self._now, self._life)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            certificate=certificate.public_bytes(serialization.Encoding.PEM),
            key=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


def new_signing_key(key_id: str) -> bytes:
    """Return a private key for tokens (a JWK), with its id."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _json({**jwt.get_algorithm_by_name(ALGORITHM).to_jwk(key, as_dict=True), **_marks(key_id)})


def with_public_part(key_set: bytes | None, signing_key: bytes) -> bytes:
    """Return a key set with the public part of a signing key added.

    Args:
        key_set: what is there already; None: nothing.
    Raises:
        ValueError: the key set is none, or has a key of that id.
    """
    private = _signing_key(signing_key)
    public = {name: value for name, value in private.items() if name != "d"}
    try:
        keys = [] if key_set is None else list(json.loads(key_set)["keys"])
        known = {key["kid"] for key in keys}
    except (ValueError, KeyError, TypeError):
        raise ValueError("it is no key set") from None
    if public["kid"] in known:
        raise ValueError(f"it has a key of the id {public['kid']!r} already")
    return _json({"keys": [*keys, public]})


def sign_token(
    signing_key: bytes,
    *,
    subject: str,
    issuer: str,
    audience: str,
    claims: Mapping[str, Sequence[str]],
    now: datetime,
    life: timedelta,
) -> str:
    """Sign a token.

    Args:
        claims: further ones, each a list of texts.
    Raises:
        ValueError: the key is no signing key, the subject is no person's name, or a claim is one that every
            token has.
    """
    if not subject:
        raise ValueError("a token is for somebody: its subject is empty")
    try:
        check_name(subject)
    except PersonMalformed as refused:
        raise ValueError(f"{subject!r}: {refused.sentence}") from None
    own = {
        "sub": subject,
        "iss": issuer,
        "aud": audience,
        "iat": int(now.timestamp()),
        # Clocks of other machines may be a little behind, and a server gives no leeway.
        "nbf": int((now - _LEEWAY).timestamp()),
        "exp": int((now + life).timestamp()),
    }
    if taken := own.keys() & claims.keys():
        raise ValueError(f"{min(taken)} is not a claim of yours to say")
    private = _signing_key(signing_key)
    try:
        key = jwt.PyJWK(private)
    except jwt.PyJWTError:
        raise ValueError("it is no signing key") from None
    told = {**own, **{name: list(values) for name, values in claims.items()}}
    return jwt.encode(told, key.key, algorithm=ALGORITHM, headers={"kid": private["kid"]})


def _signing_key(text: bytes) -> dict[str, Any]:
    try:
        key = json.loads(text)
    except ValueError:
        key = None
    if not isinstance(key, dict) or not key.get("d") or not key.get("kid") or key.get("alg") != ALGORITHM:
        raise ValueError("it is no signing key; `defter token key` makes one")
    return key


def _marks(key_id: str) -> dict[str, str]:
    return {"kid": key_id, "alg": ALGORITHM, "use": "sig"}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def host_name(host: str) -> x509.GeneralName:
    """Return a host as certificates name it: an address or a DNS name."""
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LEEWAY)
        .not_valid_after(now + life)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
