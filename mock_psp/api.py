"""Owns the provider's API over HTTP: shapes, keys, faults and statuses around the rules."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mock_psp.answers import (
    Dropped,
    Handler,
    Shape,
    answered,
    authorized,
    decoded,
    failure,
    failure_body,
    json_response,
)
from mock_psp.errors import InvalidRequest, Refused
from mock_psp.idempotency import Answer, Keys
from mock_psp.objects import CurrencyCode, Object, Payment, Payout, Refund, view
from mock_psp.state import Call, State

Reference: TypeAlias = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
AmountMinor: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Text: TypeAlias = Annotated[str, Meta(max_length=255)]

_MOST_ROWS: Final = 1_000


class NewPayment(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/payments."""

    reference: Reference
    amount_minor: AmountMinor
    currency: CurrencyCode
    customer: Text = ""
    capture: Literal["auto", "manual"] = "auto"


class NewRefund(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/payments/{id}/refunds."""

    reference: Reference
    amount_minor: AmountMinor


class NewPayout(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/payouts."""

    reference: Reference
    amount_minor: AmountMinor
    currency: CurrencyCode
    destination: Annotated[str, Meta(min_length=1, max_length=255)]


class Api:
    """The endpoints under /v1."""

    def __init__(self, state: State, *, keys: Keys, token: str, stopping: asyncio.Event) -> None:
        self._state = state
        self._keys = keys
        self._token = token
        self._stopping = stopping

    def routes(self) -> list[Route]:
        """Return the routes of the API."""
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/v1/payments", self._create_payment),
            ("GET", "/v1/payments", self._listing(Payment)),
            ("GET", "/v1/payments/{id}", self._reading(self._state.payments.get)),
            ("POST", "/v1/payments/{id}/refunds", self._create_refund),
            ("GET", "/v1/refunds", self._listing(Refund)),
            ("GET", "/v1/refunds/{id}", self._reading(self._state.refunds.get)),
            ("POST", "/v1/payouts", self._create_payout),
            ("GET", "/v1/payouts", self._listing(Payout)),
            ("GET", "/v1/payouts/{id}", self._reading(self._state.payouts.get)),
            ("GET", "/v1/records", self._list_records),
        ]
        return [Route(path, self._logged(handler), methods=[method]) for method, path, handler in table]

    def _logged(self, handler: Handler) -> Handler:
        """Wrap a handler: only callers with the token may use it, and every call is logged."""

        async def endpoint(request: Request) -> Response:
            call = Call(
                method=request.method,
                path=request.url.path,
                idempotency_key=request.headers.get("idempotency-key", ""),
                received_at=self._state.books.stamp(),
            )
            self._state.calls.append(call)
            if not authorized(request, self._token):
                response = failure(401, "unauthorized", "the bearer token is missing or wrong")
            else:
                response = await answered(handler, request)
            call.status = 0 if isinstance(response, Dropped) else response.status_code
            call.replayed = "idempotent-replayed" in response.headers
            return response

        return endpoint

    async def _create_payment(self, request: Request) -> Response:
        return await self._write(
            request, NewPayment, lambda new: self._state.payments.create(**msgspec.structs.asdict(new))
        )

    async def _create_payout(self, request: Request) -> Response:
        return await self._write(
            request, NewPayout, lambda new: self._state.payouts.create(**msgspec.structs.asdict(new))
        )

    async def _create_refund(self, request: Request) -> Response:
        payment_id = request.path_params["id"]
        return await self._write(
            request,
            NewRefund,
            lambda new: self._state.refunds.create(
                payment_id, reference=new.reference, amount_minor=new.amount_minor
            ),
        )

    def _reading(self, get: Callable[[str], Object]) -> Handler:
        async def handler(request: Request) -> Response:
            return await self._read(lambda: view(get(request.path_params["id"])))

        return handler

    def _listing(self, kind: type[Object]) -> Handler:
        async def handler(request: Request) -> Response:
            return await self._read(lambda: self._made_for(request.query_params.get("reference", ""), kind))

        return handler

    def _made_for(self, reference: str, kind: type[Object]) -> dict[str, object]:
        if not reference:
            raise InvalidRequest("invalid_request", "say which reference")
        return {
            "data": [view(made) for made in self._state.books.made_for(reference) if isinstance(made, kind)]
        }

    async def _list_records(self, request: Request) -> Response:
        return await self._read(lambda: self._records(request.query_params))

    def _records(self, query: Mapping[str, str]) -> dict[str, object]:
        page = self._state.books.listing.page(
            created_from=_time(query, "created_from"),
            created_to=_time(query, "created_to"),
            cursor=query.get("cursor", ""),
            limit=_limit(query),
        )
        return {"data": [movement.view() for movement in page.movements], "next_cursor": page.next_cursor}

    async def _read(self, produce: Callable[[], object]) -> Response:
        """Answer a reading call; for faults, before and after execution are the same."""
        knobs = self._state.knobs
        hit = knobs.faults_hit != "writes"
        if hit and (fault := await self._fault_before()):
            return fault
        body = produce()
        if not hit:
            return json_response(200, body)
        await self._pause(knobs.delay_execution_seconds + knobs.delay_seconds)
        return await self._fault_after() or json_response(200, body)

    async def _write(
        self, request: Request, shape: type[Shape], execute: Callable[[Shape], Object]
    ) -> Response:
        """Execute a keyed call once; repetitions get the same answer."""
        hit = self._state.knobs.faults_hit != "reads"
        if hit and (fault := await self._fault_before()):
            return fault
        body = await request.body()
        asked = decoded(body, shape)
        key = request.headers.get("idempotency-key", "")
        if not 1 <= len(key) <= 255:
            raise InvalidRequest("invalid_request", "Idempotency-Key must have 1 to 255 characters")
        digest = hashlib.sha256(
            request.url.path.encode() + b"\n" + msgspec.json.encode(asked, order="deterministic")
        ).digest()
        answer = self._keys.begin(key, digest, kept_seconds=self._state.knobs.idempotency_seconds)
        replayed = answer is not None
        if answer is None:
            answer = await self._execute(key, lambda: execute(asked), hit=hit)
        if hit and self._state.knobs.take("timeout_after_execute"):
            return await self._hang()
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        return Response(answer.body, answer.status, headers, media_type="application/json")

    async def _execute(self, key: str, execute: Callable[[], Object], *, hit: bool) -> Answer:
        """Execute a call under a claimed key; the key is in use until the answer is ready."""
        knobs = self._state.knobs
        answer: Answer | None = None
        try:
            if hit:
                await self._pause(knobs.delay_execution_seconds)
            answer = self._outcome(execute)
            if hit and knobs.take("error_500_after_execute"):
                answer = Answer(status=500, body=failure_body("internal_error", "something broke"))
            if hit:
                await self._pause(knobs.delay_seconds)
        finally:
            # Whatever interrupts this, an executed call must never be executed again.
            if answer is None:
                self._keys.abandon(key)
            else:
                self._keys.finish(key, answer)
        return answer

    def _outcome(self, execute: Callable[[], Object]) -> Answer:
        """Execute; a business refusal becomes an answer that is kept like any other."""
        knobs = self._state.knobs
        if knobs.take("reject"):
            return Answer(status=402, body=failure_body(knobs.reject_code, "refused, as the knob says"))
        try:
            return Answer(status=201, body=msgspec.json.encode(view(execute())))
        except Refused as refusal:
            return Answer(status=402, body=failure_body(refusal.code, refusal.message))

    async def _fault_before(self) -> Response | None:
        """Return the fault that hits a call before anything is done, if one does."""
        knobs = self._state.knobs
        if knobs.take("rate_limit"):
            response = failure(429, "rate_limited", "too many requests")
            response.headers["Retry-After"] = str(knobs.retry_after_seconds)
            return response
        if knobs.take("error_500"):
            return failure(500, "internal_error", "something broke")
        return await self._hang() if knobs.take("timeout_before_execute") else None

    async def _fault_after(self) -> Response | None:
        return await self._hang() if self._state.knobs.take("timeout_after_execute") else None

    async def _hang(self) -> Response:
        await self._pause(self._state.knobs.hang_seconds)
        return Dropped()

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the provider is being stopped."""
        if seconds:
            try:
                await asyncio.wait_for(self._stopping.wait(), seconds)
            except TimeoutError:
                return


def _time(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise InvalidRequest("invalid_request", f"{name} must be a time as RFC 3339 has it")
    return time


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", "100")
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= _MOST_ROWS):
        raise InvalidRequest("invalid_request", f"limit must be 1 to {_MOST_ROWS}")
    return int(text)
