"""A refusal that was answered holds nothing any more, and touches no task that goes on."""

from __future__ import annotations

import asyncio
import gc
import weakref

from ledger_server.domain.errors import Refused, TenantNotFound
from ledger_server.rpc.serving import _forget


class Request:
    """Something large."""


def refuse(request: Request) -> weakref.ref[Request]:
    """Refuse a request, as a handler does: the refusal is known by a name of the frame that it passed."""
    try:
        raise TenantNotFound(tenant_id="t")
    except Refused as error:
        refusal = error
    _forget(refusal)
    return weakref.ref(request)


def test_refused_request_leaves_memory_at_once() -> None:
    """Without a search for cycles, which may come late."""
    gc.disable()
    try:
        left = refuse(Request())
        assert left() is None
    finally:
        gc.enable()


async def test_task_that_has_told_a_refusal_goes_on() -> None:
    """One task reads for several calls: what it could not find is the refusal of some of them."""
    told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    more = asyncio.Event()

    async def read() -> str:
        try:
            raise TenantNotFound(tenant_id="t")
        except Refused as error:
            told.set_exception(error)
        await more.wait()
        return "went on"

    reading = asyncio.create_task(read())
    try:
        await told
    except Refused as error:
        _forget(error)
    more.set()

    assert await reading == "went on"
