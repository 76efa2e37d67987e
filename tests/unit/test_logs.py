"""Log lines: for machines as JSON, and never with the values of local variables."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from ledger_server.process.logs import configure_logs


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """Give the logs back as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def fail(secret: str) -> None:
    """Fail with something in a variable."""
    raise RuntimeError(len(secret))


@pytest.mark.parametrize("as_json", [True, False])
def test_log_exception_tells_no_local_variable(*, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback says where it happened; what was in the variables may be a secret or somebody's data."""
    configure_logs(json=as_json, level="info")
    try:
        fail("whsec_do_not_" + "show")
    except RuntimeError:
        structlog.get_logger().exception("it failed")
    line = capsys.readouterr().err
    assert "RuntimeError" in line
    assert "whsec_do_not_show" not in line
    if as_json:
        assert json.loads(line)["event"] == "it failed"


def test_library_logs_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    """What a library warns of is a line of JSON as well, traceback and all; its chat is none."""
    configure_logs(json=True, level="info")
    library = logging.getLogger("asyncpg.pool")
    library.info("it works")
    try:
        fail("whsec_do_not_" + "show")
    except RuntimeError:
        library.warning("it %s", "failed", exc_info=True)
    [line] = capsys.readouterr().err.splitlines()
    logged = json.loads(line)
    assert (logged["event"], logged["level"], logged["logger"]) == ("it failed", "warning", "asyncpg.pool")
    assert "whsec_do_not_show" not in line
