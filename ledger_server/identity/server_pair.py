"""Owns which certificate and key a server can be reached with."""

from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from ledger_server.identity.certificates import LEAST_RSA_BITS

_CURVES: Final = (SECP256R1, SECP384R1)


def server_pair(chain: bytes, pem: bytes, now: datetime) -> tuple[bytes, bytes]:
    """Return a server's key and certificate, both in PEM, if callers can connect by them.

    gRPC takes every pair that it can read, and then no connection comes about.

    Args:
        chain: the certificate, then those between it and its authority.
        pem: its key.
    Raises:
        ValueError: they can't be read, are not of one pair (only one of them was replaced so far), not for
            servers, not of this time, or of a kind that TLS of gRPC does not take.
    """
    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it has no certificate in PEM") from None
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("DEFTER_TLS_KEY_FILE has no private key in PEM without a password") from None
    if _bytes(key.public_key()) != _bytes(public):
        raise ValueError("DEFTER_TLS_KEY_FILE is the key of another certificate")
    if not _is_taken(public):
        raise ValueError(f"its key is neither RSA of {LEAST_RSA_BITS} bits nor on the curve P-256 or P-384")
    _check_usage(certificate)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ValueError(
            f"it counts from {certificate.not_valid_before_utc} to {certificate.not_valid_after_utc}"
        )
    return pem, chain


def _is_taken(public: object) -> bool:
    if isinstance(public, RSAPublicKey):
        return public.key_size >= LEAST_RSA_BITS
    return isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, _CURVES)


def _check_usage(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        raise ValueError("it is not for servers (extended key usage)")


def _bytes(key: object) -> bytes:
    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return found
