"""Shadow traffic as docs/operations/shadow.md tells it, run from its own text, and what is listed of it."""

from __future__ import annotations

import csv
import io
import random
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from defter.ledger.v1 import account_pb2, error_pb2, posting_pb2

from defter_client import LedgerClient, LedgerError
from tests.integration.cli.conftest import TENANT, CommandLine
from tests.support.ledger import SHADOW
from tests.support.randomness import SEED
from tests.support.requests import limits
from tests.support.service import Service
from tests.support.wire import refusal

PAGE = Path(__file__).parents[3] / "docs/operations/shadow.md"


class Row(NamedTuple):
    """A row of the legacy table."""

    id: int
    player: str
    amount_minor: int


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


async def test_page_is_run_from_beginning_to_end(cli: CommandLine, reconciling: Service) -> None:
    """Its commands are accepted in order; its code moves each row's money once, in any order."""
    [code] = blocks("python")
    known: dict[str, Any] = {
        "account_pb2": account_pb2,
        "posting_pb2": posting_pb2,
        "LedgerError": LedgerError,
    }
    exec(compile(code, PAGE.name, "exec"), known)  # the page of this repository
    rows = [Row(1, "ann", 50), Row(2, "ann", -30), Row(3, "ann", -20), Row(4, "bob", 5)]
    told = rows * 2
    random.Random(SEED).shuffle(told)
    told = [rows[1], *told]  # the loss comes before the win
    tenant = "moving-in"
    codes = {}
    first, *rest = [line for block in blocks("sh") for line in block.splitlines()]

    codes[first] = (await cli.run(*shlex.split(first)[1:], DEFTER_TENANT=tenant)).code
    async with LedgerClient(cli.server) as ledger:
        for row in told:
            await known["tell"](ledger, tenant, row)
    for line in rest:
        ran = await cli.run(*shlex.split(line)[1:], DEFTER_TENANT=tenant)
        codes[line] = ran.code

    moved = reconciling.ledger(tenant)
    assert await moved.posted("player:ann:real:EUR") == 0
    assert await moved.posted("player:bob:real:EUR") == 5
    assert {line: code for line, code in codes.items() if code} == {"defter shadow count": 1}
    assert (await moved.tenant()).balance_enforcement == SHADOW


async def test_list_tells_account_limit_and_by_how_much(cli: CommandLine, reconciling: Service) -> None:
    """Lower and upper limits, a limit that was changed since, a hold; what a limit allows is not there."""
    ledger = reconciling.ledger(TENANT)
    await ledger.enforce(SHADOW)
    await ledger.open_house()
    for name in ("ann", "cid"):
        await ledger.open(name)
    await ledger.open("bob", bounds=limits(maximum=100))
    below = await ledger.post("ann", "house", 250)
    above = await ledger.post("house", "bob", 150)
    changed = await ledger.post("cid", "house", 1)
    await ledger.set_limits("cid", limits(minimum=-1))
    await ledger.post("house", "ann", 1)
    held = await ledger.place_hold("ann", "house", 1)

    listed = await cli.run("shadow", "list", "--csv")
    as_json = await cli.run("shadow", "list", "--json", "--limit", "1")
    counted = await cli.run("shadow", "count", "--json")
    later = await cli.run("shadow", "list", "--since", "2029-12-31")

    rows = list(csv.DictReader(io.StringIO(listed.output)))
    named = ("id", "account_id", "limit", "limit_now", "balance_after", "broken_by")
    assert [tuple(row[name] for name in named) for row in rows] == [
        (below.transaction_id, "ann", "min_available", "0.00", "-2.50", "2.50"),
        (above.transaction_id, "bob", "max_balance", "1.00", "1.50", "0.50"),
        (changed.transaction_id, "", "", "", "", ""),
        (held.hold_id, "ann", "", "", "", ""),
    ]
    assert as_json.json["id"] == below.transaction_id
    assert (counted.code, counted.json) == (1, {"transactions": 3, "holds": 1})
    assert (later.code, later.output.splitlines()[-1]) == (0, "4 rows")


@pytest.mark.parametrize("way", ["batch", "atomic", "stream"])
async def test_batches_and_streams_pass_in_shadow_and_are_marked(reconciling: Service, way: str) -> None:
    """Refused in ENFORCED, each of them passes in SHADOW, and the next item sees what it left."""
    ledger = reconciling.ledger(TENANT)
    await ledger.open_house()
    await ledger.open("ann")

    async def asked() -> list[posting_pb2.PostTransactionResult]:
        items = [ledger.transfer_item("house", "ann", 1), ledger.transfer_item("ann", "house", 5)]
        if way == "stream":
            return await ledger.stream(*items)
        mode = account_pb2.BATCH_MODE_ATOMIC if way == "atomic" else account_pb2.BATCH_MODE_INDEPENDENT
        return await ledger.batch(*items, mode=mode)

    if way == "atomic":
        refused = (await refusal(asked())).reason
    else:
        refused = error_pb2.ErrorReason.Name((await asked())[1].rejection.reason)
    before = await ledger.posted("ann")
    await ledger.enforce(SHADOW)
    shadow = await asked()

    assert refused.removeprefix("ERROR_REASON_") == "INSUFFICIENT_FUNDS"
    assert [each.transaction.limit_breached for each in shadow] == [False, True]
    assert await ledger.posted("ann") == before - 4
