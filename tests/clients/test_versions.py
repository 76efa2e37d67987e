"""Clients and servers of different versions speak with one another: either may be there first."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from defter_client import LedgerClient
from defter_client import messages as m
from defter_client.reasons import IdempotencyKeyReused, InsufficientFunds
from ledger_server.store import migrate
from tests.clients.killing import opening, payment
from tests.clients.stack import Stack
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import Databases
from tests.support.released import RELEASED, unpack
from tests.support.service import serving_process

LAST = "of schema 0012"
# What a caller of that version does, in its own words.
OLD_CALLER = """
import asyncio, sys
from defter.ledger.v1 import account_pb2 as accounts, posting_pb2 as postings, tenant_pb2 as tenants
from defter_client import LedgerClient, LedgerError

def post(key, debit, credit, amount):
    legs = ((debit, accounts.DIRECTION_DEBIT), (credit, accounts.DIRECTION_CREDIT))
    legs = [dict(account_id=a, direction=d, amount_minor=amount, currency_code="EUR") for a, d in legs]
    posted = postings.NewTransaction(type="TRANSACTION_TYPE_ADJUSTMENT", postings=legs)
    return postings.PostTransactionRequest(tenant_id="old", idempotency_key=key, transaction=posted)

async def main():
    async with LedgerClient(sys.argv[1]) as ledger:
        created = tenants.CreateTenantRequest(tenant_id="old", idempotency_key="t")
        await ledger.call(ledger.tenants.CreateTenant, created)
        for name, kind in (("house", accounts.ACCOUNT_KIND_ASSET), ("ann", accounts.ACCOUNT_KIND_LIABILITY)):
            account = accounts.NewAccount(account_id=name, kind=kind, currency_code="EUR")
            opened = accounts.OpenAccountRequest(tenant_id="old", idempotency_key=name, account=account)
            await ledger.call(ledger.accounts.OpenAccount, opened)
        first = await ledger.call(ledger.postings.PostTransaction, post("p", "house", "ann", 5))
        again = await ledger.call(ledger.postings.PostTransaction, post("p", "house", "ann", 5))
        assert first == again
        try:
            await ledger.call(ledger.postings.PostTransaction, post("q", "ann", "house", 6))
        except LedgerError as error:
            print(error.reason, error.metadata["available_balance_minor"])

asyncio.run(main())
"""


def test_client_of_the_last_version_on_todays_server(tmp_path: Path, client_stack: Stack) -> None:
    """It posts, repeats, and is refused with the reason and facts that it knows."""
    old = unpack(RELEASED[LAST], tmp_path)
    said = subprocess.run(
        [old.program[0], "-P", "-c", OLD_CALLER, client_stack.target],
        env={**os.environ, **old.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_SECONDS,
    )
    assert said.stdout.strip() == "INSUFFICIENT_FUNDS 5", said.stderr


async def test_todays_client_on_the_last_versions_server(databases: Databases, tmp_path: Path) -> None:
    """It posts, repeats, is refused by typed errors, and follows the journal with its chain."""
    released = RELEASED[LAST]
    old = unpack(released, tmp_path)
    with databases.empty() as url:
        await asyncio.to_thread(migrate.upgrade, url, released.schema)
        async with (
            serving_process(
                url, log_file=tmp_path / "old.log", program=old.program, environment=old.environment
            ) as process,
            LedgerClient(f"127.0.0.1:{process.port}", tenant="new", timeout_seconds=HANG_SECONDS) as ledger,
            asyncio.timeout(HANG_SECONDS),
        ):
            await ledger.tenants.create_tenant(m.CreateTenantRequest())
            await ledger.accounts.open_account(opening("house", m.ACCOUNT_KIND_ASSET))
            await ledger.accounts.open_account(opening("ann", m.ACCOUNT_KIND_LIABILITY))
            first = await ledger.postings.post_transaction(payment(1), key="p")
            again = await ledger.postings.post_transaction(payment(1), key="p")
            assert (again.response, again.replayed) == (first.response, True)
            with pytest.raises(IdempotencyKeyReused):
                await ledger.postings.post_transaction(payment(2), key="p")
            back = payment(3)
            for posting in back.transaction.postings:
                posting.direction = 3 - posting.direction  # type: ignore[assignment]  # the other one
                posting.amount_minor = 2
            with pytest.raises(InsufficientFunds) as raised:
                await ledger.postings.post_transaction(back)
            assert raised.value.available_balance_minor == 1
            last = await ledger.accounts.get_balance(m.GetBalanceRequest(account_id="ann"))
            async for entry in ledger.watch(verify=True):
                if entry.sequence == last.sequence:
                    break
            listed = [each async for each in ledger.postings.list_transactions(m.ListTransactionsRequest())]
            assert [each.transaction_id for each in listed] == [first.response.transaction.transaction_id]
