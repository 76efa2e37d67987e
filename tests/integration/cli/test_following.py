"""How `defter reconcile` takes what a server says: streams that break, runs that end in vain, patience."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from defter.reconciliation.v1 import reconciliation_pb2 as pb
from defter.reconciliation.v1.reconciliation_pb2_grpc import (
    ReconciliationServiceServicer,
    add_ReconciliationServiceServicer_to_server,
)

from tests.integration.cli.conftest import TENANT, CommandLine
from tests.integration.cli.fake_services import Context, refuse
from tests.support.service import DEFTER

COMPLETE = pb.RUN_STATE_COMPLETE
INTERRUPTED = pb.RUN_STATE_INTERRUPTED
PARTIAL = pb.RUN_STATE_PARTIAL
RUNNING = pb.RUN_STATE_RUNNING
REPLAYED = ("idempotent-replayed", "true")
KEY = f"reconcile:{TENANT}:mock:2030-01-01T00:00:00Z:2030-01-01T14:00:00Z"

# What one call is answered: states of the run, the last of which may be a refusal's reason.
Answer = tuple[pb.RunState.ValueType | str, ...]


class ScriptedRuns(ReconciliationServiceServicer):
    """Answers one call after the other as it is told; the last answer is given for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [(COMPLETE,)]
        self.replayed: Callable[[str], bool] = lambda _: False
        self.keys: list[str] = []

    async def RunReconciliation(
        self, request: pb.RunReconciliationRequest, context: Context
    ) -> AsyncIterator[pb.RunReconciliationResponse]:
        """Stream the next answer."""
        self.keys.append(request.idempotency_key)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if self.replayed(request.idempotency_key):
            context.set_trailing_metadata((REPLAYED,))
        for state in answer:
            if isinstance(state, str):
                code, _, reason = state.partition(" ")
                facts = {"run_id": "run_other"} if reason == "RECONCILIATION_UNDER_WAY" else {}
                if reason:
                    await refuse(context, grpc.StatusCode[code], reason, "refused", **facts)
                await context.abort(grpc.StatusCode[code], "gone")
            else:
                run = pb.Run(
                    run_id="run_1",
                    provider=request.provider,
                    state=state,
                    idempotency_key=request.idempotency_key,
                )
                yield pb.RunReconciliationResponse(run=run)

    async def GetRun(self, request: pb.GetRunRequest, _: Any) -> pb.GetRunResponse:
        """Return a run that never moves."""
        return pb.GetRunResponse(run=pb.Run(run_id=request.run_id, state=RUNNING))


@pytest.fixture
async def served() -> AsyncIterator[tuple[ScriptedRuns, CommandLine]]:
    """A scripted server and the command line before it."""
    server = grpc.aio.server()
    script = ScriptedRuns()  # type: ignore[abstract]  # what is not scripted is not asked
    add_ReconciliationServiceServicer_to_server(script, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield script, CommandLine(port)
    await server.stop(None)


@pytest.fixture
def script(served: tuple[ScriptedRuns, CommandLine]) -> ScriptedRuns:
    """What the server is to say."""
    return served[0]


@pytest.fixture
def cli(served: tuple[ScriptedRuns, CommandLine]) -> CommandLine:
    """The command line before it."""
    return served[1]


@pytest.mark.parametrize(
    "broken",
    [
        "UNAVAILABLE SHUTTING_DOWN",
        "UNAVAILABLE STORE_UNAVAILABLE",
        "UNAVAILABLE",
        "CANCELLED",
        "UNKNOWN",
        "INTERNAL",
    ],
)
async def test_follow_broken_stream_asks_again_with_same_key(
    cli: CommandLine, script: ScriptedRuns, broken: str
) -> None:
    """Whatever breaks without a refusal is asked again, and the run is the same."""
    script.answers = [(RUNNING, broken), (broken,), (RUNNING, COMPLETE)]

    ran = await cli.reconcile("--json")

    assert ran.code == 0, ran
    assert script.keys == [KEY] * 3
    assert "trying again" in ran.errors


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        ("INTERNAL INTERNAL", 4),
        ("NOT_FOUND TENANT_NOT_FOUND", 2),
        ("UNIMPLEMENTED", 2),
        ("ABORTED RECONCILIATION_UNDER_WAY", 5),
    ],
)
async def test_follow_refused_run_is_not_asked_again(
    cli: CommandLine, script: ScriptedRuns, refusal: str, code: int
) -> None:
    """What the server has said once it would say again."""
    script.answers = [(RUNNING, refusal)]

    ran = await cli.reconcile()

    assert ran.code == code, ran
    assert len(script.keys) == 1
    assert "Traceback" not in ran.errors


