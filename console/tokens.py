"""Owns the tokens with which the ledger learns whose call it is: signed for a minute, for one person."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jwt

_LIFE_SECONDS: Final = 60
_BACK_SECONDS: Final = 60
"""Clocks of other machines may be a little behind, and the ledger gives no leeway."""
_ALGORITHM: Final = "ES256"


class KeyUnusable(ValueError):
    """The signing key can't be read, or is none."""


class Signer:
    """Signs tokens; the ledger has the public part of the key among its token keys."""

    def __init__(self, file: Path, *, issuer: str, audience: str) -> None:
        """Read the key.

        Raises:
            KeyUnusable: it can't be used.
        """
        try:
            private = json.loads(file.read_bytes())
            self._key_id = str(private["kid"])
            self._key = jwt.PyJWK(private, _ALGORITHM).key
        except OSError as error:
            raise KeyUnusable(f"{file}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, jwt.PyJWTError):
            raise KeyUnusable(f"{file}: no signing key (`defter token key` makes one)") from None
        self._issuer = issuer
        self._audience = audience

    def token(self, subject: str, groups: Sequence[str], *, life_seconds: int = _LIFE_SECONDS) -> str:
        """Return a token that proves a person to the ledger."""
        now = int(time.time())
        claims = {
            "sub": subject,
            "iss": self._issuer,
            "aud": self._audience,
            "iat": now,
            "nbf": now - _BACK_SECONDS,
            "exp": now + life_seconds,
            "groups": list(groups),
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self._key_id})
