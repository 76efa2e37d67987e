"""The fake that other teams test with: it serves what it says, to everyone, and does what clients expect."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import account_pb2, tenant_pb2
from defter.ledger.v1.account_pb2_grpc import AccountServiceStub
from defter.ledger.v1.tenant_pb2_grpc import TenantServiceStub
from google.protobuf.descriptor import MethodDescriptor

from defter_testing import FakeLedger
from defter_testing.unserved import UNSERVED, why_not
from defter_testing.wiring import SERVICES
from ledger_server.rpc.tenant_scope import name_of
from tests.clients.drivers import DRIVERS
from tests.clients.scenario import STEPS, Scenario
from tests.support.every_rpc import call, request_of
from tests.support.patience import HANG_SECONDS
from tests.support.requests import new_account

README = Path(__file__).parents[2] / "clients" / "testing" / "README.md"
METHODS = {name_of(method): method for service in SERVICES for method in service.methods}


@pytest.mark.parametrize("way", sorted(DRIVERS))
async def test_scenario(fake_ledger: FakeLedger, way: str) -> None:
    """Every step of the story goes as on a real server."""
    tenant = f"scenario-{way}"
    driver = DRIVERS[way](fake_ledger.target, tenant)
    try:
        assert await Scenario(driver, tenant, fake_ledger.cut_streams).run() == len(STEPS)
    finally:
        await driver.close()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
async def test_each_rpc_is_served_or_said_not_to_be(
    fake_ledger: FakeLedger, method: MethodDescriptor
) -> None:
    """A method answers by its rules, or UNIMPLEMENTED with the reason in the list."""
    async with grpc.aio.insecure_channel(fake_ledger.target) as channel:
        code, details = await _answer(channel, method)

    reason = why_not(method)
    if reason is None:
        assert code not in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    else:
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert name_of(method) in details
        assert reason in details


def test_list_of_what_is_not_served_names_what_there_is() -> None:
    """No entry has outlived its method."""
    names = {*METHODS, *(service.full_name for service in SERVICES)}
    assert UNSERVED.keys() <= names


async def test_blocking_and_asyncio_callers_share_it(fake_ledger: FakeLedger, fake_tenant: str) -> None:
    """What a blocking caller does, an asyncio caller in another event loop sees."""
    await asyncio.to_thread(_open_blocking, fake_ledger.target, fake_tenant)

    async with grpc.aio.insecure_channel(fake_ledger.target) as channel:
        request = account_pb2.GetAccountRequest(tenant_id=fake_tenant, account_id="house")
        found: Any = await AccountServiceStub(channel).GetAccount(request, timeout=HANG_SECONDS)

    assert found.account.account_id == "house"


def test_each_tenant_is_new(fake_ledger: FakeLedger, fake_tenant: str) -> None:
    """No two tests have one tenant."""
    assert fake_ledger.new_tenant() != fake_tenant


def test_close_frees_the_port_and_may_be_repeated() -> None:
    """Another fake may serve where one has served."""
    with FakeLedger() as first:
        port = int(first.target.rpartition(":")[2])
    first.close()

    with FakeLedger(port=port) as second:
        assert second.target == first.target
        second.new_tenant()


def test_a_taken_port_is_refused() -> None:
    """Nobody is sent to another's ledger."""
    with FakeLedger() as first, pytest.raises(RuntimeError):
        FakeLedger(port=int(first.target.rpartition(":")[2]))


def test_a_fake_that_is_left_open_lets_its_process_end() -> None:
    """Whoever forgets to close it, with a watch that is open, does not wait for ever."""
    words = [
        "import grpc",
        "from defter.ledger.v1 import journal_pb2",
        "from defter.ledger.v1.journal_pb2_grpc import JournalServiceStub",
        "from defter_testing import FakeLedger",
        "fake = FakeLedger()",
        "stub = JournalServiceStub(grpc.insecure_channel(fake.target))",
        "watch = stub.WatchJournal(journal_pb2.WatchJournalRequest(tenant_id=fake.new_tenant()))",
        "print(next(watch).entries[0].sequence)",
    ]

    done = subprocess.run(
        [sys.executable, "-c", "\n".join(words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_SECONDS,
    )

    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_process_for_other_languages() -> None:
    """It prints its address, has the tenants that it was given, and ends when it is told to."""
    words = [sys.executable, "-m", "defter_testing", "--port", "0", "--tenant", "casino"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        target = process.stdout.readline().strip()
        with grpc.insecure_channel(target) as channel:
            request = tenant_pb2.GetTenantRequest(tenant_id="casino")
            found = TenantServiceStub(channel).GetTenant(request, timeout=HANG_SECONDS)
        process.send_signal(signal.SIGTERM)
        code = process.wait(HANG_SECONDS)

    assert found.tenant.head_sequence == 1
    assert code == 0


def test_it_is_of_the_version_of_the_server() -> None:
    """Its rules are those of one server, so one can't be installed without the other."""
    assert version("defter-testing") == version("defter")
    assert f"defter=={version('defter')}" in (requires("defter-testing") or ())


def test_first_test_of_the_readme(tmp_path: Path) -> None:
    """Whoever copies the first test has a test that passes."""
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "test_first.py").write_text(example, encoding="utf-8")
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]

    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


async def _answer(channel: grpc.aio.Channel, method: MethodDescriptor) -> tuple[grpc.StatusCode, str]:
    try:
        await call(channel, method, request_of(method, "nobody"))
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


def _open_blocking(target: str, tenant_id: str) -> None:
    request = account_pb2.OpenAccountRequest(
        tenant_id=tenant_id,
        idempotency_key="house",
        account=new_account("house", kind=account_pb2.ACCOUNT_KIND_ASSET),
    )
    with grpc.insecure_channel(target) as channel:
        AccountServiceStub(channel).OpenAccount(request, timeout=HANG_SECONDS)
