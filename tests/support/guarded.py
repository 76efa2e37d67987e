"""Own guarded servers of tests: their files, and callers with certificates and tokens."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.support.certificates import AUDIENCE, ISSUER, SERVER, Issued, Signer, TestAuthority, key_set
from tests.support.service import Service, serving
from tests.support.wire import CHANNEL_OPTIONS

POLICY = """
[[rule]]
name = "root"
identities = ["spiffe://d/root", "token:root"]
methods = ["*"]
tenants = ["*"]

[[rule]]
name = "console"
identities = ["spiffe://d/console", "spiffe://d/other-console"]
methods = ["*"]
tenants = ["*"]
acts_for = ["*"]

[[rule]]
name = "service that acts for nobody"
identities = ["spiffe://d/service"]
methods = ["*"]
tenants = ["*"]

[[rule]]
name = "people"
claims = { groups = ["staff"] }
methods = ["*"]
tenants = ["*"]

[[rule]]
name = "root of another tenant"
identities = ["spiffe://d/elsewhere", "token:elsewhere"]
methods = ["*"]
tenants = ["elsewhere"]

[[rule]]
name = "another method"
identities = ["spiffe://d/stranger", "token:stranger"]
methods = ["defter.ledger.v1.AnotherService/Call"]
tenants = ["*"]

[[rule]]
name = "edge"
identities = ["spiffe://d/edge"]
methods = ["defter.payments.v1.ProviderEventService/IngestProviderEvents"]
tenants = ["casino"]
"""


class Guarded:
    """The files of a guarded server, and callers of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = TestAuthority()
        self.signer = Signer("ES256", key_id="one")
        self.service: Service | None = None
        self.renew_certificate()
        self.write("policy.toml", POLICY.encode())
        self.write("authority.pem", self.authority.root.pem)
        self.write("keys.json", key_set(self.signer))

    def write(self, name: str, content: bytes) -> None:
        """Replace a file at once, as a deployment does."""
        new = self.folder / f"{name}.new"
        new.write_bytes(content)
        new.replace(self.folder / name)

    def renew_certificate(self) -> None:
        """Give the server another certificate."""
        server = self.authority.issue(dns=["localhost"], usages=SERVER)
        self.write("server.key", server.key_pem)
        self.write("server.pem", server.pem)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a server that takes certificates and tokens."""
        return {
            "tls_certificate_file": self.folder / "server.pem",
            "tls_key_file": self.folder / "server.key",
            "client_authority_file": self.folder / "authority.pem",
            "token_keys_file": self.folder / "keys.json",
            "token_issuer": ISSUER,
            "token_audience": AUDIENCE,
            "token_port": 0,
            "policy_file": self.folder / "policy.toml",
        }

    def channel(
        self, issued: Issued | None = None, *between: Issued, port: int | None = None
    ) -> grpc.aio.Channel:
        """Return a channel of its own connection, with a certificate or without."""
        if port is None:
            assert self.service is not None
            port = self.service.server.port
        credentials = grpc.ssl_channel_credentials(
            self.authority.root.pem,
            None if issued is None else issued.key_pem,
            None if issued is None else issued.pem + b"".join(each.pem for each in between),
        )
        options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options)

    def channel_of(self, identity: str, *, port: int | None = None) -> grpc.aio.Channel:
        """Return a channel with the certificate of an identity."""
        return self.channel(self.authority.issue(uris=[identity]), port=port)

    def token_channel(self) -> grpc.aio.Channel:
        """Return a channel to the port for tokens."""
        assert self.service is not None
        return self.channel(port=self.service.server.token_port)

    def bearer(self, subject: str = "root", **claims: Any) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call with a token."""
        return authorization(self.signer.sign(time.time(), sub=subject, **claims))


def authorization(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata with a token."""
    return (("authorization", f"Bearer {token}"),)


@asynccontextmanager
async def guarding(database_url: str, folder: Path, **settings: Any) -> AsyncIterator[Guarded]:
    """Run a guarded server in this process."""
    guarded = Guarded(folder)
    async with serving(database_url, **guarded.settings, **settings) as service:
        guarded.service = service
        yield guarded
