"""Certificates, authorities, keys, policies are replaced: no call fails, and what is withdrawn ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import journal_pb2, posting_pb2, tenant_pb2
from defter.reconciliation.v1.settlement_pb2_grpc import SettlementServiceStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from tests.support.certificates import Signer, TestAuthority, key_set
from tests.support.guarded import POLICY, Guarded, authorization, guarding
from tests.support.ledger import Ledger
from tests.support.wire import Refusal, Stubs, read_refusal, refusal

GET = tenant_pb2.GetTenantRequest(tenant_id="casino")
ROOT = "spiffe://d/root"
# Far more than a look at the files takes, even on a machine that is overloaded.
PATIENCE_SECONDS = 60


@pytest.fixture
async def guarded(database_url: str, tmp_path: Path) -> AsyncIterator[Guarded]:
    """A guarded server, with the tenant `casino`."""
    async with guarding(database_url, tmp_path) as made:
        async with made.channel_of(ROOT) as channel:
            await Ledger(channel, "casino", key_prefix="key").create()
        yield made


async def look(guarded: Guarded) -> None:
    """Have the server look at its files now."""
    assert guarded.service is not None
    assert guarded.service.server.identity is not None
    await guarded.service.server.identity.look()


def give_time(guarded: Guarded, now: datetime) -> None:
    """Have the server's guard believe that it is another time."""
    assert guarded.service is not None
    assert guarded.service.server.identity is not None
    guarded.service.server.identity.guard._now = lambda: now


async def ending(call: grpc.aio.UnaryStreamCall[Any, Any] | grpc.aio.StreamStreamCall[Any, Any]) -> Refusal:
    """Read a stream until the refusal that ends it."""
    try:
        while True:
            assert await call.read() is not grpc.aio.EOF
    except grpc.aio.AioRpcError as error:
        return read_refusal(error)


