"""Own what a command says when it ends otherwise than by its work."""

import pytest
import typer

from ledger_server.operator.connection import Exit, carry_out


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
