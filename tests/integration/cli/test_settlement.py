"""`defter settlement`: reports are streamed, batches shown as an equation, and confirmed once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from defter.reconciliation.v1 import settlement_pb2 as pb

from tests.integration.cli.conftest import PROVIDER, TENANT, CommandLine
from tests.integration.cli.fake_services import FakeServices, serving_fakes
from tests.support.clock import START
from tests.support.requests import timestamp

BALANCED = {"state": pb.SETTLEMENT_BATCH_STATE_BALANCED, "paid_out_minor": 87_000}
REPORT = b"a line of the report\n" * 60_000
UNBALANCED = {"state": pb.SETTLEMENT_BATCH_STATE_UNBALANCED, "paid_out_minor": 87_001, "difference_minor": 1}


def batch(**fields: int) -> pb.SettlementBatch:
    """Return 1,000.00 − 30.00 − 80.00 − 25.00 + 5.00 = 870.00 EUR."""
    return pb.SettlementBatch(
        batch_id="po_1",
        provider=PROVIDER,
        currency_code="EUR",
        gross_minor=100_000,
        fee_minor=3_000,
        refund_minor=8_000,
        chargeback_minor=2_500,
        correction_minor=500,
        computed_minor=87_000,
        line_count=42,
        paid_out_time=timestamp(START),
        **fields,  # type: ignore[arg-type]  # the numbers of enum values are integers
    )


@pytest.fixture
async def fakes() -> AsyncIterator[tuple[FakeServices, int]]:
    """A server with a batch that adds up."""
    async with serving_fakes() as (services, port):
        services.batches = [batch(**BALANCED)]
        yield services, port


@pytest.fixture
def services(fakes: tuple[FakeServices, int]) -> FakeServices:
    """What that server knows and was asked."""
    return fakes[0]


@pytest.fixture
def cli(fakes: tuple[FakeServices, int]) -> CommandLine:
    """The command line of that server."""
    return CommandLine(fakes[1])


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A file of several chunks."""
    file = tmp_path / "payouts.csv"
    file.write_bytes(REPORT)
    return file


def importing(file: Path) -> tuple[str, ...]:
    """Return the words that import a file."""
    return (
        "settlement",
        "import",
        str(file),
        "--provider",
        PROVIDER,
        "--format",
        "stripe-payout-reconciliation",
    )


async def test_import_report_streams_all_of_it_and_shows_equation(
    cli: CommandLine, services: FakeServices, report: Path
) -> None:
    """The file arrives byte by byte as it is, and the batch reads as its equation."""
    ran = await cli.run(*importing(report), "--account", "acct_1")

    [(header, content)] = services.requests
    assert ran.code == 0, ran
    assert content == REPORT
    assert (header.tenant_id, header.provider, header.account) == (TENANT, PROVIDER, "acct_1")
    assert header.format == pb.REPORT_FORMAT_STRIPE_PAYOUT_RECONCILIATION
    assert header.file_name == "payouts.csv"
    told, columns, row = ran.output.splitlines()
    assert told == "payouts.csv: 60,000 lines, 60,000 of them new"
    assert re.split(r"\s{2,}", columns)[2:9] == [
        "gross", "fees", "refunds", "chargebacks", "corrections", "computed", "paid out",
    ]  # fmt: skip
    amounts = [
        "1,000.00 EUR",
        "-30.00 EUR",
        "-80.00 EUR",
        "-25.00 EUR",
        "5.00 EUR",
        "870.00 EUR",
        "870.00 EUR",
    ]
    assert re.findall(r"-?[\d,]+\.\d\d EUR", row) == [*amounts, "0.00 EUR"]
    assert "\x1b" not in ran.output + ran.errors


async def test_import_report_while_database_is_away_tries_again(
    cli: CommandLine, services: FakeServices, report: Path
) -> None:
    """The same file twice changes nothing, so it is sent again, whole."""
    services.unavailable = 1

    ran = await cli.run(*importing(report), "--json")

    assert ran.code == 0, ran
    assert [content for _, content in services.requests] == [REPORT] * 2
    assert ran.json["report"]["new_line_count"] == "60000"


async def test_import_report_twice_says_so(cli: CommandLine, report: Path) -> None:
    """What was imported before is told."""
    await cli.run(*importing(report))

    ran = await cli.run(*importing(report))

    assert ran.code == 0, ran
    assert "imported before" in ran.output


async def test_import_report_that_does_not_add_up_exits_with_1(
    cli: CommandLine, services: FakeServices, report: Path
) -> None:
    """An unbalanced batch shows its difference."""
    services.batches = [batch(**UNBALANCED)]

    ran = await cli.run(*importing(report))

    assert ran.code == 1, ran
    assert "0.01 EUR" in ran.output
    assert "UNBALANCED" in ran.output


async def test_import_malformed_report_prints_a_line_for_each_problem(
    cli: CommandLine, services: FakeServices, report: Path
) -> None:
    """Nothing was kept; the problems stand one below the other."""
    services.malformed = "3: no amount\n7: no currency"

    ran = await cli.run(*importing(report))

    assert ran.code == 2, ran
    assert ran.errors.splitlines() == [
        "REPORT_MALFORMED: the report can't be read (line=3)",
        "  3: no amount",
        "  7: no currency",
    ]


async def test_import_file_that_is_not_there_exits_with_2(cli: CommandLine, tmp_path: Path) -> None:
    """No server is asked."""
    ran = await cli.run(*importing(tmp_path / "none.csv"))

    assert ran.code == 2, ran
    assert ran.errors == f"{tmp_path / 'none.csv'}: No such file or directory\n"


async def test_list_batches_shows_what_is_not_paid_out_yet(cli: CommandLine, services: FakeServices) -> None:
    """A batch in progress has no sum that was paid out."""
    services.batches = [batch(state=pb.SETTLEMENT_BATCH_STATE_IN_PROGRESS)]

    ran = await cli.run("settlement", "list", "--state", "in-progress", "--provider", PROVIDER)

    [request] = services.asked(pb.ListSettlementBatchesRequest)
    assert request.state == pb.SETTLEMENT_BATCH_STATE_IN_PROGRESS
    assert "not yet" in ran.output
    assert ran.output.splitlines()[-1] == "1 batch"


async def test_confirm_batch_names_bank_and_actor(cli: CommandLine, services: FakeServices) -> None:
    """What is moved is told in one line."""
    words = ("po_1", "--provider", PROVIDER, "--currency", "EUR", "--bank", "main", "--as", "eve")

    ran = await cli.run("settlement", "confirm", *words)

    [request] = services.asked(pb.ConfirmSettlementBatchRequest)
    assert ran.code == 0, ran
    assert (request.batch_id, request.currency_code, request.bank) == ("po_1", "EUR", "main")
    assert request.actor == "eve"
    assert ran.output.splitlines()[-1] == "870.00 EUR moved from clearing to bank:main:EUR by tx_1"


async def test_confirm_batch_that_does_not_add_up_exits_with_2(
    cli: CommandLine, services: FakeServices
) -> None:
    """The refusal carries the difference."""
    services.batches = [batch(**UNBALANCED)]
    words = ("po_1", "--provider", PROVIDER, "--currency", "EUR", "--bank", "main", "--as", "eve")

    ran = await cli.run("settlement", "confirm", *words)

    assert ran.code == 2, ran
    assert (
        ran.errors
        == "SETTLEMENT_BATCH_NOT_BALANCED: the batch does not add up (batch_id=po_1, difference_minor=1)\n"
    )
