"""Own the promise that an operator needs no stubs: grpcurl and reflection are enough."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shlex
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.engine.records.sealing import new_key
from ledger_server.providers.adapter import Capabilities, ProviderRecordPage
from ledger_server.rpc.tenant_scope import OF_THE_CALLER
from tests.support.clock import FakeClock
from tests.support.every_rpc import rpcs_of
from tests.support.fake_provider import FakeAdapter
from tests.support.service import Service, serving
from tests.support.tools import grpcurl, require
from tests.support.wire import MIB
from tools.generate_grpcurl import ADDRESS, PAGE, path_of
from tools.grpcurl.examples import EXAMPLES, REPORT


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
        "defter.identity.v1.AccessService",
        "defter.ledger.v1.AccountService",
        "defter.ledger.v1.AdjustmentService",
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


PAGE_TIME = datetime(2026, 11, 20, 14, tzinfo=UTC)
BLOCK = re.compile(r"^```sh\n(ledger [^`]*<<JSON\n.*?)^```$", re.MULTILINE | re.DOTALL)
LOST = ProviderRecord(
    kind=ProviderRecordKind.PAYMENT,
    record_id="pi_2",
    provider_ref="pi_2",
    payment_ref="pi_2",
    our_id="",
    state=RemoteState.SUCCEEDED,
    amount=2000,
    currency="EUR",
    create_time=PAGE_TIME - timedelta(hours=4),
    provider_type="payment",
    batch="",
)


class ListingAdapter(FakeAdapter):
    """Lists a payment whose webhook was lost."""

    @property
    def capabilities(self) -> Capabilities:
        """It lists payments."""
        return structs.replace(super().capabilities, listed=frozenset({ProviderRecordKind.PAYMENT}))

    async def list_provider_records(self, *_: object) -> ProviderRecordPage:
        """List it."""
        return ProviderRecordPage(records=[LOST], next_cursor="")


@pytest.fixture
async def page_server(database_url: str, tmp_path: Path) -> AsyncIterator[Service]:
    """A server with the provider accounts of docs/grpcurl.md, one of which lists what no webhook has told."""
    keys_file = tmp_path / "personal-keys"
    keys_file.write_text(f"k1 {base64.b64encode(new_key()).decode()}\n")
    providers: dict[str, Any] = {"mock": FakeAdapter(), "stripe-eu": ListingAdapter()}
    async with serving(
        database_url, clock=FakeClock(PAGE_TIME), providers=providers, personal_keys_file=keys_file
    ) as service:
        yield service


async def test_each_call_of_the_page_is_answered(
    grpcurl_program: Path, page_server: Service, tmp_path: Path
) -> None:
    """What docs/grpcurl.md tells to type works as it stands, from the first call to the last."""
    told = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    calls = [call for example in EXAMPLES for call in example.calls]
    (tmp_path / "report.csv").write_text(REPORT)
    begin = f'set -e\nledger() {{ {shlex.quote(str(grpcurl_program))} -plaintext "$@"; }}\n'
    kept: dict[str, str] = {}
    answers: list[dict[str, Any]] = []
    assert len(told) == len(calls)

    for text, call in zip(told, calls, strict=True):
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            begin + text.replace(ADDRESS, f"127.0.0.1:{page_server.server.port}"),
            cwd=tmp_path,
            env={**os.environ, **kept},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        answers = all_of(output.decode())
        assert answers, f"{text}{errors.decode()}"
        assert not process.returncode or (call.seconds and "DeadlineExceeded" in errors.decode()), errors
        kept |= {name: str(found_in(answers[-1], place)) for name, place in call.keeps}

    assert {path_of(example)[1:] for example in EXAMPLES} == {
        name for name in {*rpcs_of(page_server), *OF_THE_CALLER} if name.startswith("defter.")
    }
    assert "first_difference" not in answers[-1]["result"]


def all_of(output: str) -> list[dict[str, Any]]:
    """Return the JSON objects that follow one another."""
    found, text = [], output.lstrip()
    while text:
        answer, end = json.JSONDecoder().raw_decode(text)
        found.append(answer)
        text = text[end:].lstrip()
    return found


def found_in(answer: Any, place: str) -> Any:
    """Return what stands at a place: fields, numbers in lists, and in lists of findings their class."""
    for step in place.split("."):
        if not isinstance(answer, list):
            answer = answer.get(step, "")  # what is empty is not printed
        elif step.isdigit():
            answer = answer[int(step)]
        else:
            answer = next(each for each in answer if each["finding_class"] == step)
    return answer
