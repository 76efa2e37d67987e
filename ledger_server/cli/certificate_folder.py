"""Owns the folder with certificates and keys for development: what is in it, and who may read it."""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from ledger_server.identity.issuing import Issued, Issuer, host_name, new_signing_key, with_public_part

DOMAIN: Final = "defter.example"
SERVICES: Final = ("operator", "edge", "console", "scheduler", "game")
AUTHORITY: Final = "authority.pem"
SERVER: Final = "server"
SIGNING_KEY: Final = "token.key"
TOKEN_KEYS: Final = "token-keys.json"  # noqa: S105  # the name of a file
_SECRET_MODE: Final = 0o600


def make_certificates(
    folder: Path, *, domain: str, hosts: Sequence[str], now: datetime, life: timedelta
) -> None:
    """Make an authority, certificates of a server and of services, and a key for tokens.

    The authority's own key is not kept: who finds the folder can't make further identities.

    Args:
        folder: is made; what it has by these names is replaced.
        domain: of the identities: `spiffe://domain/edge`.
        hosts: names and addresses of the server.
    Raises:
        OSError: a file can't be written.
        ValueError: a name is none.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    issuer = Issuer(now=now, life=life)
    write_file(folder / AUTHORITY, issuer.certificate)
    _write_pair(folder, SERVER, issuer.server(hosts))
    for name in SERVICES:
        _write_pair(folder, name, issuer.client(identity_of(name, domain)))
    signing_key = new_signing_key("development")
    write_file(folder / SIGNING_KEY, signing_key, secret=True)
    write_file(folder / TOKEN_KEYS, with_public_part(None, signing_key))


def identity_of(service: str, domain: str) -> str:
    """Return the identity of a service."""
    return f"spiffe://{domain}/{service}"


def certificate_file(folder: Path, name: str) -> Path:
    """Return the file with the certificate of the server or of a service."""
    return folder / f"{name}.pem"


def key_file(folder: Path, name: str) -> Path:
    """Return the file with the key of that certificate."""
    return folder / f"{name}.key"


def are_there_until(folder: Path, time: datetime, hosts: Sequence[str]) -> bool:
    """Whether the folder has all that `make_certificates` makes, and it counts until then for these hosts."""
    pairs = (SERVER, *SERVICES)
    names = [AUTHORITY, SIGNING_KEY, TOKEN_KEYS, *(f"{name}.key" for name in pairs)]
    if not all((folder / name).is_file() for name in names):
        return False
    try:
        read = [x509.load_pem_x509_certificate(certificate_file(folder, name).read_bytes()) for name in pairs]
        of_server = read[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
        return False
    return min(each.not_valid_after_utc for each in read) > time and all(
        host_name(host) in of_server for host in hosts
    )


def write_file(file: Path, content: bytes, *, secret: bool = False) -> None:
    """Replace a file at once; a secret one can be read by its owner alone from the first moment on."""
    new = file.with_name(f"{file.name}.new")
    opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _SECRET_MODE if secret else 0o644)
    with os.fdopen(opened, "wb") as writing:
        writing.write(content)
    new.replace(file)


def _write_pair(folder: Path, name: str, issued: Issued) -> None:
    write_file(key_file(folder, name), issued.key, secret=True)
    write_file(certificate_file(folder, name), issued.certificate)
