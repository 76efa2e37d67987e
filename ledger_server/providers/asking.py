"""Owns what all adapters share around a request: time-outs, proofs, and checks of listings."""

import asyncio
import math
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar

import httpx
import structlog
from msgspec.structs import replace

from ledger_server.domain.provider_record import RemoteState
from ledger_server.providers.adapter import (
    Accepted,
    Answer,
    Declined,
    ListingFailed,
    NotFound,
    NotOurs,
    ProviderCall,
    Unknown,
    Unsent,
)
from ledger_server.providers.amounts import AmountRefused, CurrencyUnsupported
from ledger_server.providers.sending import Proof, sending

log = structlog.get_logger()

_T = TypeVar("_T")

IDEMPOTENCY_ERROR: Final = "idempotency_error"

# If one id of ours has several objects, the one that moved money, or still may, comes first.
_MOST_TELLING: Final = (
    RemoteState.FAILED,
    RemoteState.PENDING,
    RemoteState.AUTHORIZED,
    RemoteState.SUCCEEDED,
)


class Headers(Protocol):
    """Headers of an answer, whatever library read them; names in any case."""

    def get(self, name: str, /) -> str | None:
        """Return a header's value, or None."""


def refused(error: AmountRefused) -> Declined:
    """Return the answer to a call whose amount cannot be sent: nothing was done."""
    code = "currency_unsupported" if isinstance(error, CurrencyUnsupported) else "amount_not_representable"
    return Declined(code=code, message=str(error))


async def send(provider: str, request: Awaitable[Answer], timeout_seconds: float, proof: Proof) -> Answer:
    """Send a request that a proof lets leave, and await the answer; any failure on the way is Unknown."""
    with sending(proof) as call:
        answer: Answer = await ask(provider, request, timeout_seconds)
    if not call.refused:
        return answer
    if call.begun:
        # The end of the request was never written, so it should not take effect; reading will tell.
        return Unknown(reason=f"it was not sent to its end: {call.refused}")
    return Unsent(reason=call.refused)


async def ask(provider: str, request: Awaitable[_T], timeout_seconds: float) -> _T | Unknown:
    """Await an answer; any failure on the way is Unknown."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await request
    except TimeoutError:
        return Unknown(reason=f"{provider} did not answer within {timeout_seconds:g} s", silent=True)
    # Whatever the library raises, the request may have taken effect.
    except Exception as error:  # noqa: BLE001
        # Only the type of the error: its text may quote what was sent.
        log.warning("provider_call_broke", provider=provider, error=type(error).__name__)
        silent = isinstance(error, httpx.TransportError)
        return Unknown(reason=f"the exchange with {provider} broke: {type(error).__name__}", silent=silent)


async def read_page(provider: str, request: Awaitable[_T], timeout_seconds: float) -> _T:
    """Await a page of a listing; any failure on the way is ListingFailed."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await request
    except ListingFailed:
        raise
    except TimeoutError as error:
        raise ListingFailed(f"{provider} did not answer within {timeout_seconds:g} s") from error
    except Exception as error:
        raise ListingFailed(f"{provider}: {type(error).__name__}") from error


def listing_failed(unknown: Unknown) -> ListingFailed:
    """Return the ListingFailed for an answer that was not a page."""
    return ListingFailed(unknown.reason, retry_after_seconds=unknown.retry_after_seconds)


def key_reused(provider: str, call: ProviderCall) -> NotOurs:
    """Return the answer if a provider knows the key with other parameters, and log an error.

    Another request has used our key, so an object under our id is not what we asked for. That request may
    have paid, so the call is neither refused nor made under another key.
    """
    log.error("provider_idempotency_key_reused", provider=provider, our_id=call.our_id, kind=call.kind.value)
    return NotOurs(
        provider_ref="",
        reason=f"IDEMPOTENCY KEY REUSED: {provider} knows this key with other parameters and may have acted; "
        "never make this call under another key, a person has to look",
        evidence={"idempotency_key": call.idempotency_key},
    )


class Walk:
    """A listing from its first page to its last, checked for contradictions.

    A promised page must have content, no page may lead back, and nothing may be listed twice. Otherwise the
    listing may lack something, and absence from it proves nothing.
    """

    def __init__(self, provider: str) -> None:
        self._provider: Final = provider
        self._cursors: Final = {""}
        self._ids: Final[set[str]] = set()

    def page(self, ids: Sequence[str], next_cursor: str | None, *, cursor: str) -> None:
        """Take a page.

        Args:
            ids: of the listed objects.
            next_cursor: where the listing goes on; None or empty on the last page.
            cursor: where this page began.
        Raises:
            ListingFailed: the page contradicts itself or an earlier page.
        """
        check_page(self._provider, ids, next_cursor, cursor=cursor)
        if next_cursor and next_cursor in self._cursors:
            raise ListingFailed(f"{self._provider}'s listing goes in a circle")
        if self._ids.intersection(ids) or len(set(ids)) < len(ids):
            raise ListingFailed(f"{self._provider}'s listing moves while it is read")
        self._cursors.add(next_cursor or "")
        self._ids.update(ids)


def check_page(provider: str, ids: Sequence[str], next_cursor: str | None, *, cursor: str) -> None:
    """Check one page; raises ListingFailed if it contradicts itself.

    A cursor is a promise that the next page has content, so an empty page has no cursor.
    """
    if cursor and not ids:
        raise ListingFailed(f"{provider} has nothing behind a cursor that promised more")
    if next_cursor and not ids:
        raise ListingFailed(f"{provider} promises more than it lists")
    if next_cursor and next_cursor == cursor:
        raise ListingFailed(f"{provider}'s listing goes in a circle")


def found_or_absent(found: Sequence[Accepted]) -> Accepted | NotFound:
    """Return the answer for a call from a listing that was read to its end."""
    return most_telling(found) or NotFound()


def found_or_unknown(found: Sequence[Accepted], why: str) -> Accepted | Unknown:
    """Return the answer for a call from a listing that was not read to its end."""
    return most_telling(found) or Unknown(reason=why)


def retry_after_seconds(headers: Headers | Mapping[str, str] | None) -> float | None:
    """Return the seconds of `Retry-After`, if it is given in seconds."""
    if headers is None:
        return None
    text = headers.get("Retry-After") or ""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def most_telling(candidates: Iterable[Accepted]) -> Accepted | None:
    """Return the object that counts if one id of ours has several: preferably one that moved money.

    The other objects are returned with it, since each of them may have moved money as well.
    """
    ordered = sorted(candidates, key=lambda found: _MOST_TELLING.index(found.state), reverse=True)
    return replace(ordered[0], others=tuple(ordered[1:])) if ordered else None


def parsed_time(text: str) -> datetime:
    """Return an instant from ISO 8601; ValueError without a zone."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text} has no zone")
    return instant
