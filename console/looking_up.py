"""Owns what is looked up for a text that does not say what it is of: a player, a ref, a reference, a key."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

from console.catalogue import N_
from console.search import may_be_account, may_be_key, may_be_player
from console.views.allowed import if_allowed
from console.visit import Visit
from defter_client import messages as m

_MOST: Final = 20
"""Of a kind that are shown."""
PLAYERS_METHODS: Final = ("InitiateDeposit", "RequestWithdrawal")
"""RPCs whose keys are the player's own."""
_NO_KEYS_OF_THE_JOURNAL: Final = frozenset({"GetOutcome", "Record", "RunReconciliation"})
METHODS: Final = tuple(
    name.removesuffix("Request")
    for name, message in sorted(vars(m).items())
    if name.endswith("Request")
    and "idempotency_key" in message.DESCRIPTOR.fields_by_name
    and name.removesuffix("Request") not in {*PLAYERS_METHODS, *_NO_KEYS_OF_THE_JOURNAL}
)
"""RPCs whose keys are the tenant's."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that was found.

    Attributes:
        kind: what it is, in English.
        by: what the text is of it, in English.
        said: its id, or what it is called.
        path: where it is.
    """

    kind: str
    by: str
    said: str
    path: str


async def look_up(visit: Visit, text: str, player_id: str = "") -> list[Hit]:
    """Return everything that a text names, as far as the person may see it.

    Args:
        player_id: whose key it is; keys of deposits and withdrawals are the player's own.
    """
    found = await asyncio.gather(
        _player(visit, text), _account(visit, text), _payments(visit, text), _transactions(visit, text)
    )
    hits = [hit for each in found for hit in each]
    if player_id or not hits:
        # A key is asked about method by method, so it comes last; what has been found is no key as a rule.
        hits += await _keys(visit, text, player_id)
    return list(dict.fromkeys(hits))


async def _player(visit: Visit, text: str) -> list[Hit]:
    if not may_be_player(text):
        return []
    ledger = visit.ledger
    asking = m.GetWalletRequest(tenant_id=visit.tenant_id, player_id=text)
    answer = await if_allowed(ledger.ask(ledger.client.wallets.get_wallet, asking))
    if answer is None or not answer.wallet.balances:
        return []
    return [Hit(N_("player"), N_("its id"), text, visit.path("players", text))]


async def _account(visit: Visit, text: str) -> list[Hit]:
    if not may_be_account(text):
        return []
    ledger = visit.ledger
    asking = m.GetAccountRequest(tenant_id=visit.tenant_id, account_id=text)
    if await if_allowed(ledger.ask(ledger.client.accounts.get_account, asking)) is None:
        return []
    return [Hit(N_("account"), N_("its id"), text, visit.path("accounts", text))]


async def _payments(visit: Visit, text: str) -> list[Hit]:
    client = visit.ledger.client
    hits: list[Hit] = []
    for by, field in (
        (N_("the provider's id of it"), "provider_ref"),
        (N_("the caller's reference"), "reference"),
    ):
        about: dict[str, Any] = {"tenant_id": visit.tenant_id, "page_size": _MOST, field: text}
        deposits, withdrawals = await asyncio.gather(
            _page(visit, client.deposits.list_deposits, m.ListDepositsRequest(**about)),
            _page(visit, client.withdrawals.list_withdrawals, m.ListWithdrawalsRequest(**about)),
        )
        found = [(N_("deposit"), "deposits", each.deposit_id) for each in getattr(deposits, "deposits", ())]
        found += [
            (N_("withdrawal"), "withdrawals", each.withdrawal_id)
            for each in getattr(withdrawals, "withdrawals", ())
        ]
        hits += [Hit(kind, by, found_id, visit.path(part, found_id)) for kind, part, found_id in found]
    return hits


async def _transactions(visit: Visit, text: str) -> list[Hit]:
    request = m.ListTransactionsRequest(tenant_id=visit.tenant_id, reference=text, page_size=_MOST)
    page = await _page(visit, visit.ledger.client.postings.list_transactions, request)
    by = N_("the caller's reference")
    return [
        Hit(N_("transaction"), by, each.transaction_id, visit.path("transactions", each.transaction_id))
        for each in (() if page is None else page.transactions)
    ]


async def _keys(visit: Visit, text: str, player_id: str) -> list[Hit]:
    if not may_be_key(text):
        return []
    ledger = visit.ledger
    methods = PLAYERS_METHODS if player_id else METHODS

    async def known(method: str) -> bool:
        asking = m.GetOutcomeRequest(
            tenant_id=visit.tenant_id, method=method, idempotency_key=text, player_id=player_id
        )
        return await if_allowed(ledger.ask(ledger.client.journal.get_outcome, asking)) is not None

    answers = await asyncio.gather(*(known(method) for method in methods))
    return [
        Hit(
            N_("request"),
            N_("its idempotency key"),
            method,
            visit.path("outcomes", method=method, key=text, player=player_id),
        )
        for method, is_known in zip(methods, answers, strict=True)
        if is_known
    ]


def _page(visit: Visit, method: Any, request: Any) -> Awaitable[Any]:
    return if_allowed(visit.ledger.page(method, request))
