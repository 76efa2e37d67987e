"""`defter findings`: what is asked of a server, what is shown, and what happens when others change it too."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from defter.reconciliation.v1 import finding_pb2 as pb

from tests.integration.cli.conftest import TENANT, CommandLine
from tests.integration.cli.fake_services import FakeServices, finding, next_version, serving_fakes

ONE = finding("abcd1")
RESOLVED = pb.FINDING_STATE_RESOLVED


@pytest.fixture
async def fakes() -> AsyncIterator[tuple[FakeServices, int]]:
    """A server with one open finding."""
    async with serving_fakes() as (services, port):
        services.put(ONE)
        yield services, port


@pytest.fixture
def services(fakes: tuple[FakeServices, int]) -> FakeServices:
    """What that server knows and was asked."""
    return fakes[0]


@pytest.fixture
def cli(fakes: tuple[FakeServices, int]) -> CommandLine:
    """The command line of that server."""
    return CommandLine(fakes[1])


async def test_list_findings_shows_unresolved_ones_in_major_units(
    cli: CommandLine, services: FakeServices
) -> None:
    """Without a filter only what is not resolved is asked for; nothing is cut off where no terminal is."""
    services.put(finding("ffff", state=RESOLVED))

    ran = await cli.run("findings", "list")

    assert ran.code == 0, ran
    header, row, total = ran.output.splitlines()
    columns = "finding severity class account payment ledger provider age state assignee"
    assert header.split() == columns.split()
    assert row.split()[:6] == ["fnd_abcd100000", "HIGH", "MISSING_IN_LEDGER", "mock", "-", "-"]
    assert "-1,234.56 EUR" in row
    assert total == "1 finding"
    assert "\x1b" not in ran.output


async def test_list_findings_passes_every_filter_on(cli: CommandLine, services: FakeServices) -> None:
    """Names are taken in any case; several states may be said."""
    words = "--state open --state Auto-Resolved --class missing-in-ledger --severity high --provider mock"
    words += " --payment dep_1 --assignee eve --json"

    ran = await cli.run("findings", "list", *words.split())

    [request] = services.asked(pb.ListFindingsRequest)
    assert request == pb.ListFindingsRequest(
        tenant_id=TENANT,
        states=[pb.FINDING_STATE_OPEN, pb.FINDING_STATE_AUTO_RESOLVED],
        finding_class=pb.FINDING_CLASS_MISSING_IN_LEDGER,
        min_severity=pb.SEVERITY_HIGH,
        provider="mock",
        payment_id="dep_1",
        assignee="eve",
        page_size=1000,
    )
    assert ran.json["at_provider"]["amount_minor"] == "-123456"


async def test_list_findings_reads_all_pages_up_to_limit(cli: CommandLine, services: FakeServices) -> None:
    """A limit is kept across pages, and the command says that there is more."""
    services.put(*(finding(f"{number:04x}") for number in range(8)))
    services.page_size = 2

    limited = await cli.run("findings", "list", "--limit", "5")
    everything = await cli.run("findings", "list", "--all", "--json")

    assert limited.output.splitlines()[-1] == "5 findings"
    assert "there are more" in limited.errors
    assert len(everything.lines) == 9
    assert everything.errors == ""
    assert not services.asked(pb.ListFindingsRequest)[-1].states


async def test_show_finding_has_both_sides_evidence_and_history(
    cli: CommandLine, services: FakeServices
) -> None:
    """Everything that is known stands on the screen, by a prefix of the id."""
    services.put(
        next_version(ONE, state=pb.FINDING_STATE_ACKNOWLEDGED, actor="eve", assignee="ada", note="mine")
    )

    ran = await cli.run("findings", "show", "fnd_abcd")

    assert ran.code == 0, ran
    assert ONE.finding_id in ran.output
    assert re.search(r"^ledger\s+nothing$", ran.output, re.MULTILINE)
    assert re.search(r"^provider\s+-1,234.56 EUR\s+mp_out_1\s+PAYOUT", ran.output, re.MULTILINE)
    assert re.search(r"^  echoed_id\s+wd_lost$", ran.output, re.MULTILINE)
    assert re.search(r"version 2\s.*eve\s+OPEN to ACKNOWLEDGED, assignee ada, note mine", ran.output)


async def test_acknowledge_finding_sends_version_that_was_read(
    cli: CommandLine, services: FakeServices
) -> None:
    """The actor is who is said, and looks after it unless another is named."""
    ran = await cli.run("findings", "ack", "abcd1", "--as", "eve")

    [request] = services.asked(pb.AcknowledgeFindingRequest)
    assert ran.code == 0, ran
    assert (request.finding_id, request.expected_version) == (ONE.finding_id, 1)
    assert (request.assignee, request.actor) == ("eve", "eve")
    assert request.idempotency_key.startswith(f"acknowledge:{ONE.finding_id}:1:")
    assert ran.output.splitlines()[-1].startswith("fnd_abcd100000 is ACKNOWLEDGED, version 2: OPEN to")


async def test_acknowledge_finding_by_default_as_user_of_machine(
    cli: CommandLine, services: FakeServices
) -> None:
    """Without --as it is the machine's user."""
    await cli.run("findings", "ack", "abcd1", "--assignee", "ada", LOGNAME="operator")

    [request] = services.asked(pb.AcknowledgeFindingRequest)
    assert (request.assignee, request.actor) == ("ada", "operator")


