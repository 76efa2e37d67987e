"""A player is forgotten by the command line, against the real server."""

from __future__ import annotations

from tests.integration.cli.conftest import TENANT, CommandLine
from tests.support.service import Service


async def test_forget_player_by_hand_is_recorded_each_time(reconciling: Service, cli: CommandLine) -> None:
    """Also of a player whom nobody knows: the order may come again after a restore."""
    words = ("player", "forget", "--player", "ann", "--reason", "asked to")
    told = await cli.run(*words)
    again = await cli.run(*words, "--json")
    refused = await cli.run("player", "forget", "--player", "a b", "--reason", "asked to")

    assert (told.code, told.output) == (0, "ann of casino is forgotten; keep that for after a restore\n"), (
        told
    )
    assert (again.code, again.json) == (0, {"player_id": "ann", "reason": "asked to"}), again
    assert refused.code == 2
    entries = await reconciling.ledger(TENANT).entries()
    forgotten = [entry.record.player_forgotten.player_id for entry in entries]
    assert [name for name in forgotten if name] == ["ann", "ann"]
