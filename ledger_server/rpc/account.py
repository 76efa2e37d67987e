"""Owns AccountService."""

from typing import Final

from defter.ledger.v1 import account_pb2, journal_pb2

from ledger_server.domain.decisions.continuation import MAX_SUCCESSOR, successor_id
from ledger_server.domain.errors import BatchSizeOutOfRange, FieldMissing, FieldOutOfRange
from ledger_server.domain.ledger.accounts import AccountKind, AccountState
from ledger_server.domain.payments.accounts import reserved_for
from ledger_server.domain.state.commands import ContinueAccount, Method, SetAccountLimits, SetAccountState
from ledger_server.engine.reads.gathered import GatheredReads
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.journal import account_message, balance_message
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.outcomes import decide_one, item_result, results_message, settle_atomic
from ledger_server.rpc.page_token import (
    fitting,
    page_place,
    page_position,
    page_size,
    page_token,
    small_number_in,
)
from ledger_server.rpc.read_requests import optional_account_id, optional_enum, span, tenant_violations
from ledger_server.rpc.requests import (
    MAX_NOTE,
    RequestReader,
    account_violations,
    batch_mode,
    check_answer_size,
    check_batch_size,
    check_tenant,
    keyed,
)
from ledger_server.rpc.serving import Context, deadline_of
from ledger_server.rpc.statement import line_message
from ledger_server.rpc.violations import MAX_BATCH, MAX_KEY
from ledger_server.store.queries.accounts import AccountFilter, AccountNow
from ledger_server.store.queries.statements import LinePosition

_FIRST_SUCCESSOR: Final = 2
_StateRequest = (
    account_pb2.FreezeAccountRequest | account_pb2.UnfreezeAccountRequest | account_pb2.CloseAccountRequest
)


