"""Owns the checks of an ID token (OpenID Connect Core, 3.1.3.7): whole and of this sign-in, or refused."""

from collections.abc import Mapping
from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc.errors import ExpiredTokenError, JoseError

from console.oidc.keys import Keys
from console.oidc.problems import Problem, SignInFailed

LEEWAY_SECONDS: Final = 60
"""By so much the provider's clock may be another one."""
_PROBLEMS: Final = {
    "iss": Problem.TOKEN_ISSUER_OTHER,
    "aud": Problem.TOKEN_AUDIENCE_OTHER,
    "azp": Problem.TOKEN_AUDIENCE_OTHER,
    "nonce": Problem.TOKEN_NONCE_OTHER,
    "at_hash": Problem.TOKEN_HASH_OTHER,
    "exp": Problem.TOKEN_EXPIRED,
    "iat": Problem.TOKEN_EXPIRED,
    "nbf": Problem.TOKEN_EXPIRED,
    "sub": Problem.SUBJECT_UNUSABLE,
}


def id_token_claims(
    keys: Keys, text: str, *, issuer: str, client_id: str, nonce: str, access_token: str, now: float
) -> Mapping[str, Any]:
    """Return what an ID token says of the person.

    Args:
        nonce: of the sign-in that asked for it.
        access_token: that came with it; a hash of it in the token must be right. Empty: none came.
        now: seconds since the epoch.
    Raises:
        SignInFailed: it proves nothing.
    """
    header, claims = keys.verified(text)
    token = CodeIDToken(
        dict(claims),
        header,
        {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}},
        {"nonce": nonce, "client_id": client_id, "access_token": access_token},
    )
    try:
        token.validate(now=int(now), leeway=LEEWAY_SECONDS)
    except JoseError as error:
        raise SignInFailed(problem_of(error)) from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise SignInFailed(Problem.TOKEN_CLAIM_INVALID) from None
    if not claims["sub"]:
        raise SignInFailed(Problem.SUBJECT_UNUSABLE)
    return claims


def problem_of(error: JoseError) -> Problem:
    """Return what is wrong with a claim."""
    if isinstance(error, ExpiredTokenError):
        return Problem.TOKEN_EXPIRED
    return _PROBLEMS.get(str(getattr(error, "claim", "")), Problem.TOKEN_CLAIM_INVALID)
