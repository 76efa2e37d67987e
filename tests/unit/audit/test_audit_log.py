"""Lines reach the file whatever happens to it, and no caller waits for that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger_server.process.audit_log import MOST_WAITING, AuditLog
from tests.support.patience import HANG_SECONDS

FULL = Path("/dev/full")
needs_full_disk = pytest.mark.skipif(not FULL.exists(), reason="this machine has no /dev/full")


def line(number: int) -> bytes:
    """Return a line."""
    return json.dumps({"number": number}).encode() + b"\n"


def numbers(file: Path) -> list[int]:
    """Return which lines a file has."""
    return [json.loads(text)["number"] for text in file.read_text().splitlines() if "number" in text]


async def until(done: Callable[[], Any]) -> None:
    """Wait for the thread that writes."""
    async with asyncio.timeout(HANG_SECONDS):
        while not done():  # noqa: ASYNC110  # a thread writes, which has no event of ours
            await asyncio.sleep(0)


async def test_lines_follow_a_file_that_is_rotated(tmp_path: Path) -> None:
    """Renamed, removed, or replaced by another one; each line is in one of them, once and whole."""
    file = tmp_path / "audit.log"
    log = AuditLog(file)
    log.start()
    log.write(line(1))
    await until(lambda: numbers(file) == [1])
    file.rename(tmp_path / "audit.log.1")
    log.write(line(2))
    await until(lambda: file.exists() and numbers(file) == [2])
    file.unlink()
    log.write(line(3))
    await until(lambda: file.exists() and numbers(file) == [3])
    (tmp_path / "new").write_text("")
    (tmp_path / "new").replace(file)
    log.write(line(4))
    await log.stop()
    assert numbers(file) == [4]
    assert numbers(tmp_path / "audit.log.1") == [1]


@needs_full_disk
async def test_lines_wait_while_the_disk_is_full(tmp_path: Path) -> None:
    """Then they are written in order; those without room are counted, and nobody waits."""
    file = tmp_path / "audit.log"
    file.symlink_to(FULL)
    log = AuditLog(file)
    with capture_logs() as said:
        log.start()
        for number in range(MOST_WAITING + 7):
            log.write(line(number))
        await until(lambda: said)
        (tmp_path / "next").write_text("")
        (tmp_path / "next").replace(file)
        await until(lambda: len(said) > 1)
        await log.stop()
    assert [each["log_level"] for each in said] == ["error", "info"]
    assert numbers(file) == list(range(MOST_WAITING))
    lost = [json.loads(text) for text in file.read_text().splitlines() if "number" not in text]
    assert lost == [{"logger": "audit", "event": "lost", "left_out": 7}]


async def test_stop_writes_what_waits(tmp_path: Path) -> None:
    """However much it is."""
    file = tmp_path / "audit.log"
    log = AuditLog(file)
    for number in range(500):
        log.write(line(number))
    log.start()
    await log.stop()
    assert numbers(file) == list(range(500))


@needs_full_disk
async def test_stop_gives_up_on_a_full_disk() -> None:
    """A server ends, whatever its disk does."""
    log = AuditLog(FULL)
    log.start()
    log.write(line(1))
    await log.stop()


@pytest.mark.parametrize("place", ["", "nowhere/audit.log"])
def test_file_that_cant_be_opened_keeps_a_server_from_starting(tmp_path: Path, place: str) -> None:
    """By the setting's name."""
    with pytest.raises(ValueError, match="DEFTER_AUDIT_LOG_FILE"):
        AuditLog(tmp_path / place)