class AccountServicer:
    """Opens, limits, freezes and closes accounts, and reads their balances and statements."""

    def __init__(self, ledger: CallersLedger, reader: RequestReader, reads: Reads) -> None:
        self._ledger = ledger
        self._reader = reader
        self._reads = reads
        self._gathered = GatheredReads(reads)

    async def OpenAccount(
        self, request: account_pb2.OpenAccountRequest, context: Context
    ) -> account_pb2.OpenAccountResponse:
        """Open an account."""
        check_tenant(request.tenant_id)
        item = self._reader.open_item(request.idempotency_key, request.account)
        fact = await decide_one(self._ledger, request.tenant_id, item, context)
        return account_pb2.OpenAccountResponse(account=account_pb2.Account.FromString(fact))

    async def BatchOpenAccounts(
        self, request: account_pb2.BatchOpenAccountsRequest, context: Context
    ) -> bytes:
        """Open up to 1,000 accounts."""
        check_tenant(request.tenant_id)
        atomic = batch_mode(request.mode)
        check_batch_size(len(request.items))
        check_answer_size(items=len(request.items))
        items = [
            self._reader.open_item(item.idempotency_key, item.account, f"items[{index}].")
            for index, item in enumerate(request.items)
        ]
        outcomes = await self._ledger.submit(
            request.tenant_id, items, atomic=atomic, deadline=deadline_of(context)
        )
        if atomic:
            settle_atomic(outcomes, context)
        return results_message(
            [
                item_result(item.idempotency_key, outcome)
                for item, outcome in zip(request.items, outcomes, strict=True)
            ]
        )

    async def SetAccountLimits(
        self, request: account_pb2.SetAccountLimitsRequest, context: Context
    ) -> account_pb2.SetAccountLimitsResponse:
        """Replace both limits."""
        violations = account_violations(request)
        if not request.HasField("limits"):
            violations.add(FieldMissing(field="limits"))
        limits = violations.limits(request.limits, "limits")
        violations.check()
        fact = await decide_one(
            self._ledger,
            request.tenant_id,
            keyed(
                Method.SetAccountLimits,
                request,
                request.idempotency_key,
                SetAccountLimits(account_id=request.account_id, limits=limits),
            ),
            context,
        )
        return account_pb2.SetAccountLimitsResponse(account=_changed(fact))

    async def FreezeAccount(
        self, request: account_pb2.FreezeAccountRequest, context: Context
    ) -> account_pb2.FreezeAccountResponse:
        """Stop everything that lowers the account."""
        account = await self._set_state(Method.FreezeAccount, AccountState.FROZEN, request, context)
        return account_pb2.FreezeAccountResponse(account=account)

    async def UnfreezeAccount(
        self, request: account_pb2.UnfreezeAccountRequest, context: Context
    ) -> account_pb2.UnfreezeAccountResponse:
        """Undo FreezeAccount."""
        account = await self._set_state(Method.UnfreezeAccount, AccountState.OPEN, request, context)
        return account_pb2.UnfreezeAccountResponse(account=account)

    async def CloseAccount(
        self, request: account_pb2.CloseAccountRequest, context: Context
    ) -> account_pb2.CloseAccountResponse:
        """Close an empty account for ever."""
        account = await self._set_state(Method.CloseAccount, AccountState.CLOSED, request, context)
        return account_pb2.CloseAccountResponse(account=account)

    async def ContinueAccount(
        self, request: account_pb2.ContinueAccountRequest, context: Context
    ) -> account_pb2.ContinueAccountResponse:
        """Close an account and open its successor."""
        violations = account_violations(request)
        violations.text(request.note, "note", MAX_NOTE)
        number = request.successor_number
        if number and not _FIRST_SUCCESSOR <= number <= MAX_SUCCESSOR:
            violations.add(FieldOutOfRange(field="successor_number"))
        violations.check()
        kind, currency = self._meant(request.account_id)
        command = ContinueAccount(
            account_id=request.account_id,
            successor_id=successor_id(request.account_id, number or None),
            note=request.note,
            kind=kind,
            currency=currency,
        )
        asked = keyed(Method.ContinueAccount, request, request.idempotency_key, command)
        fact = await decide_one(self._ledger, request.tenant_id, asked, context)
        continued = journal_pb2.AccountContinued.FromString(fact)
        return account_pb2.ContinueAccountResponse(account=continued.account, successor=continued.successor)

    def _meant(self, account_id: str) -> tuple[AccountKind | None, str]:
        """Return the kind and currency that an account's name is reserved for; nothing if it is free."""
        meant = reserved_for(account_id)
        return meant if meant is not None and meant[1] in self._reader.currencies else (None, "")

    async def GetAccount(
        self, request: account_pb2.GetAccountRequest, _: Context
    ) -> account_pb2.GetAccountResponse:
        """Read one account with its balance now."""
        violations = tenant_violations(request)
        violations.account_id(request.account_id, "account_id")
        violations.check()
        found = await self._gathered.account(request.tenant_id, request.account_id)
        return account_pb2.GetAccountResponse(
            account=account_message(found.account),
            balance=balance_message(found.account.kind, found.counters),
            sequence=found.sequence,
        )

    async def ListAccounts(
        self, request: account_pb2.ListAccountsRequest, _: Context
    ) -> account_pb2.ListAccountsResponse:
        """List accounts by id."""
        violations = tenant_violations(request)
        violations.text(request.currency_code, "currency_code", MAX_KEY)
        wanted = AccountFilter(
            prefix=optional_account_id(violations, request.account_id_prefix, "account_id_prefix"),
            kind=optional_enum(violations, request.kind, "kind", AccountKind),
            currency=request.currency_code,
            state=optional_enum(violations, request.state, "state", AccountState),
        )
        size = page_size(request, violations)
        position = page_position(request, violations, like=("",))
        violations.check()
        page = await self._reads.list_accounts(
            request.tenant_id, wanted, after=str(position[0]) if position else "", size=size
        )
        items = await self._reads.courtesy.slices().made(
            page.items,
            lambda found: account_pb2.ListAccountsResponse.Item(
                account=account_message(found.account),
                balance=balance_message(found.account.kind, found.counters),
            ),
        )
        count = fitting(items)
        behind = page.next if count == len(items) else items[count - 1].account.account_id
        return account_pb2.ListAccountsResponse(
            accounts=items[:count],
            next_page_token="" if behind is None else page_token(request, (behind,)),
            sequence=page.sequence or 0,
        )

    async def GetBalance(
        self, request: account_pb2.GetBalanceRequest, _: Context
    ) -> account_pb2.GetBalanceResponse:
        """Read a balance now, at a time or at a sequence."""
        violations = tenant_violations(request)
        violations.account_id(request.account_id, "account_id")
        moment = violations.time(request, "time")
        at = request.WhichOneof("at")
        if at == "sequence" and request.sequence < 1:
            violations.add(FieldOutOfRange(field="sequence"))
        violations.check()
        tenant_id, account_id = request.tenant_id, request.account_id
        if moment is not None:
            found = await self._reads.balance_at_time(tenant_id, account_id, moment)
        elif at == "sequence":
            found = await self._reads.balance_at_sequence(tenant_id, account_id, request.sequence)
        else:
            found = await self._gathered.account(tenant_id, account_id)
        return _balance(found)

    async def BatchGetBalances(
        self, request: account_pb2.BatchGetBalancesRequest, _: Context
    ) -> account_pb2.BatchGetBalancesResponse:
        """Read the balances now of up to 1,000 accounts, all from one moment."""
        violations = tenant_violations(request)
        count = len(request.account_ids)
        if not 1 <= count <= MAX_BATCH:
            violations.add(BatchSizeOutOfRange(field="account_ids", count=count, limit=MAX_BATCH))
        for index, account_id in enumerate(request.account_ids[:MAX_BATCH]):
            violations.account_id(account_id, f"account_ids[{index}]")
        violations.check()
        found = await self._reads.accounts(request.tenant_id, request.account_ids)
        return account_pb2.BatchGetBalancesResponse(balances=[_balance(account) for account in found])

    async def ListPostings(
        self, request: account_pb2.ListPostingsRequest, _: Context
    ) -> account_pb2.ListPostingsResponse:
        """Read an account's statement."""
        violations = tenant_violations(request)
        violations.account_id(request.account_id, "account_id")
        recorded = span(violations, request)
        size = page_size(request, violations)
        position = page_place(
            request,
            violations,
            like=(0, 0),
            read=lambda place: LinePosition(int(place[0]), small_number_in(place[1])),
        )
        violations.check()
        page = await self._reads.statement(
            request.tenant_id,
            request.account_id,
            recorded,
            position=position,
            newest_first=request.newest_first,
            include_pending=request.include_pending,
            size=size,
        )
        ids = await self._reads.ids(request.tenant_id)
        return account_pb2.ListPostingsResponse(
            lines=await self._reads.courtesy.slices().made(page.items, lambda line: line_message(ids, line)),
            next_page_token="" if page.next is None else page_token(request, page.next),
            sequence=page.sequence or 0,
        )

    async def _set_state(
        self, method: Method, state: AccountState, request: _StateRequest, context: Context
    ) -> account_pb2.Account:
        violations = account_violations(request)
        violations.text(request.note, "note", MAX_NOTE)
        violations.check()
        command = SetAccountState(account_id=request.account_id, state=state, note=request.note)
        fact = await decide_one(
            self._ledger,
            request.tenant_id,
            keyed(method, request, request.idempotency_key, command),
            context,
        )
        return _changed(fact)


def _changed(fact: bytes) -> account_pb2.Account:
    """Return the account of a serialized AccountChanged."""
    return journal_pb2.AccountChanged.FromString(fact).account


def _balance(found: AccountNow) -> account_pb2.GetBalanceResponse:
    account = found.account
    return account_pb2.GetBalanceResponse(
        account_id=account.account_id,
        currency_code=account.currency,
        balance=balance_message(account.kind, found.counters),
        sequence=found.sequence,
    )
