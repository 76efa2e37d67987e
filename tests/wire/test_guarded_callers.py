"""The client, the commands and the edge call a guarded server, with what `defter certs dev` has made."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from defter.ledger.v1 import tenant_pb2
from defter.payments.v1 import payment_pb2, provider_event_pb2

from defter_channel import Proof
from defter_channel.renewed import RenewedChannel
from defter_client import LedgerClient, LedgerError
from ledger_server.operator.connection import subject_of
from tests.support.clock import START
from tests.support.fake_provider import PROVIDER, fake_providers
from tests.support.patience import HANG_SECONDS
from tests.support.requests import timestamp
from tests.support.service import DEFTER, ServerProcess, Service, run_defter, serving
from tests.unit.operator.test_documentation import OPERATIONS
from tools.free_ports import free_port
from webhook_edge.gateway import LedgerGateway
from webhook_edge.verdicts import Refused

CREATE = tenant_pb2.CreateTenantRequest(tenant_id="casino", idempotency_key="k")
GET = tenant_pb2.GetTenantRequest(tenant_id="casino")
ROOT = """
[[rule]]
name = "root"
identities = ["token:root"]
methods = ["*"]
tenants = ["*"]
"""


def an_event(event_id: str) -> payment_pb2.ProviderEvent:
    """Return an event that says nothing."""
    return payment_pb2.ProviderEvent(
        provider=PROVIDER,
        event_id=event_id,
        provider_type="odd",
        payload=b"{}",
        occur_time=timestamp(START),
    )


def proof_of(folder: Path, name: str) -> Proof:
    """Return the proof of a service."""
    return Proof(
        authority_file=folder / "authority.pem",
        certificate_file=folder / f"{name}.pem",
        key_file=folder / f"{name}.key",
    )


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """What `defter certs dev` makes, with the shipped policy and a token that may do everything."""
    made = tmp_path / "certs"
    dev = await run_defter("certs", "dev", str(made))
    assert dev.returncode == 0, dev.stderr
    (made / "policy.toml").write_text((OPERATIONS / "policy.example.toml").read_text() + ROOT)
    words = ["token", "issue", "root", "--key", str(made / "token.key"), "--issuer", "i", "--audience", "a"]
    (made / "root.token").write_text((await run_defter(*words)).stdout)
    return made


@pytest.fixture
async def guarded(database_url: str, folder: Path) -> AsyncIterator[Service]:
    """A server on those files, with the tenant `casino`."""
    files: dict[str, Any] = {
        "tls_certificate_file": folder / "server.pem",
        "tls_key_file": folder / "server.key",
        "client_authority_file": folder / "authority.pem",
        "token_keys_file": folder / "token-keys.json",
        "token_issuer": "i",
        "token_audience": "a",
        "token_port": 0,
        "policy_file": folder / "policy.toml",
    }
    async with serving(database_url, providers=fake_providers(), **files) as service:
        async with by_token(service, folder) as ledger:
            await ledger.tenants.create_tenant(CREATE)
        yield service


def by_token(service: Service, folder: Path) -> LedgerClient:
    """Return a client with the token of `root`."""
    proof = Proof(authority_file=folder / "authority.pem", token_file=folder / "root.token")
    return LedgerClient(f"127.0.0.1:{service.server.token_port}", proof=proof, timeout_seconds=60)


async def test_client_calls_with_certificate(guarded: Service, folder: Path) -> None:
    """What its role allows; what it does not is told by name and not tried again."""
    target = f"localhost:{guarded.server.port}"
    async with LedgerClient(target, proof=proof_of(folder, "console"), timeout_seconds=60) as ledger:
        answer = await ledger.tenants.get_tenant(GET)
        assert answer.tenant.tenant_id == "casino"
        with pytest.raises(LedgerError) as caught:
            await ledger.tenants.create_tenant(CREATE)
    assert caught.value.reason == "PERMISSION_MISSING"
    assert not caught.value.retryable


async def test_switch_tells_who_made_it(guarded: Service, folder: Path) -> None:
    """Whoever looks at a tenant's mode sees the identity and the person behind it, and why."""
    switch = tenant_pb2.SetBalanceEnforcementRequest(
        tenant_id="casino",
        idempotency_key="shadow",
        balance_enforcement=tenant_pb2.BALANCE_ENFORCEMENT_SHADOW,
        reason="moving in",
    )
    async with by_token(guarded, folder) as ledger:
        await ledger.tenants.set_balance_enforcement(switch)
    target = f"localhost:{guarded.server.port}"
    async with LedgerClient(target, proof=proof_of(folder, "console"), timeout_seconds=60) as ledger:
        request = tenant_pb2.GetBalanceEnforcementRequest(tenant_id="casino")
        now = await ledger.tenants.get_balance_enforcement(request)

    assert (now.switched_by.identity, now.switched_by.person) == ("token:root", "root")
    assert now.newest_switch.reason == "moving in"


