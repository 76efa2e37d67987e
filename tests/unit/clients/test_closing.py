"""A client that is closed ends what waits on it, and nothing opens it again by itself."""

from __future__ import annotations

import asyncio
import threading

import pytest

from defter_client import BlockingLedgerClient, Fault, LedgerClient
from defter_client import messages as m
from defter_testing import Failure, FakeLedger
from tests.support.patience import HANG_SECONDS


async def test_a_call_of_a_closed_client_is_a_ledger_error(fake_ledger: FakeLedger, fake_tenant: str) -> None:
    """Nobody has cancelled the task that waits for it, so it is not told so."""
    ledger = LedgerClient(fake_ledger.target, tenant=fake_tenant)
    await ledger.tenants.get_tenant(m.GetTenantRequest())
    fake_ledger.fail_next(Failure.DELAY, method="GetTenant", delay_seconds=5)
    call = asyncio.create_task(ledger.tenants.get_tenant(m.GetTenantRequest()))
    await asyncio.sleep(0)  # it begins, and waits
    await ledger.close()
    with pytest.raises(Fault) as caught:
        await asyncio.wait_for(call, HANG_SECONDS)
    assert caught.value.outcome_unknown


async def test_a_watch_ends_with_its_client(fake_ledger: FakeLedger, fake_tenant: str) -> None:
    """Or it would open connections that nobody closes."""
    ledger = LedgerClient(fake_ledger.target, tenant=fake_tenant)
    watch = ledger.watch()
    await anext(watch)
    waiting = asyncio.create_task(anext(watch, None))
    await asyncio.sleep(0)  # it begins, and waits
    await ledger.close()
    assert await asyncio.wait_for(waiting, HANG_SECONDS) is None


def test_a_watch_ends_with_its_client_in_another_thread(fake_ledger: FakeLedger, fake_tenant: str) -> None:
    """The same with threads."""
    ledger = BlockingLedgerClient(fake_ledger.target, tenant=fake_tenant)
    watch = ledger.watch()
    next(watch)
    is_next = threading.Event()

    def wait() -> None:
        is_next.set()
        next(watch, None)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    is_next.wait()
    ledger.close()
    waiting.join(HANG_SECONDS)
    assert not waiting.is_alive()
