"""Owns which accounts are a player's, and what each is called, by the names that the ledger derives."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from console.catalogue import N_
from defter_client import messages as m

Wallet = Literal["real", "bonus", ""]
WALLETS: Final[dict[str, str]] = {"real": N_("real"), "bonus": N_("bonus"), "": N_("other")}
_NAME: Final = re.compile(r"(real|bonus):([A-Z0-9]{1,16})(?:@([0-9]{1,6}))?")
_ORDER: Final = ("real", "bonus", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerAccount:
    """One account of a player.

    Attributes:
        wallet: empty for an account of the player that payments know nothing of.
        number: 1, or which of the accounts it is that continue one another.
        balance: now.
    """

    account: m.Account
    balance: m.AccountBalance
    wallet: Wallet
    number: int

    @property
    def account_id(self) -> str:
        """Its id."""
        return self.account.account_id

    @property
    def currency_code(self) -> str:
        """Its currency."""
        return self.account.currency_code

    @property
    def is_frozen(self) -> bool:
        """Whether nothing lowers it."""
        return self.account.state == m.ACCOUNT_STATE_FROZEN

    @property
    def is_closed(self) -> bool:
        """Whether it takes nothing at all, for ever."""
        return self.account.state == m.ACCOUNT_STATE_CLOSED


def prefix_of(player_id: str) -> str:
    """Return how the ids of all accounts of a player begin, and no other's."""
    return f"player:{player_id}:"


def accounts_of(player_id: str, items: Iterable[m.ListAccountsResponse.Item]) -> tuple[PlayerAccount, ...]:
    """Return a player's accounts: real money first, each currency's successors behind it."""
    found = []
    for item in items:
        name = _NAME.fullmatch(item.account.account_id.removeprefix(prefix_of(player_id)))
        wallet: Wallet = "" if name is None else "real" if name[1] == "real" else "bonus"
        found.append(
            PlayerAccount(
                account=item.account,
                balance=item.balance,
                wallet=wallet,
                number=1 if name is None else int(name[3] or 1),
            )
        )
    return tuple(
        sorted(
            found,
            key=lambda each: (_ORDER.index(each.wallet), each.currency_code, each.number, each.account_id),
        )
    )
