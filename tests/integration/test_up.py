"""`defter up`: nobody calls it without a proof, and what it tells to type works as it stands."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from defter.ledger.v1 import tenant_pb2

from defter_client import LedgerClient, LedgerError
from ledger_server.cli.local_access import FOLDER
from tests.support.service import DEFTER
from tests.support.tools import grpcurl, require
from tests.support.up import running


@pytest.fixture
def program() -> Path:
    """The real grpcurl."""
    return require(grpcurl)


async def test_what_it_tells_to_type_works_as_it_stands(
    database_url: str, tmp_path: Path, program: Path
) -> None:
    """Every line for grpcurl, by certificate and by token, and the commands with the environment."""
    async with running(database_url, tmp_path) as up:
        told = [line for line in up.lines if line.startswith("grpcurl ")]
        assert len(told) == 5
        for line in [*told, up.told("a person: ")]:
            command = line.replace("grpcurl", shlex.quote(str(program)), 1)
            code, output = await up.shell(command, ends="WatchJournal" not in line)
            assert not code, output
            assert "defter.ledger.v1" in output or output.startswith("{"), output
        environment = up.told("commands: ").split("`")[1]
        code, output = await up.shell(f"{environment} && {DEFTER} verify --tenant demo --json")
    assert code == 0, output
    assert json.loads(output.splitlines()[-1])["tenant_id"] == "demo"


async def test_nobody_calls_it_without_a_proof(database_url: str, tmp_path: Path) -> None:
    """Plaintext fails; so does the edge's certificate for anything but its webhooks."""
    async with running(database_url, tmp_path, "--no-demo") as up:
        request = tenant_pb2.GetTenantRequest(tenant_id="demo")
        async with LedgerClient(up.target, timeout_seconds=1) as ledger:
            with pytest.raises(LedgerError):
                await ledger.tenants.get_tenant(request)
        edge = f". {FOLDER}/environment && export DEFTER_CALLER_CERTIFICATE_FILE={FOLDER}/edge.pem"
        key = f"DEFTER_CALLER_KEY_FILE={FOLDER}/edge.key"
        code, output = await up.shell(f"{edge} {key} && {DEFTER} verify --tenant demo")
    assert code == 2
    assert "PERMISSION_MISSING" in output


async def test_a_second_start_keeps_certificates_and_policy(database_url: str, tmp_path: Path) -> None:
    """Callers that run on need nothing new, and a changed policy stays changed."""
    async with running(database_url, tmp_path, "--no-demo"):
        pass
    policy = tmp_path / FOLDER / "policy.toml"
    policy.write_text(policy.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    kept = {file.name: file.read_bytes() for file in (tmp_path / FOLDER).iterdir() if file.suffix == ".pem"}
    async with running(database_url, tmp_path, "--no-demo") as up:
        assert not [line for line in up.lines if line.startswith("certificates: made")]
    assert {name: (tmp_path / FOLDER / name).read_bytes() for name in kept} == kept
    assert policy.read_text(encoding="utf-8").endswith("# mine\n")


async def test_plaintext_only_where_it_is_asked_for(database_url: str, tmp_path: Path) -> None:
    """Then no certificate is made, and the lines carry none."""
    async with running(database_url, tmp_path, "--plaintext") as up:
        told = [line for line in up.lines if line.startswith("grpcurl ")]
        async with LedgerClient(up.target) as ledger:
            answer = await ledger.tenants.get_tenant(tenant_pb2.GetTenantRequest(tenant_id="demo"))
    assert answer.tenant.tenant_id == "demo"
    assert all(line.startswith("grpcurl -plaintext ") for line in told)
    assert not (tmp_path / FOLDER).exists()
