"""Own what a caller proves its identity by: files with a certificate and its key, or with a token."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


class ProofUnusable(ValueError):
    """The files do not go together, or one of them can't be read; `field` is the name in `Proof`."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the files of a proof say, in PEM."""

    authority: bytes | None = None
    key: bytes | None = None
    certificate: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The files that a caller has; with a server's authority there is TLS, and without it plaintext."""

    authority_file: Path | None = None
    """PEM with the authorities of the server's certificate."""
    certificate_file: Path | None = None
    """PEM with the caller's certificate and those between it and its authority."""
    key_file: Path | None = None
    """PEM with the key of that certificate."""
    token_file: Path | None = None
    """The text of a token; read at each call, so it can be replaced at any time."""

    def check(self) -> None:
        """Check that the files go together.

        Raises:
            ProofUnusable: one would do nothing without another, or both proofs are given.
        """
        if self.authority_file is None:
            for field in ("certificate_file", "key_file", "token_file"):
                if getattr(self, field) is not None:
                    raise ProofUnusable(field, "does nothing without TLS, which needs the server's authority")
        if self.certificate_file is None and self.key_file is not None:
            raise ProofUnusable("key_file", "does nothing without its certificate")
        if self.key_file is None and self.certificate_file is not None:
            raise ProofUnusable("certificate_file", "does nothing without its key")
        if self.token_file is not None and self.certificate_file is not None:
            raise ProofUnusable("token_file", "a server takes a certificate or a token, not both")

    def stamps(self) -> tuple[object, ...]:
        """Return what changes with each replaced certificate, key or authority; cheaper than reading them."""
        return tuple(map(_stamp, (self.authority_file, self.certificate_file, self.key_file)))

    def read(self) -> Contents:
        """Return what the files say now; a token is only tried, since it is read again at each call.

        Raises:
            ProofUnusable: a file can't be read, or they do not go together.
        """
        self.check()
        _content("token_file", self.token_file)
        contents = Contents(
            authority=_content("authority_file", self.authority_file),
            key=_content("key_file", self.key_file),
            certificate=_content("certificate_file", self.certificate_file),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.authority_file is not None:
            try:
                context.load_verify_locations(self.authority_file)
            except ssl.SSLError:
                raise ProofUnusable(
                    "authority_file", f"{self.authority_file}: no certificates in PEM"
                ) from None
        if self.certificate_file is not None:
            try:
                context.load_cert_chain(self.certificate_file, self.key_file, password="")
            except (ssl.SSLError, ValueError):
                raise ProofUnusable("key_file", f"{self.key_file}: not the key of the certificate") from None
        return contents


def _stamp(file: Path | None) -> tuple[int, ...] | None:
    if file is None:
        return None
    try:
        stat = file.stat()
    except OSError:
        return ()
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _content(field: str, file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise ProofUnusable(field, f"{file}: {error.strerror}") from None
