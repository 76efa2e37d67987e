"""Owns the page of a player: wallets, what was last done to them, holds, payments, and what may be done."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from starlette.responses import Response

from console.forms import form_key
from console.ledger import FREEZE, REQUEST_ADJUSTMENT, UNFREEZE
from console.pages import Page
from console.player_accounts import PlayerAccount, accounts_of, prefix_of
from console.statement import read
from console.views.allowed import if_allowed
from console.visit import Visit
from defter_client import messages as m

MOST_ACCOUNTS: Final = 1_000
"""Of a player; one has two of each currency, and rarely a successor."""
_LATEST: Final = 10
_HISTORY: Final = 20
_HELD: Final = 20
_MOST_HELD_OF: Final = 6
ACTS: Final = {"freeze": FREEZE, "unfreeze": UNFREEZE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a page says of an act that was just tried.

    Attributes:
        typed: the form as it was sent; `act` says which one it is.
        again: whether it is to be sent again as it was, since what became of it is not known.
        results: account, sentence and code of each thing that was tried.
    """

    problem: str = ""
    code: str = ""
    typed: dict[str, str] = field(default_factory=dict)
    again: bool = False
    results: tuple[tuple[str, str, str], ...] = ()

    def key(self, act: str) -> str:
        """Return the key for the form of an act."""
        return self.typed["key"] if self.again and self.typed.get("act") == act else form_key()


async def player(visit: Visit) -> Response:
    """Show a player."""
    return await shown(visit, Told(), 200)


class Accounts(NamedTuple):
    """A player's accounts.

    Attributes:
        more: whether there are more than are known here.
    """

    known: tuple[PlayerAccount, ...]
    more: bool


async def accounts_asked(visit: Visit, player_id: str) -> Accounts:
    """Return a player's accounts, as many as one page of the list has.

    Raises:
        AccessDenied: the person may not list accounts.
    """
    ledger = visit.ledger
    request = m.ListAccountsRequest(
        tenant_id=visit.tenant_id, account_id_prefix=prefix_of(player_id), page_size=MOST_ACCOUNTS
    )
    answer = await ledger.page(ledger.client.accounts.list_accounts, request)
    return Accounts(accounts_of(player_id, answer.accounts), bool(answer.next_page_token))


async def holds_of(visit: Visit, account_id: str, **filters: Any) -> Any:
    """Return the newest holds of an account; None where the person may not see them."""
    ledger = visit.ledger
    request = m.ListHoldsRequest(
        tenant_id=visit.tenant_id, account_id=account_id, newest_first=True, **filters
    )
    return await if_allowed(ledger.page(ledger.client.holds.list_holds, request))


async def shown(visit: Visit, told: Told, status: int) -> Response:
    """Show a player, and what became of an act."""
    ledger, tenant_id, player_id = visit.ledger, visit.tenant_id, visit.request.path_params["player"]
    client = ledger.client
    about: dict[str, Any] = {
        "tenant_id": tenant_id,
        "player_id": player_id,
        "newest_first": True,
        "page_size": _HISTORY,
    }
    # Independent of each other, so they are asked for together; what the person may not read is left out.
    wallet, accounts, withdrawals, deposits, may = await asyncio.gather(
        ledger.ask(client.wallets.get_wallet, m.GetWalletRequest(tenant_id=tenant_id, player_id=player_id)),
        if_allowed(accounts_asked(visit, player_id)),
        if_allowed(ledger.page(client.withdrawals.list_withdrawals, m.ListWithdrawalsRequest(**about))),
        if_allowed(ledger.page(client.deposits.list_deposits, m.ListDepositsRequest(**about))),
        ledger.may(tenant_id, *ACTS.values(), REQUEST_ADJUSTMENT),
    )
    known = () if accounts is None else accounts.known
    chosen = next((each for each in known if each.balance.version), None)
    lines, *holds = await asyncio.gather(
        _latest(visit, chosen), *(_open_holds(visit, each) for each in _with_holds(known)[:_MOST_HELD_OF])
    )
    return await visit.page(
        "player.html",
        status,
        player_id=player_id,
        wallet=wallet.wallet,
        accounts=known,
        accounts_left=accounts is not None and accounts.more,
        chosen=chosen,
        lines=None if lines is None or chosen is None else read(lines.lines, chosen.account.kind),
        has_more=lines is not None and bool(lines.next_page_token),
        holds=[hold for page in holds if page is not None for hold in page.holds],
        holds_left=len(_with_holds(known)) > _MOST_HELD_OF
        or any(page is not None and page.next_page_token for page in holds),
        withdrawals=withdrawals,
        deposits=deposits,
        may={act: may[method] for act, method in ACTS.items()},
        may_adjust=may[REQUEST_ADJUSTMENT],
        told=told,
        keys={act: told.key(act) for act in ACTS},
    )


def _with_holds(accounts: tuple[PlayerAccount, ...]) -> list[PlayerAccount]:
    return [
        each for each in accounts if each.balance.pending_debits_minor or each.balance.pending_credits_minor
    ]


async def _latest(visit: Visit, chosen: PlayerAccount | None) -> Any:
    if chosen is None:
        return None
    ledger = visit.ledger
    request = m.ListPostingsRequest(
        tenant_id=visit.tenant_id,
        account_id=chosen.account_id,
        include_pending=True,
        newest_first=True,
        page_size=_LATEST,
    )
    return await if_allowed(ledger.page(ledger.client.accounts.list_postings, request))


async def _open_holds(visit: Visit, account: PlayerAccount) -> Any:
    return await holds_of(visit, account.account_id, state=m.HOLD_STATE_OPEN, page_size=_HELD)


PAGES: Final = (Page("/t/{tenant}/players/{player}", player),)
