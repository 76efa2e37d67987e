"""Who is refused, what is read again, how long certificates last, and who called can be seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import journal_pb2, tenant_pb2
from prometheus_client import REGISTRY

from ledger_server.process.live_identity import _end_of
from ledger_server.rpc.call_facts import add_call_facts
from ledger_server.rpc.guard import Door
from tests.support.guarded import Guarded, guarding
from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.requests import transfer
from tests.support.wire import Stubs, refusal
from tests.wire.test_replaced_identity import GET, ROOT, look

FILES = {
    "policy.toml": "DEFTER_POLICY_FILE",
    "authority.pem": "DEFTER_CLIENT_AUTHORITY_FILE",
    "keys.json": "DEFTER_TOKEN_KEYS_FILE",
    "server.pem": "DEFTER_TLS_CERTIFICATE_FILE",
}


@pytest.fixture
async def guarded(database_url: str, tmp_path: Path) -> AsyncIterator[Guarded]:
    """A guarded server, with the tenant `casino`."""
    async with guarding(database_url, tmp_path) as made:
        async with made.channel_of(ROOT) as channel:
            await Ledger(channel, "casino", key_prefix="key").create()
        yield made


def value(name: str, **labels: str) -> float:
    """Return a sample of a metric; 0 where there is none."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_denied_calls_are_counted_by_reason(guarded: Guarded) -> None:
    """By the reasons that callers get, and not by anything that callers say."""
    before = {
        reason: value("defter_calls_denied_total", reason=reason)
        for reason in ("PERMISSION_MISSING", "IDENTITY_MISSING", "TENANT_NOT_FOUND")
    }
    async with guarded.channel_of("spiffe://d/nobody") as unknown, guarded.token_channel() as bare:
        for channel, reason in ((unknown, "PERMISSION_MISSING"), (bare, "IDENTITY_MISSING")):
            assert (await refusal(Stubs.over(channel).tenants.GetTenant(GET))).reason == reason
    async with guarded.channel_of(ROOT) as root:
        missing = tenant_pb2.GetTenantRequest(tenant_id="nobody")
        assert (await refusal(Stubs.over(root).tenants.GetTenant(missing))).reason == "TENANT_NOT_FOUND"

    after = {reason: value("defter_calls_denied_total", reason=reason) for reason in before}
    assert {reason: after[reason] - before[reason] for reason in before} == {
        "PERMISSION_MISSING": 1,
        "IDENTITY_MISSING": 1,
        "TENANT_NOT_FOUND": 0,
    }


@pytest.mark.parametrize("name", FILES)
async def test_file_that_can_not_be_used_is_seen_until_it_can(guarded: Guarded, name: str) -> None:
    """Nobody finds out when the old certificate expires that the new one was never read."""
    setting = FILES[name]
    right = (guarded.folder / name).read_bytes()
    failed = value("defter_identity_reloads_total", setting=setting, result="failed")
    read = value("defter_identity_reloads_total", setting=setting, result="read")
    assert value("defter_identity_current", setting=setting) == 1

    guarded.write(name, b"\0")
    for _ in range(3):
        await look(guarded)
    assert value("defter_identity_current", setting=setting) == 0
    assert value("defter_identity_reloads_total", setting=setting, result="failed") == failed + 1

    guarded.write(name, right + b"\n")
    await look(guarded)
    assert value("defter_identity_current", setting=setting) == 1
    assert value("defter_identity_reloads_total", setting=setting, result="read") == read + 1


@pytest.mark.parametrize("name", ["server.pem", "authority.pem"])
async def test_days_left_are_those_of_the_certificates_in_force(guarded: Guarded, name: str) -> None:
    """Read from the file, and counted from the present on each look at the metric."""
    expected = (_end_of((guarded.folder / name).read_bytes()) - datetime.now(UTC)) / timedelta(days=1)

    assert value("defter_certificate_days_left", setting=FILES[name]) == pytest.approx(expected, abs=1)


async def test_log_lines_of_a_call_say_who_calls(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The identity is the one that was proved, also where the call is then refused."""
    seen: list[dict[str, str]] = []
    check = Door.check

    def looked_at(door: Door, *arguments: Any) -> Any:
        try:
            return check(door, *arguments)
        finally:
            seen.append(dict(add_call_facts(None, "", {})))

    monkeypatch.setattr(Door, "check", looked_at)
    async with guarded.channel_of(ROOT) as root, guarded.channel_of("spiffe://d/nobody") as nobody:
        await Stubs.over(root).tenants.GetTenant(GET)
        await refusal(Stubs.over(nobody).tenants.GetTenant(GET))

    assert [(each["identity"], each["tenant_id"], each["method"]) for each in seen] == [
        (who, "casino", "defter.ledger.v1.TenantService/GetTenant") for who in (ROOT, "spiffe://d/nobody")
    ]
    assert all(each["request_id"] for each in seen)


@pytest.mark.usefixtures("server")  # a gauge tells of the newest server of a process
async def test_watches_are_counted_with_how_far_they_are_behind(ledger: Ledger) -> None:
    """A watcher that takes everything is behind by nothing."""
    await ledger.open("ann")
    before = value("defter_watches")
    watch = ledger.stubs.journal.WatchJournal(
        journal_pb2.WatchJournalRequest(tenant_id=ledger.tenant_id, heartbeat_seconds=1)
    )
    assert await watch.read() is not grpc.aio.EOF
    assert value("defter_watches") == before + 1
    await ledger.submit(transfer("house", "ann", 1))
    async with asyncio.timeout(HANG_SECONDS):
        while value("defter_watch_lag_records"):
            assert await watch.read() is not grpc.aio.EOF
        watch.cancel()
        while value("defter_watches") != before:
            await ledger.tenant()


@pytest.mark.usefixtures("server")  # see above
async def test_connections_at_work_are_seen_by_pool(ledger: Ledger) -> None:
    """There is a bound for each pool, and what is at work stays within it."""
    await ledger.tenant()
    for pool in ("write", "read"):
        most = value("defter_database_connections_max", pool=pool)
        assert 0 <= value("defter_database_connections_used", pool=pool) <= most
        assert most > 0
