"""Owns the delivery of events: signed, tried again until they are taken, and disturbed by the knobs."""

import asyncio
import base64
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, Final, TypeAlias

import httpx
from msgspec import Struct
from standardwebhooks import Webhook

from mock_psp.books import Event
from mock_psp.errors import InvalidRequest, NotFound
from mock_psp.knobs import Knobs

Deliver: TypeAlias = Callable[[bytes, Mapping[str, str]], Awaitable[int]]
"""Delivers a body with headers and returns the status of the answer; 0 where there was none."""

_GATHER_SECONDS: Final = 0.05
"""For how long events are gathered before they are delivered in another order."""

_ATTEMPT_SECONDS: Final = 15.0
_MOST_AT_ONCE: Final = 64


class Retries(Struct, frozen=True, kw_only=True):
    """How often a delivery is tried, and the growing pauses between the tries."""

    attempts: int = 8
    first_seconds: float = 0.2
    most_seconds: float = 30.0

    def pause(self, failed: int, random: Random) -> float:
        """Return how long to wait after so many failed attempts: doubled each time, up to half less."""
        whole = min(self.most_seconds, self.first_seconds * 2.0 ** min(failed - 1, 60))
        return whole * random.uniform(0.5, 1.0)


class Delivery(Struct, frozen=True, kw_only=True):
    """One attempt to deliver an event."""

    event_id: str
    attempt: int
    status: int
    sent_at: datetime


