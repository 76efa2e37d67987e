"""Tenants by the command line: created, listed, switched and switched back, refused and forced."""

from __future__ import annotations

import json

from tests.integration.cli.conftest import TENANT, CommandLine
from tests.support.cashier import WALLET, Cashier
from tests.support.ledger import SHADOW
from tests.support.service import Service


async def test_create_twice_is_once_and_is_listed(cli: CommandLine, reconciling: Service) -> None:
    """Created in SHADOW; a tenant that exists with another mode is not changed."""
    created = [await cli.run("tenant", "create", "--tenant", "bingo", "--shadow") for _ in range(2)]
    other = await cli.run("tenant", "create", "--tenant", "bingo")
    listed = await cli.run("tenant", "list")

    assert [each.code for each in created] == [0, 0]
    assert created[0].output == created[1].output == "bingo was created SHADOW\n"
    assert (other.code, "TENANT_ALREADY_EXISTS" in other.errors) == (2, True)
    assert [line.split()[:2] for line in listed.output.splitlines() if "bingo" in line] == [
        ["bingo", "SHADOW"]
    ]


async def test_switch_there_and_back_is_told_with_its_reasons(cli: CommandLine, reconciling: Service) -> None:
    """Refused while a wallet is overdrawn, forced with a reason, and back by one command."""
    ledger = Cashier(reconciling.ledger(TENANT)).ledger
    back = await cli.run("tenant", "shadow", "--reason", "moving in")
    again = await cli.run("tenant", "shadow", "--reason", "moving in")
    await ledger.open(WALLET)
    await ledger.open_house("till")
    await ledger.post(WALLET, "till", 5)
    refused = await cli.run("tenant", "enforce")
    before = await cli.run("tenant", "show")
    forced = await cli.run("tenant", "enforce", "--force", "--reason", "ticket 7")
    after = await cli.run("tenant", "show", "--json")
    home = await cli.run("tenant", "shadow", "--reason", "players complain")

    assert (back.code, back.output) == (0, f"{TENANT} is SHADOW from here on\n")
    assert (again.code, again.output) == (0, f"{TENANT} is SHADOW already\n")
    assert (refused.code, "ACCOUNTS_BELOW_LIMIT" in refused.errors, WALLET in refused.errors) == (
        1,
        True,
        True,
    )
    assert "moving in" in before.output
    assert f"1 accounts: {WALLET}" in before.output
    assert "1 transactions, 0 holds" in before.output
    assert forced.output == (
        f"{TENANT} is ENFORCED from here on, by force: 1 accounts stood below their limit,"
        " 0 blocking findings were open\n"
    )
    told = json.loads(after.output)
    assert told["newest_switch"]["reason"] == "ticket 7"
    assert told["below_limit_account_ids"] == [WALLET]
    assert home.code == 0
    assert (await ledger.tenant()).balance_enforcement == SHADOW
