"""Own the quiet tenant of a fairness run: it posts at a steady pace and asks for the server's health.

Run as `python -m bench.quiet --port N --seconds S`: it prints one line with what it saw. It is a process of
its own, so that a load beside it can't hold up the client that measures.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, TypedDict

import grpc
import uvloop
from defter.ledger.v1.account_pb2 import (
    ACCOUNT_KIND_ASSET,
    BATCH_MODE_INDEPENDENT,
    BatchOpenAccountsItem,
    BatchOpenAccountsRequest,
    NewAccount,
)
from defter.ledger.v1.account_pb2_grpc import AccountServiceStub
from defter.ledger.v1.posting_pb2 import PostTransactionRequest
from defter.ledger.v1.posting_pb2_grpc import PostingServiceStub
from defter.ledger.v1.tenant_pb2 import CreateTenantRequest
from defter.ledger.v1.tenant_pb2_grpc import TenantServiceStub
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from bench.payloads import CURRENCY_CODE, Keys, transfer

HOST = "127.0.0.1"
TENANT_ID = "quiet"
PER_SECOND = 50
_HEALTH_SECONDS = 0.1
_CALL_SECONDS = 60
_HOUSES = ("house:1", "house:2")
# Connections of their own: two tenants are two callers.
_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)


class Seen(TypedDict):
    """What the quiet tenant saw, in seconds from a call to its answer; `health_seconds` is the longest."""

    latencies: list[float]
    health_seconds: float
    failures: list[str]


async def prepare(channel: grpc.aio.Channel) -> None:
    """Create the tenant with two accounts."""
    keys = Keys()
    await TenantServiceStub(channel).CreateTenant(
        CreateTenantRequest(tenant_id=TENANT_ID, idempotency_key=keys())
    )
    await AccountServiceStub(channel).BatchOpenAccounts(
        BatchOpenAccountsRequest(
            tenant_id=TENANT_ID,
            mode=BATCH_MODE_INDEPENDENT,
            items=[
                BatchOpenAccountsItem(
                    idempotency_key=keys(),
                    account=NewAccount(
                        account_id=house, kind=ACCOUNT_KIND_ASSET, currency_code=CURRENCY_CODE
                    ),
                )
                for house in _HOUSES
            ],
        )
    )


async def seen_by_quiet(port: int, seconds: float) -> Seen:
    """Run the quiet tenant in a process of its own, and return what it saw."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.quiet",
        f"--port={port}",
        f"--seconds={seconds}",
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError("the quiet tenant failed")
    seen: Seen = json.loads(output)
    return seen


async def _main(port: int, seconds: float) -> None:
    seen = Seen(latencies=[], health_seconds=0.0, failures=[])
    keys = Keys()
    transaction = transfer(*_HOUSES)
    async with (
        grpc.aio.insecure_channel(f"{HOST}:{port}", _OPTIONS) as channel,
        grpc.aio.insecure_channel(f"{HOST}:{port}", _OPTIONS) as other,
    ):
        post = PostingServiceStub(channel).PostTransaction
        health: Any = HealthStub(other)  # its types leave out its methods

        async def posted() -> None:
            request = PostTransactionRequest(
                tenant_id=TENANT_ID, idempotency_key=keys(), transaction=transaction
            )
            begun = perf_counter()
            await post(request, timeout=_CALL_SECONDS)
            seen["latencies"].append(perf_counter() - begun)

        async def healthy() -> None:
            begun = perf_counter()
            await health.Check(HealthCheckRequest(), timeout=_CALL_SECONDS)
            seen["health_seconds"] = max(seen["health_seconds"], perf_counter() - begun)

        for _ in range(PER_SECOND):  # connections, statements and caches are warm from here on
            await posted()
        await healthy()
        seen["latencies"].clear()
        seen["health_seconds"] = 0.0
        await asyncio.gather(
            _paced(posted, seconds, 1 / PER_SECOND, seen), _paced(healthy, seconds, _HEALTH_SECONDS, seen)
        )
    print(json.dumps(seen), flush=True)


async def _paced(call: Callable[[], Awaitable[None]], seconds: float, pause: float, seen: Seen) -> None:
    """Call at a steady pace, whether or not earlier calls were answered."""

    async def once() -> None:
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            seen["failures"].append(f"{error.code().name}: {error.details()}")

    begun = perf_counter()
    async with asyncio.TaskGroup() as calls:
        for number in range(int(seconds / pause)):
            await asyncio.sleep(begun + number * pause - perf_counter())
            calls.create_task(once())


def main() -> None:
    """Post and look until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    uvloop.run(_main(arguments.port, arguments.seconds))


if __name__ == "__main__":
    main()
