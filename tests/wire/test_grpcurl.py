"""Own the promise that an operator needs no stubs: grpcurl and reflection are enough."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.service import Service
from tests.support.tools import grpcurl, require
from tests.support.wire import MIB


@pytest.fixture(scope="session")
def grpcurl_program() -> Path:
    """The real grpcurl."""
    return require(grpcurl)


class Shell:
    """Runs grpcurl against a server, as an operator would type it."""

    def __init__(self, program: Path, port: int) -> None:
        self._program = program
        self._address = f"127.0.0.1:{port}"

    async def run(self, *arguments: str, fails: bool = False) -> str:
        """Run grpcurl and return what it printed."""
        process = await asyncio.create_subprocess_exec(
            self._program,
            "-plaintext",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MIB,
        )
        output, errors = await process.communicate()
        assert (process.returncode != 0) == fails, errors.decode()
        return (errors if fails else output).decode()

    async def call(self, method: str, *flags: str, **request: Any) -> Any:
        """Call one RPC of the ledger and return its response."""
        text = json.dumps(request)
        name = f"defter.ledger.v1.{method}"
        return json.loads(await self.run(*flags, "-d", text, self._address, name))

    async def list(self, *words: str) -> list[str]:
        """List services, or a service's methods."""
        return (await self.run(self._address, "list", *words)).split()


@pytest.fixture
def shell(grpcurl_program: Path, server: Service) -> Shell:
    """A shell beside a running server."""
    return Shell(grpcurl_program, server.server.port)


async def test_list_services_by_reflection_names_all_of_them(shell: Shell) -> None:
    """Services, health and reflection are found without a proto file."""
    services = await shell.list()

    assert services == [
        "defter.backfill.v1.BackfillService",
        "defter.ledger.v1.AccountService",
        "defter.ledger.v1.HoldService",
        "defter.ledger.v1.JournalService",
        "defter.ledger.v1.PostingService",
        "defter.ledger.v1.TenantService",
        "defter.payments.v1.DepositService",
        "defter.payments.v1.OutboundService",
        "defter.payments.v1.PlayerService",
        "defter.payments.v1.ProviderEventService",
        "defter.payments.v1.WalletService",
        "defter.payments.v1.WithdrawalService",
        "defter.reconciliation.v1.FindingService",
        "defter.reconciliation.v1.ReconciliationService",
        "defter.reconciliation.v1.SettlementService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    assert "defter.ledger.v1.HoldService.CaptureHold" in await shell.list("defter.ledger.v1.HoldService")


async def test_describe_method_by_reflection_names_its_messages(shell: Shell) -> None:
    """A method is found by its own name, as a service and a message are."""
    name = "defter.ledger.v1.HoldService.PlaceHold"

    described = await shell.run(shell._address, "describe", name)
    missing = await shell.run(shell._address, "describe", f"{name}Twice", fails=True)

    assert ".defter.ledger.v1.PlaceHoldRequest" in described
    assert "not found" in missing


async def test_work_with_ledger_by_grpcurl_alone_moves_money(shell: Shell) -> None:
    """Create a tenant, open accounts, post, hold, capture, read the statement, watch."""
    tenant = {"tenant_id": "casino"}
    await shell.call("TenantService/CreateTenant", **tenant, idempotency_key="t")
    for account_id, kind in (("psp:clearing", "ASSET"), ("player:42", "LIABILITY")):
        await shell.call(
            "AccountService/OpenAccount",
            **tenant,
            idempotency_key=account_id,
            account={
                "account_id": account_id,
                "kind": f"ACCOUNT_KIND_{kind}",
                "currency_code": "EUR",
            },
        )
    posted = await shell.call(
        "PostingService/PostTransaction",
        **tenant,
        idempotency_key="deposit",
        transaction={
            "type": "TRANSACTION_TYPE_DEPOSIT",
            "postings": [leg("psp:clearing", "DEBIT", 2500), leg("player:42", "CREDIT", 2500)],
        },
    )
    placed = await shell.call(
        "HoldService/PlaceHold",
        **tenant,
        idempotency_key="bet",
        debit_account_id="player:42",
        credit_account_id="psp:clearing",
        amount_minor=1000,
        currency_code="EUR",
        type="TRANSACTION_TYPE_BET",
    )
    captured = await shell.call(
        "HoldService/CaptureHold",
        **tenant,
        idempotency_key="capture",
        hold_id=placed["hold"]["hold_id"],
        amount_minor=400,
        final=True,
    )
    statement = await shell.call(
        "AccountService/ListPostings", **tenant, account_id="player:42", include_pending=True
    )

    assert posted["transaction"]["sequence"] == "4"
    assert captured["hold"]["state"] == "HOLD_STATE_CAPTURED"
    lines = [(line["phase"], line["balance"].get("available_balance_minor")) for line in statement["lines"]]
    assert lines == [
        ("POSTING_PHASE_POSTED", "2500"),
        ("POSTING_PHASE_HELD", "1500"),
        ("POSTING_PHASE_CAPTURED", "2100"),
    ]


async def test_watch_by_grpcurl_prints_journal(shell: Shell) -> None:
    """The watch prints what is there and goes on; here its deadline ends it."""
    await shell.call("TenantService/CreateTenant", tenant_id="casino", idempotency_key="t")
    words = ("-max-time", "1", "-d", '{"tenant_id": "casino"}', shell._address)

    process = await asyncio.create_subprocess_exec(
        shell._program,
        "-plaintext",
        *words,
        "defter.ledger.v1.JournalService/WatchJournal",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()

    first, _ = json.JSONDecoder().raw_decode(output.decode())
    assert "tenant_created" in first["entries"][0]["record"]
    assert "DeadlineExceeded" in errors.decode()


async def test_break_rule_by_grpcurl_prints_reason(shell: Shell) -> None:
    """An operator sees the reason and its facts, decoded by reflection."""
    text = json.dumps({"tenant_id": "nobody"})

    errors = await shell.run(
        "-d", text, shell._address, "defter.ledger.v1.TenantService/GetTenant", fails=True
    )

    assert "NotFound" in errors
    assert "TENANT_NOT_FOUND" in errors


async def test_ask_health_by_grpcurl_is_serving(shell: Shell) -> None:
    """The health service answers for the whole server."""
    answer = await shell.run(shell._address, "grpc.health.v1.Health/Check")

    assert json.loads(answer) == {"status": "SERVING"}


def leg(account_id: str, direction: str, amount_minor: int) -> dict[str, Any]:
    """Return one posting as JSON."""
    return {
        "account_id": account_id,
        "direction": f"DIRECTION_{direction}",
        "amount_minor": amount_minor,
        "currency_code": "EUR",
    }
