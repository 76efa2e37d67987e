"""Owns the identity that a bearer token (JWT) proves; the algorithm is its key's, whatever the token says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ledger_server.domain.errors import (
    TokenAlgorithmRefused,
    TokenAudienceOther,
    TokenExpired,
    TokenIssuerOther,
    TokenKeyUnknown,
    TokenMalformed,
    TokenNotYetValid,
    TokenSignatureInvalid,
)
from ledger_server.identity.caller import TOKEN_PREFIX, Caller
from ledger_server.identity.persons import is_name

ALGORITHMS: Final = frozenset({"RS256", "ES256", "EdDSA"})
MAX_TOKEN_BYTES: Final = 8_192
_LEAST_RSA_BITS: Final = 2_048
_SCHEME: Final = "bearer "
# Claims are checked here, where the time comes from the caller.
_SIGNATURE_ALONE: Final = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What every token has to say."""

    issuer: str
    audience: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token whose signature, issuer and audience are right; when it counts, `check_time` says."""

    caller: Caller
    expire_time: float
    """Seconds since the epoch; it has expired from then on."""
    valid_time: float
    """Seconds since the epoch; it is not valid before."""

    def check_time(self, now: float) -> None:
        """Check the token against the time.

        Raises:
            TokenExpired, TokenNotYetValid: it is not its time.
        """
        if now >= self.expire_time:
            raise TokenExpired(expire_time=_shown(self.expire_time))
        if now < self.valid_time:
            raise TokenNotYetValid(valid_time=_shown(self.valid_time))


class TokenKeys:
    """The public keys by which tokens are signed, by their ids."""

    def __init__(self, text: bytes) -> None:
        """Read a key set (JWKS, RFC 7517).

        Raises:
            ValueError: it is none, or a key is private, symmetric, too short, or has no id of its own.
        """
        try:
            found = json.loads(text)["keys"]
        except (ValueError, KeyError, TypeError):
            raise ValueError('it is no JSON with "keys"') from None
        self._keys: dict[str, jwt.PyJWK] = {}
        if not isinstance(found, list) or not found:
            raise ValueError("it has no keys")
        for index, each in enumerate(found):
            if isinstance(each, dict) and each.get("use", "sig") != "sig":
                continue  # identity providers list keys for encryption beside those for signatures
            key_id, key = _key(each, f"keys[{index}]")
            if key_id in self._keys:
                raise ValueError(f"keys[{index}]: another one has the kid {key_id!r}")
            self._keys[key_id] = key
        if not self._keys:
            raise ValueError("it has no keys for signatures")

    def token(self, authorization: str, expected: Expected) -> Token:
        """Return what the `authorization` of a call proves, whatever the time.

        Raises:
            TokenMalformed, TokenAlgorithmRefused, TokenKeyUnknown, TokenSignatureInvalid, TokenIssuerOther,
            TokenAudienceOther: it proves nothing.
        """
        text = _bearer(authorization)
        try:
            header = jwt.get_unverified_header(text)
        except jwt.PyJWTError:
            raise TokenMalformed(problem="it is no signed JWT") from None
        if not all(_is_text(header.get(name, "")) for name in ("alg", "kid")):
            raise TokenMalformed(problem="alg and kid are not text")
        key = self._key(header)
        try:
            claims = jwt.decode(text, key, algorithms=[key.algorithm_name], options=_SIGNATURE_ALONE)  # type: ignore[arg-type]
        except jwt.InvalidSignatureError:
            raise TokenSignatureInvalid(key_id=header.get("kid", "")) from None
        except jwt.PyJWTError:
            raise TokenMalformed(problem="it is no signed JWT") from None
        return _token(claims, expected)

    def _key(self, header: Mapping[str, Any]) -> jwt.PyJWK:
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise TokenAlgorithmRefused(algorithm=algorithm)
        if "crit" in header:
            raise TokenMalformed(problem="it wants extensions (crit) that are unknown here")
        if key_id is None and len(self._keys) == 1:
            key = next(iter(self._keys.values()))
        elif not isinstance(key_id, str) or key_id not in self._keys:
            raise TokenKeyUnknown(key_id=key_id or "")
        else:
            key = self._keys[key_id]
        if algorithm != key.algorithm_name:
            raise TokenAlgorithmRefused(algorithm=algorithm)
        return key


def _bearer(authorization: str) -> str:
    scheme, text = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
    if scheme.lower() != _SCHEME or not text:
        raise TokenMalformed(problem="it is not `Bearer` and a token")
    if len(text) > MAX_TOKEN_BYTES:
        raise TokenMalformed(problem=f"it has more than {MAX_TOKEN_BYTES} bytes")
    return text


def _key(data: object, where: str) -> tuple[str, jwt.PyJWK]:
    if not isinstance(data, dict):
        raise ValueError(f"{where}: it is no key")  # noqa: TRY004  # the file is wrong, not the code
    if data.get("kty") == "oct":
        raise ValueError(f"{where}: a symmetric key would let everybody who checks tokens make them")
    if "d" in data:
        raise ValueError(f"{where}: it is a private key; only its public part belongs here")
    key_id = data.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise ValueError(f"{where}: it has no kid")
    if not isinstance(data.get("alg", ""), str):
        raise ValueError(f"{where}: its alg is no text")  # noqa: TRY004  # the file is wrong, not the code
    try:
        key = jwt.PyJWK(data)
    except (jwt.PyJWTError, NotImplementedError):
        raise ValueError(f"{where}: it can't be read") from None
    if key.algorithm_name not in ALGORITHMS:
        raise ValueError(
            f"{where}: it is for {key.algorithm_name} and not for one of {', '.join(sorted(ALGORITHMS))}"
        )
    if isinstance(key.key, RSAPublicKey) and key.key.key_size < _LEAST_RSA_BITS:
        raise ValueError(f"{where}: it has less than {_LEAST_RSA_BITS} bits")
    return key_id, key


def _token(claims: Mapping[str, Any], expected: Expected) -> Token:
    subject, audience = claims.get("sub"), claims.get("aud")
    expire_time, valid_time = claims.get("exp"), claims.get("nbf", float("-inf"))
    if not isinstance(subject, str) or not is_name(subject):
        raise TokenMalformed(problem="sub")
    if not _is_time(expire_time):
        raise TokenMalformed(problem="exp")
    if not _is_time(valid_time) and "nbf" in claims:
        raise TokenMalformed(problem="nbf")
    if claims.get("iss") != expected.issuer:
        raise TokenIssuerOther
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or expected.audience not in audiences:
        raise TokenAudienceOther
    told = tuple(
        (name, values) for name, value in sorted(claims.items()) if (values := _values(value)) is not None
    )
    return Token(caller=Caller(TOKEN_PREFIX + subject, told), expire_time=expire_time, valid_time=valid_time)


def _is_text(value: object) -> bool:
    """Whether a value is text that can be told of; half of a surrogate pair is none."""
    return isinstance(value, str) and value.isprintable()


def _is_time(value: object) -> TypeGuard[float]:
    # A number of JSON; true and false are none, and infinity never ends.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _values(value: object) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    return None


def _shown(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return str(seconds)
