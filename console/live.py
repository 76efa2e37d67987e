"""Owns live pages: what has changed in a journal, told as signals; the pages fetch themselves what they show.

One stream of the ledger a tenant serves all pages. A signal has a sequence and ids, so nothing is shown to
anybody by it: the page asks again, as its person.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

import grpc
import structlog
from defter.ledger.v1 import journal_pb2, journal_pb2_grpc

from console.ledger import Gateway
from console.sessions import STREAMS_EACH, Session
from console.users import RESERVED
from defter_client import ledger_error
from defter_client import messages as m

log = structlog.get_logger()

Topic = Literal["withdrawals", "findings", "deposits", "events", "adjustments"]
TOPICS: Final[Mapping[str, tuple[Topic, str]]] = {
    "withdrawal_changed": ("withdrawals", "withdrawal_id"),
    "adjustment_changed": ("adjustments", "adjustment_id"),
    "finding_changed": ("findings", "finding_id"),
    "deposit_changed": ("deposits", "deposit_id"),
    "provider_event_recorded": ("events", "provider_event_id"),
}
"""What a fact of the journal changes on live pages: the topic, and the field with the subject's id."""
TAIL: Final = "journal"
"""The topic of every record, for pages that follow the journal itself."""
_ALL_TOPICS: Final = tuple(dict.fromkeys(topic for topic, _ in TOPICS.values()))
ANY: Final = "*"
"""Instead of ids: more has changed than is told."""
_REMEMBERED: Final = 2_000
_MOST_IDS: Final = 50
_BEHIND: Final = 10_000
"""A page that has seen less of the journal than this is told that anything may have changed."""
_SHORTEST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 5.0
"""Changes of so long are one signal: short after silence, long where one change follows another. What changes
all the time nobody reads faster, and each page that fetches itself costs the ledger some calls."""
_SILENCE_SECONDS: Final = 15.0
_RETRY_SECONDS: Final = 2.0
_TOKEN_SECONDS: Final = 600


class _Change(NamedTuple):
    sequence: int
    topic: Topic
    subject: str


