"""Own the request id on the wire: each answer, error and log line of a call names it, whatever the RPC."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
import structlog
from defter.ledger.v1 import journal_pb2, tenant_pb2
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ledger_server.process.logs import configure_logs
from ledger_server.rpc.request_budget import RequestBudget
from ledger_server.rpc.request_id import LONGEST, REQUEST_ID_KEY
from ledger_server.rpc.serving import Handlers
from tests.support.every_rpc import request_of, rpcs_of
from tests.support.ledger import Ledger
from tests.support.requests import transfer
from tests.support.service import Service
from tests.support.shares import ample_shares
from tests.support.wire import REPLAYED, open_channel

MINE = "order 66".ljust(LONGEST, "~")
SECONDS = 60.0


def told(error: grpc.aio.AioRpcError) -> list[str]:
    """Return the request ids in an error's details."""
    status = rpc_status.from_call(cast("grpc.Call", error))
    found = []
    for detail in status.details if status is not None else ():
        info = error_details_pb2.RequestInfo()
        if detail.Unpack(info):
            found.append(info.request_id)
    return found


async def ids_of(
    channel: grpc.aio.Channel, method: Any, tenant_id: str
) -> tuple[list[str], list[str] | None]:
    """Call an RPC with an id; return the ids in its metadata, and those in its error if it is refused."""
    make: Any = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[method.client_streaming, method.server_streaming]
    path = f"/{method.containing_service.full_name}/{method.name}"
    request = request_of(method, tenant_id)
    rpc = make(path, type(request).SerializeToString, GetMessageClass(method.output_type).FromString)
    call = rpc(
        iter([request]) if method.client_streaming else request,
        timeout=SECONDS,
        metadata=((REQUEST_ID_KEY, MINE),),
    )
    refused: list[str] | None = None
    try:
        if method.server_streaming:
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        refused = told(error)
    trailing = await call.trailing_metadata()
    return [value for key, value in trailing or () if key == REQUEST_ID_KEY], refused


@pytest.mark.parametrize("tenant_id", ["casino", "nobody", "", "!"])
async def test_every_rpc_answers_with_the_callers_id(server: Service, tenant_id: str) -> None:
    """Whatever becomes of a call, its caller finds it in the server's logs; a new RPC is no exception."""
    await server.new_ledger("casino")
    refusals = 0
    for name, method in rpcs_of(server).items():
        if name.endswith("/WatchJournal") and tenant_id == "casino":
            continue  # it has no end
        given_back, refused = await ids_of(server.channel, method, tenant_id)

        assert given_back == [MINE], name
        assert refused in (None, [MINE]), name
        refusals += refused is not None
    assert refusals > 20


async def test_replayed_answer_has_both_marks(ledger: Ledger) -> None:
    """That an answer is a replay and which call it answers are told beside one another."""
    await ledger.open("ann")
    request = ledger.post_request(transfer("house", "ann", 1), key="once")
    seen = []
    for _ in range(2):
        call = ledger.stubs.postings.PostTransaction(request, metadata=((REQUEST_ID_KEY, MINE),))
        await call
        seen.append(tuple(await call.trailing_metadata() or ()))

    assert [REPLAYED in each for each in seen] == [False, True]
    assert all((REQUEST_ID_KEY, MINE) in each for each in seen)


async def test_made_ids_tell_calls_apart(ledger: Ledger) -> None:
    """A caller that gives none may still ask the operator for one of its calls."""
    found = set()
    for _ in range(3):
        call = ledger.stubs.journal.GetOutcome(journal_pb2.GetOutcomeRequest(tenant_id=ledger.tenant_id))
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call
        found |= {value for key, value in await call.trailing_metadata() or () if key == REQUEST_ID_KEY}

    assert len(found) == 3


async def test_answer_is_no_longer_for_an_id_that_nobody_sent(ledger: Ledger) -> None:
    """Who sent none does not look for it; a refusal names its call all the same."""
    call = ledger.stubs.tenants.GetTenant(tenant_pb2.GetTenantRequest(tenant_id=ledger.tenant_id))
    await call
    assert not await call.trailing_metadata()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ledger.stubs.tenants.GetTenant(tenant_pb2.GetTenantRequest(tenant_id="nobody"))
    [made] = told(refused.value)
    assert [value for key, value in refused.value.trailing_metadata() if key == REQUEST_ID_KEY] == [made]


class Failing:
    """A servicer whose methods log and fail, and set off work for other calls."""

    def __init__(self) -> None:
        self.set_off: list[asyncio.Task[None]] = []

    def __getattr__(self, name: str) -> Any:
        """Fail in any method."""

        async def fail(_: object, __: object) -> Any:
            self.work()
            raise RuntimeError

        return fail

    def work(self) -> None:
        """Log a line for this call, and one for nobody in particular."""
        structlog.get_logger().warning("seen")

        async def later() -> None:
            structlog.get_logger().warning("later")

        self.set_off.append(asyncio.create_task(later()))


@asynccontextmanager
async def failing_server() -> AsyncIterator[tuple[grpc.aio.Channel, Handlers, Failing]]:
    """Serve a service that fails."""
    servicer = Failing()
    service = journal_pb2.DESCRIPTOR.services_by_name["JournalService"]
    handlers = Handlers(
        [(service, servicer)], RequestBudget(1_000_000), ample_shares(), write_seconds=SECONDS
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with open_channel(port) as channel:
            yield channel, handlers, servicer
    finally:
        await server.stop(None)


@pytest.fixture
def json_logs() -> Iterator[io.StringIO]:
    """Log as a server does, and give the logs back as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with contextlib.redirect_stderr(io.StringIO()) as lines:
        configure_logs(json=True, level="info")
    yield lines
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_log_lines_of_a_call_name_it_and_no_other_lines_do(json_logs: io.StringIO) -> None:
    """What a call set off goes on for others, and is not told as that call's."""
    async with failing_server() as (channel, handlers, servicer):
        for method in handlers._methods.values():
            if method.client_streaming or method.server_streaming:
                continue
            json_logs.seek(0)
            json_logs.truncate()
            await ids_of(channel, method, "casino")
            await asyncio.gather(*servicer.set_off)
            lines = [json.loads(line) for line in json_logs.getvalue().splitlines()]

            of_call = {line["event"]: line for line in lines}
            for event in ("seen", "an RPC failed"):
                line = of_call[event]
                assert (line["request_id"], line["tenant_id"]) == (MINE, "casino")
                assert line["method"] == f"defter.ledger.v1.JournalService/{method.name}"
            assert "request_id" not in of_call["later"]
            assert "tenant_id" not in of_call["later"]