async def test_change_finding_whose_answer_was_lost_is_one_change(
    cli: CommandLine, services: FakeServices
) -> None:
    """The same request is sent again with the same key, and the same command line finds it done."""
    services.unavailable = 1
    words = ("findings", "resolve", "abcd1", "--reason", "timing", "--as", "eve")

    first = await cli.run(*words)
    second = await cli.run(*words)

    sent = services.asked(pb.ResolveFindingRequest)
    assert (first.code, second.code) == (0, 0)
    assert len({request.idempotency_key for request in sent}) == 1
    assert len(sent) == 2
    assert "version 2 says so already" in second.output


async def test_resolve_finding_carries_reason_note_and_correction(
    cli: CommandLine, services: FakeServices
) -> None:
    """All that is said arrives."""
    words = "--reason ledger-corrected --note booked --correction tx_9 --as eve --json"

    ran = await cli.run("findings", "resolve", ONE.finding_id, *words.split())

    [request] = services.asked(pb.ResolveFindingRequest)
    assert request.reason == pb.RESOLUTION_REASON_LEDGER_CORRECTED
    assert (request.note, request.correction_transaction_id) == ("booked", "tx_9")
    assert ran.json["state"] == "FINDING_STATE_RESOLVED"
    assert not services.asked(pb.ListFindingsRequest)


async def test_resolve_finding_as_duplicate_names_other_one(cli: CommandLine, services: FakeServices) -> None:
    """The other finding may be named by a prefix as well."""
    other = finding("beef")
    services.put(other)

    alone = await cli.run("findings", "resolve", "abcd", "--reason", "duplicate-of")
    both = await cli.run("findings", "resolve", "abcd", "--reason", "duplicate-of", "--duplicate-of", "beef")

    [request] = services.asked(pb.ResolveFindingRequest)
    assert alone.code == 2
    assert "go together" in alone.errors
    assert both.code == 0, both
    assert request.duplicate_of_finding_id == other.finding_id


async def test_change_finding_that_another_has_changed_says_who_and_what(
    cli: CommandLine, services: FakeServices
) -> None:
    """Between the read and the change somebody else was there: nothing is changed, and all is told."""
    services.before_change = next_version(
        ONE, state=pb.FINDING_STATE_ACKNOWLEDGED, actor="ada", assignee="ada", note="looking"
    )

    ran = await cli.run("findings", "resolve", "abcd", "--reason", "timing", "--as", "eve")

    assert ran.code == 2, ran
    first, second, last = ran.errors.splitlines()
    assert first.startswith("FINDING_VERSION_MISMATCH: the finding has changed meanwhile (")
    assert "by ada: OPEN to ACKNOWLEDGED, assignee ada, note looking" in second
    assert last == "  read it again, and decide anew"
    assert services.versions[ONE.finding_id][-1].state == pb.FINDING_STATE_ACKNOWLEDGED


async def test_change_finding_of_said_version_is_sent_so(cli: CommandLine, services: FakeServices) -> None:
    """--version is what the server has to compare with, whatever was read."""
    ran = await cli.run("findings", "reopen", "abcd", "--version", "7", "--as", "eve")

    [request] = services.asked(pb.ReopenFindingRequest)
    assert request.expected_version == 7
    assert ran.code == 2
    assert ran.errors.startswith("FINDING_VERSION_MISMATCH: ")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("abcd", "ambiguous: 2 findings begin so"),
        ("eeee", "no finding's id begins with"),
        ("abc", "at least the first 4"),
        ("wd_abcd1", "is no finding's id"),
        ("fnd_" + "e" * 32, "FINDING_NOT_FOUND"),
    ],
)
async def test_name_finding_that_is_not_one_changes_nothing(
    cli: CommandLine, services: FakeServices, name: str, told: str
) -> None:
    """A prefix counts only if it is one finding's, resolved ones included, wherever in the list they are."""
    services.put(*(finding(f"{number:04x}") for number in range(4)), finding("abcd2", state=RESOLVED))
    services.page_size = 2

    ran = await cli.run("findings", "ack", name, "--as", "eve")

    assert ran.code == 2, ran
    assert told in ran.errors
    assert not services.asked(pb.AcknowledgeFindingRequest)


async def test_repair_finding_tells_event_and_next_step(cli: CommandLine, services: FakeServices) -> None:
    """Done twice it changes nothing, and the command says so; what can't be repaired is refused."""
    services.put(finding("beef", payment_id="dep_1"))

    first = await cli.run("findings", "repair", "abcd1", "--as", "eve")
    second = await cli.run("findings", "repair", "abcd1", "--as", "eve")
    refused = await cli.run("findings", "repair", "beef", "--as", "eve")

    assert first.code == 0, first
    assert "PAYMENT_CAPTURED is evt_1, APPLIED" in first.output
    assert "next complete run" in first.output
    assert "nothing has changed" in second.output
    assert refused.code == 2
    assert refused.errors.startswith("FINDING_NOT_REPAIRABLE: ")


async def test_show_hostile_text_is_shown_and_not_obeyed(cli: CommandLine, services: FakeServices) -> None:
    """What providers and people write can't move the cursor, colour the screen or be taken for markup."""
    services.put(finding("dead", description="\x1b[2J[red]gone[/red]\r\nfake line", assignee="a\x07b"))

    ran = await cli.run("findings", "show", "dead")
    listed = await cli.run("findings", "list")

    assert ran.code == 0, ran
    assert "\x1b" not in ran.output + listed.output
    assert "\x07" not in ran.output + listed.output
    assert "[red]gone[/red]" in ran.output
    assert not any(line.startswith("fake line") for line in ran.output.splitlines())


async def test_list_findings_without_server_exits_with_4() -> None:
    """Nobody answers: one line, no traceback."""
    ran = await CommandLine(1).run("findings", "list")

    assert ran.code == 4, ran
    assert ran.errors.startswith("UNAVAILABLE: ")
    assert "Traceback" not in ran.errors
