"""Owns the console as a client of a provider: a sign-in begins, is completed, and ends (decision 55)."""

import hmac
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import structlog
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from console.oidc.id_token import id_token_claims
from console.oidc.keys import MOST_TOKEN_BYTES, Keys
from console.oidc.logout_token import Logout, SeenLogouts, logout_of
from console.oidc.pending import Pending, PendingSignIns
from console.oidc.person import ClaimNames, ProviderPerson, person_of
from console.oidc.problems import Problem, SignInFailed
from console.oidc.provider import Metadata, Provider

log = structlog.get_logger()

BEGIN: Final = "/sign-in/provider"
CALLBACK: Final = "/sign-in/provider/callback"
LOGOUT: Final = "/sign-in/provider/logout"
"""To it the provider says, by a token, whose sessions have ended."""
_MOST_KEPT: Final = 4_096
"""Bytes of an ID token that is kept for the end of the session."""
_ASSERTION_SECONDS: Final = 60
_Checked = TypeVar("_Checked")
_ANSWERED: Final = frozenset({"state", "code", "iss", "error"})


class SecretUnusable(ValueError):
    """The client's secret or key can't be read, or is none."""


class ClientProof:
    """How the console proves to the provider that it is its client; the file counts as it stands now."""

    def __init__(self, client_id: str, *, secret_file: Path | None, key_file: Path | None) -> None:
        """Take one of two files.

        Raises:
            SecretUnusable: it can't be used.
        """
        self._client_id = client_id
        self._secret_file = secret_file
        self._key_file = key_file
        self.auth(takes_basic=True)

    def auth(self, *, takes_basic: bool) -> ClientAuth:
        """Return what signs one request.

        Raises:
            SecretUnusable: the file can't be used any more.
        """
        if self._key_file is not None:
            content = _json(_text(self._key_file), self._key_file)
            key, algorithm = _private_key(content, self._key_file)
            claims = {"exp": int(time.time()) + _ASSERTION_SECONDS}
            header = {"kid": str(content["kid"])} if "kid" in content else {}
            # Made anew each time: it keeps the id of the assertion that it has made.
            return ClientAuth(
                self._client_id, key, PrivateKeyJWT(claims=claims, headers=header, alg=algorithm)
            )
        assert self._secret_file is not None
        secret = _text(self._secret_file).strip()
        if not secret:
            raise SecretUnusable(f"{self._secret_file}: it is empty")
        return ClientAuth(
            self._client_id, secret, "client_secret_basic" if takes_basic else "client_secret_post"
        )


