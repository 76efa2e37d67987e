"""Owns the way to a provider: what it says of itself, its keys, and the exchange of codes, within bounds."""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
from authlib.oauth2.auth import ClientAuth

from console.oidc.keys import Keys
from console.oidc.problems import Problem, SignInFailed

_SECONDS: Final = 10.0
"""For one answer of the provider as a whole, however slowly it comes."""
MOST_BYTES: Final = 262_144
_REMEMBERED_SECONDS: Final = 3_600.0
_KEYS_ANEW_SECONDS: Final = 30.0
"""A key's id that nobody knows has the keys fetched again, not more often: anybody may send one."""
_AWAY_SECONDS: Final = 3.0
"""For so long a provider that did not answer is not asked again, so that people don't wait in a row."""
_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a provider says of itself (OpenID Connect Discovery).

    Attributes:
        end_session_endpoint: empty: it has none.
        says_issuer: whether each of its answers says whose it is (RFC 9207).
        takes_basic: whether a client's secret goes into a header; else into the form.
    """

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str
    says_issuer: bool
    takes_basic: bool


class Provider:
    """One provider, asked when somebody signs in and not before, so that the console starts without it."""

    def __init__(self, issuer: str, *, authority_file: Path | None, now: Callable[[], float]) -> None:
        """Take its name.

        Args:
            authority_file: PEM with the authorities of its certificate; None: those of this machine.
            now: seconds of a clock that never goes back.
        Raises:
            OSError: the file can't be read.
            ssl.SSLError: it has no certificate.
        """
        self.issuer = issuer
        self._now = now
        self._http = httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=None if authority_file is None else str(authority_file)),
            timeout=_SECONDS,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=20),
        )
        self._asking = asyncio.Lock()
        self._away_until = float("-inf")
        self._metadata: tuple[Metadata, float] | None = None
        self._keys: tuple[Keys, float] | None = None

    async def close(self) -> None:
        """Let go of its connections."""
        await self._http.aclose()

    async def metadata(self) -> Metadata:
        """Return what it says of itself, asked for once an hour.

        Raises:
            SignInFailed: it is away, or what it says can't be used.
        """
        async with self._asking:
            if self._metadata is None or self._now() >= self._metadata[1] + _REMEMBERED_SECONDS:
                address = f"{self.issuer.removesuffix('/')}/.well-known/openid-configuration"
                self._metadata = (self._read(await self._get(address)), self._now())
            return self._metadata[0]

    async def keys(self, *, anew: bool = False) -> Keys:
        """Return its keys.

        Args:
            anew: those that are at hand lack one; they are fetched again if that was not just done.
        Raises:
            SignInFailed: it is away, or what it says can't be used.
        """
        address = (await self.metadata()).jwks_uri
        async with self._asking:
            lasts = _KEYS_ANEW_SECONDS if anew else _REMEMBERED_SECONDS
            if self._keys is None or self._now() >= self._keys[1] + lasts:
                self._keys = (Keys(await self._get(address)), self._now())
            return self._keys[0]

    async def tokens(self, form: Mapping[str, str], auth: ClientAuth) -> Mapping[str, Any]:
        """Send a form to the token endpoint, with the client's proof; return its answer.

        Raises:
            SignInFailed: it is away, or refuses the code.
        """
        headers = {"Content-Type": _FORM, "Accept": "application/json"}
        address = (await self.metadata()).token_endpoint
        address, headers, body = auth.prepare("POST", address, headers, urlencode(form))
        status, content = await self._send("POST", address, headers=headers, content=body)
        if status != 200:
            raise SignInFailed(Problem.CODE_REFUSED)
        return content

    async def _get(self, address: str) -> Mapping[str, Any]:
        if self._now() < self._away_until:
            raise SignInFailed(Problem.PROVIDER_AWAY)
        try:
            status, content = await self._send("GET", address, headers={"Accept": "application/json"})
        except SignInFailed as failed:
            if failed.problem is Problem.PROVIDER_AWAY:
                self._away_until = self._now() + _AWAY_SECONDS
            raise
        if status != 200:
            raise SignInFailed(Problem.PROVIDER_UNUSABLE)
        return content

    async def _send(self, method: str, address: str, **options: Any) -> tuple[int, Mapping[str, Any]]:
        """Return status and content of an answer; what is no JSON object is an empty one."""
        body = bytearray()
        try:
            async with (
                asyncio.timeout(_SECONDS),
                self._http.stream(method, address, **options) as answer,
            ):
                if answer.status_code >= 500:
                    raise SignInFailed(Problem.PROVIDER_AWAY)
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise SignInFailed(Problem.PROVIDER_UNUSABLE)
        # Its text may have the address with what was sent, so nothing of it is told.
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, TimeoutError):
            raise SignInFailed(Problem.PROVIDER_AWAY) from None
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            content = None
        return answer.status_code, content if isinstance(content, dict) else {}

    def _read(self, content: Mapping[str, Any]) -> Metadata:
        # Another issuer than the one that was asked could have anybody's keys.
        if content.get("issuer") != self.issuer:
            raise SignInFailed(Problem.PROVIDER_UNUSABLE)
        methods = content.get("code_challenge_methods_supported", ["S256"])
        auth = content.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if not isinstance(methods, list) or "S256" not in methods or not isinstance(auth, list):
            raise SignInFailed(Problem.PROVIDER_UNUSABLE)
        return Metadata(
            authorization_endpoint=self._address(content, "authorization_endpoint"),
            token_endpoint=self._address(content, "token_endpoint"),
            jwks_uri=self._address(content, "jwks_uri"),
            end_session_endpoint=self._address(content, "end_session_endpoint", is_optional=True),
            says_issuer=content.get("authorization_response_iss_parameter_supported") is True,
            takes_basic="client_secret_basic" in auth,
        )

    def _address(self, content: Mapping[str, Any], name: str, *, is_optional: bool = False) -> str:
        """Return an address that the provider has named: with TLS wherever the issuer has it."""
        text = content.get(name, "")
        if is_optional and not text:
            return ""
        scheme = urlsplit(self.issuer).scheme
        if not isinstance(text, str) or not text.isprintable() or not text.isascii():
            raise SignInFailed(Problem.PROVIDER_UNUSABLE)
        try:
            parts = urlsplit(text)
        except ValueError:
            raise SignInFailed(Problem.PROVIDER_UNUSABLE) from None
        if parts.scheme not in {"https", scheme} or not parts.hostname or parts.fragment:
            raise SignInFailed(Problem.PROVIDER_UNUSABLE)
        return text