async def test_follow_interrupted_run_asks_again_three_times_at_most(
    cli: CommandLine, script: ScriptedRuns
) -> None:
    """Once is a restart; again and again is a fault that the exit code tells."""
    script.answers = [(RUNNING, INTERRUPTED)]

    ran = await cli.reconcile("--json")

    assert ran.code == 4, ran
    assert script.keys == [KEY] * 3
    assert ran.json["state"] == "RUN_STATE_INTERRUPTED"


async def test_follow_partial_runs_of_before_begins_next_one(cli: CommandLine, script: ScriptedRuns) -> None:
    """Partial runs of before are passed by, one number after the other, and a fresh one is the answer."""
    script.replayed = lambda key: key in {KEY, f"{KEY}#2"}
    script.answers = [(PARTIAL,)]

    ran = await cli.reconcile()

    assert ran.code == 3, ran
    assert script.keys == [KEY, f"{KEY}#2", f"{KEY}#3"]


async def test_follow_partial_run_of_own_key_is_answer(cli: CommandLine, script: ScriptedRuns) -> None:
    """Who brings a key gets what became of it."""
    script.replayed = lambda _: True
    script.answers = [(PARTIAL,)]

    ran = await cli.reconcile("--key", "mine")

    assert ran.code == 3, ran
    assert script.keys == ["mine"]


async def test_follow_window_that_was_always_partial_ends(cli: CommandLine, script: ScriptedRuns) -> None:
    """However many there were, it is not asked for ever."""
    script.replayed = lambda _: True
    script.answers = [(PARTIAL,)]

    ran = await cli.reconcile()

    assert ran.code == 3, ran
    assert len(script.keys) == len(set(script.keys)) == 100


async def test_join_run_that_does_not_move_exits_with_4(cli: CommandLine, script: ScriptedRuns) -> None:
    """Patience has an end with others' runs too."""
    script.answers = [("ABORTED RECONCILIATION_UNDER_WAY",)]

    ran = await cli.reconcile("--join", "--patience", "1s", "--json")

    assert ran.code == 4, ran
    assert ran.json["run_id"] == "run_other"


async def test_print_to_terminal_without_unicode_does_not_fail(
    cli: CommandLine, script: ScriptedRuns
) -> None:
    """What can't be shown is escaped."""
    ran = await cli.run("reconcile", "--provider", "köln", "--date", "2030-01-01", PYTHONIOENCODING="ascii")
    shown = await cli.run("runs", "show", "ключ", PYTHONIOENCODING="ascii")

    assert ran.code == 0, ran
    assert "k\\xf6ln" in ran.output
    assert script.keys[0].isascii()
    assert shown.code == 0, shown
    assert "\\u043a" in shown.output


async def test_type_what_is_no_text_exits_with_2() -> None:
    """Bytes that are no UTF-8 can be in no message."""
    process = await asyncio.create_subprocess_exec(
        os.fsencode(DEFTER), b"runs", b"list", b"--tenant", b"\xff", stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()

    assert process.returncode == 2
    assert errors == b"the command line is not UTF-8\n"