class Webhooks:
    """Delivers events from the running loop's tasks; first attempts for one payment keep their order.

    Attributes:
        secrets: every delivery is signed with all of them.
        deliveries: every attempt, the oldest first.
        lost: events that the knob `lose_webhooks` has swallowed.
    """

    def __init__(
        self,
        *,
        deliver: Deliver | None,
        secrets: Sequence[str],
        clock: Callable[[], datetime],
        knobs: Knobs,
        random: Random,
        retries: Retries | None = None,
    ) -> None:
        if deliver and not secrets:
            raise InvalidRequest("no_secret", "webhooks need a secret to be signed with")
        for secret in secrets:
            check_secret(secret)
        self._deliver = deliver
        self._clock = clock
        self._knobs = knobs
        self._random = random
        self._retries = retries or Retries()
        self.secrets = list(secrets)
        self.events: dict[str, Event] = {}
        self.deliveries: list[Delivery] = []
        self.lost: list[Event] = []
        self._gathered: list[Event] = []
        self._latest: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._hurry = asyncio.Event()
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)

    def send(self, event: Event) -> None:
        """Deliver an event soon, as the knobs say."""
        self.events[event.id] = event
        if self._deliver is None:
            return
        if self._knobs.take("lose_webhooks"):
            self.lost.append(event)
        elif self._knobs.reorder_webhooks:
            self._gathered.append(event)
            if len(self._gathered) == 1:
                self._start(self._release_later())
        else:
            self._start_delivery(event)

    def flush(self) -> None:
        """Deliver now what waits: gathered and late events, and those between two attempts."""
        self._release()
        self._hurry.set()
        self._hurry = asyncio.Event()

    def resend(self, event_id: str | None = None) -> int:
        """Deliver an event again, or all events, also lost ones; return how many.

        Raises:
            NotFound: there is no such event.
        """
        if event_id is not None and event_id not in self.events:
            raise NotFound("not_found", f"no event {event_id}")
        if self._deliver is None:
            return 0
        events = list(self.events.values()) if event_id is None else [self.events[event_id]]
        for event in events:
            self._start_delivery(event)
        return len(events)

    def rotate(self, secret: str, *, keep_old: bool = True) -> None:
        """Sign with a new secret, and also with the old ones until they are retired.

        Raises:
            InvalidRequest: the secret is malformed.
        """
        check_secret(secret)
        self.secrets = [secret, *(self.secrets if keep_old else ())]

    async def drained(self) -> None:
        """Wait until nothing is left to deliver, and raise an error that came up inside a delivery."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._failures:
            raise self._failures.pop(0)

    async def stop(self) -> None:
        """Drop what was not delivered yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def attempt_counts(self) -> Counter[str]:
        """Return how many attempts were made for each event."""
        return Counter(delivery.event_id for delivery in self.deliveries)

    async def _release_later(self) -> None:
        await self._pause(_GATHER_SECONDS)
        self._release()

    def _release(self) -> None:
        """Deliver what was gathered, one after the other and surely not in the order it happened."""
        events, self._gathered = self._gathered, []
        happened = list(events)
        self._random.shuffle(events)
        if events == happened:
            events.reverse()
        previous: asyncio.Task[None] | None = None
        for event in events:
            previous = self._start_delivery(event, after=previous)

    def _start_delivery(self, event: Event, *, after: asyncio.Task[None] | None = None) -> asyncio.Task[None]:
        """Deliver an event as often as the knob says; its first attempt waits for the one before it."""
        payment_id = event.data.payment_id
        before = after or self._latest.get(payment_id)
        copies = [
            self._start(self._attempt_first(event, before)) for _ in range(self._knobs.duplicate_webhooks)
        ]
        self._latest[payment_id] = copies[0]
        copies[0].add_done_callback(lambda task: self._forget(payment_id, task))
        return copies[0]

    def _forget(self, payment_id: str, task: asyncio.Task[None]) -> None:
        if self._latest.get(payment_id) is task:
            del self._latest[payment_id]

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()):
            self._failures.append(failure)

    async def _attempt_first(self, event: Event, before: asyncio.Task[None] | None) -> None:
        """Make the first attempt in turn; a failed one is tried again without delaying others."""
        if self._knobs.late_webhooks_seconds:
            await self._pause(self._knobs.late_webhooks_seconds)
        if before is not None:
            await asyncio.wait([before])
        if not await self._attempt(event, 1):
            self._start(self._attempt_again(event))

    async def _attempt_again(self, event: Event) -> None:
        for attempt in range(2, self._retries.attempts + 1):
            await self._pause(self._retries.pause(attempt - 1, self._random))
            if await self._attempt(event, attempt):
                return

    async def _attempt(self, event: Event, attempt: int) -> bool:
        """Sign and deliver once; return whether it was taken."""
        assert self._deliver is not None
        body = event.body()
        async with self._slots:
            sent_at = self._clock().astimezone(UTC)
            status = await self._deliver(body, self._headers(event.id, sent_at, body))
        self.deliveries.append(Delivery(event_id=event.id, attempt=attempt, status=status, sent_at=sent_at))
        return 200 <= status < 300

    def _headers(self, event_id: str, at: datetime, body: bytes) -> dict[str, str]:
        signatures = (Webhook(secret).sign(event_id, at, body.decode()) for secret in self.secrets)
        return {
            "content-type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    async def _pause(self, seconds: float) -> None:
        """Wait, unless a flush is asked for."""
        try:
            await asyncio.wait_for(self._hurry.wait(), seconds)
        except TimeoutError:
            return


def check_secret(secret: str) -> None:
    """Raise InvalidRequest unless this is `whsec_` and base64 of 24 to 64 bytes."""
    encoded = secret.removeprefix("whsec_")
    try:
        size = len(base64.b64decode(encoded, validate=True))
    except ValueError:
        size = 0
    if encoded == secret or not 24 <= size <= 64:
        raise InvalidRequest("invalid_secret", "a webhook secret is whsec_ and base64 of 24 to 64 bytes")


def http_deliver(client: httpx.AsyncClient, url: str) -> Deliver:
    """Return a delivery by POST to a URL; redirects are not followed."""

    async def deliver(body: bytes, headers: Mapping[str, str]) -> int:
        try:
            response = await client.post(
                url, content=body, headers=dict(headers), timeout=_ATTEMPT_SECONDS, follow_redirects=False
            )
        except (httpx.HTTPError, OSError):
            return 0
        return response.status_code

    return deliver
