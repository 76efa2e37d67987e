"""Whoever uses the client in a wrong way is told by the type checker, before anything is sent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.support.tools import pyright, require

ROOT: Final = Path(__file__).resolve().parents[2]
# A line that must not pass says so, with mypy's kinds of error and, behind a bar, Pyright's; every other line
# must pass. Where there is no bar, Pyright may call it what it likes.
USES: Final = """
from defter.ledger.v1 import account_pb2, journal_pb2, posting_pb2
from defter_client import StubClient, LedgerError


async def right(ledger: StubClient) -> str:
    post = posting_pb2.PostTransactionRequest()
    post.transaction.postings.add(amount_minor=5, direction=account_pb2.DIRECTION_DEBIT)
    read = account_pb2.GetAccountRequest()
    posted = await ledger.call(ledger.postings.PostTransaction, post)
    account = await ledger.call(ledger.accounts.GetAccount, read, timeout=3)
    await ledger.call(ledger.accounts.GetAccount, read, metadata=[("trace", "1")])
    posted.transaction.transaction_id.upper()
    async for told in ledger.journal.WatchJournal(journal_pb2.WatchJournalRequest()):
        told.SerializeToString()
    try:
        await ledger.postings.PostTransaction(post, timeout=3)
    except LedgerError as error:
        return error.reason
    return account.account.account_id.upper()


async def the_request_of_another_method(ledger: StubClient) -> None:
    post = posting_pb2.PostTransactionRequest()
    read = account_pb2.GetAccountRequest()
    await ledger.call(ledger.postings.PostTransaction, read)  # wrong: arg-type misc
    await ledger.call(ledger.accounts.GetAccount, post)  # wrong: arg-type misc
    await ledger.call(ledger.accounts.GetAccount, "ann")  # wrong: arg-type misc
    await ledger.call(ledger.accounts.GetAccount, None)  # wrong: arg-type misc
    await ledger.call(ledger.accounts.GetAccount)  # wrong: call-arg
    await ledger.postings.PostTransaction(read)  # wrong: arg-type
    await ledger.call(post, ledger.postings.PostTransaction)  # wrong: type-var arg-type


async def what_is_no_unary_method(ledger: StubClient) -> None:
    post = posting_pb2.PostTransactionRequest()
    read = account_pb2.GetAccountRequest()
    await ledger.call(ledger.journal.WatchJournal, read)  # wrong: arg-type misc
    await ledger.call(ledger.postings.StreamTransactions, post)  # wrong: arg-type misc
    await ledger.call(ledger.accounts, read)  # wrong: arg-type misc
    await ledger.call(ledger.postings.PostTransactions, post)  # wrong: attr-defined
    await ledger.call(ledger.postings.PostTransaction(post), post)  # wrong: arg-type


async def a_missing_await(ledger: StubClient) -> None:
    read = account_pb2.GetAccountRequest()
    ledger.call(ledger.accounts.GetAccount, read)  # wrong: unused-coroutine | reportUnusedCoroutine
    print(ledger.call(ledger.accounts.GetAccount, read).account)  # wrong: attr-defined
    pending = ledger.call(ledger.accounts.GetAccount, read)
    print(pending.account)  # wrong: attr-defined
    ledger.close()  # wrong: unused-coroutine | reportUnusedCoroutine
    with ledger:  # wrong: attr-defined
        pass
    for told in ledger.journal.WatchJournal(journal_pb2.WatchJournalRequest()):  # wrong: attr-defined
        print(told)


async def options_that_there_are_not(ledger: StubClient) -> None:
    post = posting_pb2.PostTransactionRequest()
    read = account_pb2.GetAccountRequest()
    await ledger.call(ledger.accounts.GetAccount, read, 3)  # wrong: call-arg
    await ledger.postings.PostTransaction(post, 3)  # wrong: call-arg
    await ledger.call(ledger.accounts.GetAccount, read, timeout="3")  # wrong: arg-type misc
    await ledger.call(ledger.accounts.GetAccount, read, timeout_seconds=3)  # wrong: call-arg
    await ledger.call(ledger.accounts.GetAccount, read, metadata={"a": "b"})  # wrong: arg-type
    StubClient()  # wrong: call-arg
    StubClient(50051)  # wrong: arg-type
    StubClient("127.0.0.1", 50051)  # wrong: call-arg
    StubClient("127.0.0.1:50051", timeout=3)  # wrong: call-arg


