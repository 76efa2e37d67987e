"""Own a Stripe in miniature: its paths, form bodies, answers and errors, as its API reference shows them."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.vendor import Fault, Vendor, answer

Thing = dict[str, Any]

API_KEY = "sk_test_defter"
_FIELDS = {"payment_intents": "payment_intent", "payouts": "payout", "refunds": "refund"}


class FakeStripe(Vendor):
    """Keeps what it made, newest last.

    Attributes:
        searchable: whether the search has caught up with what was made.
    """

    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self.searchable = True
        self.made: dict[str, list[Thing]] = {name: [] for name in _FIELDS}
        self.movements: list[Thing] = []
        self._numbers = count(1)

    def app(self) -> Starlette:
        """The paths that the adapter uses."""
        routes = [
            Route("/v1/payment_intents/search", self._search),
            Route("/v1/balance_transactions", self._list_movements),
        ]
        for name in _FIELDS:
            routes += [
                Route(f"/v1/{name}", self._create, methods=["POST"], name=name),
                Route(f"/v1/{name}", self._list, name=name),
                Route(f"/v1/{name}/{{ref}}", self._retrieve, name=name),
            ]
        return Starlette(routes=routes)

    def trouble(self, fault: Fault) -> Response:
        """Stripe's errors; a refusal is what a payout beyond the balance meets."""
        match fault:
            case Fault.RATE_LIMIT:
                return error(429, "invalid_request_error", "rate_limit", Retry_After="7")
            case Fault.IN_FLIGHT:
                return error(409, "idempotency_error", "idempotency_key_in_use")
            case Fault.CREDENTIALS:
                return error(401, "invalid_request_error", None, "Invalid API Key provided: sk_test_***")
            case Fault.REFUSAL:
                return error(400, "invalid_request_error", "balance_insufficient", "You have too little.")
            case _:
                return error(500, "api_error", None, Stripe_Should_Retry="false")

    def key_reused(self) -> Response:
        """Stripe's words."""
        text = "Keys for idempotent requests can only be used with the same parameters as at first."
        return error(400, "idempotency_error", None, text)

    def add(self, collection: str, *, status: str, **fields: Any) -> Thing:
        """Make an object, newest last."""
        kind = _FIELDS[collection]
        prefix = {"payment_intent": "pi", "payout": "po", "refund": "re"}[kind]
        thing = {
            "id": f"{prefix}_{next(self._numbers)}",
            "object": kind,
            "created": int(self.now.timestamp()),
            "livemode": False,
            "status": status,
            "metadata": {},
            **fields,
        }
        self.made[collection].append(thing)
        return thing

    def move(self, type_: str, source: Thing | str | None, **fields: Any) -> Thing:
        """Write a balance transaction, newest last."""
        movement = {
            "id": f"txn_{next(self._numbers)}",
            "object": "balance_transaction",
            "type": type_,
            "created": int(self.now.timestamp()),
            "currency": "eur",
            "fee": 0,
            "fee_details": [],
            "reporting_category": type_,
            "status": "available",
            "source": source,
            **fields,
        }
        self.movements.append(movement)
        return movement

    async def _create(self, request: Request) -> Response:
        collection = request.url.path.split("/")[2]

        def execute(body: bytes) -> Response:
            form = dict(parse_qsl(body.decode()))
            if collection == "refunds" and form.get("payment_intent", "").startswith("ch_"):
                return error(404, "invalid_request_error", "resource_missing", "No such payment_intent")
            if collection == "refunds" and form.get("payment_intent") == "pi_missing":
                return error(404, "invalid_request_error", "resource_missing", "No such payment_intent")
            our_id = form["metadata[our_id]"]
            self.executions[our_id] += 1
            status = "requires_payment_method" if collection == "payment_intents" else "pending"
            plain = {name: value for name, value in form.items() if "[" not in name}
            told = {name: form[f"metadata[{name}]"] for name in ("our_id", "player_id")}
            fields = {**plain, "amount": int(form["amount"])}
            return answer(200, self.add(collection, status=status, metadata=told, **fields))

        if request.headers["Authorization"] != f"Bearer {API_KEY}":
            return self.trouble(Fault.CREDENTIALS)
        return await self.write(request, execute)

    async def _retrieve(self, request: Request) -> Response:
        def find() -> Response:
            for thing in self.made[request.url.path.split("/")[2]]:
                if thing["id"] == request.path_params["ref"]:
                    return answer(200, thing)
            return error(404, "invalid_request_error", "resource_missing", "No such object")

        return await self.read(find)

    async def _list(self, request: Request) -> Response:
        things = self.made[request.url.path.split("/")[2]]
        asked = {name: request.query_params.get(name) for name in ("payment_intent", "charge")}
        fitting = [
            thing
            for thing in things
            if all(value in (None, thing.get(name)) for name, value in asked.items())
        ]
        return await self.read(lambda: page(request, fitting))

    async def _list_movements(self, request: Request) -> Response:
        assert request.query_params["expand[0]"] == "data.source"
        return await self.read(lambda: page(request, self.movements))

    async def _search(self, request: Request) -> Response:
        def found() -> Response:
            things = [
                thing
                for thing in self.made["payment_intents"]
                if self.searchable
                and request.query_params["query"] == f"metadata['our_id']:'{thing['metadata'].get('our_id')}'"
            ]
            return answer(200, {"object": "search_result", "data": things, "has_more": False, "url": "/v1"})

        return await self.read(found)


def page(request: Request, things: list[Thing]) -> Response:
    """Return a page, newest first, as Stripe cuts it."""
    since = int(request.query_params.get("created[gte]", 0))
    until = int(request.query_params.get("created[lt]", 2**62))
    newest_first = [thing for thing in reversed(things) if since <= thing["created"] < until]
    after = request.query_params.get("starting_after")
    ids = [thing["id"] for thing in newest_first]
    start = ids.index(after) + 1 if after else 0
    end = start + int(request.query_params["limit"])
    return answer(
        200,
        {
            "object": "list",
            "url": request.url.path,
            "data": newest_first[start:end],
            "has_more": end < len(ids),
        },
    )


def error(status: int, type_: str, code: str | None, message: str = "", **headers: str) -> Response:
    """Return an error in Stripe's shape."""
    body = {"type": type_, "message": message, **({"code": code} if code else {})}
    return answer(status, {"error": body}, **headers)
