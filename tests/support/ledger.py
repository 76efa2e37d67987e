"""Own the ledger of one tenant as a test talks to it: short calls over real gRPC."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import grpc
from defter.ledger.v1 import account_pb2, hold_pb2, journal_pb2, posting_pb2, tenant_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.requests import (
    ASSET,
    BET,
    LIABILITY,
    item,
    new_account,
    transfer,
)
from tests.support.wire import Stubs

LARGEST_PAGE = 1000
ENFORCED = tenant_pb2.BALANCE_ENFORCEMENT_ENFORCED
SHADOW = tenant_pb2.BALANCE_ENFORCEMENT_SHADOW


class Ledger:
    """One tenant over one channel; every mutating call gets a fresh key unless one is given."""

    def __init__(self, channel: grpc.aio.Channel, tenant_id: str, *, key_prefix: str = "key") -> None:
        self.channel = channel
        self.tenant_id = tenant_id
        self.stubs = Stubs.over(channel)
        self._key_prefix = key_prefix
        self._key_numbers = itertools.count(1)

    def new_key(self) -> str:
        """Return a key that this object has not used yet."""
        return f"{self._key_prefix}-{next(self._key_numbers)}"

    def over(self, channel: grpc.aio.Channel, *, key_prefix: str) -> Ledger:
        """Return the same tenant over another channel, with keys of its own."""
        return Ledger(channel, self.tenant_id, key_prefix=key_prefix)

    # Tenant.

    async def create(
        self,
        balance_enforcement: tenant_pb2.BalanceEnforcement.ValueType = ENFORCED,
        *,
        key: str = "create",
    ) -> tenant_pb2.Tenant:
        """Create the tenant."""
        response = await self.stubs.tenants.CreateTenant(
            tenant_pb2.CreateTenantRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key,
                balance_enforcement=balance_enforcement,
            )
        )
        return response.tenant

    async def tenant(self) -> tenant_pb2.Tenant:
        """Return the tenant now."""
        request = tenant_pb2.GetTenantRequest(tenant_id=self.tenant_id)
        return (await self.stubs.tenants.GetTenant(request)).tenant

    async def head(self) -> int:
        """Return the sequence of the newest journal record."""
        return (await self.tenant()).head_sequence

    async def enforce(
        self,
        balance_enforcement: tenant_pb2.BalanceEnforcement.ValueType,
        *,
        key: str | None = None,
        reason: str = "",
        force: bool = False,
    ) -> tenant_pb2.Tenant:
        """Set how limits are treated."""
        response = await self.stubs.tenants.SetBalanceEnforcement(
            tenant_pb2.SetBalanceEnforcementRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key or self.new_key(),
                balance_enforcement=balance_enforcement,
                reason=reason,
                force=force,
            )
        )
        return response.tenant

    # Accounts.

    async def open(
        self,
        account_id: str,
        *,
        kind: account_pb2.AccountKind.ValueType = LIABILITY,
        currency_code: str = "EUR",
        bounds: account_pb2.AccountLimits | None = None,
        key: str | None = None,
    ) -> account_pb2.Account:
        """Open an account."""
        response = await self.stubs.accounts.OpenAccount(
            account_pb2.OpenAccountRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key or self.new_key(),
                account=new_account(account_id, kind=kind, currency_code=currency_code, bounds=bounds),
            )
        )
        return response.account

    async def open_house(self, account_id: str = "house", *, currency_code: str = "EUR") -> None:
        """Open an asset account without limits: where a test's money comes from."""
        await self.open(account_id, kind=ASSET, currency_code=currency_code)

    async def set_limits(
        self, account_id: str, bounds: account_pb2.AccountLimits, *, key: str | None = None
    ) -> account_pb2.Account:
        """Replace both limits."""
        response = await self.stubs.accounts.SetAccountLimits(
            account_pb2.SetAccountLimitsRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key or self.new_key(),
                account_id=account_id,
                limits=bounds,
            )
        )
        return response.account

    async def freeze(self, account_id: str, *, key: str | None = None) -> account_pb2.Account:
        """Freeze an account."""
        response = await self.stubs.accounts.FreezeAccount(
            account_pb2.FreezeAccountRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key or self.new_key(),
                account_id=account_id,
            )
        )
        return response.account

    async def unfreeze(self, account_id: str, *, key: str | None = None) -> account_pb2.Account:
        """Undo a freeze."""
        response = await self.stubs.accounts.UnfreezeAccount(
            account_pb2.UnfreezeAccountRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key or self.new_key(),
                account_id=account_id,
            )
        )
        return response.account

    async def continue_account(
        self, account_id: str, *, number: int = 0, key: str | None = None
    ) -> account_pb2.ContinueAccountResponse:
        """Close an account and open its successor."""
        request = account_pb2.ContinueAccountRequest(
            tenant_id=self.tenant_id,
            idempotency_key=key or self.new_key(),
            account_id=account_id,
            successor_number=number,
        )
        response: account_pb2.ContinueAccountResponse = await self.stubs.accounts.ContinueAccount(request)
        return response

    async def close(self, account_id: str, *, key: str | None = None) -> account_pb2.Account:
        """Close an account."""
        response = await self.stubs.accounts.CloseAccount(
            account_pb2.CloseAccountRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key or self.new_key(),
                account_id=account_id,
            )
        )
        return response.account

    async def account(self, account_id: str) -> account_pb2.GetAccountResponse:
        """Return an account and its balance."""
        return await self.stubs.accounts.GetAccount(
            account_pb2.GetAccountRequest(tenant_id=self.tenant_id, account_id=account_id)
        )

    async def balance(
        self, account_id: str, *, time: Timestamp | None = None, sequence: int | None = None
    ) -> account_pb2.AccountBalance:
        """Return a balance, now unless a time or a sequence is given."""
        request = account_pb2.GetBalanceRequest(tenant_id=self.tenant_id, account_id=account_id)
        if time is not None:
            request.time.CopyFrom(time)
        if sequence is not None:
            request.sequence = sequence
        return (await self.stubs.accounts.GetBalance(request)).balance

    async def posted(self, account_id: str) -> int:
        """Return the posted balance now."""
        return (await self.balance(account_id)).posted_balance_minor

    async def available(self, account_id: str) -> int:
        """Return the available balance now."""
        return (await self.balance(account_id)).available_balance_minor

    async def accounts(self) -> list[account_pb2.ListAccountsResponse.Item]:
        """Return all accounts."""
        request = account_pb2.ListAccountsRequest(tenant_id=self.tenant_id, page_size=LARGEST_PAGE)
        found: list[account_pb2.ListAccountsResponse.Item] = []
        while True:
            page = await self.stubs.accounts.ListAccounts(request)
            found.extend(page.accounts)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def statement(self, account_id: str) -> list[account_pb2.StatementLine]:
        """Return every line of an account, pending ones too."""
        request = account_pb2.ListPostingsRequest(
            tenant_id=self.tenant_id,
            account_id=account_id,
            include_pending=True,
            page_size=LARGEST_PAGE,
        )
        found: list[account_pb2.StatementLine] = []
        while True:
            page = await self.stubs.accounts.ListPostings(request)
            found.extend(page.lines)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    # Transactions.

    async def submit(
        self, wanted: posting_pb2.NewTransaction, *, key: str | None = None
    ) -> posting_pb2.Transaction:
        """Post a transaction."""
        response = await self.stubs.postings.PostTransaction(self.post_request(wanted, key=key))
        return response.transaction

    async def post(
        self, debit: str, credit: str, amount_minor: int, *, key: str | None = None
    ) -> posting_pb2.Transaction:
        """Post the plain two-legged transaction in EUR."""
        return await self.submit(transfer(debit, credit, amount_minor), key=key)

    def post_request(
        self, wanted: posting_pb2.NewTransaction, *, key: str | None = None
    ) -> posting_pb2.PostTransactionRequest:
        """Return the request that posts a transaction."""
        return posting_pb2.PostTransactionRequest(
            tenant_id=self.tenant_id, idempotency_key=key or self.new_key(), transaction=wanted
        )

    def batch_request(
        self,
        *items: posting_pb2.PostTransactionItem,
        mode: account_pb2.BatchMode.ValueType = account_pb2.BATCH_MODE_INDEPENDENT,
    ) -> posting_pb2.BatchPostTransactionsRequest:
        """Return the request that posts a batch."""
        return posting_pb2.BatchPostTransactionsRequest(tenant_id=self.tenant_id, mode=mode, items=items)

    async def batch(
        self,
        *items: posting_pb2.PostTransactionItem,
        mode: account_pb2.BatchMode.ValueType = account_pb2.BATCH_MODE_INDEPENDENT,
    ) -> list[posting_pb2.PostTransactionResult]:
        """Post a batch."""
        request = self.batch_request(*items, mode=mode)
        return list((await self.stubs.postings.BatchPostTransactions(request)).results)

    async def stream(
        self, *items: posting_pb2.PostTransactionItem
    ) -> list[posting_pb2.PostTransactionResult]:
        """Post through a stream, one message for each item."""

        async def messages() -> AsyncIterator[posting_pb2.StreamTransactionsRequest]:
            for one in items:
                yield posting_pb2.StreamTransactionsRequest(tenant_id=self.tenant_id, items=[one])

        call = self.stubs.postings.StreamTransactions(messages())
        return [result async for message in call for result in message.results]

    async def reverse(self, transaction_id: str, *, key: str | None = None) -> posting_pb2.Transaction:
        """Post the mirror of a transaction."""
        response = await self.stubs.postings.ReverseTransaction(
            posting_pb2.ReverseTransactionRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key or self.new_key(),
                transaction_id=transaction_id,
            )
        )
        return response.transaction

    async def transaction(self, transaction_id: str) -> posting_pb2.GetTransactionResponse:
        """Return one transaction."""
        return await self.stubs.postings.GetTransaction(
            posting_pb2.GetTransactionRequest(tenant_id=self.tenant_id, transaction_id=transaction_id)
        )

    async def fund(self, account_id: str, amount_minor: int, *, house: str = "house") -> None:
        """Give an account money."""
        await self.post(house, account_id, amount_minor)

    def transfer_item(
        self, debit: str, credit: str, amount_minor: int, *, key: str | None = None
    ) -> posting_pb2.PostTransactionItem:
        """Return a batch item with the plain two-legged transaction."""
        return item(key or self.new_key(), transfer(debit, credit, amount_minor))

    # Holds.

    async def place_hold(
        self,
        debit: str,
        credit: str,
        amount_minor: int,
        *,
        currency_code: str = "EUR",
        expire_time: Timestamp | None = None,
        time_to_live: Duration | None = None,
        key: str | None = None,
    ) -> hold_pb2.Hold:
        """Place a hold."""
        response = await self.stubs.holds.PlaceHold(
            hold_pb2.PlaceHoldRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key or self.new_key(),
                debit_account_id=debit,
                credit_account_id=credit,
                amount_minor=amount_minor,
                currency_code=currency_code,
                expire_time=expire_time,
                time_to_live=time_to_live,
                type=BET,
            )
        )
        return response.hold

    async def capture(
        self,
        hold_id: str,
        amount_minor: int | None = None,
        *,
        final: bool = False,
        key: str | None = None,
    ) -> hold_pb2.CaptureHoldResponse:
        """Capture a hold, all that remains unless an amount is given."""
        return await self.stubs.holds.CaptureHold(
            hold_pb2.CaptureHoldRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key or self.new_key(),
                hold_id=hold_id,
                amount_minor=amount_minor,
                final=final,
            )
        )

    async def release(self, hold_id: str, *, key: str | None = None) -> hold_pb2.Hold:
        """Release a hold."""
        response = await self.stubs.holds.ReleaseHold(
            hold_pb2.ReleaseHoldRequest(
                tenant_id=self.tenant_id, idempotency_key=key or self.new_key(), hold_id=hold_id
            )
        )
        return response.hold

    async def extend(self, hold_id: str, expire_time: Timestamp, *, key: str | None = None) -> hold_pb2.Hold:
        """Extend a hold."""
        response = await self.stubs.holds.ExtendHold(
            hold_pb2.ExtendHoldRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key or self.new_key(),
                hold_id=hold_id,
                expire_time=expire_time,
            )
        )
        return response.hold

    async def increase(self, hold_id: str, additional_minor: int, *, key: str | None = None) -> hold_pb2.Hold:
        """Increase a hold."""
        response = await self.stubs.holds.IncreaseHold(
            hold_pb2.IncreaseHoldRequest(
                tenant_id=self.tenant_id,
                idempotency_key=key or self.new_key(),
                hold_id=hold_id,
                additional_minor=additional_minor,
            )
        )
        return response.hold

    async def hold(self, hold_id: str) -> hold_pb2.Hold:
        """Return one hold."""
        request = hold_pb2.GetHoldRequest(tenant_id=self.tenant_id, hold_id=hold_id)
        return (await self.stubs.holds.GetHold(request)).hold

    async def holds(self) -> list[hold_pb2.Hold]:
        """Return all holds in the order in which they were placed."""
        request = hold_pb2.ListHoldsRequest(tenant_id=self.tenant_id, page_size=LARGEST_PAGE)
        found: list[hold_pb2.Hold] = []
        while True:
            page = await self.stubs.holds.ListHolds(request)
            found.extend(page.holds)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    # Journal.

    async def entries(self, *, after_sequence: int = 0) -> list[journal_pb2.JournalEntry]:
        """Return the journal, or what comes after a sequence."""
        request = journal_pb2.ListJournalRequest(
            tenant_id=self.tenant_id, after_sequence=after_sequence, page_size=LARGEST_PAGE
        )
        found: list[journal_pb2.JournalEntry] = []
        while True:
            page = await self.stubs.journal.ListJournal(request)
            found.extend(page.entries)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def records(self, fact: str) -> list[journal_pb2.JournalRecord]:
        """Return the journal records of one kind of fact."""
        return [e.record for e in await self.entries() if e.record.WhichOneof("fact") == fact]

    async def verify(self) -> journal_pb2.VerifyResult:
        """Return the result of VerifyJournal."""
        request = journal_pb2.VerifyJournalRequest(tenant_id=self.tenant_id)
        messages = [message async for message in self.stubs.journal.VerifyJournal(request)]
        assert messages[-1].WhichOneof("event") == "result", "the last message is the result"
        return messages[-1].result

    async def outcome(self, method: str, key: str, *, player_id: str = "") -> journal_pb2.JournalEntry:
        """Return what became of a key."""
        request = journal_pb2.GetOutcomeRequest(
            tenant_id=self.tenant_id, method=method, idempotency_key=key, player_id=player_id
        )
        return (await self.stubs.journal.GetOutcome(request)).entry

    async def trial_balances(self) -> list[journal_pb2.TrialBalance]:
        """Return the trial balance of each currency."""
        request = journal_pb2.GetTrialBalanceRequest(tenant_id=self.tenant_id)
        return list((await self.stubs.journal.GetTrialBalance(request)).trial_balances)
