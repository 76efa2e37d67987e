"""Adjustments by the command line: asked for, approved by somebody else, refused, taken back and listed."""

from __future__ import annotations

import json

import pytest

from tests.integration.cli.conftest import TENANT, CommandLine, Ran
from tests.support.ledger import Ledger
from tests.support.service import Service


@pytest.fixture
async def ledger(reconciling: Service) -> Ledger:
    """A tenant with a player."""
    ledger = reconciling.ledger(TENANT)
    await ledger.open_house()
    await ledger.open("ann")
    return ledger


async def asked(cli: CommandLine, key: str, *words: str) -> Ran:
    """Ask for 25 euros as ada."""
    return await cli.run(
        *("adjustments", "request", "--key", key, "--debit", "house", "--credit", "ann"),
        *("--amount", "25", "--currency", "EUR", "--reason", "goodwill", "--as", "ada", *words),
    )


async def test_request_and_approve_moves_money_once(cli: CommandLine, ledger: Ledger) -> None:
    """The same command lines, sent again, find what they have done."""
    policy = await cli.run("adjustments", "policy")
    first, again = await asked(cli, "case-7"), await asked(cli, "case-7")
    adjustment_id = first.output.split()[0]
    alone = await cli.run("adjustments", "approve", adjustment_id, "--as", "ada")
    waiting = await cli.run("adjustments", "list", "--state", "requested")
    approved = [
        await cli.run("adjustments", "approve", adjustment_id, "--as", "grace", "--note", "seen")
        for _ in range(2)
    ]
    shown = await cli.run("adjustments", "show", adjustment_id)
    told = json.loads((await cli.run("adjustments", "show", adjustment_id, "--json")).output)

    assert (policy.code, policy.output) == (0, "of any currency a second person is always needed\n")
    assert first.code == 0, first
    assert first.output == again.output == f"{adjustment_id} is REQUESTED: another person has to approve it\n"
    assert (alone.code, "SECOND_PERSON_REQUIRED" in alone.errors) == (2, True)
    assert "25.00 EUR" in waiting.output
    assert waiting.output.endswith("1 adjustment\n")
    assert [each.output for each in approved] == [
        f"{adjustment_id} is POSTED by {told['transaction_id']}\n"
    ] * 2
    assert await ledger.posted("ann") == 2_500
    for words in ("goodwill", "by ada", "by grace seen", "house", "25.00 EUR", told["transaction_id"]):
        assert words in shown.output, shown
    assert told["state"] == "ADJUSTMENT_STATE_POSTED"


async def test_policy_and_ends(cli: CommandLine, ledger: Ledger) -> None:
    """Below the amount one person is enough; what waits is refused, or taken back by who asked."""
    policy = await cli.run("adjustments", "policy", "--set", "EUR=25.01")
    small = await asked(cli, "small")
    strict = await cli.run("adjustments", "policy", "--set", "EUR=25.00", "--json")
    rejected, cancelled = await asked(cli, "one"), await asked(cli, "two")
    first, second = rejected.output.split()[0], cancelled.output.split()[0]
    refusal = [
        await cli.run("adjustments", "reject", first, "--reason", "wrong player", "--as", "grace")
        for _ in range(2)
    ]
    foreign = await cli.run("adjustments", "cancel", second, "--as", "grace")
    back = [await cli.run("adjustments", "cancel", second, "--as", "ada") for _ in range(2)]
    late = await cli.run("adjustments", "approve", second, "--as", "grace")
    listed = await cli.run("adjustments", "list", "--newest-first", "--json")

    assert policy.output == (
        "from 25.01 EUR on a second person is needed\n"
        "of any other currency a second person is always needed\n"
    )
    assert " is POSTED by tx_" in small.output
    assert json.loads(strict.output) == {"second_review_from_minor": {"EUR": "2500"}}
    assert [each.output for each in refusal] == [f"{first} is REJECTED\n"] * 2
    assert (foreign.code, "REQUESTER_REQUIRED" in foreign.errors) == (2, True)
    assert [each.output for each in back] == [f"{second} is CANCELLED\n"] * 2
    assert (late.code, "ADJUSTMENT_STATE_MISMATCH" in late.errors) == (2, True)
    states = [json.loads(line)["state"] for line in listed.output.splitlines()]
    assert states == [f"ADJUSTMENT_STATE_{name}" for name in ("CANCELLED", "REJECTED", "POSTED")]
    assert await ledger.posted("ann") == 2_500


async def test_amount_that_is_none_is_refused_before_anything_is_asked(
    cli: CommandLine, ledger: Ledger
) -> None:
    """Each in one line, with exit code 2."""
    for words in (("--amount", "25.001"), ("--amount", "0"), ("--amount", "2,5"), ("--currency", "XYZ")):
        refused = await asked(cli, "k", *words)
        assert (refused.code, refused.errors.count("\n")) == (2, 1), refused
    twice = await cli.run("adjustments", "policy", "--set", "EUR=1", "--set", "EUR=2")
    assert (twice.code, "each currency once" in twice.errors) == (2, True)
    assert (await cli.run("adjustments", "list")).output == "0 adjustments\n"
