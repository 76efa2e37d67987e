"""The edge as a process of its own: settings, signals, ports, and the command that tries it out."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.edge.harness import NAME, OTHER, PATH, SECRET, TENANT, connected
from tests.support.cashier import Cashier
from tests.support.service import DEFTER, Service, free_port, run_defter

START_SECONDS = 30


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
