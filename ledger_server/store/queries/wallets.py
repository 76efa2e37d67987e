"""Owns the reads of wallets: the accounts of players, found by the prefix of their ids.

Only the player's own accounts lie between `player:<id>:` and `player:<id>;` (the colon raised by one). So
they are one range of the index, and the next player is one look-up away.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final, NamedTuple

from sqlalchemy import Text, bindparam, func, literal_column, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.payments.accounts import bonus_account, player_account
from ledger_server.store.database import AnyConnection
from ledger_server.store.queries.accounts import AccountNow, account_now_of, with_counters
from ledger_server.store.queries.rendering import Page, Rendered, fetch, number, render
from ledger_server.store.tables import accounts

_KEY: Final = number("key")
_PLAYER: Final = re.compile(r"player:([^:]+):")

# One look-up per player, whatever number of accounts a player has. An account that belongs to no player, such
# as `player:7`, is passed by a look-up of its own: `player:71:…` lies between it and `player:7;`.
_PLAYERS: Final = """
WITH RECURSIVE found AS (
    (
        SELECT account_id, 1 AS position FROM accounts
        WHERE tenant_key = $1 AND account_id > $2 AND account_id < 'player;'
        ORDER BY account_id LIMIT 1
    )
    UNION ALL
    SELECT following.account_id, found.position + 1
    FROM found
    CROSS JOIN LATERAL (
        SELECT account_id FROM accounts
        WHERE tenant_key = $1 AND account_id < 'player;' AND account_id > CASE
            WHEN found.account_id ~ '^player:[^:]+:'
            THEN 'player:' || split_part(found.account_id, ':', 2) || ';'
            ELSE found.account_id
        END
        ORDER BY account_id LIMIT 1
    ) AS following
    WHERE found.position < $3
)
SELECT account_id FROM found ORDER BY position
"""


class WalletAccount(NamedTuple):
    """An account of a wallet as it stands now."""

    player_id: str
    bonus: bool
    now: AccountNow


async def players_after(
    connection: AnyConnection, key: TenantKey, after: str, *, size: int
) -> Page[str, str]:
    """Return a page of players in the order of their accounts' ids.

    Args:
        after: the position behind which the page begins, or empty.
    """
    rows = await connection.fetch(_PLAYERS, key, after or "player:", size + 1)
    found = [str(row["account_id"]) for row in rows]
    players = [match[1] for match in map(_PLAYER.match, found[:size]) if match is not None]
    return Page(players, _passed(found[size - 1]) if len(found) > size else None)


async def wallet_accounts(
    connection: AnyConnection, key: TenantKey, players: Sequence[str], now: datetime
) -> list[WalletAccount]:
    """Return the accounts of these players' wallets by id, all from one moment."""
    beginnings = {
        start(player, ""): (player, start is bonus_account)
        for player in players
        for start in (player_account, bonus_account)
    }
    values = {
        "key": key,
        "now": now,
        "lows": list(beginnings),
        "highs": [_raised(beginning) for beginning in beginnings],
    }
    rows = await fetch(connection, _accounts(), values)
    found = []
    for row in rows:
        account = account_now_of(row)
        beginning, _, currency = account.account.account_id.rpartition(":")
        if account.account.continues:
            currency = currency.rpartition("@")[0]
        # Payments would not use an account of that name in another currency.
        if currency == account.account.currency and f"{beginning}:" in beginnings:
            player, bonus = beginnings[f"{beginning}:"]
            found.append(WalletAccount(player, bonus, account))
    return found


@cache
def _accounts() -> Rendered:
    bounds = (
        func.unnest(bindparam("lows", type_=ARRAY(Text)), bindparam("highs", type_=ARRAY(Text)))
        .table_valued("low", "high")
        .render_derived("wanted")
    )
    own = (
        select(*accounts.c)
        .where(
            accounts.c.tenant_key == _KEY,
            accounts.c.account_id > bounds.c.low,
            accounts.c.account_id < bounds.c.high,
        )
        .order_by(accounts.c.account_id)
        .offset(literal_column("0"))  # keeps it a look-up, see `look_up`
        .lateral("own")
    )
    chosen = select(*own.c).select_from(bounds).join(own, true()).subquery("chosen")
    return render(with_counters(chosen).order_by(chosen.c.account_id))


def _passed(account_id: str) -> str:
    """Return the position behind all accounts of an account's player."""
    match = _PLAYER.match(account_id)
    return account_id if match is None else _raised(match[0])


def _raised(beginning: str) -> str:
    """Return what lies behind every id with that beginning, which ends with a colon."""
    return beginning[:-1] + ";"
