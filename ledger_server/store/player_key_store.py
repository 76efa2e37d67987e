"""Owns the keys of players' personal data: a row has the player's key, or says that the player was forgotten.

Keys are outside the journal, so that they can be destroyed. That happens in the commit of the record that
forgets the player (`ledger_rows.py`), on the very row that a key would be made in. So of two who do both at
once, the one who forgets prevails.
"""

from typing import Final, NamedTuple

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection

_READ: Final = """
SELECT key_name, sealed_key, forgotten_by FROM player_keys WHERE tenant_key = $1 AND player_id = $2
"""
_MAKE: Final = """
INSERT INTO player_keys (tenant_key, player_id, key_name, sealed_key) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_key, player_id) DO NOTHING
"""
# Whoever was forgotten meanwhile has no key to renew.
_RENEW: Final = """
UPDATE player_keys SET key_name = $3, sealed_key = $4
WHERE tenant_key = $1 AND player_id = $2 AND sealed_key = $5
"""
_OF_OTHERS: Final = """
SELECT tenant_key, player_id, key_name, sealed_key FROM player_keys
WHERE (tenant_key, player_id) > ($1, $2) AND key_name <> $3 ORDER BY tenant_key, player_id LIMIT $4
"""


class SealedKey(NamedTuple):
    """A player's key, encrypted by the key of the server that has that name."""

    key_name: str
    sealed_key: bytes


class PlayerKey(NamedTuple):
    """A player's key and where it stands."""

    tenant_key: TenantKey
    player_id: str
    key: SealedKey


async def read_key(connection: AnyConnection, key: TenantKey, player_id: str) -> SealedKey | int | None:
    """Return a player's key; the number of the record that forgot the player; None: there is neither."""
    row = await connection.fetchrow(_READ, key, player_id)
    if row is None:
        return None
    if row["forgotten_by"] is not None:
        return int(row["forgotten_by"])
    return SealedKey(row["key_name"], row["sealed_key"])


async def make_key(connection: AnyConnection, key: TenantKey, player_id: str, made: SealedKey) -> None:
    """Keep a key for a player of whom there is no row; another one that was faster stays."""
    await connection.execute(_MAKE, key, player_id, *made)


async def renew_key(connection: AnyConnection, before: PlayerKey, renewed: SealedKey) -> None:
    """Keep a player's key encrypted anew, unless it has changed meanwhile."""
    tenant, player_id, key = before
    await connection.execute(_RENEW, tenant, player_id, *renewed, key.sealed_key)


async def keys_of_others(
    connection: AnyConnection, key_name: str, *, after: tuple[int, str], size: int
) -> list[PlayerKey]:
    """Return the next keys, by tenant and player, that another key of the server than this one encrypts."""
    rows = await connection.fetch(_OF_OTHERS, *after, key_name, size)
    return [
        PlayerKey(row["tenant_key"], row["player_id"], SealedKey(row["key_name"], row["sealed_key"]))
        for row in rows
    ]
