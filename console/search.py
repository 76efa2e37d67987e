"""Owns where the search box leads: an id says by its beginning what it is of."""

import re
from typing import Final
from urllib.parse import quote

_PAGES: Final = {
    "wd_": "withdrawals",
    "adj_": "adjustments",
    "fnd_": "findings",
    "dep_": "deposits",
    "evt_": "events",
    "hold_": "records",
    "run_": "runs",
    "tx_": "transactions",
}
_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_PLAYER: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,128}")


def path_of(tenant_id: str, text: str) -> str | None:
    """Return the page of an id that is known by its beginning, or None: then it has to be looked up.

    Ids ignore filters.
    """
    wanted = text.strip()
    if not _ID.fullmatch(wanted):
        return None
    for prefix, part in _PAGES.items():
        if wanted.startswith(prefix):
            return f"/t/{quote(tenant_id, safe='')}/{part}/{quote(wanted, safe='')}"
    return None


def may_be_account(text: str) -> bool:
    """Whether a text has the form of an account's id; those of payments have colons."""
    return ":" in text and _ACCOUNT.fullmatch(text) is not None


def may_be_player(text: str) -> bool:
    """Whether a text has the form of a player's id."""
    return _PLAYER.fullmatch(text) is not None


def may_be_key(text: str) -> bool:
    """Whether a text has the form of an idempotency key."""
    return len(text) <= 255 and text.isascii() and text.isprintable()
