"""Outbound calls by the command line, against the real server: looked at, stopped, resumed."""

from __future__ import annotations

import grpc
from defter.payments.v1 import outbound_pb2, payment_pb2

from mock_psp.server import MockPsp
from tests.integration.cli.conftest import LATER_SECONDS, PROVIDER, TENANT, CommandLine
from tests.support.cashier import Cashier
from tests.support.clock import FakeClock
from tests.support.postgres import run_sql
from tests.support.service import Service
from tests.support.wire import refusal

# As after a restore of a dump: what the row says of the database is not what the database is.
RESTORED = "UPDATE history SET system_identifier = '1', epoch = 'k3x9abcd'"


END = "2030-01-01T18:00Z"


async def test_stop_and_resume_calls_by_hand_tells_who_and_why(cli: CommandLine) -> None:
    """The exit code of the status says it to a script."""
    before = await cli.run("outbound", "status")
    stopped = await cli.run("outbound", "stop", "--note", "the provider is on fire", "--as", "ada")
    during = await cli.run("outbound", "status", "--json")
    resumed = await cli.run("outbound", "resume", "--note", "the fire is out", "--as", "bob")
    after = await cli.run("outbound", "status")

    assert (before.code, before.output) == (0, "outbound calls are allowed\nepoch: none yet\n")
    assert stopped.code == 0, stopped
    assert "outbound calls are stopped since " in stopped.output
    assert "by ada: the provider is on fire" in stopped.output
    assert (during.code, during.json["stopped"], during.json["actor"]) == (1, True, "ada")
    assert (resumed.code, after.code) == (0, 0), resumed
    assert "by bob: the fire is out" in after.output


async def test_resume_after_restore_wants_every_account_reconciled(
    reconciling: Service, cli: CommandLine, clock: FakeClock, psp: MockPsp
) -> None:
    """The command says what is missing and how to get it, and waits until what was found is seen to.

    What the provider did hours before the newest record that is left, and told after it, is found as well.
    """
    cashier = Cashier(reconciling.ledger(TENANT))
    # Made in the history that was lost, by a provider whose clock is behind.
    lost = psp.state.payouts.create(reference="wd_lost", amount_minor=400, currency="EUR", destination="me")
    psp.state.payouts.pay(lost.id)
    clock.advance(seconds=LATER_SECONDS)
    withdrawal = await _owed(cashier)
    await reconciling.crash()
    run_sql(reconciling.database_url, RESTORED)
    await reconciling.restart()
    cashier = Cashier(reconciling.ledger(TENANT, key_prefix="after"))
    cli = CommandLine(reconciling.server.port)
    clock.advance(seconds=LATER_SECONDS)

    status = await cli.run("outbound", "status")
    refused = await cli.run("outbound", "resume", "--note", "in a hurry")
    request = outbound_pb2.ResumeOutboundRequest(
        epoch=(await _outbound(reconciling)).epoch, note="in a hurry", actor="ada"
    )
    by_server = await refusal(reconciling.stubs.outbound.ResumeOutbound(request))
    late = await cli.run(
        "reconcile", "--provider", PROVIDER, "--from", "2030-01-01T13:00Z", "--to", "2030-01-01T14:00Z"
    )
    still = await cli.run("outbound", "resume", "--note", "half a window")
    [told] = [line for line in status.output.splitlines() if line.startswith("not reconciled since: ")]
    # The database's clock does not stand in 2030, so the end of the window that it tells is not the test's.
    printed = [*told.removeprefix("not reconciled since: defter ").partition("--to")[0].split(), "--to", END]
    in_transit = await cli.run(*printed, "--grace", "100h")
    too_early = await cli.run("outbound", "resume", "--note", "a payout is in transit")
    reconciled = await cli.run(*printed, "--grace", "0s")
    found = await _outbound(reconciling)
    unseen = await cli.run("outbound", "resume", "--note", "nobody has looked")
    unseen_by_server = await refusal(reconciling.stubs.outbound.ResumeOutbound(request))
    [open_] = found.open_findings
    acknowledged = await cli.run("findings", "ack", open_.finding_id, "--as", "ada")
    still_open = await refusal(reconciling.stubs.outbound.ResumeOutbound(request))
    resolved = await cli.run(
        "findings",
        "resolve",
        open_.finding_id,
        "--reason",
        "provider-error",
        "--note",
        "it was mine",
        "--as",
        "ada",
    )
    resumed = await cli.run("outbound", "resume", "--note", "all is seen", "--as", "ada")

    assert status.code == 1
    assert (
        f"not reconciled since: defter reconcile --tenant {TENANT} --provider {PROVIDER} --from "
        in status.output
    )
    assert "epoch: " in status.output
    assert ", after k3x9abcd" in status.output
    assert refused.code == 2
    assert "not resumed: reconcile these accounts first, or say --force" in refused.errors
    assert (by_server.code, by_server.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "OUTBOUND_NOT_RECONCILED",
    )
    assert by_server.metadata == {"tenant_id": TENANT, "provider": PROVIDER}
    assert late.code in {0, 1}, late
    assert still.code == 2, still
    assert in_transit.code in {0, 1}, in_transit
    assert too_early.code == 2, too_early
    assert reconciled.code in {0, 1}, reconciled
    assert (found.open_finding_count, open_.tenant_id) == (1, TENANT)
    assert unseen.code == 2, unseen
    assert "not resumed: see to these findings first, or say --force" in unseen.errors
    assert f"tells of lost money, and is open: defter findings show {open_.finding_id}" in unseen.output
    assert (unseen_by_server.code, unseen_by_server.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "OUTBOUND_FINDINGS_OPEN",
    )
    assert unseen_by_server.metadata == {
        "count": "1",
        "tenant_id": TENANT,
        "finding_ids": open_.finding_id,
    }
    assert acknowledged.code == 0, acknowledged
    assert still_open.reason == "OUTBOUND_FINDINGS_OPEN"
    assert resolved.code == 0, resolved
    assert resumed.code == 0, resumed
    assert (
        "all provider accounts with payments are reconciled since; see `defter findings list`"
        in resumed.output
    )
    await cashier.until_called()
    called = await cashier.withdrawal(withdrawal)
    assert called.call_state == payment_pb2.CALL_STATE_ACCEPTED


