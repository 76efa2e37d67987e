"""From a lost webhook to a resolved finding, by the command line alone, against the real server."""

from __future__ import annotations

from mock_psp.server import MockPsp
from tests.integration.cli.conftest import LATER_SECONDS, CommandLine
from tests.integration.cli.test_reconcile import pay_out
from tests.support.clock import FakeClock


async def test_look_after_finding_of_run_from_open_to_resolved_and_back(
    cli: CommandLine, psp: MockPsp, clock: FakeClock
) -> None:
    """What a run has found is listed, taken up, resolved, left alone by the next run, and reopened."""
    pay_out(psp)
    clock.advance(seconds=LATER_SECONDS)
    await cli.reconcile()
    [found] = (await cli.run("findings", "list", "--json")).lines
    name = found["finding_id"][:10]

    taken = await cli.run("findings", "ack", name, "--as", "eve", "--json")
    resolved = await cli.run("findings", "resolve", name, "--reason", "provider-error", "--as", "eve")
    again = await cli.run("findings", "resolve", name, "--reason", "provider-error", "--as", "eve")
    second = await cli.reconcile("--again", "--json")
    left = await cli.run("findings", "list")
    reopened = await cli.run("findings", "reopen", name, "--as", "ada", "--note", "not yet")
    shown = await cli.run("findings", "show", name)

    assert taken.json["state"] == "FINDING_STATE_ACKNOWLEDGED", taken
    assert resolved.code == 0, resolved
    assert "version 3 says so already" in again.output
    assert (second.code, second.json["opened_count"], second.json["reopened_count"]) == (1, "0", "0")
    assert left.output == "0 findings\n"
    assert reopened.code == 0, reopened
    assert "RESOLVED to REOPENED, reason none, note not yet" in shown.output
    assert "-12.34 EUR" in shown.output
    assert "last seen" in shown.output


async def test_change_finding_of_older_version_names_who_was_faster(
    cli: CommandLine, psp: MockPsp, clock: FakeClock
) -> None:
    """The real server refuses by the same name, and the history has who did what."""
    pay_out(psp)
    clock.advance(seconds=LATER_SECONDS)
    await cli.reconcile()
    [found] = (await cli.run("findings", "list", "--json")).lines
    await cli.run("findings", "ack", found["finding_id"], "--as", "ada")

    late = await cli.run("findings", "ack", found["finding_id"], "--as", "eve", "--version", "1")

    assert late.code == 2, late
    assert late.errors.startswith("FINDING_VERSION_MISMATCH: ")
    assert "by ada: OPEN to ACKNOWLEDGED, assignee ada" in late.errors


async def test_filter_findings_at_real_server_by_every_word(
    cli: CommandLine, psp: MockPsp, clock: FakeClock
) -> None:
    """Filters find it, and their opposites do not."""
    pay_out(psp)
    clock.advance(seconds=LATER_SECONDS)
    await cli.reconcile()
    fitting = ("--state open", "--class missing-in-ledger", "--severity high", "--provider mock", "--all")
    others = (
        "--state resolved",
        "--class fee-mismatch",
        "--severity critical",
        "--provider x",
        "--assignee y",
    )

    found = [(await cli.run("findings", "list", *words.split())).output for words in fitting]
    missed = [(await cli.run("findings", "list", *words.split())).output for words in others]

    assert {output.splitlines()[-1] for output in found} == {"1 finding"}
    assert set(missed) == {"0 findings\n"}
