"""Counters that are nearly full, by the command line: told long before, and gone once continued."""

from __future__ import annotations

import pytest

from tests.integration.cli.conftest import TENANT, CommandLine
from tests.support.cashier import WALLET, Cashier
from tests.support.service import Service

LARGEST = 2**63 - 1


@pytest.mark.parametrize("held", [False, True], ids=["posted", "partly held"])
@pytest.mark.parametrize("share", [79, 80, 99])
async def test_turnover_tells_accounts_that_have_used_much(
    cli: CommandLine, reconciling: Service, share: int, held: bool
) -> None:
    """Both sides and what is held count; a continued account is settled."""
    ledger = Cashier(reconciling.ledger(TENANT)).ledger
    await ledger.open_house("sink")
    await ledger.open_house("source")
    wanted = LARGEST * share // 100 + 1
    await ledger.post("sink", "source", wanted - 1_000)
    await (ledger.place_hold("sink", "source", 1_000) if held else ledger.post("sink", "source", 1_000))

    before = await cli.run("accounts", "turnover")
    lower = await cli.run("accounts", "turnover", "--percent", "50", "--prefix", "si")
    await ledger.continue_account("sink")
    await ledger.continue_account("source")
    after = await cli.run("accounts", "turnover")

    assert (before.code, "sink" in before.output, "source" in before.output) == (
        (1, True, True) if share >= 80 else (0, False, False)
    )
    assert (lower.code, "debits" in lower.output, "source" in lower.output) == (1, True, False)
    # What is a balance goes on, and so does what it takes of the counter.
    assert after.code == before.code
    assert WALLET not in after.output
