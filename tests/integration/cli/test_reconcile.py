"""`defter reconcile` against a real server and a real MockPSP: what it prints, and what it exits with."""

from __future__ import annotations

import grpc
import pytest
from defter.reconciliation.v1 import reconciliation_pb2 as pb
from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceStub

from mock_psp.server import MockPsp
from tests.integration.cli.conftest import (
    LATER_SECONDS,
    PROVIDER,
    TENANT,
    WINDOW,
    CommandLine,
    GatedAdapter,
    ended,
)
from tests.support.clock import FakeClock
from tests.support.service import Service
from tools.free_ports import free_port


@pytest.fixture
def later(reconciling: Service, clock: FakeClock) -> None:
    """It is three hours after the tenant was made."""
    clock.advance(seconds=LATER_SECONDS)


async def test_reconcile_empty_window_exits_with_0(cli: CommandLine, later: None) -> None:
    """Nothing on either side is nothing to look after."""
    ran = await cli.reconcile()

    assert ran.code == 0, ran
    assert "COMPLETE" in ran.output
    assert "0 fetched, 0 matched, 0 in transit, 0 discrepancies" in ran.output


async def test_reconcile_with_discrepancy_exits_with_1_and_names_it(
    cli: CommandLine, psp: MockPsp, clock: FakeClock
) -> None:
    """What only the provider has is counted by class, in major units."""
    pay_out(psp)
    clock.advance(seconds=LATER_SECONDS)

    ran = await cli.reconcile()

    assert ran.code == 1, ran
    assert "1 MISSING_IN_LEDGER" in ran.output
    assert "1 opened, 0 reopened, 0 resolved" in ran.output
    assert "ledger 0.00 EUR, provider -12.34 EUR, difference -12.34 EUR" in ran.output


async def test_reconcile_twice_answers_same_run(cli: CommandLine, later: None) -> None:
    """A scheduler's retry is the same run, and the command says so; --again compares anew."""
    first = await cli.reconcile("--json")
    second = await cli.reconcile("--json")
    third = await cli.reconcile()
    again = await cli.reconcile("--json", "--again")

    assert first.json == second.json
    assert first.json["run_id"] in third.output
    assert "had ended before" in third.output
    assert again.json["run_id"] != first.json["run_id"]
    assert again.json["idempotency_key"] == first.json["idempotency_key"] + "#2"


async def test_reconcile_as_json_prints_one_object_alone(
    cli: CommandLine, psp: MockPsp, clock: FakeClock
) -> None:
    """Standard output has the final run and nothing else."""
    pay_out(psp)
    clock.advance(seconds=LATER_SECONDS)

    ran = await cli.reconcile("--json", "--quiet")

    assert ran.code == 1, ran
    assert ran.errors == ""
    assert ran.output.count("\n") == 1
    assert ran.json["state"] == "RUN_STATE_COMPLETE"
    assert ran.json["classes"] == [{"finding_class": "FINDING_CLASS_MISSING_IN_LEDGER", "seen": "1"}]
    assert ran.json["problem"] == ""


async def test_reconcile_quietly_prints_nothing(cli: CommandLine, later: None) -> None:
    """The exit code is enough for who asks for silence."""
    ran = await cli.reconcile("--quiet")

    assert (ran.code, ran.output, ran.errors) == (0, "", "")


async def test_reconcile_broken_listing_exits_with_3_and_is_tried_again(
    cli: CommandLine, psp: MockPsp, later: None
) -> None:
    """A partial run says why; the next try is a run of its own, though the command line is the same."""
    knobs = psp.knobs
    knobs.faults_hit, knobs.rate_limit, knobs.retry_after_seconds = "all", 1, 3600

    partial = await cli.reconcile()
    retried = await cli.reconcile("--json")

    assert partial.code == 3, partial
    assert "PARTIAL" in partial.output
    assert "429" in partial.output
    assert retried.code == 0, retried
    assert retried.json["idempotency_key"].endswith("#2")


