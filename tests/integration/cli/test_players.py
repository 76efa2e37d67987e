"""A player is forgotten by the command line, against the real server."""

from __future__ import annotations

import pytest

from tests.integration.cli.conftest import TENANT, CommandLine
from tests.support.cashier import Cashier
from tests.support.service import Service


async def test_forget_player_by_hand_is_recorded_each_time(reconciling: Service, cli: CommandLine) -> None:
    """Also of a player whom nobody knows, which is told: the order may come again after a restore."""
    words = ("player", "forget", "--player", "ann", "--reason", "asked to")
    told = await cli.run(*words)
    again = await cli.run(*words, "--json")
    refused = await cli.run("player", "forget", "--player", "a b", "--reason", "asked to")

    assert (told.code, told.output) == (0, "ann of casino is forgotten; keep that for after a restore\n"), (
        told
    )
    assert told.errors == "no wallet and no payment of ann is known in casino: was that the id?\n"
    assert (again.code, again.json) == (0, {"player_id": "ann", "reason": "asked to"}), again
    assert refused.code == 2
    assert refused.errors.count("\n") == 1
    entries = await reconciling.ledger(TENANT).entries()
    forgotten = [entry.record.player_forgotten.player_id for entry in entries]
    assert [name for name in forgotten if name] == ["ann", "ann"]


@pytest.mark.parametrize("has", ["a deposit", "a wallet"])
async def test_forget_player_who_is_known_raises_no_doubt(
    reconciling: Service, cli: CommandLine, has: str
) -> None:
    """Of a payment that never took money as of a wallet."""
    cashier = Cashier(reconciling.ledger(TENANT))
    if has == "a deposit":
        player_id = (await cashier.initiate(500)).player_id
    else:
        player_id = (await cashier.captured(500)).player_id

    told = await cli.run("player", "forget", "--player", player_id, "--reason", "asked to")

    assert (told.code, told.errors) == (0, ""), told
