"""Own the rule of whose log lines name a call: those of its own task, while it is under way."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import Any

from ledger_server.rpc.call_facts import CALL, CallFacts, add_call_facts, begin_call


def names_call() -> bool:
    """Whether a line that is logged here names the call."""
    return "request_id" in add_call_facts(None, "info", dict[str, Any]())


async def test_only_the_own_task_names_its_call() -> None:
    """Tasks, callbacks and threads that it sets off work for others too; they leave it as it was."""

    async def later() -> bool:
        return names_call()

    facts = begin_call("Service/Method", ())
    assert names_call()
    assert not await asyncio.create_task(later())
    assert not await asyncio.to_thread(names_call)
    called_back: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: called_back.set_result(names_call()))
    assert not await called_back
    assert all(names_call() for _ in range(3))
    assert await later()
    facts.end("OK")
    assert not names_call()


async def test_calls_side_by_side_name_themselves() -> None:
    """Each its own facts, however they take turns."""
    before = CALL.get()

    async def call(number: int) -> None:
        facts = begin_call(f"Service/Method{number}", (("x-request-id", f"id {number}"),))
        for _ in range(5):
            line = add_call_facts(None, "info", dict[str, Any]())
            assert line == {"request_id": f"id {number}", "method": f"Service/Method{number}"}
            await asyncio.sleep(0)
        facts.end("OK")

    await asyncio.gather(*[call(number) for number in range(10)])
    assert CALL.get() is before


def test_ended_call_is_kept_by_nothing() -> None:
    """So each call's memory is free at once, without a search for cycles."""

    def call() -> CallFacts:
        facts = begin_call("Service/Method", ())
        facts.end("CANCELLED")
        return facts

    facts = copy_context().run(call)
    assert (facts.begun, facts.code) == (None, "CANCELLED")
