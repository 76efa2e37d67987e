"""A caller asks by the command line what it may do, against the real server."""

from __future__ import annotations

from ledger_server.rpc.methods import every_method
from tests.integration.cli.conftest import TENANT, CommandLine
from tests.support.service import Service


async def test_access_lists_what_may_be_called(reconciling: Service, cli: CommandLine) -> None:
    """On an open server everybody may call everything; a tenant that can be none is refused."""
    assert reconciling.server.port
    methods = sorted(every_method())
    told = await cli.run("access")
    as_json = await cli.run("access", "--json")
    refused = await cli.run("access", "--tenant", "a b")

    first, *listed = told.output.splitlines()
    assert (told.code, first) == (0, f"everybody may call {len(methods)} methods for {TENANT}:"), told
    assert listed == [f"  {method}" for method in methods]
    assert as_json.json == {"methods": methods}
    assert refused.code == 2
    assert refused.errors.count("\n") == 1