class Following:
    """The changes of one tenant since somebody looks at it."""

    def __init__(self, gateway: Gateway, tenant_id: str, from_sequence: int) -> None:
        self._gateway = gateway
        self._tenant_id = tenant_id
        self._changes: deque[_Change] = deque(maxlen=_REMEMBERED)
        self._known_from = from_sequence
        self.head = from_sequence
        self.pages: set[asyncio.Event] = set()
        self.tails: set[asyncio.Event] = set()
        self._task = asyncio.create_task(self._follow())

    def since(self, sequence: int, *, tail: bool = False) -> tuple[int, dict[str, list[str]]]:
        """Return the newest sequence, and what has changed behind another one, by topic.

        Args:
            tail: whether any record at all is a change, too.
        """
        seen, found = self._changed(sequence)
        if tail and self.head > sequence:
            found[TAIL] = [ANY]
        return seen, found

    def _changed(self, sequence: int) -> tuple[int, dict[str, list[str]]]:
        if sequence < self._known_from:
            return self.head, {topic: [ANY] for topic in _ALL_TOPICS}
        found: dict[str, dict[str, None]] = {}
        for change in reversed(self._changes):
            if change.sequence <= sequence:
                break
            found.setdefault(change.topic, {})[change.subject] = None
        return self.head, {
            topic: list(subjects) if len(subjects) <= _MOST_IDS else [ANY]
            for topic, subjects in found.items()
        }

    async def close(self) -> None:
        """End it; pages that wait are woken."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for page in self.pages:
            page.set()

    async def _follow(self) -> None:
        while True:
            try:
                await self._read()
            except grpc.aio.AioRpcError as error:
                # A token's end ends the stream too, so not every such line is a fault.
                reason = ledger_error(error).reason or error.code().name
                log.info("a journal is followed anew", tenant_id=self._tenant_id, reason=reason)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _read(self) -> None:
        metadata: tuple[tuple[str, str], ...] = ()
        if self._gateway.signer is not None:
            token = self._gateway.signer.token(RESERVED, (), life_seconds=_TOKEN_SECONDS)
            metadata = (("authorization", f"Bearer {token}"),)
        request = m.WatchJournalRequest(
            tenant_id=self._tenant_id, after_sequence=self.head, heartbeat_seconds=10, bytes_only=True
        )
        stream = journal_pb2_grpc.JournalServiceStub(self._gateway.channel).WatchJournal(
            request, metadata=metadata
        )
        try:
            async for message in stream:
                self._take(message)
        finally:
            stream.cancel()

    def _take(self, message: Any) -> None:
        changed = False
        for entry in message.entries:
            if (change := change_of(entry.sequence, entry.record_bytes)) is not None:
                if len(self._changes) == _REMEMBERED:
                    self._known_from = self._changes[0].sequence
                self._changes.append(change)
                changed = True
            self.head = entry.sequence
        for page in self.pages if changed else self.tails if message.entries else ():
            page.set()


def change_of(sequence: int, record_bytes: bytes) -> _Change | None:
    """Return what a record changes on a page that is live."""
    record = journal_pb2.JournalRecord.FromString(record_bytes)
    fact = record.WhichOneof("fact")
    if fact is None or fact not in TOPICS:
        return None
    topic, subject = TOPICS[fact]
    return _Change(sequence, topic, getattr(getattr(record, fact), subject))


class Live:
    """All live pages of this process."""

    def __init__(self, gateway: Gateway, most_streams: int) -> None:
        self._gateway = gateway
        self._most = most_streams
        self._following: dict[str, Following] = {}
        self._streams = 0
        self._closed = False

    @property
    def stream_count(self) -> int:
        """Live pages now."""
        return self._streams

    def admits(self, session: Session) -> bool:
        """Whether one more page of a session may be live."""
        return not self._closed and self._streams < self._most and session.streams < STREAMS_EACH

    async def signals(
        self,
        session: Session,
        tenant_id: str,
        *,
        after: int,
        head: int,
        goes_on: Callable[[], bool],
        tail: bool = False,
    ) -> AsyncIterator[str]:
        """Yield server-sent events until the session or the process ends.

        Args:
            after: what the page has seen.
            head: the newest record now, as somebody was told who may read the tenant.
            goes_on: whether the session still counts; asked again with each signal and in silence.
            tail: whether every record is told.
        """
        self._streams += 1
        session.streams += 1
        following = self._following.get(tenant_id)
        if following is None:
            start = after if 0 <= head - after <= _BEHIND else head
            following = self._following[tenant_id] = Following(self._gateway, tenant_id, start)
        wake = asyncio.Event()
        following.pages.add(wake)
        if tail:
            following.tails.add(wake)
        seen, pause = after, _SHORTEST_PAUSE_SECONDS
        try:
            yield "retry: 3000\n\n"
            while goes_on() and not self._closed:
                seen, changed = following.since(seen, tail=tail)
                for topic, subjects in changed.items():
                    yield f"event: {topic}\nid: {seen}\ndata: {json.dumps(subjects)}\n\n"
                if changed:
                    # In the meantime more may come; it is told together.
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                    continue
                pause = _SHORTEST_PAUSE_SECONDS
                try:
                    async with asyncio.timeout(_SILENCE_SECONDS):
                        await wake.wait()
                except TimeoutError:
                    # Nobody notices a connection that has gone without writing to it.
                    yield ": still here\n\n"
                wake.clear()
        finally:
            self._streams -= 1
            session.streams -= 1
            following.pages.discard(wake)
            following.tails.discard(wake)
            if not following.pages and self._following.get(tenant_id) is following:
                del self._following[tenant_id]
                await following.close()

    async def close(self) -> None:
        """End all pages' streams."""
        self._closed = True
        for following in list(self._following.values()):
            await following.close()
        self._following.clear()
