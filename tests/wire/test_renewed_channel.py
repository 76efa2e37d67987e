"""A client that runs for long calls with the certificate that its files have by then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from defter.ledger.v1 import journal_pb2, journal_pb2_grpc, tenant_pb2, tenant_pb2_grpc

from defter_channel import Proof, open_channel
from defter_channel.renewed import RenewedChannel
from defter_client import BlockingLedgerClient, LedgerClient
from tests.support.certificates import Issued, TestAuthority
from tests.support.guarded import Guarded, guarding
from tests.support.patience import HANG_SECONDS

CREATE = tenant_pb2.CreateTenantRequest(tenant_id="casino", idempotency_key="k")
GET = tenant_pb2.GetTenantRequest(tenant_id="casino")
ROOT = "spiffe://d/root"


@pytest.fixture
async def guarded(database_url: str, tmp_path: Path) -> AsyncIterator[Guarded]:
    """A guarded server."""
    (tmp_path / "server").mkdir()
    async with guarding(database_url, tmp_path / "server") as running:
        yield running


class Caller:
    """The files of a caller, which are replaced at once, as a deployment does."""

    def __init__(self, folder: Path, guarded: Guarded) -> None:
        self._folder = folder
        self._write("authority.pem", guarded.authority.root.pem)
        self.replace(guarded.authority.issue(uris=[ROOT]))

    @property
    def proof(self) -> Proof:
        """The files."""
        return Proof(
            authority_file=self._folder / "authority.pem",
            certificate_file=self._folder / "caller.pem",
            key_file=self._folder / "caller.key",
        )

    def replace(self, issued: Issued) -> None:
        """Replace certificate and key."""
        self._write("caller.key", issued.key_pem)
        self._write("caller.pem", issued.pem)

    def _write(self, name: str, content: bytes) -> None:
        new = self._folder / f"{name}.new"
        new.write_bytes(content)
        new.replace(self._folder / name)


@pytest.fixture
def caller(tmp_path: Path, guarded: Guarded) -> Caller:
    """A caller with the identity `root`."""
    return Caller(tmp_path, guarded)


def target_of(guarded: Guarded) -> str:
    """Return where a server listens."""
    assert guarded.service is not None
    return f"localhost:{guarded.service.server.port}"


async def test_replaced_authority_and_certificate_fail_no_call(guarded: Guarded, caller: Caller) -> None:
    """Another authority's certificate counts for calls that begin after it; a stream under way goes on."""
    channel = open_channel(target_of(guarded), caller.proof, [])
    assert isinstance(channel, RenewedChannel)
    async with asyncio.timeout(HANG_SECONDS), channel:
        tenants = tenant_pb2_grpc.TenantServiceStub(channel)
        await tenants.CreateTenant(CREATE)
        watch = journal_pb2_grpc.JournalServiceStub(channel).WatchJournal(
            journal_pb2.WatchJournalRequest(tenant_id="casino", heartbeat_seconds=1)
        )
        first = await watch.read()
        assert isinstance(first, journal_pb2.WatchJournalResponse)
        assert len(first.entries) == 1
        other = TestAuthority("another")
        guarded.write("authority.pem", guarded.authority.root.pem + other.root.pem)
        assert guarded.service is not None
        assert guarded.service.server.identity is not None
        await guarded.service.server.identity.look()
        for authority in (guarded.authority, other, guarded.authority, other):
            caller.replace(authority.issue(uris=[ROOT]))
            channel.look()
            await tenants.GetTenant(GET)
        heartbeat = await watch.read()
        assert isinstance(heartbeat, journal_pb2.WatchJournalResponse)
        assert heartbeat.head_sequence == 1
        # What is left alone: one channel before the current one, for the watch.
        assert sum(not each.is_closed for each in channel._leaving) >= 1
        watch.cancel()


async def test_half_replaced_pair_leaves_the_last_one(guarded: Guarded, caller: Caller) -> None:
    """A key without its certificate is not used, and both are once the certificate is there, too."""
    issued = guarded.authority.issue(uris=[ROOT])
    channel = open_channel(target_of(guarded), caller.proof, [])
    assert isinstance(channel, RenewedChannel)
    async with asyncio.timeout(HANG_SECONDS), channel:
        tenants = tenant_pb2_grpc.TenantServiceStub(channel)
        await tenants.CreateTenant(CREATE)
        first = channel.current()
        caller._write("caller.key", issued.key_pem)
        channel.look()
        assert channel.current() is first
        await tenants.GetTenant(GET)
        caller._write("caller.pem", issued.pem)
        channel.look()
        assert channel.current() is not first
        await tenants.GetTenant(GET)


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_client_looks_by_itself(
    guarded: Guarded, caller: Caller, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A certificate that ends is replaced in time by who issues it, and no call of the client fails."""
    monkeypatch.setattr("defter_channel.watched_files.LOOK_SECONDS", 0.0)
    client, call = _client(kind, target_of(guarded), caller.proof)
    await call("create")
    first = _only_channel(client)._open
    caller.replace(guarded.authority.issue(uris=[ROOT], valid_until=datetime.now(UTC) + timedelta(days=1)))
    await call("get")
    assert _only_channel(client)._open is not first
    closed = client.close()
    if closed is not None:
        await closed


def _client(kind: str, target: str, proof: Proof) -> tuple[Any, Callable[[str], Awaitable[object]]]:
    """Return a client, and what makes one of two calls with it."""
    if kind == "async":
        ledger = LedgerClient(target, proof=proof, timeout_seconds=HANG_SECONDS)
        by_ledger: dict[str, Callable[[], Awaitable[object]]] = {
            "create": lambda: ledger.tenants.create_tenant(CREATE),
            "get": lambda: ledger.tenants.get_tenant(GET),
        }
        return ledger, lambda name: by_ledger[name]()
    blocking = BlockingLedgerClient(target, proof=proof, timeout_seconds=HANG_SECONDS)
    by_blocking: dict[str, Callable[[], object]] = {
        "create": lambda: blocking.tenants.create_tenant(CREATE),
        "get": lambda: blocking.tenants.get_tenant(GET),
    }
    return blocking, lambda name: asyncio.to_thread(by_blocking[name])


def _only_channel(client: Any) -> Any:
    [connection] = client._connections._open
    return connection._channel