class OidcClient:
    """Signs people in by one provider."""

    def __init__(
        self,
        provider: Provider,
        proof: ClientProof,
        *,
        client_id: str,
        scopes: str,
        names: ClaimNames,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take the provider, the client's proof, and which claims are read.

        Args:
            scopes: separated by blanks, `openid` among them.
            monotonic, now: seconds of a clock that never goes back, and since the epoch.
        """
        self.provider = provider
        self.pending = PendingSignIns(monotonic)
        self._proof = proof
        self._client_id = client_id
        self._scopes = scopes
        self._names = names
        self._now = now
        self._logouts = SeenLogouts()

    @property
    def shown(self) -> str:
        """The provider as people know it: its host."""
        return urlsplit(self.provider.issuer).hostname or ""

    async def begin(self, target: str, *, origin: str) -> tuple[str, str]:
        """Begin a sign-in; return what the browser keeps, and the address where it goes.

        Args:
            target: a path of the console, where it leads.
            origin: of the console, as the provider knows it.
        Raises:
            SignInFailed: the provider is away, or can't be used.
        """
        metadata = await self.provider.metadata()
        token, pending = self.pending.begin(target)
        address = prepare_grant_uri(
            metadata.authorization_endpoint,
            client_id=self._client_id,
            response_type="code",
            redirect_uri=origin + CALLBACK,
            scope=self._scopes,
            state=pending.state,
            nonce=pending.nonce,
            code_challenge=create_s256_code_challenge(pending.verifier),
            code_challenge_method="S256",
        )
        return token, str(address)

    async def complete(
        self, token: str, answer: Sequence[tuple[str, str]], *, origin: str
    ) -> tuple[ProviderPerson, str]:
        """Complete a sign-in by the provider's answer; return the person, and where it leads.

        Args:
            token: what the browser has kept; the sign-in counts no more from here on, whatever comes of it.
            answer: the parameters of the address to which the provider has sent the browser.
        Raises:
            SignInFailed: nobody is signed in.
        """
        pending = self.pending.take(token)
        if pending is None:
            raise SignInFailed(Problem.SIGN_IN_EXPIRED)
        told = _told(answer)
        if not hmac.compare_digest(told.get("state", "").encode(), pending.state.encode()):
            raise SignInFailed(Problem.STATE_OTHER)
        metadata = await self.provider.metadata()
        issuer = told.get("iss")
        if issuer != self.provider.issuer and (issuer is not None or metadata.says_issuer):
            raise SignInFailed(Problem.ANSWER_ISSUER_OTHER)
        if "error" in told:
            raise SignInFailed(Problem.PROVIDER_REFUSED)
        if not told.get("code"):
            raise SignInFailed(Problem.ANSWER_MALFORMED)
        id_token, access_token = await self._exchange(metadata, told["code"], pending, origin)

        claims = await self._by_keys(
            lambda keys: id_token_claims(
                keys,
                id_token,
                issuer=self.provider.issuer,
                client_id=self._client_id,
                nonce=pending.nonce,
                access_token=access_token,
                now=self._now(),
            )
        )
        kept = id_token if len(id_token) <= _MOST_KEPT else ""
        return person_of(claims, self._names, id_token=kept), pending.target

    async def ended(self, logout_token: str) -> Logout:
        """Return whose sessions the provider has ended, by its token.

        Raises:
            SignInFailed: it proves nothing, or has counted before.
        """
        logout = await self._by_keys(
            lambda keys: logout_of(
                keys,
                logout_token,
                issuer=self.provider.issuer,
                client_id=self._client_id,
                now=self._now(),
            )
        )
        self._logouts.see(logout.token_id, self._now())
        return logout

    async def end_address(self, person: ProviderPerson, *, origin: str) -> str:
        """Return where a browser goes to end the session at the provider too; empty: there is no such place.

        Raises:
            SignInFailed: the provider is away.
        """
        metadata = await self.provider.metadata()
        if not metadata.end_session_endpoint:
            return ""
        wanted = [
            ("client_id", self._client_id),
            ("post_logout_redirect_uri", f"{origin}/sign-in"),
            *([("id_token_hint", person.id_token)] if person.id_token else []),
        ]
        return str(add_params_to_uri(metadata.end_session_endpoint, wanted))

    async def _exchange(
        self, metadata: Metadata, code: str, pending: Pending, origin: str
    ) -> tuple[str, str]:
        """Return the ID token that a code stands for, and the access token, which is only compared."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": origin + CALLBACK,
            "code_verifier": pending.verifier,
        }
        try:
            auth = self._proof.auth(takes_basic=metadata.takes_basic)
        except SecretUnusable as unusable:
            log.warning("the client can't be proved to the provider", problem=str(unusable))
            raise SignInFailed(Problem.PROVIDER_UNUSABLE) from None
        tokens = await self.provider.tokens(form, auth)
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token", "")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise SignInFailed(Problem.TOKEN_MISSING)
        return id_token, access_token

    async def _by_keys(self, check: Callable[[Keys], _Checked]) -> _Checked:
        """Check a token by the provider's keys, and if they lack its own, by those of now."""
        try:
            return check(await self.provider.keys())
        except SignInFailed as failed:
            if failed.problem is not Problem.TOKEN_KEY_UNKNOWN:
                raise
        return check(await self.provider.keys(anew=True))


def _told(answer: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return what an answer says; who says something twice says nothing."""
    names = [name for name, _ in answer if name in _ANSWERED]
    if len(set(names)) != len(names) or any(len(value) > MOST_TOKEN_BYTES for _, value in answer):
        raise SignInFailed(Problem.ANSWER_MALFORMED)
    return {name: value for name, value in answer if name in _ANSWERED}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise SecretUnusable(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretUnusable(f"{file}: it is no text") from None


def _json(text: str, file: Path) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise SecretUnusable(f"{file}: it is no JSON Web Key (`defter token key` makes one)")
    return content


def _private_key(content: dict[str, Any], file: Path) -> tuple[RSAKey | ECKey, str]:
    """Return a private key, and the algorithm that it signs by."""
    try:
        key = RSAKey.import_key(content) if content.get("kty") == "RSA" else ECKey.import_key(content)
        if key.is_private and (content["kty"] == "RSA" or content.get("crv") == "P-256"):
            return key, "RS256" if content["kty"] == "RSA" else "ES256"
    except (JoseError, ValueError, TypeError, KeyError):
        pass
    raise SecretUnusable(f"{file}: it is no private key for RS256 or ES256")
