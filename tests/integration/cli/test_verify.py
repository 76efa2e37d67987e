"""`defter verify` against a real server: one tenant or all, for people and for programs."""

from __future__ import annotations

import asyncio
import io
import re

import asyncpg
import pytest
from defter.ledger.v1 import journal_pb2
from google.protobuf.json_format import ParseDict

from ledger_server.operator.screen import console
from ledger_server.operator.verify import told_in_lines
from tests.integration.cli.conftest import TENANT, CommandLine
from tests.support.ledger import Ledger
from tests.support.service import Service
from tests.support.tenant_lock import WAIT_SECONDS

TENANTS = ("alpha", TENANT, "zeta")


async def lived_in(service: Service, tenant_id: str) -> Ledger:
    """Return a tenant in which something has happened."""
    ledger = service.ledger(tenant_id) if tenant_id == TENANT else await service.new_ledger(tenant_id)
    await ledger.open_house()
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    await ledger.place_hold("ann", "house", 3)
    return ledger


async def alter_holds(database_url: str, ledger: Ledger) -> None:
    """Change what is stored of a tenant's holds behind the ledger's back."""
    [hold] = await ledger.holds()
    number = int(hold.hold_id.rpartition("_")[2])
    connection = await asyncpg.connect(database_url)
    altered = await connection.execute(
        "UPDATE holds SET reference = 'altered' WHERE hold_number = $1 AND debit_account_number = ("
        "SELECT account_number FROM accounts WHERE accounts.tenant_key = holds.tenant_key"
        " AND account_id = 'ann') AND tenant_key = (SELECT tenant_key FROM tenants WHERE tenant_id = $2)",
        number,
        ledger.tenant_id,
    )
    await connection.close()
    assert altered == "UPDATE 1"


def result_of(printed: dict[str, object]) -> journal_pb2.VerifyResult:
    """Return the result in an object that was printed, which has the tenant beside it."""
    fields = {name: value for name, value in printed.items() if name != "tenant_id"}
    return ParseDict(fields, journal_pb2.VerifyResult())


async def test_verify_as_json_prints_the_servers_result(cli: CommandLine, reconciling: Service) -> None:
    """One object on standard output; what is told meanwhile is on standard error."""
    ledger = await lived_in(reconciling, TENANT)

    ran = await cli.run("verify", "--json")

    assert ran.code == 0
    assert ran.json["tenant_id"] == TENANT
    assert result_of(ran.json) == await ledger.verify()
    assert ran.errors.splitlines()[0] == f"verifying {TENANT}"


@pytest.mark.parametrize("guilty", [*TENANTS, None])
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
async def test_verify_all_verifies_every_tenant_and_fails_if_one_differs(
    database_url: str, cli: CommandLine, reconciling: Service, guilty: str | None, as_json: bool
) -> None:
    """A difference in one tenant keeps no other from being verified, wherever in the list it is."""
    ledgers = {tenant: await lived_in(reconciling, tenant) for tenant in TENANTS}
    if guilty is not None:
        await alter_holds(database_url, ledgers[guilty])

    ran = await cli.run("verify", "--all", *(["--json"] if as_json else []))

    assert ran.code == (0 if guilty is None else 1)
    told = [line for line in (ran.errors if as_json else ran.output).splitlines() if "DIFFERENCE" in line]
    assert [line.partition(":")[0] for line in told] == ([] if guilty is None else [guilty])
    if as_json:
        assert [each["tenant_id"] for each in ran.lines] == list(TENANTS)
        assert [each["tenant_id"] for each in ran.lines if "first_difference" in each] == (
            [] if guilty is None else [guilty]
        )
    else:
        assert [name for name in TENANTS if f"{name}: " in ran.output] == list(TENANTS)
        assert ran.output.count("no difference") == len(TENANTS) - (guilty is not None)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--all", "--tenant", TENANT), "--tenant or --all"),
        ((), "--tenant, DEFTER_TENANT or --all"),
        (("--tenant", "nobody"), "TENANT_NOT_FOUND"),
    ],
)
async def test_verify_nothing_that_can_be_verified_is_refused(
    cli: CommandLine, words: tuple[str, ...], named: str
) -> None:
    """What was meant is not guessed."""
    ran = await cli.run("verify", *words, DEFTER_TENANT="")

    assert (ran.code, ran.output) == (2, "")
    assert named in ran.errors


class Heard(io.StringIO):
    """A file that tells when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self._written = asyncio.Event()

    def write(self, text: str, /) -> int:
        """Write, and wake who waits."""
        self._written.set()
        return super().write(text)

    async def until(self, pattern: str) -> None:
        """Wait until what was written has something in it."""
        while not re.search(pattern, self.getvalue()):
            self._written.clear()
            await self._written.wait()


async def test_progress_is_told_in_lines_where_no_terminal_is() -> None:
    """The first line comes at once; the others keep coming while the server has nothing new to say."""
    stream = Heard()
    async with asyncio.timeout(WAIT_SECONDS), told_in_lines(console(stream), "casino", seconds=0) as lines:
        assert stream.getvalue() == "verifying casino\n"
        await stream.until(r"(?s)(0 records checked.*){3}")
        lines.progress = journal_pb2.VerifyProgress(sequence=1_000, head_sequence=4_000)
        await stream.until("1000 of 4000 records checked")
    told = stream.getvalue()
    await asyncio.sleep(0)

    assert told.splitlines()[1].startswith("verifying casino: 0 records checked")
    assert stream.getvalue() == told
