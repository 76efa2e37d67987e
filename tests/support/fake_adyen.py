"""Own an Adyen in miniature: Checkout and Transfers with the shapes of their OpenAPI descriptions."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.vendor import Fault, Vendor, answer, parsed

Thing = dict[str, Any]

API_KEY = "AQE-defter"
MERCHANT = "DefterCasino"
BALANCE_ACCOUNT = "BA00000000000000000000001"
CHECKOUT = "/checkout/v72"
TRANSFERS = "/btl/v4"


class FakeAdyen(Vendor):
    """Keeps what it made, the oldest first."""

    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self.links: list[Thing] = []
        self.transfers: list[Thing] = []
        self._numbers = count(1)

    def app(self) -> Starlette:
        """The paths that the adapter uses."""
        return Starlette(
            routes=[
                Route(f"{CHECKOUT}/paymentLinks", self._create_link, methods=["POST"]),
                Route(f"{CHECKOUT}/paymentLinks/{{ref}}", self._get_link),
                Route(f"{CHECKOUT}/payments/{{ref}}/refunds", self._refund, methods=["POST"]),
                Route(f"{TRANSFERS}/transfers", self._create_transfer, methods=["POST"]),
                Route(f"{TRANSFERS}/transfers", self._list),
                Route(f"{TRANSFERS}/transfers/{{ref}}", self._get_transfer),
            ]
        )

    def trouble(self, fault: Fault) -> Response:
        """Adyen's errors."""
        match fault:
            case Fault.RATE_LIMIT:
                return error(429, "30_001", "Too many requests", Retry_After="7")
            case Fault.IN_FLIGHT:
                text = "request already processed or in progress"
                return error(422, "704", text, transient_error="true")
            case Fault.CREDENTIALS:
                return error(401, "000", "HTTP Status Response - Unauthorized")
            case Fault.REFUSAL:
                return error(422, "14_034", "Amount too high.")
            case _:
                return error(500, "905", "Internal error", transient_error="true")

    def key_reused(self) -> Response:
        """Adyen's documentation says only that it is an error, so this is the worst case."""
        return error(422, "705", "The Idempotency-Key was used for another request.")

    def add_transfer(self, *, status: str = "booked", **fields: Any) -> Thing:
        """Make a transfer, newest last."""
        created = self.now.astimezone(UTC).isoformat(timespec="seconds")
        number = next(self._numbers)
        transfer = {
            "id": f"1W1UG35U8A9J{number:04}",
            "accountHolder": {"description": "Casino", "id": "AH3227C223222C5GXQXF658WB"},
            "amount": {"value": 100, "currency": "EUR"},
            "balanceAccount": {"description": "Float", "id": BALANCE_ACCOUNT},
            "category": "bank",
            "counterparty": {"transferInstrumentId": "SE1234567890ABC1234567890"},
            "createdAt": created,
            "creationDate": created,
            "direction": "outgoing",
            "reason": "approved",
            "reference": f"other-{number}",
            "status": status,
            "type": "bankTransfer",
            **fields,
        }
        self.transfers.append(transfer)
        return transfer

    async def _create_link(self, request: Request) -> Response:
        def execute(body: bytes) -> Response:
            asked = self._executed(body)
            link_id = f"PL{next(self._numbers):016X}"
            link = {
                **asked,
                "id": link_id,
                "status": "active",
                "reusable": False,
                "url": f"https://test.adyen.link/{link_id}",
            }
            self.links.append(link)
            return answer(201, link)

        return await self._write(request, execute)

    async def _refund(self, request: Request) -> Response:
        def execute(body: bytes) -> Response:
            payment = request.path_params["ref"]
            if payment == "missing":
                return error(422, "167", "Original pspReference required for this operation")
            asked = self._executed(body)
            receipt = {"paymentPspReference": payment, "pspReference": f"8{next(self._numbers):015}"}
            return answer(201, {**asked, **receipt, "status": "received"})

        return await self._write(request, execute)

    async def _create_transfer(self, request: Request) -> Response:
        def execute(body: bytes) -> Response:
            asked = self._executed(body)
            assert asked.pop("balanceAccountId") == BALANCE_ACCOUNT
            asked.pop("priority")
            transfer = self.add_transfer(**{**asked, "status": "received", "reason": "pending"})
            return answer(202, transfer)

        return await self._write(request, execute)

    async def _write(self, request: Request, execute: Any) -> Response:
        if request.headers["x-api-key"] != API_KEY:
            return self.trouble(Fault.CREDENTIALS)
        assert len(request.headers["Idempotency-Key"]) <= 64
        return await self.write(request, execute)

    def _executed(self, body: bytes) -> Thing:
        asked = parsed(body)
        assert asked.get("merchantAccount", MERCHANT) == MERCHANT
        self.executions[str(asked["reference"])] += 1
        return asked

    async def _get_link(self, request: Request) -> Response:
        return await self.read(lambda: one(self.links, request))

    async def _get_transfer(self, request: Request) -> Response:
        return await self.read(lambda: one(self.transfers, request))

    async def _list(self, request: Request) -> Response:
        return await self.read(lambda: self._page(request))

    def _page(self, request: Request) -> Response:
        query = dict(request.query_params)
        assert query["balanceAccountId"] == BALANCE_ACCOUNT
        since, until = (datetime.fromisoformat(query[name]) for name in ("createdSince", "createdUntil"))
        fitting = [
            transfer
            for transfer in self.transfers
            if query.get("reference") in (None, transfer["reference"])
            and since <= datetime.fromisoformat(transfer["createdAt"]) <= until
        ]
        # Like the vendor's cursors, it has characters that must be escaped.
        start = int(query.get("cursor", "S+/=0").removeprefix("S+/="))
        end = start + int(query["limit"])
        links = {}
        if end < len(fitting):
            following = urlencode({**query, "cursor": f"S+/={end}"})
            links = {
                "next": {"href": f"https://balanceplatform-api-test.adyen.com/btl/v4/transfers?{following}"}
            }
        return answer(200, {"data": fitting[start:end], "_links": links})


def one(things: list[Thing], request: Request) -> Response:
    """Return what the path names."""
    for thing in things:
        if thing["id"] == request.path_params["ref"]:
            return answer(200, thing)
    return error(404, "30_112", "Not found")


def error(status: int, code: str, message: str, **headers: str) -> Response:
    """Return an error with the words of both of Adyen's shapes."""
    body = {
        "status": status,
        "errorCode": code,
        "message": message,
        "detail": message,
        "errorType": "validation",
    }
    return answer(status, body, **headers)
