"""Owns which calls to providers are owed in a tenant, as its payments tell; the ledger has no list of them.

A call that has not been taken on is of a deposit that is begun, of a withdrawal that is approved, or of a
refund, whose hold is open on the clearing account of its provider.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from console.catalogue import N_
from console.visit import Visit
from defter_client import messages as m

_PAGE: Final = 1_000
MOST_LOOKED_AT: Final = 3_000
"""Payments of a kind that are looked at, the oldest first."""
_MOST_REFUNDS: Final = 200
"""Deposits that are read one by one."""
_OWED: Final = (m.CALL_STATE_PENDING, m.CALL_STATE_UNDER_WAY)
_CLEARING: Final = ":clearing:"


@dataclass(frozen=True, slots=True)
class OwedCall:
    """A call that is owed.

    Attributes:
        what: its kind, in English.
        page: the part of the address where its payment is.
        state: of the call; the contract's number.
        since: when it was asked for, or approved.
    """

    what: str
    page: str
    payment_id: str
    provider: str
    player_id: str
    amount_minor: int
    currency_code: str
    state: int
    since: Timestamp


@dataclass(frozen=True, slots=True)
class OwedCalls:
    """All that were found, the oldest first.

    Attributes:
        is_complete: whether everything was looked at.
    """

    calls: tuple[OwedCall, ...]
    is_complete: bool


async def providers_of(visit: Visit) -> list[str]:
    """Return the provider accounts that the tenant has ever had money at: those with a clearing account."""
    found: dict[str, None] = {}
    for account_id in await _clearing_accounts(visit):
        found.setdefault(account_id.removeprefix("psp:").partition(_CLEARING)[0])
    return sorted(found)


async def owed_calls(visit: Visit) -> OwedCalls:
    """Return the calls that are owed."""
    client = visit.ledger.client
    common: dict[str, Any] = {"tenant_id": visit.tenant_id, "page_size": _PAGE}
    deposits, withdrawals, refunds = await asyncio.gather(
        _first(
            visit,
            client.deposits.list_deposits,
            m.ListDepositsRequest(**common, state=m.DEPOSIT_STATE_INITIATED),
        ),
        _first(
            visit,
            client.withdrawals.list_withdrawals,
            m.ListWithdrawalsRequest(**common, state=m.WITHDRAWAL_STATE_APPROVED),
        ),
        _refunds(visit),
    )
    calls = [
        *(_of_deposit(each) for each in deposits[0] if each.call_state in _OWED),
        *(_of_withdrawal(each) for each in withdrawals[0] if each.call_state in _OWED),
        *(call for deposit, placed in refunds[0] for call in _of_refunds(deposit, placed)),
    ]
    calls.sort(key=lambda call: (call.since.seconds, call.since.nanos, call.payment_id))
    return OwedCalls(tuple(calls), deposits[1] and withdrawals[1] and refunds[1])


def _of_deposit(deposit: m.Deposit) -> OwedCall:
    return OwedCall(
        what=N_("make a payment"),
        page="deposits",
        payment_id=deposit.deposit_id,
        provider=deposit.provider,
        player_id=deposit.player_id,
        amount_minor=deposit.amount_minor,
        currency_code=deposit.currency_code,
        state=deposit.call_state,
        since=deposit.initiate_time,
    )


def _of_withdrawal(withdrawal: m.Withdrawal) -> OwedCall:
    return OwedCall(
        what=N_("make a payout"),
        page="withdrawals",
        payment_id=withdrawal.withdrawal_id,
        provider=withdrawal.provider,
        player_id=withdrawal.player_id,
        amount_minor=withdrawal.amount_minor,
        currency_code=withdrawal.currency_code,
        state=withdrawal.call_state,
        since=withdrawal.approve_time,
    )


def _of_refunds(deposit: m.Deposit, placed: dict[str, Timestamp]) -> Iterator[OwedCall]:
    for refund in deposit.refunds:
        if refund.call_state in _OWED and refund.state == m.REFUND_STATE_PENDING:
            yield OwedCall(
                what=N_("make a refund"),
                page="deposits",
                payment_id=deposit.deposit_id,
                provider=deposit.provider,
                player_id=deposit.player_id,
                amount_minor=refund.amount_minor,
                currency_code=deposit.currency_code,
                state=refund.call_state,
                since=placed.get(refund.hold_id, deposit.update_time),
            )


async def _refunds(visit: Visit) -> tuple[list[tuple[m.Deposit, dict[str, Timestamp]]], bool]:
    """Return the deposits with refunds under way, and when each refund was asked for, by its hold."""
    ledger, tenant_id = visit.ledger, visit.tenant_id
    placed: dict[str, dict[str, Timestamp]] = {}
    is_complete = True
    for account_id in await _clearing_accounts(visit):
        request = m.ListHoldsRequest(
            tenant_id=tenant_id, account_id=account_id, state=m.HOLD_STATE_OPEN, page_size=_PAGE
        )
        holds, is_all = await _first(visit, ledger.client.holds.list_holds, request)
        is_complete = is_complete and is_all
        for hold in holds:
            if hold.type == m.TRANSACTION_TYPE_REFUND:
                placed.setdefault(hold.reference, {})[hold.hold_id] = hold.place_time
    asked = list(placed)[:_MOST_REFUNDS]
    answers = await asyncio.gather(
        *(
            ledger.ask(
                ledger.client.deposits.get_deposit,
                m.GetDepositRequest(tenant_id=tenant_id, deposit_id=deposit_id),
            )
            for deposit_id in asked
        )
    )
    found = [(each.deposit, placed[each.deposit.deposit_id]) for each in answers]
    return found, is_complete and len(asked) == len(placed)


async def _clearing_accounts(visit: Visit) -> list[str]:
    request = m.ListAccountsRequest(tenant_id=visit.tenant_id, account_id_prefix="psp:", page_size=_PAGE)
    items, _ = await _first(visit, visit.ledger.client.accounts.list_accounts, request)
    return [each.account.account_id for each in items if _CLEARING in each.account.account_id]


async def _first(visit: Visit, method: Any, request: Message) -> tuple[list[Any], bool]:
    """Return what a list begins with, and whether that is all of it."""
    found: list[Any] = []
    async for each in method(request, metadata=visit.ledger.metadata):
        if len(found) == MOST_LOOKED_AT:
            return found, False
        found.append(each)
    return found, True
