"""Own the tests of how a server process runs, as the operating system sees it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.ledger import ENFORCED, Ledger
from tests.support.service import serving_process
from tests.support.wire import open_channel


def policies_of(process_id: int) -> dict[str, int]:
    """Return the scheduling policies of a process's threads, by number and name."""
    policies = {}
    for thread in Path(f"/proc/{process_id}/task").iterdir():
        with suppress(ProcessLookupError, FileNotFoundError):  # gRPC lets threads go that it does not need
            name = (thread / "comm").read_text().strip()
            policies[f"{thread.name} {name}"] = os.sched_getscheduler(int(thread.name))
    return policies


@pytest.mark.skipif(sys.platform != "linux", reason="the scheduling policy is Linux's")
@pytest.mark.parametrize(
    ("wanted", "policy"), [("true", "SCHED_BATCH"), ("false", "SCHED_OTHER"), ("", "SCHED_OTHER")]
)
async def test_threads_of_a_server_have_the_policy_that_is_set(
    database_url: str, tmp_path: Path, wanted: str, policy: str
) -> None:
    """SCHED_BATCH, by which what brings an event waits for the event loop, is there when it is asked for."""
    environment = {"DEFTER_BATCH_SCHEDULING": wanted}
    log_file = tmp_path / "serve.log"
    async with serving_process(database_url, log_file=log_file, environment=environment) as server:
        async with open_channel(server.port) as channel:
            await Ledger(channel, "tuned").create(ENFORCED)  # by now gRPC has its threads
        policies = policies_of(server.process_id)
        assert policies == dict.fromkeys(policies, getattr(os, policy))
