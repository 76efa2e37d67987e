"""Owns the public keys of a provider, and the check of signatures by them, by a fixed list of algorithms."""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from console.oidc.problems import Problem, SignInFailed

ALGORITHMS: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
}
"""Each with the kind of its key. None is symmetric, so that no public key is ever taken for a secret."""
MOST_TOKEN_BYTES: Final = 16_384
_LEAST_RSA_BITS: Final = 2_048
_MOST_KEYS: Final = 64


class Keys:
    """The keys of a provider for signatures, by their ids."""

    def __init__(self, content: object) -> None:
        """Read a key set (JWKS, RFC 7517); what is for encryption or of another kind is left out.

        Raises:
            SignInFailed: it is none.
        """
        found = content.get("keys") if isinstance(content, dict) else None
        if not isinstance(found, list) or len(found) > _MOST_KEYS:
            raise SignInFailed(Problem.PROVIDER_UNUSABLE)
        self._keys: list[tuple[str | None, str | None, str, RSAKey | ECKey]] = []
        for each in found:
            if isinstance(each, dict) and each.get("use", "sig") == "sig":
                self._add(each)

    def verified(self, text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return header and claims of a signed token; nothing but the signature is checked.

        Raises:
            SignInFailed: it is signed by none of these keys in a way that counts.
        """
        header = _header(text)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise SignInFailed(Problem.TOKEN_ALGORITHM_REFUSED)
        key = self._key(algorithm, key_id)
        try:
            token = jwt.decode(
                text, key, registry=JWSRegistry(algorithms=[algorithm], strict_check_header=False)
            )
        except BadSignatureError:
            raise SignInFailed(Problem.TOKEN_SIGNATURE_INVALID) from None
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise SignInFailed(Problem.TOKEN_MALFORMED) from None
        # What is no number is neither early nor late, and would count for ever.
        if any(isinstance(value, float) and not math.isfinite(value) for value in token.claims.values()):
            raise SignInFailed(Problem.TOKEN_MALFORMED)
        return token.header, token.claims

    def _key(self, algorithm: str, key_id: object) -> RSAKey | ECKey:
        kind = ALGORITHMS[algorithm]
        fitting = [
            key
            for own_id, own_algorithm, own_kind, key in self._keys
            if own_kind == kind
            and own_algorithm in {None, algorithm}
            and (key_id is None or own_id == key_id)
        ]
        # Without an id nothing is guessed: there must be no choice.
        if len(fitting) != 1:
            raise SignInFailed(Problem.TOKEN_KEY_UNKNOWN)
        return fitting[0]

    def _add(self, content: dict[str, Any]) -> None:
        key_id, algorithm = content.get("kid"), content.get("alg")
        if not all(text is None or isinstance(text, str) for text in (key_id, algorithm)):
            return
        try:
            # The public members alone, whatever else was published.
            if content.get("kty") == "RSA":
                rsa = RSAKey.import_key({name: content[name] for name in ("kty", "n", "e")})
                if rsa.public_key.key_size >= _LEAST_RSA_BITS:
                    self._keys.append((key_id, algorithm, "RSA", rsa))
            elif content.get("kty") == "EC":
                key = ECKey.import_key({name: content[name] for name in ("kty", "crv", "x", "y")})
                self._keys.append((key_id, algorithm, str(content["crv"]), key))
        except (JoseError, ValueError, TypeError, KeyError):
            return


def _header(text: str) -> Mapping[str, Any]:
    """Return what a token says of its signature, which nobody has checked."""
    first, _, _ = text.partition(".")
    if len(text) > MOST_TOKEN_BYTES or not text.isascii():
        raise SignInFailed(Problem.TOKEN_MALFORMED)
    try:
        header = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        raise SignInFailed(Problem.TOKEN_MALFORMED) from None
    # What wants extensions wants some that are unknown here.
    if not isinstance(header, dict) or "crit" in header or "b64" in header:
        raise SignInFailed(Problem.TOKEN_MALFORMED)
    return header
