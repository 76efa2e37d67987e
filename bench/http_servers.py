"""Own the HTTP servers that are measured or attacked: the edge, and one that answers with nothing."""

import asyncio
import base64
import hashlib
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from bench.payloads import TENANT_ID
from bench.stack import HOST, READY_SECONDS, server_environment, stop, tail
from tools.free_ports import free_port

SCHEMES: Final = ("standard", "stripe", "adyen")
# What is measured is what a webhook costs, not where the edge is told to say no.
_NO_LIMIT: Final = "1000000000/minute"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServer:
    """An HTTP server in a process of its own.

    Attributes:
        metrics_url: where the edge tells what it counts; nobody answers there for other servers.
    """

    process: asyncio.subprocess.Process
    port: int
    metrics_url: str = ""


def path_of(scheme: str) -> str:
    """Return the path of a scheme's endpoint; its provider account has the scheme's name too."""
    return f"/webhooks/{scheme}/{scheme}"


def secret_of(scheme: str, whose: str = "ours") -> str:
    """Return a secret in a scheme's form; `whose`: any other word makes one that must not verify."""
    digest = hashlib.sha256(f"{scheme} {whose}".encode())
    if scheme == "adyen":
        return digest.hexdigest()
    return "whsec_" + base64.b64encode(digest.digest()).decode()


@asynccontextmanager
async def running_empty(folder: Path) -> AsyncIterator[HttpServer]:
    """Run the server that answers every webhook with an empty 200."""
    port = free_port()
    command = [sys.executable, "-m", "bench.empty_server", "--port", str(port)]
    async with _running(command, {}, port, folder) as process:
        yield HttpServer(process=process, port=port)


@asynccontextmanager
async def running_edge(
    defter: Path, folder: Path, *, ledger_port: int, body_seconds: float = 10.0
) -> AsyncIterator[HttpServer]:
    """Run `defter edge` with one endpoint for each scheme, before a ledger on a port."""
    port, metrics_port = free_port(), free_port()
    file = folder / f"endpoints-{port}.toml"
    file.write_text("".join(map(_table, SCHEMES)), encoding="utf-8")
    settings = {
        "DEFTER_EDGE_ENDPOINTS_FILE": str(file),
        "DEFTER_EDGE_LEDGER_TARGET": f"{HOST}:{ledger_port}",
        "DEFTER_EDGE_PORT": str(port),
        "DEFTER_EDGE_METRICS_PORT": str(metrics_port),
        "DEFTER_EDGE_VERIFIED_RATE_LIMIT": _NO_LIMIT,
        "DEFTER_EDGE_ADDRESS_RATE_LIMIT": _NO_LIMIT,
        "DEFTER_EDGE_BODY_SECONDS": str(body_seconds),
        **{_variable(scheme): secret_of(scheme) for scheme in SCHEMES},
    }
    async with _running([str(defter), "edge"], settings, port, folder) as process:
        yield HttpServer(process=process, port=port, metrics_url=f"http://{HOST}:{metrics_port}/metrics")


def _table(scheme: str) -> str:
    return (
        f'[endpoints.{scheme}]\nscheme = "{scheme}"\ntenant = "{TENANT_ID}"\nprovider = "{scheme}"\n'
        f'secrets = [{{ name = "bench", env = "{_variable(scheme)}" }}]\n'
    )


def _variable(scheme: str) -> str:
    return f"BENCH_{scheme.upper()}_SECRET"


@asynccontextmanager
async def _running(
    command: list[str], settings: Mapping[str, str], port: int, folder: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    log = folder / f"http-{port}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=server_environment(settings),
        )
    try:
        await _until_healthy(process, port, log)
        yield process
    finally:
        await stop(process)


async def _until_healthy(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    try:
        async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient(trust_env=False) as client:
            while process.returncode is None:
                try:
                    await client.get(f"http://{HOST}:{port}/health")
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                else:
                    return
    except TimeoutError:
        raise SystemExit(f"a server did not listen in time:\n{tail(log)}") from None
    raise SystemExit(f"a server ended at once:\n{tail(log)}")
