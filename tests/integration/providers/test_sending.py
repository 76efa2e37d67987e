"""Own what holds for the connection itself: a request without a proof never leaves, on either event loop."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvloop

from ledger_server.providers.sending import Proof, Unproven, http_client, sending
from tests.support.proof import Disproven, Proven

LOOPS = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
SECURE = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
BODY = b'{"amount_minor":100}'
NewLoop = Callable[[], asyncio.AbstractEventLoop]


class Server:
    """An HTTP server that carries a request out once its last byte is there."""

    def __init__(self) -> None:
        self.executed: list[bytes] = []
        self.connected = 0
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests of one connection."""
        self.connected += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line[15:])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length:")
                    ),
                    0,
                )
                self.executed.append(await reader.readexactly(length))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            self.ended.set()
            writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this machine's, with its key, for TLS."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("without openssl there is no certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        [program, *words.split(), "-keyout", str(path), "-out", f"{path}.cert"],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + Path(f"{path}.cert").read_bytes())
    return path


@asynccontextmanager
async def connected(certificate: Path | None) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    """Run a server and a client that knows it."""
    server = Server()
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    listening = await asyncio.start_server(server.serve, "localhost", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    scheme = "http" if certificate is None else "https"
    trusted = ssl.create_default_context(cafile=certificate) if certificate else False
    client = http_client(timeout_seconds=30.0, base_url=f"{scheme}://localhost:{port}", verify=trusted)
    try:
        yield server, client
    finally:
        await client.aclose()
        listening.close()


def run(new_loop: NewLoop, scene: Callable[[], Awaitable[None]]) -> None:
    """Run a scene on a loop of its own."""

    async def whole() -> None:
        await scene()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(whole())


async def post(client: httpx.AsyncClient, proof: Proof) -> httpx.Response:
    """Send what could do something."""
    with sending(proof):
        return await client.post("/", content=BODY)


@LOOPS
@SECURE
def test_send_with_a_proof_is_carried_out_once(new_loop: NewLoop, secure: bool, certificate: Path) -> None:
    """The proof is asked for once for each request, on a connection that is used again."""

    async def scene() -> None:
        async with connected(certificate if secure else None) as (server, client):
            proof = Proven()
            for _ in range(3):
                assert (await post(client, proof)).text == "ok"
            assert (server.executed, server.connected, proof.asked_count) == ([BODY] * 3, 1, 3)

    run(new_loop, scene)


@LOOPS
@SECURE
@pytest.mark.parametrize("writes", [None, 0, 1], ids=["refused", "at the head", "at the body"])
def test_send_without_a_proof_to_its_end_is_never_carried_out(
    new_loop: NewLoop,
    secure: bool,
    writes: int | None,
    certificate: Path,
) -> None:
    """At whichever write the proof is worth nothing any more, the connection ends and nothing was done."""

    async def scene() -> None:
        async with connected(certificate if secure else None) as (server, client):
            with pytest.raises(Unproven):
                await post(client, Disproven(writes))
            await server.ended.wait()
            assert server.executed == []
            # What follows has a connection of its own.
            assert (await post(client, Proven())).text == "ok"
            assert (server.executed, server.connected) == ([BODY], 2)

    run(new_loop, scene)


@LOOPS
def test_send_that_nobody_has_proven_does_not_even_connect(new_loop: NewLoop) -> None:
    """Whoever forgets the proof sends nothing; reading needs none."""

    async def scene() -> None:
        async with connected(None) as (server, client):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                with pytest.raises(Unproven):
                    await client.request(method, "/", content=BODY)
            assert server.connected == 0
            assert (await client.get("/")).text == "ok"

    run(new_loop, scene)


@LOOPS
def test_send_where_an_idle_connection_has_ended_opens_another(new_loop: NewLoop) -> None:
    """A pooled connection that its other side has closed is noticed before anything is written."""

    async def scene() -> None:
        async with connected(None) as (server, client):
            closing = asyncio.Event()

            async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len(BODY))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
                writer.close()
                await writer.wait_closed()
                closing.set()

            listening = await asyncio.start_server(once, "localhost", 0)
            address = f"http://localhost:{listening.sockets[0].getsockname()[1]}"
            for _ in range(3):
                with sending(Proven()):
                    assert (await client.post(address, content=BODY)).text == "ok"
                await closing.wait()
                closing.clear()
            listening.close()
            assert server.connected == 0

    run(new_loop, scene)