async def test_reconcile_unknown_provider_exits_with_2_and_reason(cli: CommandLine, later: None) -> None:
    """A refusal is one line: reason, sentence, facts."""
    ran = await cli.run("reconcile", "--provider", "nobody", *WINDOW)

    assert ran.code == 2, ran
    assert ran.output == ""
    assert ran.errors.startswith("PROVIDER_UNKNOWN: ")
    assert ran.errors.endswith("(field=provider, provider=nobody)\n")
    assert ran.errors.count("\n") == 1


async def test_reconcile_window_in_future_exits_with_2(cli: CommandLine) -> None:
    """The server refuses what has not ended, by the name of the field."""
    ran = await cli.run("reconcile", "--provider", PROVIDER, "--date", "2040-01-01")

    assert ran.code == 2, ran
    assert "FIELD_OUT_OF_RANGE" in ran.errors
    assert ran.errors.count("field=to_time") == 1


@pytest.mark.parametrize(
    "window",
    [
        (),
        ("--last", "1d", "--date", "2026-11-19"),
        ("--to", "2026-11-19"),
        ("--from", "yesterday"),
        ("--from", "2026-11-19", "--to", "2026-11-19"),
        ("--last", "0d"),
        ("--last", "99999999w"),
        ("--date", "2026-13-01"),
        ("--last", "1d", "--key", "k", "--again"),
    ],
)
async def test_reconcile_without_one_window_exits_with_2(window: tuple[str, ...]) -> None:
    """Wrong usage is told before any server is asked."""
    ran = await CommandLine(free_port()).run("reconcile", "--provider", PROVIDER, *window)

    assert ran.code == 2, ran
    assert "Traceback" not in ran.errors
    assert "Error" in ran.errors


async def test_reconcile_without_server_exits_with_4_when_patience_ends() -> None:
    """Nobody answers: the command says so once, and at the end."""
    ran = await CommandLine(free_port()).reconcile("--patience", "1s")

    assert ran.code == 4, ran
    assert "trying again for" in ran.errors
    assert ran.errors.splitlines()[-1].startswith("UNAVAILABLE: ")
    assert len(ran.errors.splitlines()) <= 3


async def test_reconcile_while_other_run_goes_on_exits_with_5(
    cli: CommandLine, adapter: GatedAdapter, later: None
) -> None:
    """Another window of the same account has to wait, and the command says for which run."""
    adapter.gate.clear()
    first = await cli.begin("reconcile", "--provider", PROVIDER, *WINDOW, "--json")
    await adapter.asked.wait()

    second = await cli.run("reconcile", "--provider", PROVIDER, "--date", "2029-12-31")
    adapter.gate.set()

    assert second.code == 5, second
    assert second.errors.startswith("RECONCILIATION_UNDER_WAY: ")
    assert f"run_id={(await ended(first)).json['run_id']}" in second.errors


async def test_reconcile_and_join_follows_other_run(
    cli: CommandLine, adapter: GatedAdapter, later: None
) -> None:
    """With --join the run under way is followed to its end, whatever its window."""
    adapter.gate.clear()
    first = await cli.begin("reconcile", "--provider", PROVIDER, *WINDOW, "--json")
    await adapter.asked.wait()

    second = await cli.begin("reconcile", "--provider", PROVIDER, "--date", "2029-12-31", "--join", "--json")
    assert second.stderr is not None
    said = await second.stderr.readline()
    adapter.gate.set()
    joined, own = await ended(second), await ended(first)

    assert b"which is under way" in said
    assert joined.code == 0, joined
    assert joined.json == own.json


async def test_reconcile_with_same_key_twice_at_once_is_one_run(
    cli: CommandLine, adapter: GatedAdapter, later: None
) -> None:
    """Two schedulers that say the same follow the same run."""
    adapter.gate.clear()
    processes = [
        await cli.begin("reconcile", "--provider", PROVIDER, *WINDOW, "--key", "k", "--json")
        for _ in range(2)
    ]
    await adapter.asked.wait()
    adapter.gate.set()
    first, second = [await ended(process) for process in processes]

    assert first.json == second.json
    assert (first.code, second.code) == (0, 0)


