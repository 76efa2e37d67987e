"""Owns the checks of a logout token (OpenID Connect Back-Channel Logout, 2.6): whose sessions have ended."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from authlib.oauth2.claims import JWTClaims
from joserfc.errors import JoseError

from console.oidc.id_token import LEEWAY_SECONDS, problem_of
from console.oidc.keys import Keys
from console.oidc.problems import Problem, SignInFailed

_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
_LONGEST_SECONDS: Final = 300
"""So old a logout token may be at most; it is sent as soon as it is made."""
_MOST_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Logout:
    """What has ended at the provider: a session of it, or all of a person where it names none.

    Attributes:
        session: the provider's id of the session (`sid`); empty: none is named.
        subject: the person as the provider names it (`sub`); empty: none is named.
        token_id: of the token, which counts once.
    """

    session: str
    subject: str
    token_id: str


def logout_of(keys: Keys, text: str, *, issuer: str, client_id: str, now: float) -> Logout:
    """Return what a logout token says.

    Raises:
        SignInFailed: it proves nothing.
    """
    header, found = keys.verified(text)
    claims = JWTClaims(
        dict(found),
        header,
        {
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "value": client_id},
            "iat": {"essential": True},
            "jti": {"essential": True},
        },
    )
    try:
        claims.validate(now=int(now), leeway=LEEWAY_SECONDS)
        is_old = claims["iat"] < now - _LONGEST_SECONDS - LEEWAY_SECONDS
    except JoseError as error:
        raise SignInFailed(problem_of(error)) from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise SignInFailed(Problem.TOKEN_CLAIM_INVALID) from None
    if is_old:
        raise SignInFailed(Problem.TOKEN_EXPIRED)
    session, subject = claims.get("sid", ""), claims.get("sub", "")
    if not isinstance(session, str) or not isinstance(subject, str) or not (session or subject):
        raise SignInFailed(Problem.NOT_A_LOGOUT)
    # With a nonce it would be an ID token, which browsers have seen.
    if "nonce" in claims or not _is_logout(claims.get("events")):
        raise SignInFailed(Problem.NOT_A_LOGOUT)
    return Logout(session=session, subject=subject, token_id=str(claims["jti"]))


def _is_logout(events: Any) -> bool:
    return isinstance(events, dict) and isinstance(events.get(_EVENT), dict)


class SeenLogouts:
    """The logout tokens that have counted, as long as they could count again."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, float] = OrderedDict()

    def see(self, token_id: str, now: float) -> None:
        """Take note of one.

        Raises:
            SignInFailed: it has counted before, or there were too many.
        """
        while self._seen and next(iter(self._seen.values())) <= now:
            self._seen.popitem(last=False)
        if token_id in self._seen or len(self._seen) >= _MOST_REMEMBERED:
            raise SignInFailed(Problem.LOGOUT_REPLAYED)
        # It counts for so long, by a clock that may be behind or ahead.
        self._seen[token_id] = now + _LONGEST_SECONDS + 2 * LEEWAY_SECONDS
