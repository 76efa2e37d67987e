"""Owns personal data on its way into payments and out of them, and the keys of players."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from ledger_server.domain.errors import PersonalKeysMissing
from ledger_server.domain.ids import TenantId, TenantKey, tenant_key
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.sealing import ServerKeys, new_key, seal, unseal
from ledger_server.store import player_key_store
from ledger_server.store.database import AnyConnection, Pool
from ledger_server.store.player_key_store import SealedKey

_PAGE: Final = 1_000


class Revealed(Struct, frozen=True):
    """What a payment has of a person: nothing either once the player is forgotten."""

    metadata: Mapping[str, str]
    forgotten: bool


class PersonalData:
    """Encrypts and decrypts; a player's key is read for each use, so that one destroyed anywhere is gone."""

    def __init__(self, reads: Reads, keys: ServerKeys | None) -> None:
        """Take the keys of the server; None: it has none, and takes no personal data."""
        self._reads = reads
        self._keys = keys

    async def sealed(
        self,
        tenant_id: str,
        player_id: str,
        metadata: Mapping[str, str],
        *,
        method: str,
        idempotency_key: str,
    ) -> bytes | None:
        """Return personal data encrypted with the player's key, which is made if there is none.

        Returns:
            None if the player was forgotten.
        Raises:
            TenantNotFound: there is no such tenant.
            PersonalKeysMissing: the server has no key, or not the one that the player's is kept with.
        """
        keys = self._known_keys()
        tenant = await self._reads.key_of(tenant_id)

        async def key_of(connection: AnyConnection) -> SealedKey | int | None:
            found = await player_key_store.read_key(connection, tenant, player_id)
            if found is None:
                made = keys.sealed(new_key(), tenant, player_id)
                await player_key_store.make_key(connection, tenant, player_id, made)
                # Another process may have been faster, or the player forgotten: what stands there counts.
                found = await player_key_store.read_key(connection, tenant, player_id)
            return found

        found = await self._reads.run(key_of, tenant=tenant)
        if not isinstance(found, SealedKey):
            return None
        key = keys.opened(found, tenant, player_id)
        return seal(
            key,
            metadata,
            tenant=tenant,
            player_id=player_id,
            method=method,
            idempotency_key=idempotency_key,
        )

    async def revealed(self, tenant_id: str, player_id: str, sealed: bytes, *, method: str) -> Revealed:
        """Return personal data decrypted.

        Raises:
            PersonalKeysMissing: the server has no key, or not the one that the player's is kept with; or the
                player's is not the one that encrypted them, as after a restore of the keys alone.
        """
        tenant = tenant_key(TenantId(tenant_id))
        found = await self._reads.run(
            lambda connection: player_key_store.read_key(connection, tenant, player_id), tenant=tenant
        )
        if isinstance(found, int):
            return Revealed({}, forgotten=True)
        if not sealed:
            return Revealed({}, forgotten=False)
        if found is None:  # the keys were lost
            raise PersonalKeysMissing(key_name="")
        key = self._known_keys().opened(found, tenant, player_id)
        try:
            metadata = unseal(key, sealed, tenant=tenant, player_id=player_id, method=method)
        except ValueError:
            raise PersonalKeysMissing(key_name=found.key_name) from None
        return Revealed(metadata, forgotten=False)

    def _known_keys(self) -> ServerKeys:
        if self._keys is None:
            raise PersonalKeysMissing(key_name="")
        return self._keys


async def renew_keys(pool: Pool, keys: ServerKeys) -> int:
    """Encrypt the keys of all players by the first key of the server; return of how many that was done.

    Raises:
        PersonalKeysMissing: a key is encrypted by one that the server does not have.
    """
    renewed = 0
    after: tuple[TenantKey | int, str] = (-(2**63), "")
    while True:
        async with pool.acquire() as connection:
            found = await player_key_store.keys_of_others(connection, keys.name, after=after, size=_PAGE)
            for each in found:
                tenant, player_id, key = each
                again = keys.sealed(keys.opened(key, tenant, player_id), tenant, player_id)
                await player_key_store.renew_key(connection, each, again)
        renewed += len(found)
        if len(found) < _PAGE:
            return renewed
        after = (found[-1].tenant_key, found[-1].player_id)
