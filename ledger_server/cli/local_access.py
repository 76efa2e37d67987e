"""Owns who may call a server of `defter up`: whoever has the files that it makes for this machine.

A guarded server is as easy to begin with as an open one, so nobody gets used to one without identities.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from defter_client import Proof
from ledger_server.cli import certificate_folder as files
from ledger_server.identity.issuing import sign_token
from ledger_server.process.settings import Settings

FOLDER: Final = Path(".defter") / "certs"
ISSUER: Final = "defter-up"
AUDIENCE: Final = "defter"
PERSON: Final = "ada"
_POLICY: Final = "policy.toml"
_ENVIRONMENT: Final = "environment"
_LIFE: Final = timedelta(days=365)
# A server that begins now is left running for a while.
_LEAST_LEFT: Final = timedelta(days=30)
_TOKEN_LIFE: Final = timedelta(hours=1)
_POLICY_TEXT: Final = """\
# Who may do what on this machine. `defter up` made it and leaves it as it is; what is changed counts at once.
# docs/operations/policy.example.toml has the roles of a real installation.

[[rule]]
name = "operator"               # the certificate that `defter up` tells for grpcurl and for commands
identities = ["spiffe://defter.example/operator"]
methods = ["*"]
tenants = ["*"]
acts_for = ["*"]                # commands say the user of this machine, or `--as`

[[rule]]
name = "people"                 # every token that is signed with token.key
identities = ["token:*"]
methods = ["*"]
tenants = ["*"]

