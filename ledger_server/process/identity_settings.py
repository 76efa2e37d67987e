"""Owns which settings of identity and permission go together: a server is open or guarded."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from ledger_server.identity.tokens import Expected
from ledger_server.process.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """The settings of a guarded server, which are complete."""

    certificate_file: Path
    key_file: Path
    policy_file: Path
    authority_file: Path | None
    token_keys_file: Path | None
    expected: Expected | None
    audit_log_file: Path | None
    """None: the audit log is written among the other log lines."""
    token_port: int | None
    """A port of its own for tokens; None: there is none, or tokens alone come in on the usual port."""


def guarded(settings: Settings) -> Guarded | None:
    """Return the settings of a guarded server; None if the server is an open one.

    Raises:
        ValueError: names a setting that would look like security and do nothing, or that is missing.
    """
    certificate, key, policy = settings.tls_certificate_file, settings.tls_key_file, settings.policy_file
    authority, keys = settings.client_authority_file, settings.token_keys_file
    expected = _expected(settings)
    if certificate is None or key is None:
        _without_tls(settings)
        return None
    if policy is None:
        raise ValueError(
            "DEFTER_POLICY_FILE: not set; with TLS alone everyone who reaches the port could do everything"
        )
    if authority is None and keys is None:
        raise ValueError(
            "DEFTER_POLICY_FILE: a policy is about identities, which need DEFTER_CLIENT_AUTHORITY_FILE or"
            " DEFTER_TOKEN_KEYS_FILE"
        )
    if authority is not None and keys is not None and settings.token_port is None:
        raise ValueError(
            "DEFTER_TOKEN_PORT: not set; with DEFTER_CLIENT_AUTHORITY_FILE callers with tokens"
            " can't use DEFTER_PORT"
        )
    if settings.token_port and settings.token_port == settings.port:
        raise ValueError("DEFTER_TOKEN_PORT: is DEFTER_PORT, where callers with tokens are not let in")
    if settings.token_port is not None and (authority is None or keys is None):
        raise ValueError(
            "DEFTER_TOKEN_PORT: does nothing without both DEFTER_CLIENT_AUTHORITY_FILE and"
            " DEFTER_TOKEN_KEYS_FILE"
        )
    return Guarded(
        certificate_file=certificate,
        key_file=key,
        policy_file=policy,
        authority_file=authority,
        token_keys_file=keys,
        expected=expected,
        audit_log_file=settings.audit_log_file,
        token_port=settings.token_port,
    )


def _expected(settings: Settings) -> Expected | None:
    issuer, audience = settings.token_issuer, settings.token_audience
    if settings.token_keys_file is None:
        for name, value in (("DEFTER_TOKEN_ISSUER", issuer), ("DEFTER_TOKEN_AUDIENCE", audience)):
            if value is not None:
                raise ValueError(f"{name}: does nothing without DEFTER_TOKEN_KEYS_FILE")
        return None
    if issuer is None:
        raise ValueError("DEFTER_TOKEN_ISSUER: not set, so tokens of every issuer would count")
    if audience is None:
        raise ValueError("DEFTER_TOKEN_AUDIENCE: not set, so tokens for other services would count")
    return Expected(issuer=issuer, audience=audience)


def _without_tls(settings: Settings) -> None:
    """Check that a server without TLS has no setting that needs it, and listens on loopback alone."""
    for name, there, other in (
        ("TLS_CERTIFICATE_FILE", settings.tls_certificate_file, "DEFTER_TLS_KEY_FILE"),
        ("TLS_KEY_FILE", settings.tls_key_file, "DEFTER_TLS_CERTIFICATE_FILE"),
        ("CLIENT_AUTHORITY_FILE", settings.client_authority_file, "TLS (DEFTER_TLS_CERTIFICATE_FILE)"),
        ("TOKEN_KEYS_FILE", settings.token_keys_file, "TLS (DEFTER_TLS_CERTIFICATE_FILE)"),
        ("TOKEN_PORT", settings.token_port, "TLS (DEFTER_TLS_CERTIFICATE_FILE)"),
        ("POLICY_FILE", settings.policy_file, "TLS (DEFTER_TLS_CERTIFICATE_FILE)"),
        ("AUDIT_LOG_FILE", settings.audit_log_file, "TLS (DEFTER_TLS_CERTIFICATE_FILE)"),
    ):
        if there is not None:
            raise ValueError(f"DEFTER_{name}: does nothing without {other}")
    if not is_loopback(settings.host):
        raise ValueError(
            f"DEFTER_HOST: {settings.host} is reached from other machines; without TLS"
            " (DEFTER_TLS_CERTIFICATE_FILE) and a policy (DEFTER_POLICY_FILE) only a loopback address will do"
        )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone; a name is not, unless it is `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
