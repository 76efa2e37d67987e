"""Owns the adapter to MockPSP, the provider that one can run."""

from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Struct

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.providers.adapter import (
    Accepted,
    Answer,
    Capabilities,
    Declined,
    Made,
    NotFound,
    ProviderCall,
    ProviderCallKind,
    ProviderRecordPage,
    Unknown,
)
from ledger_server.providers.amounts import AmountRefused, Amounts
from ledger_server.providers.asking import (
    IDEMPOTENCY_ERROR,
    ask,
    check_page,
    found_or_absent,
    key_reused,
    listing_failed,
    parsed_time,
    read_page,
    refused,
    retry_after_seconds,
    send,
)
from ledger_server.providers.sending import Proof, http_client

_NAME: Final = "mock"
_MAX_PAGE: Final = 1_000
_COLLECTIONS: Final = {
    ProviderCallKind.CREATE_PAYMENT: "/v1/payments",
    ProviderCallKind.CREATE_PAYOUT: "/v1/payouts",
    ProviderCallKind.REFUND: "/v1/refunds",
}
# Statuses of a decision, or of a request that was never begun. Any other error is about the connection or our
# credentials, and no player's call may fail because of those.
_REFUSALS: Final = {400, 402, 404, 422}
_STATES: Final = {
    "authorized": RemoteState.AUTHORIZED,
    "captured": RemoteState.SUCCEEDED,
    "paid": RemoteState.SUCCEEDED,
    "succeeded": RemoteState.SUCCEEDED,
    "failed": RemoteState.FAILED,
    "returned": RemoteState.FAILED,
}
_KINDS: Final = {
    "payment": ProviderRecordKind.PAYMENT,
    "payout": ProviderRecordKind.PAYOUT,
    "refund": ProviderRecordKind.REFUND,
    "dispute": ProviderRecordKind.DISPUTE,
    "fee": ProviderRecordKind.FEE,
    "settlement": ProviderRecordKind.SETTLEMENT,
    "other": ProviderRecordKind.OTHER,
}
_LISTED: Final = frozenset(
    {
        ProviderRecordKind.PAYMENT,
        ProviderRecordKind.PAYOUT,
        ProviderRecordKind.REFUND,
        ProviderRecordKind.DISPUTE,
        ProviderRecordKind.FEE,
        ProviderRecordKind.SETTLEMENT,
    }
)


class _Remote(Struct, frozen=True):
    id: str
    state: str
    reason: str | None = None
    reference: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    destination: str | None = None
    payment_id: str | None = None
    customer: str | None = None

    def accepted(self) -> Accepted:
        state = _STATES.get(self.state, RemoteState.PENDING)
        made = Made(
            amount=self.amount_minor,
            currency=self.currency,
            destination=self.destination,
            payment_ref=self.payment_id,
            player_id=self.customer,
            our_id=self.reference,
        )
        return Accepted(provider_ref=self.id, state=state, reason=self.reason or "", made=made)


class _Found(Struct, frozen=True):
    data: list[_Remote]


class _Record(Struct, frozen=True):
    kind: str
    id: str
    object_id: str
    state: str
    amount_minor: int
    currency: str
    created_at: str
    type: str
    payment_id: str | None = None
    reference: str | None = None
    batch_id: str | None = None


class _Records(Struct, frozen=True):
    data: list[_Record]
    next_cursor: str | None = None


class _Problem(Struct, frozen=True):
    code: str
    message: str = ""


class _Error(Struct, frozen=True):
    error: _Problem


