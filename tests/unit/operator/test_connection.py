"""Own what a command says when it ends otherwise than by its work."""

from pathlib import Path

import pytest
import typer
from defter.reconciliation.v1 import settlement_pb2

from ledger_server.operator.connection import Exit, Stopped, carry_out, open_ledger
from ledger_server.operator.settlement import _parts


@pytest.mark.parametrize("becomes", ["what the server has begun goes on there", "the run is INTERRUPTED"])
def test_command_that_is_stopped_by_hand_says_what_becomes_of_its_work(
    capsys: pytest.CaptureFixture[str], becomes: str
) -> None:
    """One line on standard error, and the exit code for trying again."""

    async def work() -> int:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as ended:
        carry_out(work(), stopped_by_hand=becomes)

    assert (ended.value.exit_code, capsys.readouterr().err) == (
        Exit.INTERRUPTED,
        f"stopped by hand; {becomes}\n",
    )


def test_command_without_an_address_says_how_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    """`DEFTER_SERVER` may be set to nothing."""

    async def work() -> int:
        async with open_ledger(""):
            return Exit.DONE

    with pytest.raises(typer.Exit) as ended:
        carry_out(work())

    said = "say which server: --server or DEFTER_SERVER\n"
    assert (ended.value.exit_code, capsys.readouterr().err) == (Exit.REFUSED, said)


async def test_report_that_goes_away_while_it_is_sent_is_told_by_its_name(tmp_path: Path) -> None:
    """And not as a call that was cancelled."""
    header = settlement_pb2.ImportSettlementReportRequest.Header()
    parts = _parts(tmp_path / "report.csv", header, lambda _: None)

    assert (await anext(parts)).HasField("header")
    with pytest.raises(Stopped, match=r"report\.csv: No such file"):
        await anext(parts)
