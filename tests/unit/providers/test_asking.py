"""Own what all adapters make of an answer: pauses, times, breakages, and one out of several."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from ledger_server.domain.provider_record import RemoteState
from ledger_server.providers.adapter import Accepted, ListingFailed, Unknown
from ledger_server.providers.asking import ask, most_telling, parsed_time, read_page, retry_after_seconds

SECRET = "sk_live_do_not_tell"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("0", 0.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ("", None),
    ],
)
def test_read_retry_after_is_seconds_or_nothing(text: str, expected: float | None) -> None:
    """Whatever a provider writes there, the pause is a sane number or none."""
    assert retry_after_seconds({"Retry-After": text}) == expected


async def broken() -> str:
    """Break as a library might, quoting what was sent."""
    raise RuntimeError(f"could not send {SECRET}")


async def test_ask_breaking_is_unknown_without_its_words() -> None:
    """The words of an error may quote what was sent, so they go nowhere."""
    with capture_logs() as lines:
        answer = await ask("mock", broken(), 1.0)

    assert answer == Unknown(reason="the exchange with mock broke: RuntimeError")
    assert SECRET not in str(lines)


async def test_ask_cancelled_stays_cancelled() -> None:
    """Shutting down is not an answer of the provider."""
    task = asyncio.create_task(ask("mock", asyncio.sleep(3600), 3600))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def late() -> str:
    """Take too long."""
    await asyncio.sleep(3600)
    return ""


@pytest.mark.parametrize("request_page", [broken, late])
async def test_read_page_breaking_is_failed(request_page: Callable[[], Awaitable[str]]) -> None:
    """A page has one way of failing."""
    with pytest.raises(ListingFailed) as failure:
        await read_page("mock", request_page(), 0.01)

    assert SECRET not in str(failure.value)


def test_choose_of_several_prefers_money_that_moved() -> None:
    """Paid outweighs pending, and pending outweighs failed; the others are told with it."""
    made = [
        Accepted(provider_ref=str(number), state=state)
        for number, state in enumerate((RemoteState.FAILED, RemoteState.SUCCEEDED, RemoteState.PENDING))
    ]

    assert most_telling(made) == replace(made[1], others=(made[2], made[0]))
    assert most_telling(made[::2]) == replace(made[2], others=(made[0],))
    assert most_telling([]) is None


def test_parse_time_without_zone_is_refused() -> None:
    """An instant without a zone is no instant."""
    assert parsed_time("2026-01-01T12:00:00Z") == datetime(2026, 1, 1, 12, tzinfo=UTC)
    with pytest.raises(ValueError, match="no zone"):
        parsed_time("2026-01-01T12:00:00")
