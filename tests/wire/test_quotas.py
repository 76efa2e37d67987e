"""Own quotas on the wire: every RPC but health has them, each refuses by name, and nothing is decided."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import posting_pb2
from grpc_health.v1 import health_pb2

from ledger_server.process.settings import Settings
from tests.support.every_rpc import call, request_of, rpcs_of
from tests.support.guarded import POLICY, Guarded, guarding
from tests.support.health import health
from tests.support.ledger import Ledger
from tests.support.requests import transfer
from tests.support.service import serving
from tests.support.tenant_lock import head_locked, wait_until_lane_waits
from tests.support.wire import Stubs, refusal

ROOT = "spiffe://d/root"
NARROW = """
[[quota]]
name = "narrow"
{whose} = ["{name}"]
{number}
"""


def narrowed(whose: str, name: str, number: str) -> bytes:
    """Return the tests' policy with one quota."""
    return (POLICY + NARROW.format(whose=whose, name=name, number=number)).encode()


@pytest.fixture
async def guarded(database_url: str, tmp_path: Path) -> AsyncIterator[Guarded]:
    """A guarded server with a tenant."""
    async with guarding(database_url, tmp_path) as guarded:
        async with guarded.channel_of(ROOT) as channel:
            await Ledger(channel, "casino", key_prefix="key").create()
        yield guarded


async def put_in_force(guarded: Guarded, policy: bytes) -> None:
    """Replace the policy, as a deployment does, and have the server look."""
    guarded.write("policy.toml", policy)
    assert guarded.service is not None
    assert guarded.service.server.identity is not None
    await guarded.service.server.identity.look()


@asynccontextmanager
async def streaming(channel: grpc.aio.Channel) -> AsyncIterator[None]:
    """Have one call under way for as long as the block lasts."""
    stream = Stubs.over(channel).postings.StreamTransactions()
    item = posting_pb2.PostTransactionItem()
    await stream.write(posting_pb2.StreamTransactionsRequest(tenant_id="casino", items=[item]))
    await stream.read()
    try:
        yield
    finally:
        stream.cancel()


@pytest.mark.parametrize(("whose", "name"), [("identities", ROOT), ("tenants", "casino")])
async def test_every_rpc_has_the_quota_of_calls_under_way(guarded: Guarded, whose: str, name: str) -> None:
    """With one stream under way no other call begins, of whatever RPC; health is asked all the same.

    Calls that are followed for as long as their caller likes are of the caller alone: nobody's idle watches
    use up the quota of a tenant.
    """
    assert guarded.service is not None
    kind = "caller" if whose == "identities" else "tenant"
    await put_in_force(guarded, narrowed(whose, name, "calls_under_way = 1"))
    async with guarded.channel_of(ROOT) as channel, streaming(channel):
        for rpc, method in rpcs_of(guarded.service).items():
            request = request_of(method, "casino")
            of_tenant = b"casino" in request.SerializeToString()
            followed = rpc.endswith(("/WatchJournal", "/RunReconciliation"))
            if kind == "tenant" and (followed or not of_tenant):
                continue  # it is of no tenant, or of all together, or followed: its caller's quota counts
            refused = await refusal(call(channel, method, request))
            assert (refused.code, refused.reason) == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "QUOTA_CALLS_UNDER_WAY",
            ), rpc
            assert refused.metadata == {"quota": kind, "name": name, "limit": "1"}, rpc
            assert refused.retry_delay_seconds, rpc
        answer = await health(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        await put_in_force(guarded, POLICY.encode())
        assert await Ledger(channel, "casino").head() == 1


@pytest.mark.parametrize(
    ("number", "reason"),
    [("calls_per_second = 0.001", "QUOTA_RATE_EXCEEDED"), ("calls_under_way = 1", "QUOTA_CALLS_UNDER_WAY")],
)
async def test_key_that_a_quota_refused_is_unused(guarded: Guarded, number: str, reason: str) -> None:
    """The same request with the same key is decided once there is room."""
    async with guarded.channel_of(ROOT) as channel, streaming(channel):
        ledger = Ledger(channel, "casino", key_prefix="key")
        await ledger.open_house()
        await ledger.open("ann")
        await put_in_force(guarded, narrowed("tenants", "casino", number))
        if "per_second" in number:
            await ledger.head()  # there is always room for one
        refused = await refusal(ledger.post("house", "ann", 5, key="late"))
        assert refused.reason == reason
        assert refused.retry_delay_seconds
        await put_in_force(guarded, POLICY.encode())
        unused = await refusal(ledger.outcome("PostTransaction", "late"))
        assert unused.reason == "OUTCOME_NOT_FOUND"
        await ledger.post("house", "ann", 5, key="late")
        assert await ledger.posted("ann") == 5


async def test_quota_of_bytes_refuses_what_is_too_much_beside_another(database_url: str) -> None:
    """Its key is unused; who is alone may send one request of any size."""
    async with serving(database_url, quota_bytes=2_000) as service:
        ledger, other = await service.new_ledger("casino"), await service.new_ledger("other")
        await ledger.open_house()
        await ledger.open("ann")
        wanted = transfer("house", "ann", 1)
        for number in range(10):
            wanted.metadata[f"key {number}"] = "v" * 200
        async with head_locked(database_url, "casino"):
            waiting = asyncio.ensure_future(ledger.submit(wanted))
            await wait_until_lane_waits(database_url)
            refused = await refusal(ledger.submit(wanted, key="late"))
            assert await other.head() == 1
        await waiting
        assert refused.reason == "QUOTA_BYTES_UNDER_WAY"
        assert refused.metadata == {"quota": "tenant", "name": "casino", "limit": "2000"}
        await ledger.submit(wanted, key="late")
        assert await ledger.posted("ann") == 2


async def test_stream_over_its_rate_is_read_later_and_answered_in_full(database_url: str) -> None:
    """Nothing of it is refused; the sender is slowed down."""
    async with serving(database_url, quota_calls_per_second=40) as service:
        ledger = await service.new_ledger("casino")
        await ledger.open_house()
        await ledger.open("ann")
        stub = Stubs.over(service.channel).postings

        async def messages() -> AsyncIterator[posting_pb2.StreamTransactionsRequest]:
            for number in range(60):
                item = posting_pb2.PostTransactionItem(
                    idempotency_key=f"s{number}", transaction=transfer("house", "ann", 1)
                )
                yield posting_pb2.StreamTransactionsRequest(tenant_id="casino", items=[item])

        results = [result async for each in stub.StreamTransactions(messages()) for result in each.results]
        assert [result.idempotency_key for result in results] == [f"s{number}" for number in range(60)]
        assert not any(result.HasField("rejection") for result in results)


async def test_open_server_has_quotas_of_tenants(database_url: str) -> None:
    """Nobody knows who calls there; one tenant's calls leave the others theirs."""
    async with serving(database_url, quota_calls=2) as service:
        ledger, other = await service.new_ledger("casino"), await service.new_ledger("other")
        async with streaming(service.channel), streaming(service.channel):
            refused = await refusal(ledger.head())
            assert refused.metadata == {"quota": "tenant", "name": "casino", "limit": "2"}
            assert await other.head() == 1


def test_defaults_are_in_nobodys_way() -> None:
    """A rate is the operator's to set; the rest leaves room for others."""
    settings: Any = Settings()
    assert settings.quota_calls_per_second is None
    assert settings.quota_bytes < settings.request_bytes
