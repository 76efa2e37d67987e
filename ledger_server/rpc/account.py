"""Owns AccountService."""

from defter.ledger.v1 import account_pb2, journal_pb2

from ledger_server.domain.accounts import AccountState
from ledger_server.domain.commands import Method, SetAccountLimits, SetAccountState
from ledger_server.domain.errors import FieldMissing
from ledger_server.engine.ledger import Ledger
from ledger_server.rpc.outcomes import decide_one, item_result, results_message, settle_atomic
from ledger_server.rpc.requests import (
    MAX_NOTE,
    RequestReader,
    account_violations,
    batch_mode,
    check_batch_size,
    check_tenant,
    keyed,
)
from ledger_server.rpc.serving import Context, deadline_of

_StateRequest = (
    account_pb2.FreezeAccountRequest | account_pb2.UnfreezeAccountRequest | account_pb2.CloseAccountRequest
)


class AccountServicer:
    """Opens, limits, freezes and closes accounts, and reads their balances and statements."""

    def __init__(self, ledger: Ledger, reader: RequestReader) -> None:
        self._ledger = ledger
        self._reader = reader

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
        limits = violations.limits(request.limits)
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
