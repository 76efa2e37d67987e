"""Whoever uses the client in a wrong way is told by the type checker, before anything is sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# A line that must not pass says so, and with which kind of error; every other line must pass.
USES: Final = """
from defter.ledger.v1 import account_pb2, posting_pb2
from defter_client import LedgerClient


async def use(ledger: LedgerClient) -> None:
    post = posting_pb2.PostTransactionRequest()
    read = account_pb2.GetAccountRequest()
    posted = await ledger.call(ledger.postings.PostTransaction, post)
    account = await ledger.call(ledger.accounts.GetAccount, read, timeout=3)
    await ledger.call(ledger.accounts.GetAccount, read, metadata=[("trace", "1")])
    posted.transaction.transaction_id.upper()
    account.account.account_id.upper()
    await ledger.call(ledger.postings.PostTransaction, read)  # wrong: arg-type misc
    await ledger.call(ledger.accounts.GetAccount, post)  # wrong: arg-type misc
    await ledger.call(ledger.accounts.GetAccount, "ann")  # wrong: arg-type misc
    await ledger.call(ledger.accounts.GetAccount, read, timeout="3")  # wrong: arg-type misc
    await ledger.call(ledger.accounts.GetAccount, read, patience=3)  # wrong: call-arg
    await ledger.call(ledger.accounts.GetAccount)  # wrong: call-arg
    await ledger.call(ledger.journal.WatchJournal, read)  # wrong: arg-type misc
    await ledger.call(ledger.accounts, read)  # wrong: arg-type misc
    account.transaction  # wrong: attr-defined
"""


def test_wrong_use_of_the_client_fails_to_type_check(tmp_path: Path) -> None:
    """A request of another type, an option that there is not, a stream, a field of another answer."""
    used = tmp_path / "use.py"
    used.write_text(USES)
    wrong = {
        number: line.partition("# wrong: ")[2].split()
        for number, line in enumerate(USES.splitlines(), 1)
        if "# wrong: " in line
    }

    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"),
            *("--cache-dir", str(tmp_path / "cache"), "--config-file", str(ROOT / "pyproject.toml")),
            str(used),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    found: dict[int, set[str]] = {}
    for line in checked.stdout.splitlines():
        if ": error: " in line:
            number = int(line.split(":")[1])
            found.setdefault(number, set()).add(line.rpartition("[")[2].rstrip("]"))
    assert found.keys() == wrong.keys(), checked.stdout + checked.stderr
    assert {number for number in wrong if not found[number] & set(wrong[number])} == set(), checked.stdout
