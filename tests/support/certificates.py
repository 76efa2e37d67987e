"""Own the authorities, certificates, keys and tokens of tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_AWAY = datetime(2090, 1, 1, tzinfo=UTC)
ISSUER = "https://login.example"
AUDIENCE = "defter"


@dataclass(frozen=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key in PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


class TestAuthority:
    """Issues certificates."""

    __test__ = False

    def __init__(self, name: str = "authority", *, valid_until: datetime = FAR_AWAY) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(LONG_AGO)
            .not_valid_after(valid_until)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.root = Issued(certificate, key)

    def below(self, *, uris: Sequence[str] = ()) -> TestAuthority:
        """Return an authority that this one has issued, with its certificate in every chain of its own."""
        other = TestAuthority("below")
        template = other.root.certificate
        builder = (
            x509.CertificateBuilder()
            .subject_name(template.subject)
            .issuer_name(self.root.certificate.subject)
            .public_key(template.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(LONG_AGO)
            .not_valid_after(FAR_AWAY)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root.key.public_key()), critical=False
            )
        )
        for extension in template.extensions:
            builder = builder.add_extension(extension.value, critical=extension.critical)
        if uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        other.root = Issued(builder.sign(self.root.key, hashes.SHA256()), other.root.key)
        return other

    def issue(
        self,
        *,
        uris: Sequence[str] = (),
        dns: Sequence[str] = (),
        usages: Sequence[x509.ObjectIdentifier] | None = CLIENT,
        valid_from: datetime = LONG_AGO,
        valid_until: datetime = FAR_AWAY,
        key: Any = None,
    ) -> Issued:
        """Issue a certificate with these names."""
        key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "spiffe://d/common-name")]))
            .issuer_name(self.root.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(valid_from)
            .not_valid_after(valid_until)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root.key.public_key()), critical=False
            )
        )
        names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usages is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        return Issued(builder.sign(self.root.key, hashes.SHA256()), key)


class Signer:
    """Signs tokens with one key."""

    def __init__(self, algorithm: str = "ES256", key_id: str = "one") -> None:
        self.algorithm = algorithm
        self.key_id = key_id
        self.key: Any = {
            "RS256": lambda: rsa.generate_private_key(65_537, 2_048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }[algorithm]()

    @property
    def public(self) -> dict[str, Any]:
        """The public key as a JWK."""
        kind: Any = jwt.get_algorithm_by_name(self.algorithm)
        return {
            **json.loads(kind.to_jwk(self.key.public_key())),
            "kid": self.key_id,
            "alg": self.algorithm,
            "use": "sig",
        }

    @property
    def public_pem(self) -> bytes:
        """The public key in PEM."""
        pem: bytes = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem

    def sign(self, now: float, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Sign a token that is right unless claims say otherwise; a claim that is None is left out."""
        told = {
            "sub": "ada",
            "iss": ISSUER,
            "aud": AUDIENCE,
            "exp": now + 60,
            "nbf": now - 60,
            **claims,
        }
        return jwt.encode(
            {name: claim for name, claim in told.items() if claim is not None},
            self.key,
            algorithm=self.algorithm,
            headers={"kid": self.key_id, **(header or {})},
        )


def key_set(*signers: Signer) -> bytes:
    """Return the public keys as a key set."""
    return json.dumps({"keys": [signer.public for signer in signers]}).encode()


def in_a_minute(now: datetime) -> datetime:
    """Return the time a minute later."""
    return now + timedelta(minutes=1)
