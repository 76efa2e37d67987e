"""Dashboards and alerts are asked of a real Prometheus, which reads a ledger, an edge and a provider."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from defter.ledger.v1 import tenant_pb2
from defter.payments.v1 import payment_pb2
from defter.reconciliation.v1 import reconciliation_pb2

from mock_psp.server import serve
from tests.edge.harness import OTHER, PATH, SECRET, TENANT, signed
from tests.integration.edge.test_process import EdgeProcess
from tests.support.cashier import Cashier
from tests.support.guarded import Guarded
from tests.support.ledger import Ledger
from tests.support.monitoring import (
    CASE_FILES,
    EXAMPLE,
    RULE_FILES,
    asked_by_panels,
    asked_by_rules,
    filters,
    recorded,
    selectors,
)
from tests.support.patience import HANG_SECONDS
from tests.support.prometheus import Prometheus, scraping
from tests.support.requests import timestamp
from tests.support.service import ServerProcess
from tests.support.tools import prometheus_programs, require
from tests.support.wire import Stubs, refusal
from tools.free_ports import free_port

CONSOLE = "spiffe://d/console"
PROVIDERS = """
[providers.mock]
adapter = "mock"
tenants = ["casino"]
base_address = "{url}"
api_key_env = "MOCK_KEY"
"""
# Its type moves money, and its amount has a form that is not known.
UNREADABLE = b'{"type":"payment.captured","data":{"payment_id":"pay-1","amount_minor":"500"}}'
# Selectors that take nothing of a stack at work, each with the reason.
NOTHING_YET = {
    'error_type!=""': "calls that end by the ledger's fault; the alert takes 0 for them",
    'rpc_response_status_code="INTERNAL"': "the series begins with the first fault, as the alert knows",
    'rpc_response_status_code="RESOURCE_EXHAUSTED"': "the series begins with the first such call",
    "instance_method:rpc_server_internal_errors:sum": "recorded of INTERNAL",
}
# Empty for all tenants without a label of their own; to Prometheus a label that is empty is none.
MAY_BE_EMPTY = frozenset({"tenant"})


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the processes of a stack tell their metrics."""

    ledger: int
    edge: int


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder with prometheus and promtool."""
    return require(prometheus_programs)


@asynccontextmanager
async def working_stack(database_url: str, folder: Path) -> AsyncIterator[Ports]:
    """Run a guarded ledger, an edge and a provider, and let one of everything happen that is counted."""
    guarded, metrics_port, edge_folder = Guarded(folder), free_port(), folder / "edge"
    edge_folder.mkdir()
    files = {
        "DEFTER_TLS_CERTIFICATE_FILE": "server.pem",
        "DEFTER_TLS_KEY_FILE": "server.key",
        "DEFTER_CLIENT_AUTHORITY_FILE": "authority.pem",
        "DEFTER_POLICY_FILE": "policy.toml",
        "DEFTER_PROVIDERS_FILE": "providers.toml",
    }
    ledger = ServerProcess(
        database_url,
        log_file=folder / "ledger.log",
        environment={
            **{name: str(folder / file) for name, file in files.items()},
            "MOCK_KEY": "secret",
            "DEFTER_METRICS_PORT": str(metrics_port),
            "DEFTER_METRICS_SECONDS": "1",
            "DEFTER_DISPATCH_SWEEP_SECONDS": "1",
        },
    )
    edge = EdgeProcess(edge_folder, ledger_port=ledger.port)
    identity = guarded.authority.issue(uris=["spiffe://d/edge"])
    guarded.write("edge.pem", identity.pem)
    guarded.write("edge.key", identity.key_pem)
    edge.environment |= {
        "DEFTER_EDGE_LEDGER_TARGET": f"localhost:{ledger.port}",
        "DEFTER_EDGE_LEDGER_AUTHORITY_FILE": str(folder / "authority.pem"),
        "DEFTER_EDGE_LEDGER_CERTIFICATE_FILE": str(folder / "edge.pem"),
        "DEFTER_EDGE_LEDGER_KEY_FILE": str(folder / "edge.key"),
    }
    async with serve(token="secret", webhook_url=edge.url + PATH, webhook_secrets=[SECRET]) as psp:
        guarded.write("providers.toml", PROVIDERS.format(url=psp.url).encode())
        ledger.spawn()
        process = edge.spawn()
        try:
            await edge.until("/ready", 200)
            async with guarded.channel_of(CONSOLE, port=ledger.port) as channel:
                await one_of_everything(Cashier(Ledger(channel, TENANT, key_prefix="key")), edge)
                async with guarded.channel_of("spiffe://d/nobody", port=ledger.port) as nobody:
                    asked = Stubs.over(nobody).tenants.GetTenant(
                        tenant_pb2.GetTenantRequest(tenant_id=TENANT)
                    )
                    assert (await refusal(asked)).reason == "PERMISSION_MISSING"
                yield Ports(ledger=metrics_port, edge=int(edge.metrics_url.rpartition(":")[2]))
        finally:
            process.kill()
            process.wait()
            if ledger.is_alive:
                ledger.kill()


async def one_of_everything(cashier: Cashier, edge: EdgeProcess) -> None:
    """Move money in and out, refuse some, have an event that can't be read, and reconcile."""
    ledger = cashier.ledger
    await ledger.create()
    await ledger.open_house()
    await ledger.open("ann")
    await ledger.fund("ann", 1_000)
    deposit = await cashier.initiate(provider_ref="")
    await state_of(cashier.deposit, deposit.deposit_id, payment_pb2.DEPOSIT_STATE_CAPTURED)
    withdrawal = await cashier.request()
    await cashier.approve(withdrawal.withdrawal_id)
    await state_of(cashier.withdrawal, withdrawal.withdrawal_id, payment_pb2.WITHDRAWAL_STATE_PAID)
    async with httpx.AsyncClient(trust_env=False, timeout=HANG_SECONDS) as client:
        for body, secret, status in ((UNREADABLE, SECRET, 200), (UNREADABLE, OTHER, 401)):
            headers = signed(body, secret, at=datetime.now(UTC))
            answer = await client.post(edge.url + PATH, content=body, headers=headers)
            assert answer.status_code == status, answer.text
    now = datetime.now(UTC)
    run = reconciliation_pb2.RunReconciliationRequest(
        tenant_id=TENANT,
        provider="mock",
        idempotency_key="run",
        from_time=timestamp(now - timedelta(days=1)),
        to_time=timestamp(now - timedelta(hours=1)),
    )
    told = [progress async for progress in ledger.stubs.reconciliation.RunReconciliation(run)]
    assert told[-1].run.state == reconciliation_pb2.RUN_STATE_COMPLETE


