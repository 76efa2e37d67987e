"""Owns the names of the accounts that payments use, and the kind and currency that each name stands for.

The names are reserved: an account of such a name is opened with the kind and the currency that payments
expect.
"""

import re
from typing import Final, NamedTuple

from ledger_server.domain.errors import AccountKindMismatch, AccountNameReserved, CurrencyMismatch
from ledger_server.domain.ledger.accounts import Account, AccountKind


def player_account(player_id: str, currency: str) -> str:
    """Return the account of a player's own money."""
    return f"player:{player_id}:real:{currency}"


def bonus_account(player_id: str, currency: str) -> str:
    """Return the account of a player's bonus money."""
    return f"player:{player_id}:bonus:{currency}"


def clearing_account(provider: str, currency: str) -> str:
    """Return the account of money in flight between a provider account and us."""
    return f"psp:{provider}:clearing:{currency}"


def fee_account(provider: str, currency: str) -> str:
    """Return the account of what a provider has kept."""
    return f"psp:{provider}:fees:{currency}"


def bank_account(name: str, currency: str) -> str:
    """Return the account of what providers have paid out to one of our banks."""
    return f"bank:{name}:{currency}"


def opening_account(currency: str) -> str:
    """Return the account against which the balances of a legacy system are taken over."""
    return f"equity:opening:{currency}"


_SUCCESSOR: Final = re.compile(r"@[1-9][0-9]{0,5}\Z")


class _Name(NamedTuple):
    """A kind of name: its shape, and which kind of account has it."""

    shape: re.Pattern[str]
    kind: AccountKind


# The patterns also find names in another case or with an unknown currency: such names are misspelt, or meant
# to mislead.
_NAMES: Final = (
    _Name(
        re.compile(r"(?P<words>player):[^:]+:(?P<part>real|bonus):(?P<currency>[^:]+)", re.IGNORECASE),
        AccountKind.LIABILITY,
    ),
    _Name(
        re.compile(r"(?P<words>psp):[^:]+:(?P<part>clearing):(?P<currency>[^:]+)", re.IGNORECASE),
        AccountKind.ASSET,
    ),
    _Name(
        re.compile(r"(?P<words>psp):[^:]+:(?P<part>fees):(?P<currency>[^:]+)", re.IGNORECASE),
        AccountKind.EXPENSE,
    ),
    _Name(
        re.compile(r"(?P<words>bank):(?P<part>)[^:]+:(?P<currency>[^:]+)", re.IGNORECASE), AccountKind.ASSET
    ),
    _Name(
        re.compile(r"(?P<words>equity):(?P<part>opening):(?P<currency>[^:]+)", re.IGNORECASE),
        AccountKind.EQUITY,
    ),
)


def reserved_for(account_id: str) -> tuple[AccountKind, str] | None:
    """Return the kind and currency that payments expect of an account of that name, or of its successor."""
    derived = _SUCCESSOR.sub("", account_id)
    for name in _NAMES:
        found = name.shape.fullmatch(derived)
        if found is not None and _is_spelt(found):
            return name.kind, found["currency"]
    return None


def _is_spelt(found: re.Match[str]) -> bool:
    return found["words"].islower() and (not found["part"] or found["part"].islower())


def check_name(account_id: str, kind: AccountKind, currency: str) -> None:
    """Refuse to open an account that payments would mistake for one of theirs.

    Raises:
        AccountNameReserved: the name is, or reads like, one that payments derive, but kind, currency or
            spelling differ from what payments expect.
    """
    for name in _NAMES:
        found = name.shape.fullmatch(account_id)
        if found is None:
            continue
        if not _is_spelt(found) or kind is not name.kind or found["currency"] != currency:
            raise AccountNameReserved(
                account_id=account_id,
                kind=kind.name,
                currency_code=currency,
                reserved_for_kind=name.kind.name,
                reserved_for_currency_code=found["currency"],
            )


def check_use(account: Account, currency: str) -> None:
    """Refuse to let a payment in that currency use an account that is not what its name says.

    Such an account was opened before names were reserved. If payments used a wallet that grows by debits, it
    would show deposits as debts, and a player could withdraw money that was never there.

    Raises:
        CurrencyMismatch, AccountKindMismatch: retrying can't help.
    """
    if account.currency != currency:
        raise CurrencyMismatch(
            account_id=account.account_id, currency_code=currency, account_currency_code=account.currency
        )
    for name in _NAMES:
        if name.shape.fullmatch(account.account_id) and account.kind is not name.kind:
            raise AccountKindMismatch(
                account_id=account.account_id, kind=account.kind.name, needed_kind=name.kind.name
            )
