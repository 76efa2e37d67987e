"""Own a ledger that answers every read with the same text in every field, and a console of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self, cast

import grpc
import httpx
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from console.app import make_app
from console.ledger import Gateway
from console.live import Live
from console.oidc.client import ClientProof, OidcClient
from console.oidc.person import PREFIX, ClaimNames
from console.oidc.provider import Provider
from console.sessions import Sessions
from console.settings import ConsoleSettings
from console.users import User, Users
from console.verifying import Checks
from console.visit import Console
from defter_client import InvalidRequest, LedgerClient
from defter_client import messages as m
from ledger_server.rpc.methods import every_method

ORIGIN = "http://127.0.0.1"
_DEEPEST = 5
_KEPT = {"currency_code": "EUR"} | dict.fromkeys(
    # Decimal strings by the contract, where they are strings.
    [f"{state}_{side}_minor" for state in ("posted", "pending") for side in ("debits", "credits")],
    "1",
)


class SayingLedger:
    """A client whose reads answer a text in every field, and whose acts are refused as malformed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __getattr__(self, name: str) -> Any:
        return _Service(self)


class _Service:
    def __init__(self, ledger: SayingLedger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        response = getattr(m, "".join(word.title() for word in name.split("_")) + "Response")
        if name.startswith("list_") and name != "list_currencies":
            return lambda _request, **_: _Pages(filled(response(), self._ledger.text))
        if name.startswith("run_"):
            return lambda *_, **__: _Stream(self._ledger.text)
        return _Call(response, self._ledger.text, reads=name.startswith(("get_", "list_")))


class _Call:
    def __init__(self, response: type[Message], text: str, *, reads: bool) -> None:
        self._response = response
        self._text = text
        self._reads = reads

    async def __call__(self, _request: Message, **_: object) -> Message:
        if not self._reads:
            raise _refusal(self._text)
        found: Message = filled(self._response(), self._text)
        if isinstance(found, m.GetAccessResponse):
            found.methods.extend(every_method())  # so that pages have all of their forms
        return found


class _Stream:
    def __init__(self, text: str) -> None:
        self._text = text

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        raise _refusal(self._text)

    def cancel(self) -> None:
        """Do nothing."""


def _refusal(text: str) -> InvalidRequest:
    return InvalidRequest(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="REQUEST_INVALID",
        message=text,
        metadata={},
        replayed=False,
    )


class _Pages:
    def __init__(self, page: Message) -> None:
        self._page = page

    async def pages(self) -> AsyncIterator[Message]:
        """Yield the one page."""
        yield self._page

    async def __aiter__(self) -> AsyncIterator[Any]:
        for field, value in self._page.ListFields():
            if field.is_repeated:
                for each in value:
                    yield each


def filled(message: Message, text: str, depth: int = 0) -> Any:
    """Return a message with a text in each field that takes one, and something in every other."""
    if isinstance(message, Timestamp):
        message.seconds = 1_800_000_000
        return message
    for field in message.DESCRIPTOR.fields:
        below = field.message_type
        if below is not None and below.GetOptions().map_entry:
            value = below.fields_by_name["value"]
            getattr(message, field.name)[text] = text if value.type == value.TYPE_STRING else 1
        elif below is not None:
            if depth < _DEEPEST:
                own = getattr(message, field.name)
                filled(own.add() if field.is_repeated else own, text, depth + 1)
                if not field.is_repeated:
                    own.SetInParent()
        elif field.is_repeated:
            getattr(message, field.name).append(_value(field, text))
        elif field.containing_oneof is None or not field.containing_oneof.name.startswith("fact"):
            setattr(message, field.name, _value(field, text))
    return message


def _value(field: Any, text: str) -> Any:
    if field.type == field.TYPE_STRING:
        return _KEPT.get(field.name, text)
    if field.type == field.TYPE_BYTES:
        return text.encode()
    if field.enum_type is not None:
        return next(number for number in field.enum_type.values_by_number if number)
    return True if field.type == field.TYPE_BOOL else 1


def saying_console(text: str, folder: Path) -> Console:
    """Return a console of a ledger that says one thing."""
    users = folder / "users.toml"
    if not users.exists():
        users.write_text("")
    gateway = Gateway(cast(LedgerClient, SayingLedger(text)), cast(grpc.aio.Channel, None), None)
    known = Users(users)
    # A hash takes a tenth of a second, and nobody signs in here.
    known._users["ada"] = User(name="ada", groups=(), password="scrypt$1$1$1$$")
    secret = folder / "client.secret"
    secret.write_text("secret")
    oidc = OidcClient(
        Provider("http://127.0.0.1:9", authority_file=None, now=lambda: 0.0),  # nobody is there
        ClientProof("console", secret_file=secret, key_file=None),
        client_id="console",
        scopes="openid",
        names=ClaimNames(prefix=PREFIX, subject="sub", groups="groups", shown="name"),
    )
    return Console(
        settings=ConsoleSettings(users_file=users),
        oidc=oidc,
        gateway=gateway,
        users=known,
        sessions=Sessions(idle_seconds=60, session_seconds=600, most=10, now=lambda: 0.0),
        live=Live(gateway, 10),
        checks=Checks(gateway, None),
        origins=(ORIGIN,),
    )


def visiting(console: Console, *, signed_in: bool = True, **headers: str) -> httpx.AsyncClient:
    """Return a browser at this console, without a socket."""
    cookies = {}
    if signed_in:
        user = console.users.get("ada")
        assert user is not None
        token, _ = console.sessions.begin(user.name, user.password)
        cookies = {console.cookie: token}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(make_app(console)), base_url=ORIGIN, cookies=cookies, headers=headers
    )