async def test_replace_everything_a_hundred_times_fails_no_call(guarded: Guarded) -> None:
    """Old connections and new ones, with certificates and tokens, of the old and the new authority."""
    done = asyncio.Event()
    calls = 0

    async def keep_calling(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        nonlocal calls
        while not done.is_set():
            await Stubs.over(channel).tenants.GetTenant(GET, metadata=metadata, timeout=PATIENCE_SECONDS)
            calls += 1

    first = guarded.authority
    async with guarded.channel_of(ROOT) as by_certificate, guarded.token_channel() as by_token:
        calling = [
            asyncio.create_task(keep_calling(by_certificate, ())),
            asyncio.create_task(keep_calling(by_token, guarded.bearer(exp=time.time() + 3_600))),
        ]
        for number in range(100):
            other = TestAuthority()
            guarded.renew_certificate()
            guarded.write("authority.pem", first.root.pem + other.root.pem)
            guarded.write("keys.json", key_set(guarded.signer, Signer("EdDSA", key_id=f"key-{number}")))
            guarded.write("policy.toml", f"# {number}\n{POLICY}".encode())
            await look(guarded)
            # What is new counts at once: a certificate of the new authority, on a new connection.
            async with guarded.channel(other.issue(uris=[ROOT])) as fresh:
                await Stubs.over(fresh).tenants.GetTenant(GET, timeout=PATIENCE_SECONDS)
        done.set()
        await asyncio.gather(*calling)
    assert calls


async def test_permission_is_as_the_newest_policy_says(guarded: Guarded) -> None:
    """Given and withdrawn fifty times, for a certificate and a token that were both admitted before."""
    without = POLICY.replace(
        'identities = ["spiffe://d/root", "token:root"]', 'identities = ["token:nobody"]'
    )
    assert without != POLICY
    async with guarded.channel_of(ROOT) as by_certificate, guarded.token_channel() as by_token:
        callers = ((by_certificate, ()), (by_token, guarded.bearer(exp=time.time() + 3_600)))
        for policy in (POLICY, without) * 50:
            guarded.write("policy.toml", policy.encode())
            await look(guarded)
            for channel, metadata in callers:
                calling = Stubs.over(channel).tenants.GetTenant(GET, metadata=metadata)
                if policy == POLICY:
                    await calling
                else:
                    assert (await refusal(calling)).reason == "PERMISSION_MISSING"


async def test_watch_ends_when_its_permission_is_withdrawn(guarded: Guarded) -> None:
    """Though it is idle; by the server's own look at its files, which nobody asks for."""
    async with guarded.channel_of(ROOT) as channel:
        watch = Stubs.over(channel).journal.WatchJournal(
            journal_pb2.WatchJournalRequest(tenant_id="casino"), timeout=PATIENCE_SECONDS
        )
        assert await watch.read() is not grpc.aio.EOF
        guarded.write("policy.toml", POLICY.replace('"spiffe://d/root", ', "").encode())
        assert (await ending(watch)).reason == "PERMISSION_MISSING"


async def test_stream_ends_when_its_permission_is_withdrawn(guarded: Guarded) -> None:
    """Though its caller sends nothing."""
    async with guarded.channel_of(ROOT) as channel:
        stream = Stubs.over(channel).postings.StreamTransactions(timeout=PATIENCE_SECONDS)
        item = posting_pb2.PostTransactionItem(idempotency_key="k")
        await stream.write(posting_pb2.StreamTransactionsRequest(tenant_id="casino", items=[item]))
        assert await stream.read() is not grpc.aio.EOF
        guarded.write("policy.toml", POLICY.replace('"spiffe://d/root", ', "").encode())
        assert (await ending(stream)).reason == "PERMISSION_MISSING"


async def test_import_ends_when_its_permission_is_withdrawn(guarded: Guarded) -> None:
    """A stream with one answer, too, whose caller sends nothing at all."""
    assert guarded.service is not None
    assert guarded.service.server.identity is not None
    async with guarded.channel_of(ROOT) as channel:
        calling = SettlementServiceStub(channel).ImportSettlementReport(timeout=PATIENCE_SECONDS)
        guard = guarded.service.server.identity.guard
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not guard._open:  # noqa: ASYNC110  # the guard has no event that tells
                await asyncio.sleep(0.01)
        guarded.write("policy.toml", POLICY.replace('"spiffe://d/root", ', "").encode())
        assert (await refusal(calling)).reason == "PERMISSION_MISSING"
    assert not guard._open


async def test_watch_ends_when_its_token_expires(guarded: Guarded) -> None:
    """A token is not for ever because a call began in its time."""
    async with guarded.token_channel() as channel:
        watch = Stubs.over(channel).journal.WatchJournal(
            journal_pb2.WatchJournalRequest(tenant_id="casino"),
            timeout=PATIENCE_SECONDS,
            metadata=guarded.bearer(),
        )
        assert await watch.read() is not grpc.aio.EOF
        give_time(guarded, datetime.now(UTC) + timedelta(hours=1))
        assert (await ending(watch)).reason == "TOKEN_EXPIRED"


async def test_message_of_another_tenant_in_a_stream_is_refused(guarded: Guarded) -> None:
    """Each message is checked, and not the first one alone."""
    async with guarded.channel_of("spiffe://d/elsewhere") as channel:
        stream = Stubs.over(channel).postings.StreamTransactions(timeout=PATIENCE_SECONDS)
        await stream.write(posting_pb2.StreamTransactionsRequest(tenant_id="casino"))
        await stream.done_writing()
        assert (await ending(stream)).metadata["tenant_id"] == "casino"


async def test_certificate_of_an_authority_that_was_replaced_is_refused(guarded: Guarded) -> None:
    """On a connection that was open before, too."""
    async with guarded.channel_of(ROOT) as channel:
        await Stubs.over(channel).tenants.GetTenant(GET)
        guarded.write("authority.pem", TestAuthority().root.pem)
        await look(guarded)
        refused = await refusal(Stubs.over(channel).tenants.GetTenant(GET))
    assert refused.reason == "CERTIFICATE_NOT_TRUSTED"


async def test_token_of_a_key_that_was_removed_is_refused(guarded: Guarded) -> None:
    """Though it was accepted, and is remembered, a moment before."""
    async with guarded.token_channel() as channel:
        metadata = authorization(guarded.signer.sign(time.time(), sub="root"))
        await Stubs.over(channel).tenants.GetTenant(GET, metadata=metadata)
        guarded.write("keys.json", key_set(Signer("ES256", key_id="another")))
        await look(guarded)
        refused = await refusal(Stubs.over(channel).tenants.GetTenant(GET, metadata=metadata))
    assert refused.reason == "TOKEN_KEY_UNKNOWN"


async def test_certificate_that_expires_meanwhile_is_refused(guarded: Guarded) -> None:
    """Its connection stays open; its calls are refused."""
    async with guarded.channel_of(ROOT) as channel:
        await Stubs.over(channel).tenants.GetTenant(GET)
        give_time(guarded, datetime(2095, 1, 1, tzinfo=UTC))
        refused = await refusal(Stubs.over(channel).tenants.GetTenant(GET))
    assert refused.reason == "CERTIFICATE_EXPIRED"


async def test_certificate_that_is_not_valid_yet_is_refused(guarded: Guarded) -> None:
    """By the clock of the guard, which every call goes by."""
    give_time(guarded, datetime(2010, 1, 1, tzinfo=UTC))
    async with guarded.channel_of(ROOT) as channel:
        refused = await refusal(Stubs.over(channel).tenants.GetTenant(GET))
    assert refused.reason == "CERTIFICATE_NOT_YET_VALID"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("policy.toml", b"[[rule]]"),
        ("policy.toml", b""),
        ("keys.json", b"{"),
        ("authority.pem", b"nothing"),
        ("server.key", TestAuthority().root.key_pem),
        ("server.pem", TestAuthority().root.pem),
    ],
)
async def test_file_that_makes_no_sense_leaves_the_last_one_in_force(
    guarded: Guarded, name: str, content: bytes
) -> None:
    """For calls on old and new connections; and one that is right is taken after it."""
    right = (guarded.folder / name).read_bytes()
    for written in (content, right):
        guarded.write(name, written)
        await look(guarded)
        async with guarded.channel_of(ROOT) as channel:
            await Stubs.over(channel).tenants.GetTenant(GET, timeout=PATIENCE_SECONDS)
        async with guarded.token_channel() as channel:
            await Stubs.over(channel).tenants.GetTenant(
                GET, metadata=guarded.bearer(), timeout=PATIENCE_SECONDS
            )


async def test_idle_reflection_ends_when_its_permission_is_withdrawn(guarded: Guarded) -> None:
    """As every other stream does, without another message."""
    async with guarded.channel_of(ROOT) as channel, asyncio.timeout(PATIENCE_SECONDS):
        stub: Any = ServerReflectionStub
        asking = stub(channel).ServerReflectionInfo()
        await asking.write(ServerReflectionRequest(list_services=""))
        assert await asking.read() is not grpc.aio.EOF
        guarded.write("policy.toml", POLICY.replace("spiffe://d/root", "spiffe://d/nobody").encode())
        await look(guarded)
        assert (await ending(asking)).reason == "PERMISSION_MISSING"
