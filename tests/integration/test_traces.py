"""One trace leads from webhook or caller through lane and commit to the provider; off, none is imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import grpc
import pytest
from defter.ledger.v1 import account_pb2, tenant_pb2

from defter_tracing import Kind, Traces, switch_off, switch_on
from ledger_server.cli.demo import TENANT, run_demo
from ledger_server.cli.local_access import open_ways
from ledger_server.process.bootstrap import currencies
from ledger_server.process.local_psp import NAME, local_psp
from tests.support.collector import Collector, Seen, collecting
from tests.support.fake_provider import fake_providers
from tests.support.requests import transfer
from tests.support.service import serving
from tests.support.wire import refusal

INGEST = "defter.payments.v1.ProviderEventService/IngestProviderEvents"
APPROVE = "defter.payments.v1.WithdrawalService/ApproveWithdrawal"
POST = "defter.ledger.v1.PostingService/PostTransaction"
AMOUNTS = ("2500", "1000")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Traces are on, and are sent to this."""
    with collecting() as found:
        switch_on("test", found.url)
        try:
            yield found
        finally:
            switch_off()


def on(traces: Traces | None = None) -> Traces:
    """Return the traces of this process."""
    from defter_tracing import traces as current  # noqa: PLC0415  # they change

    found = traces or current()
    assert found is not None
    return found


def names(spans: list[Seen]) -> list[str]:
    """Return the names of spans."""
    return [span.name for span in spans]


async def test_deposit_and_payout_are_told_from_webhook_and_caller_to_commit_and_provider(
    database_url: str, collector: Collector
) -> None:
    """The demo on a real ledger, edge and provider: every step is in the trace that it belongs to."""
    async with (
        local_psp(TENANT, currencies({})) as psp,
        serving(
            database_url,
            providers={NAME: psp.adapter},
            provider_tenants={NAME: frozenset({TENANT})},
        ) as service,
    ):
        target = f"127.0.0.1:{service.server.port}"
        async with psp.edge(target, None):
            await run_demo(open_ways(target), psp.url, lambda _: None)
    switch_off()  # which sends what was not sent yet

    webhooks = collector.named(f"POST /webhooks/standard/{NAME}")
    commits = collector.named("commit")
    assert len(webhooks) >= 2
    assert all(not webhook.parent_id for webhook in webhooks)
    for webhook in webhooks:
        [commit] = [
            each
            for each in commits
            if each.trace_id == webhook.trace_id and collector.above(each)[-1] == webhook
        ]
        assert names(collector.above(commit)) == ["lane", INGEST, INGEST, webhook.name]
        assert webhook.begin_ns <= commit.begin_ns <= commit.end_ns
        assert webhook.attributes["defter.verdict"] == "taken"

    [payout] = collector.named("make create_payout")
    assert names(collector.above(payout)) == ["owed create_payout", APPROVE, "ApproveWithdrawal"]
    approval = collector.above(payout)[1]
    below = [names(collector.above(each)) for each in commits if each.trace_id == payout.trace_id]
    approved = ["lane", APPROVE, "ApproveWithdrawal"]
    reported = ["lane", "owed create_payout", APPROVE, "ApproveWithdrawal"]  # begun, then accepted
    assert sorted(below, key=len) == [approved, reported, reported]
    assert payout.attributes["defter.answer"] == "Accepted"
    # The way back: what the webhook told is beside the trace of the approval.
    back = [each for each in collector.named("lane") if approval.trace_id in each.links]
    assert all(collector.above(each)[-1] in webhooks for each in back)
    assert back
    assert payout.attributes["defter.payment_id"] in back[0].attributes["defter.payment_id"]

    assert not any(span.failed for span in collector.spans)
    told = repr([span.attributes for span in collector.spans])
    assert not any(f"'{amount}'" in told for amount in AMOUNTS)
    assert "bank-account-of-42" not in told


async def test_callers_trace_goes_on_in_the_ledger(database_url: str, collector: Collector) -> None:
    """By the `traceparent` that any caller may send; what is none begins a trace, and the call is served."""
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    metadata = {
        f"00-{trace}-{parent}-01": (trace, parent),
        f"00-{trace}-{parent}-00": None,  # the caller does not sample it
        "00-0-0-0": ("", ""),
        "x" * 500: ("", ""),
    }
    async with serving(database_url, providers=fake_providers()) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        for number, sent in enumerate(metadata):
            request = ledger.post_request(transfer("house", "ann", 1), key=f"traced-{number}")
            await ledger.stubs.postings.PostTransaction(request, metadata=(("traceparent", sent),))
    switch_off()

    seen = collector.named(POST)
    assert [(span.trace_id.hex() == trace, span.parent_id.hex()) for span in seen] == [
        (found[0] == trace, found[1]) for found in metadata.values() if found is not None
    ]
    for span in seen:
        assert span.kind == "SERVER"
        assert span.attributes["rpc.response.status_code"] == "OK"
        assert span.attributes["defter.tenant_id"] == "casino"
        assert span.attributes["defter.request_id"]


async def test_batch_that_calls_share_is_told_in_the_trace_of_each(
    database_url: str, collector: Collector
) -> None:
    """Each call has its own wait and the one commit; refusals have none and say their code."""
    async with serving(database_url, providers=fake_providers()) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        missing = account_pb2.GetAccountRequest(tenant_id="casino", account_id="nobody")
        assert (await refusal(ledger.stubs.accounts.GetAccount(missing))).code is grpc.StatusCode.NOT_FOUND
        nobody = tenant_pb2.GetTenantRequest(tenant_id="nobody")
        with on().span("caller", Kind.CLIENT, attributes={}):
            sent = on().outgoing()
            await refusal(ledger.stubs.tenants.GetTenant(nobody, metadata=sent))
    switch_off()

    for span in collector.named("lane"):
        [commit] = [each for each in collector.named("commit") if each.parent_id == span.span_id]
        assert span.begin_ns <= commit.begin_ns <= commit.end_ns <= span.end_ns
    refused = collector.named("defter.ledger.v1.TenantService/GetTenant")[-1]
    assert names(collector.above(refused)) == ["caller"]
    assert refused.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert not refused.failed  # it is the caller's fault, not the server's


def test_nothing_of_opentelemetry_is_imported_while_traces_are_off() -> None:
    """Who has no collector pays nothing, and need not install it."""
    code = (
        "import sys, ledger_server.process.bootstrap, webhook_edge.server, defter_client;"
        "sys.exit(any(name.partition('.')[0] == 'opentelemetry' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_traces_without_their_packages_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that does nothing would be found out in the middle of an incident."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "defter_tracing.exporting", raising=False)

    with pytest.raises(Exception, match="otel"):
        switch_on("test", "http://127.0.0.1:1")
