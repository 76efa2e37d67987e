"""Own what a client is tested with (clients/scenario/README.md): servers, and a hand that breaks them.

The servers are processes of their own, so a client may block, or be written in another language.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.postgres import Databases
from tests.support.service import ServerProcess, serving_process
from tests.support.tcp_proxy import TcpProxy, tcp_proxy
from tests.support.up import running

TENANT = "demo"
"""The tenant for whose provider account `mock` the edge of `defter up` takes webhooks."""


@dataclass(frozen=True)
class Stack:
    """Servers that run, and the address of the hand that breaks them."""

    target: str
    fragile_target: str
    control: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables of clients/scenario/README.md."""
        return {
            "DEFTER_TEST_TARGET": self.target,
            "DEFTER_TEST_TENANT": TENANT,
            "DEFTER_TEST_CONTROL": self.control,
            "DEFTER_TEST_FRAGILE_TARGET": self.fragile_target,
        }


@contextmanager
def stack(databases: Databases, folder: Path) -> Iterator[Stack]:
    """Run a stack, in a thread of its own: whoever uses it may block."""
    found: list[Stack] = []
    is_up, may_end = threading.Event(), threading.Event()

    async def run() -> None:
        async with _stack(databases, folder) as made:
            found.append(made)
            is_up.set()
            await asyncio.to_thread(may_end.wait)

    with ThreadPoolExecutor(1) as thread:
        running_stack = thread.submit(lambda: asyncio.run(run()))
        running_stack.add_done_callback(lambda _: is_up.set())
        try:
            is_up.wait()
            yield from found
        finally:
            may_end.set()
            running_stack.result()


@asynccontextmanager
async def _stack(databases: Databases, folder: Path) -> AsyncIterator[Stack]:
    async with AsyncExitStack() as exits:
        up_url, fragile_url = (exits.enter_context(databases.fresh()) for _ in range(2))
        up = await exits.enter_async_context(running(up_url, folder, "--plaintext", "--no-demo"))
        host, _, port = up.target.rpartition(":")
        proxy = await exits.enter_async_context(tcp_proxy(int(port), host))
        fragile = await exits.enter_async_context(
            serving_process(fragile_url, log_file=folder / "fragile.log")
        )
        control = await exits.enter_async_context(_control(proxy, fragile))
        yield Stack(proxy.target, f"127.0.0.1:{fragile.port}", control)


@asynccontextmanager
async def _control(proxy: TcpProxy, fragile: ServerProcess) -> AsyncIterator[str]:
    async def breaks() -> None:
        proxy.cut()

    async def kills() -> None:
        await asyncio.to_thread(fragile.kill)
        fragile.spawn()

    async def mutes() -> None:
        proxy.mute()

    does: dict[str, Callable[[], Awaitable[None]]] = {"/break": breaks, "/mute": mutes, "/kill": kills}
    turn = asyncio.Lock()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        method, path, _ = head.split("\r\n")[0].split(" ")
        action = does.get(path) if method == "POST" else None
        if action is not None:
            async with turn:
                await action()
        status = "404 Not Found" if action is None else "204 No Content"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
