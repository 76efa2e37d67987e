"""Own an OpenID Connect provider that runs: strict with its clients, and a liar when it is told to be."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from http_process.serving import answering

CLIENT = "console"
SECRET = "a secret of the tests"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
Claims = dict[str, Any]


@dataclass
class Code:
    """What a code stands for."""

    asked: dict[str, str]
    subject: str
    session: str


@dataclass
class Lies:
    """How the provider's answers differ from right ones.

    Attributes:
        claims: changes the claims of an ID token.
        token: makes the ID token in place of the provider.
        answer: changes what the token endpoint answers.
        metadata: changes what it says of itself.
        status: of each answer.
    """

    claims: Callable[[Claims], None] = lambda _: None
    token: Callable[[Provider, Claims], Any] | None = None
    answer: Callable[[dict[str, Any]], Any] = lambda answer: answer
    metadata: Callable[[dict[str, Any]], Any] = lambda metadata: metadata
    status: int = 200


@dataclass
class Provider:
    """A provider; people are what the test says."""

    issuer: str
    people: dict[str, Claims] = field(default_factory=dict)
    redirects: set[str] = field(default_factory=set)
    lies: Lies = field(default_factory=Lies)
    key: RSAKey | ECKey = field(default_factory=lambda: new_key("one"))
    key_says: dict[str, Any] = field(default_factory=lambda: {"use": "sig"})
    """What it says of its key beside it."""
    asked: list[str] = field(default_factory=list)
    codes: dict[str, Code] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    """Subjects by the ids of their sessions."""
    old_codes: set[str] = field(default_factory=set)

    @property
    def metadata(self) -> dict[str, Any]:
        """What it says of itself."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "end_session_endpoint": f"{self.issuer}/end",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
            "authorization_response_iss_parameter_supported": True,
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
        }

    @property
    def keys(self) -> dict[str, Any]:
        """Its public keys."""
        return {"keys": [self.key.as_dict(private=False, **self.key_says)]}

    def signed(self, claims: Claims, *, typ: str = "JWT", **header: Any) -> str:
        """Return claims that it has signed."""
        algorithm = "RS256" if isinstance(self.key, RSAKey) else "ES256"
        whole = {"alg": algorithm, "kid": self.key.kid, **header}
        return jwt.encode(whole, claims, self.key, algorithms=[whole["alg"]], default_type=typ)

    def logout_token(self, **changes: Any) -> str:
        """Return a logout token; a claim that is None is left out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_urlsafe(),
            "events": {EVENT: {}},
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return self.signed(claims, typ="logout+jwt")

    def answer_to(self, address: str, subject: str) -> list[tuple[str, str]]:
        """Sign somebody in who was sent to an address; return what the browser takes back."""
        return parse_qsl(urlsplit(self._back(dict(parse_qsl(urlsplit(address).query)), subject)).query)

    def _back(self, asked: dict[str, str], subject: str) -> str:
        assert asked["client_id"] == CLIENT
        assert asked["redirect_uri"] in self.redirects, asked["redirect_uri"]
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code, session = secrets.token_urlsafe(), secrets.token_urlsafe()
        self.codes[code] = Code(asked, subject, session)
        self.sessions[session] = subject
        answer = {"code": code, "state": asked["state"], "iss": self.issuer}
        return f"{asked['redirect_uri']}?{urlencode(answer)}"

    async def says(self, request: Request) -> Response:
        """Answer what it says of itself, or its keys."""
        self.asked.append(request.url.path)
        if self.lies.status != 200:
            return Response(status_code=self.lies.status, headers={"location": f"{self.issuer}/keys"})
        content = self.keys if request.url.path == "/keys" else self.lies.metadata(self.metadata)
        return Response(json.dumps(content), media_type="application/json")

    async def authorize(self, request: Request) -> Response:
        """Ask who it is; then send the browser back."""
        if request.method == "GET" and "subject" not in request.cookies:
            people = "".join(f'<button name="subject" value="{name}">{name}</button>' for name in self.people)
            return HTMLResponse(
                f'<!doctype html><html lang="en"><title>Provider</title><form method="post">{people}</form>'
            )
        form = dict(parse_qsl((await request.body()).decode()))
        subject = form.get("subject") or request.cookies["subject"]
        response = RedirectResponse(self._back(dict(request.query_params), subject), 303)
        response.set_cookie("subject", subject, httponly=True)
        return response

    async def token(self, request: Request) -> Response:
        """Answer a code that was asked for by this client, once."""
        self.asked.append(request.url.path)
        form = dict(parse_qsl((await request.body()).decode()))
        code = self.codes.pop(form.get("code", ""), None)
        if not self._is_client(request, form) or code is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if challenge != code.asked["code_challenge"] or form["redirect_uri"] != code.asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        access_token = secrets.token_urlsafe()
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": code.subject,
            "sid": code.session,
            "iat": now,
            "exp": now + 300,
            "nonce": code.asked["nonce"],
            "at_hash": half_hash(access_token),
            **self.people.get(code.subject, {}),
        }
        self.lies.claims(claims)
        text = self.signed(claims) if self.lies.token is None else self.lies.token(self, claims)
        answer = {"access_token": access_token, "token_type": "Bearer", "id_token": text}
        content = self.lies.answer(answer)
        if isinstance(content, Response):
            return content
        return Response(json.dumps(content), media_type="application/json")

    def _is_client(self, request: Request, form: dict[str, str]) -> bool:
        wanted = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        return request.headers.get("authorization") == f"Basic {wanted}" or "client_assertion" in form

    async def end(self, request: Request) -> Response:
        """End the browser's session, if it was begun here, and send it back."""
        claims = json.loads(
            base64.urlsafe_b64decode(request.query_params["id_token_hint"].split(".")[1] + "==")
        )
        assert claims["aud"] == CLIENT
        self.sessions.pop(claims["sid"], None)
        response = RedirectResponse(request.query_params["post_logout_redirect_uri"], 303)
        response.delete_cookie("subject")
        return response

    async def tell_logout(self, address: str, **changes: Any) -> httpx.Response:
        """Tell a console, by no browser, that sessions have ended."""
        async with httpx.AsyncClient(timeout=60) as http:
            return await http.post(
                f"{address}/sign-in/provider/logout", data={"logout_token": self.logout_token(**changes)}
            )


def new_key(key_id: str) -> ECKey:
    """Return a key to sign with."""
    return ECKey.generate_key("P-256", {"kid": key_id})


def half_hash(text: str) -> str:
    """Return what an ID token has of an access token, with SHA-256."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:16]).rstrip(b"=").decode()


@asynccontextmanager
async def providing(**people: Claims) -> AsyncIterator[Provider]:
    """Run a provider that knows some people."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        provider = Provider(f"http://127.0.0.1:{listening.getsockname()[1]}", people)
        app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", provider.says),
                Route("/keys", provider.says),
                Route("/authorize", provider.authorize, methods=["GET", "POST"]),
                Route("/token", provider.token, methods=["POST"]),
                Route("/end", provider.end),
            ]
        )
        async with answering(app, listening):
            yield provider


def settings_of(provider: Provider, folder: Path, **changes: Any) -> dict[str, Any]:
    """Return the settings of a console that has its people signed in by a provider."""
    secret = folder / "client.secret"
    secret.write_text(SECRET)
    return {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret_file": secret,
        **changes,
    }
