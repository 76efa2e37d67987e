"""Own a real Prometheus: where it is, and how to run it on what a test serves."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.patience import HANG_SECONDS
from tools.free_ports import free_port


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; without it the test is skipped, but in CI it fails.

    `.ci/run` installs Debian's package, and says in `PROMETHEUS_MISSING` why it could not.
    """
    found = shutil.which(name)
    if found is None:
        missing = os.environ.get("PROMETHEUS_MISSING", "")
        if os.environ.get("CI") and not missing:
            pytest.fail(f"{name} is not installed: apt-get install prometheus")
        pytest.skip(f"{name} is not installed (apt-get install prometheus); {missing}")
    return found


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self._url = url
        self._client = client

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an API's answer, which has to be a success."""
        answer = await self._client.get(f"{self._url}/api/v1/{path}", params=parameters)
        body = answer.json()
        assert body["status"] == "success", (parameters, body)
        return body["data"]

    async def query(self, expression: str) -> list[Any]:
        """Return the series of an expression."""
        found: list[Any] = (await self.ask("query", query=expression))["result"]
        return found

    async def until(self, expression: str) -> None:
        """Wait until an expression has a result."""
        async with asyncio.timeout(HANG_SECONDS):
            while not await self.query(expression):  # noqa: ASYNC110  # another process brings it about
                await asyncio.sleep(0.1)


@asynccontextmanager
async def scraping(folder: Path, jobs: Mapping[str, int], rules: list[Path]) -> AsyncIterator[Prometheus]:
    """Run Prometheus on metrics at ports of this machine, by job, with rules."""
    port = free_port()
    configuration = {
        "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms", "scrape_timeout": "200ms"},
        "rule_files": [str(file) for file in rules],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{number}"]}]}
            for job, number in jobs.items()
        ],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(configuration))  # which is YAML too
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220  # it takes no time
            [
                program("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'series'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=HANG_SECONDS) as client:
            async with asyncio.timeout(HANG_SECONDS):
                while True:
                    try:
                        if (await client.get(f"http://127.0.0.1:{port}/-/ready")).is_success:
                            break
                    except httpx.TransportError:
                        assert process.poll() is None, (folder / "prometheus.log").read_text()
                    await asyncio.sleep(0.1)
            yield Prometheus(f"http://127.0.0.1:{port}", client)
    finally:
        process.kill()
        process.wait()