class MockAdapter:
    """One account at a MockPSP."""

    # MockPSP forgets keys after 24 hours; one hour is kept for slow clocks and requests.
    capabilities: Final = Capabilities(
        payments=True, payouts=True, refunds=True, listed=_LISTED, idempotency_seconds=23 * 3600
    )

    def __init__(
        self, *, base_address: str, api_key: str, currencies: CurrencyRegistry, timeout_seconds: float = 10.0
    ) -> None:
        self._amounts: Final = Amounts(_NAME, currencies)
        self._timeout_seconds: Final = timeout_seconds
        self._http: Final = http_client(
            timeout_seconds=timeout_seconds,
            base_url=base_address,
            headers={"Authorization": f"Bearer {api_key}"},
        )

    def to_provider(self, amount: int, currency: str, kind: ProviderCallKind) -> int:
        """Return an amount in the provider's minor units; see `Amounts.to_provider`."""
        return self._amounts.to_provider(amount, currency, kind)

    def from_provider(self, amount: int, currency: str) -> int:
        """Return an amount of the provider in the ledger's minor units; see `Amounts.from_provider`."""
        return self._amounts.from_provider(amount, currency)

    async def call(self, call: ProviderCall, proof: Proof) -> Answer:
        """Make a call, once; safe to repeat with the same call."""
        try:
            amount = self.to_provider(call.amount, call.currency, call.kind)
        except AmountRefused as error:
            return refused(error)
        return await send(_NAME, self._send(call, amount), self._timeout_seconds, proof)

    async def find(self, call: ProviderCall, provider_ref: str) -> Accepted | NotFound | Unknown:
        """Find out what became of a call: MockPSP lists by our reference without delay."""
        return await ask(_NAME, self._find(call, provider_ref), self._timeout_seconds)

    async def list_provider_records(
        self, from_time: datetime, to_time: datetime, cursor: str, limit: int
    ) -> ProviderRecordPage:
        """Return a page of what was created in a window; ListingFailed if it cannot be read."""
        return await read_page(_NAME, self._page(from_time, to_time, cursor, limit), self._timeout_seconds)

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def _send(self, call: ProviderCall, amount: int) -> Answer:
        body: dict[str, str | int] = {"reference": call.our_id, "amount_minor": amount}
        path = _COLLECTIONS[call.kind]
        match call.kind:
            case ProviderCallKind.CREATE_PAYMENT:
                body |= {"currency": call.currency, "customer": call.player_id, "capture": "auto"}
            case ProviderCallKind.CREATE_PAYOUT:
                body |= {"currency": call.currency, "destination": call.destination}
            case ProviderCallKind.REFUND:
                path = f"/v1/payments/{quote(call.payment_ref, safe='')}/refunds"
        response = await self._http.post(path, json=body, headers={"Idempotency-Key": call.idempotency_key})
        if response.is_success:
            return msgspec.json.decode(response.content, type=_Remote).accepted()
        problem = _problem(response)
        if problem is not None and problem.code == IDEMPOTENCY_ERROR:
            return key_reused(_NAME, call)
        if problem is not None and response.status_code in _REFUSALS:
            return Declined(code=problem.code, message=problem.message)
        return _unknown(response, problem)

    async def _find(self, call: ProviderCall, provider_ref: str) -> Accepted | NotFound | Unknown:
        path = _COLLECTIONS[call.kind]
        if not provider_ref:
            response = await self._http.get(path, params={"reference": call.our_id})
            if not response.is_success:
                return _unknown(response, _problem(response))
            found = msgspec.json.decode(response.content, type=_Found)
            return found_or_absent([remote.accepted() for remote in found.data])
        response = await self._http.get(f"{path}/{quote(provider_ref, safe='')}")
        if response.is_success:
            return msgspec.json.decode(response.content, type=_Remote).accepted()
        problem = _problem(response)
        # A 404 without MockPSP's own error code comes from something else at that address.
        if response.status_code == httpx.codes.NOT_FOUND and problem is not None:
            return NotFound()
        return _unknown(response, problem)

    async def _page(
        self, from_time: datetime, to_time: datetime, cursor: str, limit: int
    ) -> ProviderRecordPage:
        parameters: dict[str, str | int] = {
            "created_from": _zulu(from_time),
            "created_to": _zulu(to_time),
            "limit": max(1, min(limit, _MAX_PAGE)),
        }
        if cursor:
            parameters["cursor"] = cursor
        response = await self._http.get("/v1/records", params=parameters)
        if not response.is_success:
            raise listing_failed(_unknown(response, _problem(response)))
        page = msgspec.json.decode(response.content, type=_Records)
        check_page(_NAME, [record.id for record in page.data], page.next_cursor, cursor=cursor)
        records = tuple(self._provider_record(record) for record in page.data)
        return ProviderRecordPage(records=records, next_cursor=page.next_cursor or "")

    def _provider_record(self, record: _Record) -> ProviderRecord:
        try:
            amount = self.from_provider(record.amount_minor, record.currency)
        except AmountRefused:
            amount = None
        return ProviderRecord(
            kind=_KINDS.get(record.kind, ProviderRecordKind.UNKNOWN),
            record_id=record.id,
            provider_ref=record.object_id,
            payment_ref=record.payment_id or "",
            our_id=record.reference or "",
            state=_STATES.get(record.state, RemoteState.PENDING),
            amount=amount,
            currency=record.currency,
            create_time=parsed_time(record.created_at),
            provider_type=record.type,
            batch=record.batch_id or "",
        )


def _problem(response: httpx.Response) -> _Problem | None:
    try:
        return msgspec.json.decode(response.content, type=_Error).error
    except msgspec.DecodeError:
        return None


def _unknown(response: httpx.Response, problem: _Problem | None) -> Unknown:
    code = f" ({problem.code})" if problem else ""
    return Unknown(
        reason=f"{_NAME} answered {response.status_code}{code}",
        retry_after_seconds=retry_after_seconds(response.headers),
    )


def _zulu(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