async def test_client_reads_its_token_at_each_call(guarded: Service, folder: Path) -> None:
    """So a token that is replaced counts without a new client."""
    async with by_token(guarded, folder) as ledger:
        right = (folder / "root.token").read_text()
        (folder / "root.token").write_text("nonsense")
        with pytest.raises(LedgerError) as caught:
            await ledger.tenants.get_tenant(GET)
        assert caught.value.reason == "TOKEN_MALFORMED"
        (folder / "root.token").write_text(right)
        await ledger.tenants.get_tenant(GET)


async def test_edge_brings_events_and_takes_a_new_certificate(guarded: Service, folder: Path) -> None:
    """Of a new authority, while the old one is taken out of use; a broken file leaves the last one."""
    edge = folder.parent / "edge"
    edge.mkdir()
    for name in ("authority.pem", "edge.pem", "edge.key"):
        (edge / name).write_bytes((folder / name).read_bytes())
    gateway = LedgerGateway(f"localhost:{guarded.server.port}", seconds=60, proof=proof_of(edge, "edge"))
    channel = gateway._channel
    assert isinstance(channel, RenewedChannel)
    try:
        await gateway.ingest("casino", [an_event("one")])
        assert (await run_defter("certs", "dev", str(folder.parent / "next"))).returncode == 0
        following = folder.parent / "next"
        (edge / "edge.key").write_bytes((following / "edge.key").read_bytes())
        channel.look()  # the certificate is still the old one, so nothing changes
        await gateway.ingest("casino", [an_event("two")])
        (edge / "edge.pem").write_bytes((following / "edge.pem").read_bytes())
        (folder / "authority.pem").write_bytes((following / "authority.pem").read_bytes())
        assert guarded.server.identity is not None
        await guarded.server.identity.look()
        with pytest.raises(Refused):
            await gateway.ingest("casino", [an_event("refused")])
        channel.look()
        await gateway.ingest("casino", [an_event("three")])
    finally:
        await gateway.close()
    (folder / "authority.pem").write_bytes((edge / "authority.pem").read_bytes())
    async with by_token(guarded, folder) as ledger:
        request = provider_event_pb2.ListProviderEventsRequest(tenant_id="casino")
        listed = [each.event.event_id async for each in ledger.provider_events.list_provider_events(request)]
    assert listed == ["one", "two", "three"]


