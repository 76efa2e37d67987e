"""Withdrawals by the command line, against the real server: found, counted, claimed and noted."""

from __future__ import annotations

from defter.payments.v1 import payment_pb2

from tests.integration.cli.conftest import TENANT, CommandLine
from tests.support.cashier import Cashier
from tests.support.findings import Desk
from tests.support.service import Service


async def three_withdrawals(reconciling: Service) -> tuple[Cashier, list[str]]:
    """Ask for three withdrawals, of which the last is refused."""
    cashier = Cashier(reconciling.ledger(TENANT))
    await cashier.captured(100_000)
    found = [
        (await cashier.request(amount, reference=f"cash-out-{amount}")).withdrawal_id
        for amount in (500, 1_500, 2_500)
    ]
    await cashier.reject(found[-1])
    return cashier, found


async def test_list_withdrawals_by_each_filter(cli: CommandLine, reconciling: Service) -> None:
    """Several states, amounts, a reference, the newest first."""
    _, ids = await three_withdrawals(reconciling)

    async def found(*words: str) -> list[str]:
        ran = await cli.run("withdrawals", "list", "--json", *words)
        assert ran.code == 0, ran
        return [each["withdrawal_id"] for each in ran.lines]

    assert await found() == ids
    assert await found("--newest") == ids[::-1]
    assert await found("--state", "requested") == ids[:2]
    assert await found("--state", "requested", "--state", "rejected") == ids
    assert await found("--reference", "cash-out-500") == ids[:1]
    assert await found("--currency", "EUR", "--min-minor", "501", "--max-minor", "2500") == ids[1:]
    assert await found("--currency", "USD") == []
    assert await found("--provider-ref", "none") == []
    alone = await cli.run("withdrawals", "list", "--min-minor", "1")
    assert (alone.code, "--currency" in alone.errors) == (2, True)


async def test_count_tells_how_many_how_much_and_how_old(cli: CommandLine, reconciling: Service) -> None:
    """In a table for people, and as JSON for programs."""
    cashier, _ = await three_withdrawals(reconciling)
    await Desk(cashier.ledger).raised()

    table = await cli.run("withdrawals", "count")
    ended = await cli.run("withdrawals", "count", "--from", "2030-01-01", "--json")
    deposits = await cli.run("deposits", "count", "--from", "2030-01-01", "--json")
    findings = await cli.run("findings", "count")
    wrong = await cli.run("withdrawals", "count", "--to", "2030-01-01")

    assert table.code == 0, table
    assert "REQUESTED" in table.output
    assert "20.00 EUR" in table.output
    assert table.output.endswith("2 in all\n")
    assert [(each["state"], each["count"]) for each in ended.lines] == [
        ("WITHDRAWAL_STATE_REQUESTED", "2"),
        ("WITHDRAWAL_STATE_REJECTED", "1"),
    ]
    assert "DEPOSIT_STATE_CAPTURED" in [each["state"] for each in deposits.lines]
    assert (findings.code, findings.output.endswith("1 in all\n")) == (0, True), findings
    assert (wrong.code, "--from" in wrong.errors) == (2, True)


async def test_claim_and_note_a_withdrawal(cli: CommandLine, reconciling: Service) -> None:
    """Colleagues see who works on it and what was found out, and may take it over."""
    cashier, [withdrawal_id, *_] = await three_withdrawals(reconciling)

    claimed = await cli.run("withdrawals", "claim", withdrawal_id, "--as", "ada", "--for", "1h")
    refused = await cli.run("withdrawals", "claim", withdrawal_id, "--as", "bob")
    taken = await cli.run("withdrawals", "claim", withdrawal_id, "--as", "bob", "--take-over")
    noted = await cli.run("withdrawals", "note", withdrawal_id, "called the bank", "--as", "bob")
    released = await cli.run("withdrawals", "claim", withdrawal_id, "--as", "bob", "--release")
    too_long = await cli.run("withdrawals", "claim", withdrawal_id, "--as", "ada", "--for", "2d")

    assert claimed.output.startswith(f"{withdrawal_id}: ada works on it, until "), claimed
    assert (refused.code, "WITHDRAWAL_CLAIMED" in refused.errors, "reviewer=ada" in refused.errors) == (
        2,
        True,
        True,
    )
    assert (taken.code, "bob works on it" in taken.output) == (0, True), taken
    assert noted.output.endswith(" UTC, bob: called the bank\n"), noted
    assert released.output == f"{withdrawal_id}: nobody works on it\n"
    assert (too_long.code, "claim_seconds" in too_long.errors) == (2, True)
    withdrawal = await cashier.withdrawal(withdrawal_id)
    assert not withdrawal.HasField("claim")
    assert [each.text for each in withdrawal.notes] == ["called the bank"]
    assert withdrawal.state == payment_pb2.WITHDRAWAL_STATE_REQUESTED