async def fields_that_there_are_not(ledger: StubClient, error: LedgerError) -> None:
    post = posting_pb2.PostTransactionRequest()
    read = account_pb2.GetAccountRequest()
    answer = await ledger.call(ledger.accounts.GetAccount, read)
    print(answer.transaction)  # wrong: attr-defined
    print(answer.account.balance_minor)  # wrong: attr-defined
    print((await ledger.call(ledger.accounts.GetAccount, read)).transaction)  # wrong: attr-defined
    read.account = "ann"  # wrong: attr-defined
    post.HasField("transactions")  # wrong: arg-type
    posting_pb2.PostTransactionRequest(tenant="casino")  # wrong: call-arg
    print(ledger.posting)  # wrong: attr-defined
    print(error.reasons)  # wrong: attr-defined


async def values_of_another_type(ledger: StubClient, error: LedgerError) -> None:
    post = posting_pb2.PostTransactionRequest(tenant_id=3)  # wrong: arg-type
    post.tenant_id = 7  # wrong: assignment
    post.transaction = posting_pb2.NewTransaction()  # wrong: misc assignment
    posting_pb2.NewPosting(amount_minor=1.5)  # wrong: arg-type
    posting_pb2.NewPosting(amount_minor="5")  # wrong: arg-type
    posting_pb2.NewPosting(direction="DEBIT")  # wrong: arg-type
    posting_pb2.NewPosting(direction=account_pb2.ACCOUNT_KIND_ASSET)  # wrong: arg-type
    read = account_pb2.GetAccountRequest()
    get = ledger.accounts.GetAccount
    other: posting_pb2.PostTransactionResponse = await ledger.call(get, read)  # wrong: arg-type
    print(other, error.code.upper())  # wrong: attr-defined
"""


def wanted() -> Mapping[int, tuple[set[str], set[str]]]:
    """Return the lines that must not pass, each with mypy's and Pyright's words for it."""
    found = {}
    for number, line in enumerate(USES.splitlines(), 1):
        _, marked, words = line.partition("# wrong: ")
        if marked:
            first, _, second = words.partition("|")
            found[number] = (set(first.split()), set(second.split()))
    return found


def run_mypy(used: Path) -> tuple[dict[int, set[str]], str]:
    """Return the kinds of error by line."""
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"),
            *("--cache-dir", str(used.parent / "cache"), "--config-file", str(ROOT / "pyproject.toml")),
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
    return found, checked.stdout + checked.stderr


def run_pyright(used: Path) -> tuple[dict[int, set[str]], str]:
    """Return the rules that are broken by line."""
    project = {
        "include": [used.name],
        "extraPaths": [str(ROOT / "clients" / "python")],
        "typeCheckingMode": "standard",
        "reportUnusedCoroutine": "error",
    }
    (used.parent / "pyrightconfig.json").write_text(json.dumps(project))
    checked = subprocess.run(
        [
            *("node", str(require(pyright)), "--outputjson", "--pythonpath", sys.executable),
            *("--project", str(used.parent)),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=used.parent,
    )
    found: dict[int, set[str]] = {}
    for told in json.loads(checked.stdout)["generalDiagnostics"]:
        if told["severity"] == "error":
            found.setdefault(told["range"]["start"]["line"] + 1, set()).add(told.get("rule", ""))
    return found, checked.stdout + checked.stderr


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_wrong_use_of_the_client_fails_to_type_check(tmp_path: Path, checker: str) -> None:
    """What callers get wrong: another request, a missing await, a field, an option, a type."""
    used = tmp_path / "use.py"
    used.write_text(USES)

    found, output = (run_mypy if checker == "mypy" else run_pyright)(used)

    wrong = wanted()
    assert found.keys() == wrong.keys(), output
    kinds = {number: words[checker == "pyright"] for number, words in wrong.items()}
    assert {number for number in wrong if kinds[number] and not found[number] & kinds[number]} == set(), (
        output
    )
