"""Owns where the search box leads: an id says by its beginning what it is of."""

import re
from typing import Final
from urllib.parse import quote

_RECORDS: Final = ("dep_", "evt_", "hold_", "run_", "tx_")
_PLAYER: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,128}")


def path_of(tenant_id: str, text: str) -> str | None:
    """Return the page that a typed text leads to, or None if nothing has such an id.

    Ids ignore filters. What has no known beginning is an account if it has a colon, else a player.
    """
    wanted = text.strip()
    base = f"/t/{quote(tenant_id, safe='')}"
    if not _ACCOUNT.fullmatch(wanted):
        return None
    quoted = quote(wanted, safe="")
    if wanted.startswith("wd_"):
        return f"{base}/withdrawals/{quoted}"
    if wanted.startswith("adj_"):
        return f"{base}/adjustments/{quoted}"
    if wanted.startswith("fnd_"):
        return f"{base}/findings/{quoted}"
    if wanted.startswith(_RECORDS):
        return f"{base}/records/{quoted}"
    if wanted.startswith("player:") or ":" in wanted:
        return f"{base}/records/{quoted}"
    return f"{base}/players/{quoted}" if _PLAYER.fullmatch(wanted) else None