async def test_reconcile_span_until_now_ends_at_full_hour(
    cli: CommandLine, reconciling: Service, later: None
) -> None:
    """--last says the same window however often it is said within an hour."""
    ran = await cli.run("reconcile", "--provider", PROVIDER, "--last", "1d", "--json")

    assert ran.json["to_time"].endswith(":00:00Z")
    assert ran.json["from_time"][10:] == ran.json["to_time"][10:]


async def test_reconcile_refuses_key_of_other_window(cli: CommandLine, later: None) -> None:
    """One key is one request."""
    await cli.reconcile("--key", "k")

    ran = await cli.reconcile("--key", "k", "--grace", "2h")

    assert ran.code == 2, ran
    assert ran.errors.startswith("IDEMPOTENCY_KEY_REUSED: ")


async def test_list_and_show_runs_tell_what_has_ended(cli: CommandLine, later: None) -> None:
    """Runs can be listed, filtered and looked at, as tables and as JSON."""
    run = (await cli.reconcile("--json")).json

    table = await cli.run("runs", "list")
    lines = await cli.run("runs", "list", "--state", "complete", "--json")
    none = await cli.run("runs", "list", "--state", "PARTIAL")
    shown = await cli.run("runs", "show", run["run_id"])
    missing = await cli.run("runs", "show", run["run_id"] + "0")

    assert run["run_id"] in table.output
    assert table.output.splitlines()[-1] == "1 run"
    assert lines.lines == [run]
    assert none.output == "0 runs\n"
    assert "COMPLETE" in shown.output
    assert missing.code == 2
    assert missing.errors.startswith("RUN_NOT_FOUND: ")


async def test_list_records_shows_verdicts(cli: CommandLine, psp: MockPsp, clock: FakeClock) -> None:
    """What the provider lists is shown with what the run made of it."""
    payout = pay_out(psp)
    clock.advance(seconds=LATER_SECONDS)
    await cli.reconcile()

    table = await cli.run("records", "list", "--provider", PROVIDER)
    lines = await cli.run(
        "records", "list", "--provider", PROVIDER, "--verdict", "discrepant", "--kind", "payout", "--json"
    )
    matched = await cli.run("records", "list", "--provider", PROVIDER, "--verdict", "MATCHED")

    assert "-12.34 EUR" in table.output
    assert "DISCREPANT" in table.output
    assert [line["provider_ref"] for line in lines.lines] == [payout]
    assert matched.output == "0 records\n"


async def test_reconcile_stopped_by_hand_exits_with_4_and_run_goes_on(
    cli: CommandLine, adapter: GatedAdapter, reconciling: Service, later: None
) -> None:
    """Ctrl-C ends the command and not the run; the same command follows it again."""
    adapter.gate.clear()
    process = await cli.begin("reconcile", "--provider", PROVIDER, *WINDOW)
    await adapter.asked.wait()

    process.send_signal(2)
    stopped = await ended(process)
    adapter.gate.set()
    followed = await cli.reconcile("--json")

    assert stopped.code == 4, stopped
    assert "Traceback" not in stopped.errors
    assert followed.code == 0, followed
    assert len(await runs(reconciling.channel)) == 1


async def runs(channel: grpc.aio.Channel) -> list[pb.Run]:
    """Return all runs."""
    request = pb.ListRunsRequest(tenant_id=TENANT)
    return list((await ReconciliationServiceStub(channel).ListRuns(request)).runs)


def pay_out(psp: MockPsp) -> str:
    """Let the provider pay 12.34 EUR out of which the ledger never hears; return its id."""
    payouts = psp.state.payouts
    made = payouts.create(reference="wd_lost", amount_minor=1234, currency="EUR", destination="bank:7")
    return payouts.pay(made.id).id
