"""Owns the names of the accounts that payments move money between."""


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