async def test_resume_by_force_is_said_to_be_so(reconciling: Service) -> None:
    """Somebody may answer for what was lost."""
    await _owed(Cashier(reconciling.ledger(TENANT)))
    await reconciling.crash()
    run_sql(reconciling.database_url, RESTORED)
    await reconciling.restart()
    resumed = await CommandLine(reconciling.server.port).run(
        "outbound", "resume", "--note", "nothing was lost", "--force"
    )
    assert resumed.code == 0, resumed
    assert not (await _outbound(reconciling)).stopped


async def test_stop_by_hand_asks_for_a_loss_until_somebody_has_answered_for_it(
    reconciling: Service,
) -> None:
    """Stopped once more, the loss stays open; stopped after it was answered for, nobody asks for it again."""
    await _owed(Cashier(reconciling.ledger(TENANT)))
    await reconciling.crash()
    run_sql(reconciling.database_url, RESTORED)
    await reconciling.restart()
    cli = CommandLine(reconciling.server.port)

    again = await cli.run("outbound", "stop", "--note", "for certain")
    refused = await cli.run("outbound", "resume", "--note", "in a hurry")
    forced = await cli.run("outbound", "resume", "--note", "nothing was lost", "--force")
    stopped = await cli.run("outbound", "stop", "--note", "the provider is on fire")
    resumed = await cli.run("outbound", "resume", "--note", "the fire is out")

    assert [ran.code for ran in (again, refused, forced, stopped, resumed)] == [0, 2, 0, 0, 0]


async def _owed(cashier: Cashier) -> str:
    """Stop calls, and return the id of a withdrawal that is approved meanwhile."""
    stop = outbound_pb2.StopOutboundRequest(note="a rehearsal", actor="ada")
    await cashier.stubs.outbound.StopOutbound(stop)
    await cashier.captured(5_000)
    withdrawal = await cashier.request(2_000)
    await cashier.approve(withdrawal.withdrawal_id)
    return withdrawal.withdrawal_id


async def _outbound(service: Service) -> outbound_pb2.Outbound:
    return (await service.stubs.outbound.GetOutbound(outbound_pb2.GetOutboundRequest())).outbound
