"""Own a real Prometheus: it scrapes what a test runs, with the rules and the example that are deployed."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.monitoring import EXAMPLE, RULE_FILES
from tests.support.patience import HANG_SECONDS
from tools.free_ports import free_port

_LOOK_SECONDS = 0.2


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self._url = url
        self._client = client

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API.

        Raises:
            AssertionError: it refuses; with its reason.
        """
        answer = await self._client.get(f"{self._url}/api/v1/{path}", params=parameters)
        body = answer.json()
        assert body["status"] == "success", (parameters, body)
        return body["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression at present."""
        found = await self.ask("query", query=expression)
        return list(found["result"]) if found["resultType"] == "vector" else [found]

    async def series(self, selector: str) -> list[dict[str, str]]:
        """Return the labels of all series that a selector takes."""
        return list(await self.ask("series", **{"match[]": selector}))

    async def until(self, expression: str) -> None:
        """Wait until an expression has samples."""
        try:
            async with asyncio.timeout(HANG_SECONDS):
                while not await self.query(expression):  # noqa: ASYNC110  # other processes bring it about
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise AssertionError(f"nothing has come of {expression}") from None


@asynccontextmanager
async def scraping(program: Path, folder: Path, targets: Mapping[str, int]) -> AsyncIterator[Prometheus]:
    """Run Prometheus by the example's configuration, often, on ports of this machine by job."""
    configuration = yaml.safe_load(EXAMPLE.read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(file) for file in RULE_FILES]
    for job in configuration["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    port = free_port()
    command = [
        str(program),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log_file = folder / "prometheus.log"
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=subprocess.STDOUT)
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=HANG_SECONDS) as client:
            url = f"http://127.0.0.1:{port}"
            async with asyncio.timeout(HANG_SECONDS):
                while not await _is_ready(client, url):
                    assert process.returncode is None, log_file.read_text()
                    await asyncio.sleep(_LOOK_SECONDS)
            yield Prometheus(url, client)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/-/ready")).is_success
    except httpx.TransportError:
        return False
