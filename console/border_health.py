"""Owns how the border to each provider is doing, told from what the ledger lets people read."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from console.catalogue import N_
from console.formats import moment_of
from console.owed_calls import OwedCall
from console.views.allowed import if_allowed
from console.views.findings import OPEN
from console.visit import Visit
from defter_client import messages as m

COUNTED: Final = 100
"""So many are counted; more are told as `100+`."""
_SLOW: Final = timedelta(minutes=5)
_PARKED_LONG: Final = timedelta(hours=1)
_RUN_LONG_AGO: Final = timedelta(days=2)
_WINDOWS: Final = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=5))


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are, and since when the oldest is there."""

    number: int
    is_more: bool = False
    since: Timestamp = field(default_factory=Timestamp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The border to one provider account.

    Attributes:
        calls: those owed; None, as everywhere here: the person may not see it.
        heard: when the newest event of the last day was stored; an empty time where there was none.
        remarks: what somebody should look at, in English sentences; none: all is well.
    """

    provider: str
    calls: Count | None
    parked: Count | None
    unread: Count | None
    heard: Timestamp | None
    run: m.Run | None
    findings: Count | None
    severe: Count | None
    remarks: tuple[str, ...]


async def health_of(visit: Visit, provider: str, calls: Sequence[OwedCall] | None) -> Health:
    """Return how a provider account is doing.

    Args:
        calls: all that are owed in the tenant.
    """
    client, tenant_id = visit.ledger.client, visit.tenant_id
    about: dict[str, Any] = {"tenant_id": tenant_id, "provider": provider}

    async def events(state: int) -> Count:
        page = await visit.ledger.page(
            client.provider_events.list_provider_events,
            m.ListProviderEventsRequest(**about, state=state, page_size=COUNTED),  # type: ignore[arg-type]
        )
        return _count(page.events, page.next_page_token, lambda each: each.receive_time)

    async def findings(severity: int) -> Count:
        page = await visit.ledger.page(
            client.findings.list_findings,
            m.ListFindingsRequest(**about, states=OPEN, min_severity=severity, page_size=COUNTED),  # type: ignore[arg-type]
        )
        return _count(page.findings, page.next_page_token, lambda each: each.open_time)

    async def newest_run() -> m.Run | None:
        page = await visit.ledger.page(
            client.reconciliation.list_runs, m.ListRunsRequest(**about, page_size=1)
        )
        return page.runs[0] if page.runs else None

    parked, unread, heard, run, found, severe = await asyncio.gather(
        if_allowed(events(m.PROVIDER_EVENT_STATE_PARKED)),
        if_allowed(events(m.PROVIDER_EVENT_STATE_UNREAD)),
        if_allowed(_heard(visit, provider)),
        if_allowed(_wrapped(newest_run())),
        if_allowed(findings(m.SEVERITY_LOW)),
        if_allowed(findings(m.SEVERITY_HIGH)),
    )
    own = None if calls is None else [each for each in calls if each.provider == provider]
    owed = None if own is None else _count(own, "", lambda each: each.since)
    return Health(
        provider=provider,
        calls=owed,
        parked=parked,
        unread=unread,
        heard=heard,
        run=None if run is None else run[0],
        findings=found,
        severe=severe,
        remarks=tuple(_remarks(visit.now, calls=owed, parked=parked, unread=unread, run=run, severe=severe)),
    )


def _remarks(
    now: datetime,
    *,
    calls: Count | None,
    parked: Count | None,
    unread: Count | None,
    run: tuple[m.Run | None] | None,
    severe: Count | None,
) -> list[str]:
    found = []
    if calls is not None and _is_older(calls.since, now - _SLOW):
        found.append(N_("Calls wait for more than five minutes: the provider is slow or away."))
    if parked is not None and _is_older(parked.since, now - _PARKED_LONG):
        found.append(N_("Events are parked for more than an hour: their payments are not known here."))
    if unread is not None and unread.number:
        found.append(N_("Events could not be read: somebody has to read them again."))
    if severe is not None and severe.number:
        found.append(N_("Severe findings are open."))
    if run is not None:
        if run[0] is None:
            found.append(N_("It was never reconciled."))
        elif run[0].state in {m.RUN_STATE_PARTIAL, m.RUN_STATE_INTERRUPTED}:
            found.append(N_("The last reconciliation did not see everything."))
        elif _is_older(run[0].begin_time, now - _RUN_LONG_AGO):
            found.append(N_("It was not reconciled for more than two days."))
    return found


async def _heard(visit: Visit, provider: str) -> Timestamp:
    """Return when the newest event of the last day was stored.

    Lists begin with the oldest, so where a day has too many, a shorter time is asked for.
    """
    newest = Timestamp()
    for window in _WINDOWS:
        since = Timestamp()
        since.FromDatetime(visit.now - window)
        page = await visit.ledger.page(
            visit.ledger.client.provider_events.list_provider_events,
            m.ListProviderEventsRequest(
                tenant_id=visit.tenant_id, provider=provider, from_time=since, page_size=1_000
            ),
        )
        if page.events:
            newest = page.events[-1].receive_time
        if not page.next_page_token:
            break
    return newest


async def _wrapped(asking: Awaitable[m.Run | None]) -> tuple[m.Run | None]:
    """Return an answer that may be nothing, so that it is told from one that may not be seen."""
    return (await asking,)


def _count(rows: Sequence[Any], next_token: str, since: Callable[[Any], Timestamp]) -> Count:
    """Return the count of a page that begins with the oldest, as far as it can tell."""
    times = [since(each) for each in rows if moment_of(since(each)) is not None]
    first = min(times, key=lambda each: (each.seconds, each.nanos), default=Timestamp())
    return Count(len(rows), bool(next_token), first)


def _is_older(at: Timestamp, than: datetime) -> bool:
    moment = moment_of(at)
    return moment is not None and moment < than