async def command(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with these settings."""
    settings = {**os.environ, "DEFTER_TENANT": "casino", **environment}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([DEFTER, *words], capture_output=True, text=True, check=False, env=settings)

    return await asyncio.to_thread(run)


async def test_commands_call_with_what_the_environment_names(guarded: Service, folder: Path) -> None:
    """A certificate, or a token at the port for it; half of a proof is refused by name."""
    server = {
        "DEFTER_SERVER": f"localhost:{guarded.server.port}",
        "DEFTER_SERVER_AUTHORITY_FILE": str(folder / "authority.pem"),
    }
    certificate = {"DEFTER_CALLER_CERTIFICATE_FILE": str(folder / "scheduler.pem")}
    key = {"DEFTER_CALLER_KEY_FILE": str(folder / "scheduler.key")}
    token = {
        "DEFTER_SERVER": f"localhost:{guarded.server.token_port}",
        "DEFTER_CALLER_TOKEN_FILE": str(folder / "root.token"),
    }
    for whole in ({**server, **certificate, **key}, {**server, **token}):
        verified = await command(whole, "verify")
        assert verified.returncode == 0, verified.stderr
    refused = await command({**server, **certificate, **key}, "outbound", "stop", "--note", "n")
    assert refused.returncode == 2
    assert "PERMISSION_MISSING" in refused.stderr or "no rule" in refused.stderr
    # A scheduler publishes heads and reads no record; who checks them reads all.
    head, heads = folder / "head", folder / "heads"
    assert (await command({}, "head", "key", str(head), "--name", "d")).returncode == 0
    words = ("head", "publish", "--all", "--key", str(head), "--file", str(heads))
    published = await command({**server, **certificate, **key}, *words)
    assert published.returncode == 0, published.stderr
    for who, code in (({**server, **certificate, **key}, 2), ({**server, **token}, 0)):
        checked = await command(who, "head", "check", "--key", f"{head}.pub", "--file", str(heads))
        assert checked.returncode == code, checked.stderr
        assert ("PERMISSION_MISSING" in checked.stderr) == (code == 2)
    for half, named in (
        ({**server, **certificate}, "DEFTER_CALLER_CERTIFICATE_FILE"),
        ({**server, **key}, "DEFTER_CALLER_KEY_FILE"),
        (token, "DEFTER_CALLER_TOKEN_FILE"),
    ):
        broken = await command(half, "verify")
        assert broken.returncode == 2
        assert broken.stderr.startswith(f"{named}: ")


async def test_workers_share_both_ports(database_url: str, folder: Path, tmp_path: Path) -> None:
    """Whichever worker a connection comes to, certificates and tokens are known there."""
    port, token_port = free_port(), free_port()
    variables = {
        "DEFTER_TLS_CERTIFICATE_FILE": folder / "server.pem",
        "DEFTER_TLS_KEY_FILE": folder / "server.key",
        "DEFTER_CLIENT_AUTHORITY_FILE": folder / "authority.pem",
        "DEFTER_TOKEN_KEYS_FILE": folder / "token-keys.json",
        "DEFTER_TOKEN_ISSUER": "i",
        "DEFTER_TOKEN_AUDIENCE": "a",
        "DEFTER_TOKEN_PORT": token_port,
        "DEFTER_POLICY_FILE": folder / "policy.toml",
    }
    server = ServerProcess(
        database_url,
        log_file=tmp_path / "workers.log",
        port=port,
        arguments=("--workers", "2"),
        environment={name: str(value) for name, value in variables.items()},
    )
    server.spawn()
    try:
        async with calling(token_port, folder / "root.token", folder) as ledger:
            await ledger.tenants.create_tenant(CREATE)
        for _ in range(12):  # a connection each, dealt out by the kernel
            async with calling(token_port, folder / "root.token", folder) as ledger:
                await ledger.tenants.get_tenant(GET)
            async with calling(port, None, folder) as ledger:
                await ledger.tenants.get_tenant(GET)
        server.terminate()
        assert await server.wait() == 0
    finally:
        if server.is_alive:
            server.kill()


def calling(port: int, token: Path | None, folder: Path) -> LedgerClient:
    """Return a client with a connection of its own, by a token or as the console."""
    proof = (
        proof_of(folder, "console")
        if token is None
        else Proof(authority_file=folder / "authority.pem", token_file=token)
    )
    return LedgerClient(f"127.0.0.1:{port}", proof=proof, timeout_seconds=HANG_SECONDS)


async def test_command_with_a_token_is_its_subjects(guarded: Service, folder: Path) -> None:
    """Whoever is logged in on the machine; another name is refused."""
    token = {
        "DEFTER_SERVER": f"localhost:{guarded.server.token_port}",
        "DEFTER_SERVER_AUTHORITY_FILE": str(folder / "authority.pem"),
        "DEFTER_CALLER_TOKEN_FILE": str(folder / "root.token"),
    }
    stopped = await command(token, "outbound", "stop", "--note", "fire")
    assert stopped.returncode == 0, stopped.stderr
    assert "by root: fire" in stopped.stdout
    refused = await command(token, "outbound", "resume", "--note", "out", "--as", "ada")
    assert refused.returncode == 2
    assert "PERSON_OTHER" in refused.stderr or "another person" in refused.stderr


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "a.e30.c", "a.WzFd.c", "a.eyJzdWIiOjF9.c", "a.\u0131.c"])
def test_token_that_says_no_subject_names_nobody(tmp_path: Path, text: str) -> None:
    """The server will say what is wrong with it."""
    file = tmp_path / "token"
    file.write_text(text)
    assert not subject_of(file)
    assert not subject_of(tmp_path / "nothing")
