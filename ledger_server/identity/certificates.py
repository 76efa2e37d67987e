"""Owns the identity that a client certificate proves, under the authority in force."""

from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from ledger_server.domain.errors import (
    CertificateExpired,
    CertificateIdentityUnclear,
    CertificateNotTrusted,
    CertificateNotYetValid,
)
from ledger_server.identity.caller import TOKEN_PREFIX, Caller

LEAST_RSA_BITS: Final = 2_048
_LONGEST_IDENTITY: Final = 255


class Authority:
    """The authorities whose certificates prove an identity."""

    def __init__(self, pem: bytes) -> None:
        """Read the authorities' certificates.

        Raises:
            ValueError: there is none, or one of them is broken or no authority's.
        """
        try:
            roots = x509.load_pem_x509_certificates(pem)
        except ValueError:
            raise ValueError("it has no certificates in PEM") from None
        for root in roots:
            if not _is_authority(root):
                raise ValueError(f"{root.subject.rfc4514_string()} is not an authority's certificate")
        self._store = Store(roots)

    def caller(self, chain: bytes, now: datetime) -> tuple[Caller, datetime]:
        """Return whose certificate it is, and until when that counts: the first end of what proved it.

        Args:
            chain: PEM, the caller's certificate first, then those between it and the authority.
        Raises:
            CertificateExpired, CertificateNotYetValid: by `now`, which has a time zone.
            CertificateNotTrusted: it is not of this authority, not for clients, or broken.
            CertificateIdentityUnclear: it does not name exactly one caller.
        """
        certificate, between = _read(chain)
        check_time(certificate, now)
        for each in (certificate, *between):
            check_strength(each)
        verifier = (
            PolicyBuilder()
            .store(self._store)
            .time(now)
            .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=_FOR_CLIENTS)
            .build_client_verifier()
        )
        try:
            proved = verifier.verify(certificate, between).chain
        except VerificationError as error:
            raise CertificateNotTrusted(problem=error) from None
        caller = Caller(identity_of(certificate))
        return caller, min(each.not_valid_after_utc for each in proved)


def check_time(certificate: x509.Certificate, now: datetime) -> None:
    """Check a certificate against the time alone.

    Raises:
        CertificateExpired, CertificateNotYetValid: it is not its time.
    """
    if now > certificate.not_valid_after_utc:
        raise CertificateExpired(expire_time=certificate.not_valid_after_utc.isoformat())
    if now < certificate.not_valid_before_utc:
        raise CertificateNotYetValid(valid_time=certificate.not_valid_before_utc.isoformat())


def check_strength(certificate: x509.Certificate) -> None:
    """Check that nobody finds a certificate's key by trying.

    Raises:
        CertificateNotTrusted: the key is too short.
    """
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        raise CertificateNotTrusted(problem=f"an RSA key of less than {LEAST_RSA_BITS} bits")


def identity_of(certificate: x509.Certificate) -> str:
    """Return the one name that a certificate stands for: its URI, or without any its DNS name in lower case.

    Raises:
        CertificateIdentityUnclear: there is none or more than one, or it is none that may be an identity.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise CertificateIdentityUnclear(problem="no subject alternative name") from None
    except (ValueError, x509.UnsupportedGeneralNameType):
        raise CertificateIdentityUnclear(problem="its extensions can't be read") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    found = uris or [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    if len(found) != 1:
        raise CertificateIdentityUnclear(problem=f"{len(found)} {'URIs' if uris else 'DNS names'}")
    identity = found[0]
    # A URI has a colon and a DNS name has none, so that neither can pass for the other.
    if (":" in identity) != bool(uris) or identity.lower().startswith(TOKEN_PREFIX):
        raise CertificateIdentityUnclear(
            problem="the name is of a form that identities of certificates never have"
        )
    # Characters beyond ASCII look like others; URIs have them percent-encoded, and DNS names as punycode.
    if not identity.isascii() or not identity.isprintable() or len(identity) > _LONGEST_IDENTITY:
        raise CertificateIdentityUnclear(problem="more than 255 characters, or not printable ASCII")
    if "*" in identity or " " in identity:
        raise CertificateIdentityUnclear(problem="a wildcard or a blank")
    return identity


def _read(chain: bytes) -> tuple[x509.Certificate, list[x509.Certificate]]:
    try:
        certificate, *between = x509.load_pem_x509_certificates(chain)
        certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateNotTrusted(problem="it can't be read") from None
    return certificate, between


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _check_usage(_: Policy, __: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    if usage is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise ValueError("it is not for clients")


# Web servers' rules for names do not apply to services; what a certificate is for does.
_FOR_CLIENTS: Final = ExtensionPolicy.permit_all().may_be_present(
    x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_usage
)
