"""The fake answers like a server: the same commands, the same reads, the same bytes in the journal."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

import pytest
from defter.ledger.v1 import tenant_pb2

from tests.clients.both import Pair, pair_of
from tests.clients.histories import History
from tests.clients.reads import lists_of, reads_of
from tests.support.ledger import ENFORCED, SHADOW
from tests.support.postgres import Databases
from tests.support.randomness import SEED

COMMANDS: Final = 80
READS: Final = 50


@pytest.fixture
async def pair(databases: Databases) -> AsyncIterator[Pair]:
    """A fake and a server."""
    async with pair_of(databases) as found:
        yield found


async def test_random_histories(pair: Pair) -> None:
    """Whatever is asked of both, in whatever order, both answer the same, and write the same records."""
    for tenant_id, enforcement in {"casino": ENFORCED, "shadow": SHADOW}.items():
        choice = random.Random(f"{SEED}-{tenant_id}")
        history = History(pair, tenant_id, choice)
        await history.begin(enforcement)
        for _ in range(COMMANDS):
            await history.step()
        head = len(await pair.journal(tenant_id))
        assert head > COMMANDS // 2, "most commands are decided"
        for name, request in chosen(choice, reads_of(history, tenant_id, head, pair.clock())):
            await pair.ask(name, request)
        for name, request in chosen(choice, lists_of(history, tenant_id, pair.clock())):
            request.page_size = choice.choice([9, 50, 50, 50])
            await pair.pages(name, request)
    await pair.pages("ListTenants", tenant_pb2.ListTenantsRequest(page_size=1))
    await pair.ask("GetTenant", tenant_pb2.GetTenantRequest(tenant_id="nobody"))


def chosen(choice: random.Random, reads: Iterator[tuple[str, Any]]) -> Sequence[tuple[str, Any]]:
    """Return some reads; every run chooses others."""
    found = list(reads)
    return choice.sample(found, min(len(found), READS))