[[rule]]
name = "edge"
identities = ["spiffe://defter.example/edge"]
methods = ["defter.payments.v1.ProviderEventService/IngestProviderEvents"]
tenants = ["*"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """The ways in which a server of `defter up` is called."""

    target: str
    """`host:port` for the operator, and for everyone where the server is open."""
    proof: Proof | None = None
    person_target: str
    """`host:port` for a person."""
    person_proof: Proof | None = None
    grpcurl: str
    """How grpcurl is begun."""
    told: tuple[str, ...] = ()
    """What somebody has to know who wants to call it, in lines."""


def open_ways(target: str) -> Ways:
    """Return the way to a server that is open to everyone on this machine."""
    return Ways(target=target, person_target=target, grpcurl="grpcurl -plaintext")


class LocalAccess:
    """The files of a guarded server on this machine, and of those who call it."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Take a folder, whether or not there is anything in it."""
        self.folder = folder

    def ensure(self, host: str) -> bool:
        """Make what is missing, and certificates anew that are about to end; return whether any were made.

        Args:
            host: the address that the server listens on.
        Raises:
            OSError: a file can't be written.
        """
        now = datetime.now(UTC)
        hosts = tuple(dict.fromkeys([host, "localhost", "127.0.0.1", "::1"]))
        made = not files.are_there_until(self.folder, now + _LEAST_LEFT, hosts)
        if made:
            files.make_certificates(self.folder, domain=files.DOMAIN, hosts=hosts, now=now, life=_LIFE)
        if not self.policy_file.exists():
            files.write_file(self.policy_file, _POLICY_TEXT.encode())
        return made

    @property
    def policy_file(self) -> Path:
        """The policy, which is its owner's once it is made."""
        return self.folder / _POLICY

    @property
    def operator(self) -> Proof:
        """The proof of the operator, who may do everything."""
        return self._proof("operator")

    @property
    def edge(self) -> Proof:
        """The proof of the edge."""
        return self._proof("edge")

    def person(self, subject: str = PERSON) -> Proof:
        """Return the proof of a person, whose token counts for an hour."""
        token = sign_token(
            self._signing_key.read_bytes(),
            subject=subject,
            issuer=ISSUER,
            audience=AUDIENCE,
            claims={},
            now=datetime.now(UTC),
            life=_TOKEN_LIFE,
        )
        file = self.folder / f"{subject}.token"
        files.write_file(file, token.encode(), secret=True)
        return Proof(authority_file=self._authority, token_file=file)

    @property
    def console(self) -> Mapping[str, Any]:
        """The settings with which a console signs for people to this server."""
        return {
            "ledger_authority_file": self._authority,
            "signing_key_file": self._signing_key,
            "token_issuer": ISSUER,
            "token_audience": AUDIENCE,
        }

    def settings(self, settings: Settings) -> Settings:
        """Return the settings with those of a guarded server; tokens come in on the next port."""
        behind = min(settings.port + 1, 65_535) if settings.port else 0
        return settings.model_copy(
            update={
                "tls_certificate_file": files.certificate_file(self.folder, files.SERVER),
                "tls_key_file": files.key_file(self.folder, files.SERVER),
                "client_authority_file": self._authority,
                "policy_file": self.policy_file,
                "token_keys_file": self.folder / files.TOKEN_KEYS,
                "token_issuer": ISSUER,
                "token_audience": AUDIENCE,
                "token_port": behind if settings.token_port is None else settings.token_port,
            }
        )

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment of a server that takes these certificates, and no tokens."""
        return {
            "DEFTER_TLS_CERTIFICATE_FILE": str(files.certificate_file(self.folder, files.SERVER)),
            "DEFTER_TLS_KEY_FILE": str(files.key_file(self.folder, files.SERVER)),
            "DEFTER_CLIENT_AUTHORITY_FILE": str(self._authority),
            "DEFTER_POLICY_FILE": str(self.policy_file),
        }

    def ways(self, target: str, token_target: str, *, program: str) -> Ways:
        """Return the ways to a running server, and write the files that they need.

        Args:
            target: where certificates are wanted.
            token_target: where tokens are.
            program: how `defter` is begun.
        """
        environment = self.write_environment(target)
        return Ways(
            target=target,
            proof=self.operator,
            person_target=token_target,
            person_proof=self.person(),
            grpcurl=self.grpcurl(),
            told=(
                f"callers: a certificate of {self.folder}, or a token on {token_target}",
                f"policy: {self.policy_file} says what they may do",
                f"commands: `. {environment}` makes them find the server, as its operator",
                f"a person: {self.grpcurl_as_person(program)} {token_target} list",
            ),
        )

    def grpcurl(self) -> str:
        """Return how grpcurl is begun as the operator."""
        operator = self.operator
        words = ["grpcurl", "-cacert", operator.authority_file, "-cert", operator.certificate_file]
        return shlex.join(map(str, [*words, "-key", operator.key_file]))

    def grpcurl_as_person(self, program: str) -> str:
        """Return how grpcurl is begun as a person.

        Args:
            program: how `defter` is begun.
        """
        words = [program, "token", "issue", PERSON, "--key", self._signing_key]
        issue = shlex.join(map(str, [*words, "--issuer", ISSUER, "--audience", AUDIENCE]))
        return f'grpcurl -cacert {shlex.quote(str(self._authority))} -H "authorization: Bearer $({issue})"'

    def write_environment(self, target: str) -> Path:
        """Write a file for a shell, with which commands find the server and are the operator; return it."""
        variables: Mapping[str, object] = {
            "DEFTER_SERVER": target,
            "DEFTER_SERVER_AUTHORITY_FILE": self._authority.absolute(),
            "DEFTER_CALLER_CERTIFICATE_FILE": files.certificate_file(self.folder, "operator").absolute(),
            "DEFTER_CALLER_KEY_FILE": files.key_file(self.folder, "operator").absolute(),
        }
        file = self.folder / _ENVIRONMENT
        lines = [f"export {name}={shlex.quote(str(value))}\n" for name, value in variables.items()]
        files.write_file(file, "".join(lines).encode())
        return file

    @property
    def _authority(self) -> Path:
        return self.folder / files.AUTHORITY

    @property
    def _signing_key(self) -> Path:
        return self.folder / files.SIGNING_KEY

    def _proof(self, name: str) -> Proof:
        return Proof(
            authority_file=self._authority,
            certificate_file=files.certificate_file(self.folder, name),
            key_file=files.key_file(self.folder, name),
        )
