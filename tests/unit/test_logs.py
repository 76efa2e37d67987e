"""Log lines: for machines as JSON, and never with the values of local variables."""

from __future__ import annotations

import json

import pytest
import structlog

from ledger_server.logs import configure_logs


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
    finally:
        structlog.reset_defaults()
    line = capsys.readouterr().err
    assert "RuntimeError" in line
    assert "whsec_do_not_show" not in line
    if as_json:
        assert json.loads(line)["event"] == "it failed"
