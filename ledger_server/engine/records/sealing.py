"""Owns the encryption of personal data: AES-256 in SIV mode (RFC 5297), which needs no fresh nonce.

The same data of the same request become the same bytes, so a retry can be told from another request without
keeping a digest, from which data with little variety could be guessed. Bytes of different requests are unlike
each other. Once the player's key is destroyed, nothing tells the data from random bytes but their length, in
steps.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from ledger_server.domain.errors import PersonalKeysMissing
from ledger_server.domain.ids import TenantKey
from ledger_server.store.player_key_store import SealedKey

MAX_PLAIN_BYTES: Final = 4_096
_KEY_BYTES: Final = 64
_NONCE_BYTES: Final = 16
_MOST_NAME: Final = 64
# How long the data are is told in these steps.
_STEP: Final = 256
_FORM: Final = b"\x01"


class ServerKeys:
    """The keys with which a server encrypts those of players: the first encrypts, all decrypt."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = {name: AESSIV(key) for name, key in keys.items()}
        self.name: Final = next(iter(keys))
        """Of the first one."""

    def sealed(self, key: bytes, tenant: TenantKey, player_id: str) -> SealedKey:
        """Encrypt a player's key."""
        return SealedKey(self.name, self._keys[self.name].encrypt(key, _owner(tenant, player_id)))

    def opened(self, sealed: SealedKey, tenant: TenantKey, player_id: str) -> bytes:
        """Decrypt a player's key.

        Raises:
            PersonalKeysMissing: the server does not have the key of that name, or another one under it.
        """
        mine = self._keys.get(sealed.key_name)
        if mine is None:
            raise PersonalKeysMissing(key_name=sealed.key_name)
        try:
            return mine.decrypt(sealed.sealed_key, _owner(tenant, player_id))
        except InvalidTag:
            raise PersonalKeysMissing(key_name=sealed.key_name) from None


def server_keys(text: str) -> ServerKeys:
    """Return the keys in a file: a line for each, with its name and 64 bytes in base64.

    Raises:
        ValueError: a line is something else, or there is none; the error repeats no key.
    """
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, encoded = line.strip().partition(" ")
        try:
            key = base64.b64decode(encoded.strip(), validate=True)
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES or not name.isascii() or len(name) > _MOST_NAME or name in keys:
            raise ValueError(
                f"line {number}: want a name of its own and {_KEY_BYTES} bytes in base64 behind a space"
            )
        keys[name] = key
    if not keys:
        raise ValueError("there is no key in it")
    return ServerKeys(keys)


def new_key() -> bytes:
    """Return a new key for a player."""
    return secrets.token_bytes(_KEY_BYTES)


def plain_of(metadata: Mapping[str, str]) -> bytes:
    """Return personal data as the bytes that are encrypted, not yet filled up; their length is bounded."""
    return json.dumps(dict(metadata), sort_keys=True, ensure_ascii=False).encode()


def seal(
    key: bytes,
    metadata: Mapping[str, str],
    *,
    tenant: TenantKey,
    player_id: str,
    method: str,
    idempotency_key: str,
) -> bytes:
    """Encrypt the personal data of one request."""
    plain = plain_of(metadata)
    filled = plain.ljust(-(-len(plain) // _STEP) * _STEP)
    nonce = hashlib.sha256(idempotency_key.encode()).digest()[:_NONCE_BYTES]
    bound = [*_owner(tenant, player_id), method.encode(), _FORM, nonce]
    return _FORM + nonce + AESSIV(key).encrypt(filled, bound)


def unseal(key: bytes, sealed: bytes, *, tenant: TenantKey, player_id: str, method: str) -> dict[str, str]:
    """Decrypt the personal data of the request that began a payment.

    Raises:
        ValueError: the bytes were not made of that payment with that key.
    """
    form, nonce, sealed = sealed[:1], sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        plain = AESSIV(key).decrypt(sealed, [*_owner(tenant, player_id), method.encode(), form, nonce])
    except InvalidTag:
        raise ValueError("the bytes are not of that payment and that key") from None
    metadata: dict[str, str] = json.loads(plain)
    return metadata


def _owner(tenant: TenantKey, player_id: str) -> list[bytes]:
    return [str(tenant).encode(), player_id.encode()]
