"""Own what tests of the reports by SQL know of them: the names, the document, and the commands in it."""

from __future__ import annotations

import re
from typing import Final

from tests.support.tools import REPOSITORY

ROLE: Final = "defter_reports"
VIEWS: Final = {"ledger_transactions", "wallet_balances"}
DOCUMENT: Final = REPOSITORY / "docs" / "operations" / "reports.md"


def commands() -> list[str]:
    """Return the statements by which the document gives access and makes indexes."""
    return re.findall(r"^ {4,}((?:CREATE|ALTER|GRANT) .*;)$", DOCUMENT.read_text(), re.MULTILINE)
