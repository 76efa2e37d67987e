"""Owns what all adapters do alike around a request: the time-out, the catch-all, and reading Retry-After."""

import asyncio
import math
from collections.abc import Awaitable, Iterable, Mapping
from datetime import datetime
from typing import Final, Protocol, TypeVar

import structlog

from ledger_server.domain.reconciliation.record import RemoteState
from ledger_server.providers.adapter import (
    Accepted,
    ListingFailed,
    ProviderCall,
    Rejected,
    Unknown,
)
from ledger_server.providers.amounts import AmountRefused, CurrencyUnsupported

log = structlog.get_logger()

_T = TypeVar("_T")

IDEMPOTENCY_ERROR: Final = "idempotency_error"

# What was made twice for one id of ours is judged by what moved money, or still may.
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


def refused(error: AmountRefused) -> Rejected:
    """Return the answer to a call whose amount cannot be sent: nothing was done."""
    code = "currency_unsupported" if isinstance(error, CurrencyUnsupported) else "amount_not_representable"
    return Rejected(code=code, message=str(error))


async def ask(provider: str, request: Awaitable[_T], timeout_seconds: float) -> _T | Unknown:
    """Await an answer; whatever breaks on the way is Unknown."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await request
    except TimeoutError:
        return Unknown(reason=f"{provider} did not answer within {timeout_seconds:g} s")
    # Whatever a library raises, the request may have been carried out.
    except Exception as error:  # noqa: BLE001
        # Only the kind: the text of an error may quote what was sent.
        log.warning("provider_call_broke", provider=provider, error=type(error).__name__)
        return Unknown(reason=f"the exchange with {provider} broke: {type(error).__name__}")


async def read_page(provider: str, request: Awaitable[_T], timeout_seconds: float) -> _T:
    """Await a page of a listing; whatever breaks on the way is ListingFailed."""
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
    """Return an answer that was no page as the failure that it is to a listing."""
    return ListingFailed(unknown.reason, retry_after_seconds=unknown.retry_after_seconds)


def key_reused(provider: str, call: ProviderCall) -> Unknown:
    """Return the answer where a provider knows the key with other parameters, and say so loudly.

    The key may have paid already, so the call is neither refused nor to be made under another key.
    """
    log.error("provider_idempotency_key_reused", provider=provider, our_id=call.our_id, kind=call.kind.value)
    return Unknown(
        reason=f"IDEMPOTENCY KEY REUSED: {provider} knows this key with other parameters and may have acted; "
        "never make this call under another key, a person has to look"
    )


def retry_after_seconds(headers: Headers | Mapping[str, str] | None) -> float | None:
    """Return what `Retry-After` asks for, if it does in seconds."""
    if headers is None:
        return None
    text = headers.get("Retry-After") or ""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def most_telling(candidates: Iterable[Accepted]) -> Accepted | None:
    """Return which of several things made for one id counts: rather the one that moved money."""
    return max(candidates, key=lambda found: _MOST_TELLING.index(found.state), default=None)


def parsed_time(text: str) -> datetime:
    """Return an instant from ISO 8601; ValueError without a zone."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text} has no zone")
    return instant
