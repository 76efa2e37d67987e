"""The edge as a process of its own: settings, signals, ports, and the command that tries it out."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from defter.payments.v1 import payment_pb2

from tests.edge.harness import NAME, OTHER, PATH, SECRET, TENANT, connected, signed
from tests.integration.edge.test_deliveries import AMOUNT, captured_body
from tests.support.cashier import WALLET, Cashier
from tests.support.coherence import assert_ledger_coherent
from tests.support.service import DEFTER, Service, run_defter
from tests.support.tenant_lock import head_locked, poll, wait_until_lane_waits
from tools.free_ports import free_port

START_SECONDS = 180


class EdgeProcess:
    """`defter edge` on ports of its own."""

    def __init__(self, folder: Path, *, ledger_port: int) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.metrics_url = f"http://127.0.0.1:{free_port()}"
        self.log_file = folder / "edge.log"
        self._file = folder / "endpoints.toml"
        self.write_secrets("EDGE_SECRET")
        self.environment = {
            **os.environ,
            "DEFTER_EDGE_ENDPOINTS_FILE": str(self._file),
            "DEFTER_EDGE_LEDGER_TARGET": f"127.0.0.1:{ledger_port}",
            "DEFTER_EDGE_PORT": self.url.rpartition(":")[2],
            "DEFTER_EDGE_METRICS_PORT": self.metrics_url.rpartition(":")[2],
            "DEFTER_EDGE_RELOAD_SECONDS": "3600",
            "DEFTER_EDGE_LOG_JSON": "true",
            "EDGE_SECRET": SECRET,
            "EDGE_OTHER": OTHER,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def write_secrets(self, *variables: str) -> None:
        """Write a configuration of one endpoint."""
        entries = ", ".join(f'{{ name = "{name}", env = "{name}" }}' for name in variables)
        self._file.write_text(
            f'[endpoints.{NAME}]\nscheme = "standard"\ntenant = "{TENANT}"\nprovider = "mock"\n'
            f"secrets = [{entries}]\n"
        )

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [DEFTER, "edge"], env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )
        return self.process

    async def wait(self) -> int:
        """Wait for its end; return its exit code."""
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, START_SECONDS)

    async def until(self, path: str, wanted: int) -> None:
        """Wait until a GET is answered with a status."""
        async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    if (await client.get(self.url + path)).status_code == wanted:
                        return
                except httpx.TransportError:
                    assert self.process is None or self.process.poll() is None, self.log_file.read_text()
                await asyncio.sleep(0.05)

    async def send(self, variable: str, *words: str) -> str:
        """Send a sample event by the command line; return what that printed."""
        command: list[str | Path] = [
            DEFTER,
            "webhook",
            "send",
            "--scheme",
            "standard",
            "--type",
            "payment.captured",
        ]
        command += ["--url", self.url + PATH, "--secret-env", variable, *words]

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

        done = await asyncio.to_thread(run)
        return f"{done.returncode}: {done.stdout.strip()}"


@asynccontextmanager
async def edge_process(folder: Path, *, ledger_port: int) -> AsyncIterator[EdgeProcess]:
    """Run `defter edge` until the context ends."""
    edge = EdgeProcess(folder, ledger_port=ledger_port)
    process = edge.spawn()
    try:
        await edge.until("/health", 200)
        yield edge
    finally:
        process.kill()
        process.wait()


async def test_run_edge_takes_webhooks_reloads_on_signal_and_drains(server: Service, tmp_path: Path) -> None:
    """From the environment to the ledger, through a rotation, to a clean end."""
    cashier = Cashier(await server.new_ledger(TENANT))
    async with edge_process(tmp_path, ledger_port=server.server.port) as edge:
        assert edge.process is not None
        await edge.until("/ready", 200)
        first = await edge.send("EDGE_SECRET", "--event-id", "evt_1")
        async with connected(int(edge.url.rpartition(":")[2])) as connection:
            await connection.send(b"no http at all\r\n\r\n")
            assert await connection.statuses() == [400]
        forged = await edge.send("EDGE_OTHER", "--event-id", "evt_2")
        edge.write_secrets("EDGE_OTHER", "EDGE_SECRET")
        edge.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(START_SECONDS):
            while "configuration read" not in edge.log_file.read_text():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        rotated = await edge.send("EDGE_OTHER", "--event-id", "evt_3")
        async with httpx.AsyncClient(trust_env=False) as client:
            metrics = (await client.get(edge.metrics_url + "/metrics")).text
        edge.process.send_signal(signal.SIGTERM)
        assert await edge.wait() == 0

    assert (first, forged, rotated) == ("0: 200", "1: 401 not_verified", "0: 200")
    assert [event.event.event_id for event in await cashier.stored_events()] == ["evt_1", "evt_3"]
    assert f'defter_edge_webhooks_total{{endpoint="{NAME}",verdict="taken"}} 2.0' in metrics
    assert f'defter_edge_secret_uses_total{{endpoint="{NAME}",secret="EDGE_OTHER"}} 1.0' in metrics
    log = edge.log_file.read_text()
    assert all(json.loads(line)["event"] for line in log.splitlines())
    assert '"provider_event_ids": ["evt_1"]' in log
    assert SECRET not in log
    assert OTHER not in log


async def test_deliver_one_event_a_hundred_times_through_two_processes_has_one_effect(
    server: Service, tmp_path: Path
) -> None:
    """They share nothing but the ledger: all are answered with success, and the player has the money once."""
    cashier = Cashier(await server.new_ledger(TENANT))
    deposit = await cashier.initiate(AMOUNT)
    body = captured_body(deposit.deposit_id)
    headers = signed(body, at=datetime.now(UTC))
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    async with (
        edge_process(folders[0], ledger_port=server.server.port) as one,
        edge_process(folders[1], ledger_port=server.server.port) as other,
        httpx.AsyncClient(trust_env=False, timeout=START_SECONDS) as client,
    ):
        answers = await asyncio.gather(
            *(
                client.post(edge.url + PATH, content=body, headers=headers)
                for _ in range(50)
                for edge in (one, other)
            )
        )

    assert [answer.status_code for answer in answers] == [200] * 100
    await assert_one_effect(cashier, deposit.deposit_id)


async def test_kill_edge_between_commit_and_answer_and_deliver_again_has_one_effect(
    server: Service, database_url: str, tmp_path: Path
) -> None:
    """The provider was told nothing, so it delivers again; what was made durable is a duplicate then."""
    cashier = Cashier(await server.new_ledger(TENANT))
    deposit = await cashier.initiate(AMOUNT)
    body = captured_body(deposit.deposit_id)
    headers = signed(body, at=datetime.now(UTC))
    async with httpx.AsyncClient(trust_env=False, timeout=START_SECONDS) as client:
        async with edge_process(tmp_path, ledger_port=server.server.port) as edge:
            assert edge.process is not None
            async with head_locked(database_url, TENANT):
                delivery = asyncio.create_task(client.post(edge.url + PATH, content=body, headers=headers))
                await wait_until_lane_waits(database_url, unless=delivery.done)
                # The ledger has the event and can't commit it yet; from here on the edge can't answer.
                edge.process.send_signal(signal.SIGSTOP)
                await asyncio.to_thread(os.waitid, os.P_PID, edge.process.pid, os.WSTOPPED)
            await poll(database_url, "SELECT 1 FROM provider_events", unless=delivery.done)
            assert not delivery.done()
            edge.process.kill()
            with pytest.raises(httpx.TransportError):
                await delivery
        async with edge_process(tmp_path, ledger_port=server.server.port) as edge:
            again = await client.post(edge.url + PATH, content=body, headers=headers)

    assert again.status_code == 200
    await assert_one_effect(cashier, deposit.deposit_id)


async def assert_one_effect(cashier: Cashier, deposit_id: str) -> None:
    """Check that there is one event, that it was applied, and that it has credited the player once."""
    [event] = await cashier.stored_events()
    assert event.state == payment_pb2.PROVIDER_EVENT_STATE_APPLIED
    assert (await cashier.deposit(deposit_id)).captured_minor == AMOUNT
    assert await cashier.ledger.posted(WALLET) == AMOUNT
    await assert_ledger_coherent(cashier.ledger)


async def test_run_edge_without_a_ledger_lives_and_is_not_ready(tmp_path: Path) -> None:
    """Webhooks are put off until it is there."""
    async with edge_process(tmp_path, ledger_port=free_port()) as edge:
        await edge.until("/ready", 503)

        assert await edge.send("EDGE_SECRET") == "1: 503 ledger_unavailable"


async def test_run_edge_with_broken_configuration_is_a_clear_exit(tmp_path: Path) -> None:
    """What is wrong is said in a line, before anything listens."""
    edge = EdgeProcess(tmp_path, ledger_port=1)
    edge.write_secrets("EDGE_NOBODY")
    edge.spawn()

    assert await edge.wait() == 1
    assert "EDGE_NOBODY" in edge.log_file.read_text()
    assert "Traceback" not in edge.log_file.read_text()


async def test_run_edge_with_wrong_setting_is_a_clear_exit(tmp_path: Path) -> None:
    """A setting is named as the operator wrote it."""
    edge = EdgeProcess(tmp_path, ledger_port=1)
    edge.environment["DEFTER_EDGE_ADDRESS_RATE_LIMIT"] = "often"
    edge.spawn()

    assert await edge.wait() == 2
    assert "DEFTER_EDGE_ADDRESS_RATE_LIMIT" in edge.log_file.read_text()


async def test_send_without_a_secret_is_a_clear_exit() -> None:
    """Nothing is sent that could not verify."""
    words = ["--scheme", "standard", "--type", "x", "--url", "http://127.0.0.1:1/", "--secret-env", "NO_SUCH"]

    done = await run_defter("webhook", "send", *words)

    assert done.returncode == 2
    assert "secret" in done.stderr
    assert "Traceback" not in done.stderr