async def state_of(read: Any, payment_id: str, state: int) -> None:
    """Wait until a payment is in a state."""
    async with asyncio.timeout(HANG_SECONDS):
        while (await read(payment_id)).state != state:  # noqa: ASYNC110  # other processes bring it about
            await asyncio.sleep(0.05)


async def settle(prometheus: Prometheus) -> None:
    """Wait until Prometheus has all that has happened, and has recorded what it is to record of it."""
    for expression in (
        'rate(defter_payment_changes_total{state="paid"}[5m])',
        "defter_reconciliation_age_seconds",
        'defter_findings_open{finding_class="unread_event"} > 0',
        'rate(defter_edge_unread_events_total{moves_money="true"}[5m])',
        'rate(rpc_server_call_duration_seconds_count{rpc_response_status_code="PERMISSION_DENIED"}[5m])',
        *(name for name in recorded() if name not in NOTHING_YET),
    ):
        await prometheus.until(expression)


def test_promtool_finds_rules_and_cases_right(programs: Path) -> None:
    """Prometheus reads the rules and the example, and each alert fires where it should and only there."""
    for words in (
        ["check", "config", "--lint=all", "--lint-fatal", str(EXAMPLE)],
        ["test", "rules", *map(str, CASE_FILES)],
    ):
        done = subprocess.run([programs / "promtool", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(RULE_FILES) == len(re.findall(r"\.rules\.yml", EXAMPLE.read_text()))


async def test_every_expression_is_answered_by_a_stack_at_work(
    programs: Path, database_url: str, tmp_path: Path
) -> None:
    """Each selector takes series that there are, with the labels that it is summed and told by."""
    asked = (*asked_by_panels(), *asked_by_rules())
    wrong: list[object] = []
    async with (
        working_stack(database_url, tmp_path) as ports,
        scraping(
            programs / "prometheus", tmp_path, {"defter": ports.ledger, "defter-edge": ports.edge}
        ) as prometheus,
    ):
        await settle(prometheus)
        for each in asked:
            await prometheus.query(each.expression)
            # Series that are left out while they are 0 have labels and legends all the same.
            unfiltered = each.expression.removesuffix(" > 0")
            samples = await prometheus.query(unfiltered)
            found = [
                (selector, await prometheus.series(selector.text)) for selector in selectors(each.expression)
            ]
            nothing = [selector for selector, series in found if not series and not excused(selector.text)]
            ungrouped = [
                selector
                for selector, series in found
                if series
                and selector.grouped_by - MAY_BE_EMPTY - {name for labels in series for name in labels}
            ]
            unanswered = not samples and not filters(unfiltered) and all(series for _, series in found)
            untold = [
                label
                for label in set(re.findall(r"\{\{(\w+)\}\}", each.legend)) - MAY_BE_EMPTY
                if samples and not any(label in sample["metric"] for sample in samples)
            ]
            if nothing or ungrouped or untold or unanswered:
                wrong.append((each, nothing, ungrouped, untold, unanswered))
        groups = (await prometheus.ask("rules"))["groups"]
        alive = [(rule["name"], rule.get("lastError")) for group in groups for rule in group["rules"]]

    assert not wrong
    assert [name for name, error in alive if error] == []
    assert len(alive) == len(asked_by_rules())


def excused(selector: str) -> bool:
    """Whether a selector is known to take nothing of a stack in which nothing goes wrong."""
    return any(words in selector for words in NOTHING_YET)
