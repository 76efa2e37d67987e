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
from defter_client import STANDARD, Answer, BlockingLedgerClient, Checkpoint, LedgerClient, LedgerError, Money
from defter_client import Pager, RetryLater
from defter_client import messages as m
from defter_client.reasons import InsufficientFunds


async def right(ledger: LedgerClient) -> str:
    post = m.PostTransactionRequest()
    post.transaction.postings.add(amount_minor=5, direction=m.DIRECTION_DEBIT)
    read = m.GetAccountRequest()
    posted = await ledger.postings.post_transaction(post, key="bet-1")
    account = await ledger.accounts.get_account(read, timeout=3)
    await ledger.accounts.get_account(read, metadata=[("trace", "1")])
    posted.response.transaction.transaction_id.upper()
    async for transaction in ledger.postings.list_transactions(m.ListTransactionsRequest()):
        transaction.transaction_id.upper()
    async for page in ledger.postings.list_transactions(m.ListTransactionsRequest()).pages():
        page.next_page_token.upper()
    async for entry in ledger.watch(Checkpoint(), verify=True):
        entry.record_bytes.hex()
    async for result in ledger.stream_transactions([m.PostTransactionItem()]):
        result.idempotency_key.upper()
    try:
        await ledger.postings.post_transaction(post, timeout=3)
    except InsufficientFunds as error:
        return f"{(error.available_balance_minor or 0) + 1} {error.account_id}"
    except RetryLater as error:
        return error.key.upper()
    return account.account.account_id.upper() + posted.key


def right_by_threads(ledger: BlockingLedgerClient) -> str:
    post = m.PostTransactionRequest()
    for transaction in ledger.postings.list_transactions(m.ListTransactionsRequest()):
        transaction.transaction_id.upper()
    for entry in ledger.watch(12):
        entry.record_bytes.hex()
    with ledger:
        return ledger.postings.post_transaction(post).key


async def the_request_of_another_method(ledger: LedgerClient) -> None:
    post = m.PostTransactionRequest()
    read = m.GetAccountRequest()
    await ledger.postings.post_transaction(read)  # wrong: arg-type
    await ledger.accounts.get_account(post)  # wrong: arg-type
    await ledger.accounts.get_account("ann")  # wrong: arg-type
    await ledger.accounts.get_account(None)  # wrong: arg-type
    await ledger.accounts.get_account()  # wrong: call-arg
    ledger.postings.list_transactions(read)  # wrong: arg-type


async def what_is_used_in_another_way(ledger: LedgerClient) -> None:
    await ledger.postings.list_transactions(m.ListTransactionsRequest())  # wrong: misc
    for transaction in ledger.postings.list_transactions(m.ListTransactionsRequest()):  # wrong: attr-defined
        print(transaction)
    for entry in ledger.watch():  # wrong: attr-defined
        print(entry)
    await ledger.postings.post_transactions(m.PostTransactionRequest())  # wrong: attr-defined
    ledger.stream_transactions([m.PostTransactionRequest()])  # wrong: list-item


async def a_missing_await(ledger: LedgerClient) -> None:
    read = m.GetAccountRequest()
    ledger.accounts.get_account(read)  # wrong: unused-coroutine | reportUnusedCoroutine
    print(ledger.accounts.get_account(read).account)  # wrong: attr-defined
    pending = ledger.postings.post_transaction(m.PostTransactionRequest())
    print(pending.key)  # wrong: attr-defined
    ledger.close()  # wrong: unused-coroutine | reportUnusedCoroutine
    with ledger:  # wrong: attr-defined
        pass


async def an_await_too_many(ledger: BlockingLedgerClient) -> None:
    await ledger.accounts.get_account(m.GetAccountRequest())  # wrong: misc
    async with ledger:  # wrong: attr-defined
        pass


async def options_that_there_are_not(ledger: LedgerClient) -> None:
    read = m.GetAccountRequest()
    await ledger.accounts.get_account(read, 3)  # wrong: call-arg misc
    await ledger.accounts.get_account(read, key="a")  # wrong: call-arg
    await ledger.accounts.get_account(read, timeout="3")  # wrong: arg-type
    await ledger.accounts.get_account(read, metadata={"a": "b"})  # wrong: arg-type
    await ledger.postings.post_transaction(m.PostTransactionRequest(), key=7)  # wrong: arg-type
    LedgerClient()  # wrong: call-arg
    LedgerClient(50051)  # wrong: arg-type
    LedgerClient("127.0.0.1", 50051)  # wrong: call-arg misc
    LedgerClient("127.0.0.1:50051", timeout=3)  # wrong: call-arg


async def fields_that_there_are_not(ledger: LedgerClient, error: LedgerError) -> None:
    funds = InsufficientFunds.__new__(InsufficientFunds)
    read = m.GetAccountRequest()
    answer = await ledger.accounts.get_account(read)
    print(answer.transaction)  # wrong: attr-defined
    print(answer.account.balance_minor)  # wrong: attr-defined
    posted = await ledger.postings.post_transaction(m.PostTransactionRequest())
    print(posted.transaction)  # wrong: attr-defined
    print(posted.response.account)  # wrong: attr-defined
    posted.key = "another"  # wrong: misc
    read.account = "ann"  # wrong: attr-defined
    m.PostTransactionRequest().HasField("transactions")  # wrong: arg-type
    m.PostTransactionRequest(tenant="casino")  # wrong: call-arg
    print(ledger.posting)  # wrong: attr-defined
    print(error.available_balance_minor)  # wrong: attr-defined
    print(funds.balance_minor)  # wrong: attr-defined
    print(funds.available_balance_minor + 1)  # wrong: operator


async def values_of_another_type(ledger: LedgerClient, error: LedgerError) -> None:
    post = m.PostTransactionRequest(tenant_id=3)  # wrong: arg-type
    post.tenant_id = 7  # wrong: assignment
    post.transaction = m.NewTransaction()  # wrong: misc assignment
    m.NewPosting(amount_minor=1.5)  # wrong: arg-type
    m.NewPosting(amount_minor="5")  # wrong: arg-type
    m.NewPosting(direction="DEBIT")  # wrong: arg-type
    m.NewPosting(direction=m.ACCOUNT_KIND_ASSET)  # wrong: arg-type
    read = m.GetAccountRequest()
    other: m.PostTransactionResponse = await ledger.accounts.get_account(read)  # wrong: assignment
    print(other, error.code.upper())  # wrong: attr-defined
    STANDARD.money(1.5, "EUR")  # wrong: arg-type
    Money("1", "EUR")  # wrong: arg-type
    several: Answer[m.GetAccountResponse] = await ledger.postings.post_transaction(post)  # wrong: assignment
    found = ledger.postings.list_transactions(m.ListTransactionsRequest())
    pages: Pager[m.Account, m.ListTransactionsResponse] = found  # wrong: assignment
    print(several, pages)
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
