"""Owns the choice between the hosts of a database URL: only the primary of the newest timeline is used.

A host that is switched off or stands still may leave connections unanswered for long, and a primary that was
replaced may come back and still take writes. So where a URL names several hosts, all of them are asked at
once, and neither the order in the URL nor who answers first decides.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
import structlog

log = structlog.get_logger()

SETTING: Final = "DEFTER_DATABASE_URL"
LOOK_SECONDS: Final = 2.0
"""Pause between two looks at all hosts."""
_ASK_SECONDS: Final = 4.0
# How long others may still answer once a primary was found: a newer one may be a moment slower. Unlikely
# where the one that was found is newer than all that were seen.
_OTHERS_SECONDS: Final = 1.5
_OTHERS_OF_A_NEWER_SECONDS: Final = 0.3
_ATTRIBUTE: Final = "target_session_attrs"
_WRITING: Final = frozenset({"any", "primary", "read-write"})

# A standby has no write position; CASE keeps PostgreSQL from asking for one.
_ASK: Final = """
SELECT (SELECT s.system_identifier FROM pg_control_system() s)::text AS system_identifier,
    CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8) END
        AS timeline
"""


class NoPrimary(ConnectionError):
    """None of the hosts is a primary that may be used; retrying helps once one is."""


class Standing(NamedTuple):
    """What a primary is.

    Attributes:
        system_identifier: of its cluster; standbys have their primary's.
        timeline: one more with each promotion.
    """

    system_identifier: str
    timeline: int


def urls_of(database_url: str) -> tuple[str, ...]:
    """Return a URL for each host that a database URL names, in its order.

    Raises:
        ValueError: it asks for sessions that may not write, or has another number of ports than of hosts.
    """
    parts = urlsplit(database_url)
    query = dict(parse_qsl(parts.query))
    if query.get(_ATTRIBUTE, "any") not in _WRITING:
        raise ValueError(f"{SETTING}: {_ATTRIBUTE} has to be read-write or left out: a server writes")
    user, at, in_place = parts.netloc.partition("@")
    if not at:
        user, in_place = "", parts.netloc
    hosts = (in_place or query.get("host", "")).split(",")
    if len(hosts) < 2:
        return (database_url,)
    ports = query.get("port", "").split(",")
    if len(ports) not in {1, len(hosts)}:
        raise ValueError(f"{SETTING}: it has {len(hosts)} hosts and {len(ports)} ports")
    found = []
    for place, host in enumerate(hosts):
        own = {**query, "port": ports[place % len(ports)]}
        netloc = f"{user}{at}{host}"
        if not in_place:
            own["host"], netloc = host, f"{user}{at}"
        words = urlencode({name: value for name, value in own.items() if value})
        found.append(f"{parts.scheme}://{netloc}{parts.path}{'?' if words else ''}{words}")
    return tuple(found)


def choose(
    found: Sequence[Standing | None], newest: Mapping[str, int], *, current: int | None = None
) -> int | None:
    """Return the place of the primary that may be used; None if there is none.

    Args:
        found: by host; None for one that is no primary, or that does not answer.
        newest: the newest timeline that was seen of a cluster; an older one was replaced.
        current: the place of the one in use, which is kept among equals.
    """
    usable = [
        place
        for place, each in enumerate(found)
        if each is not None and each.timeline >= newest.get(each.system_identifier, 0)
    ]
    if not usable:
        return None
    # Hosts of several clusters are a mistake; the first one's is taken, whatever the others' timelines are.
    cluster = found[current if current in usable else usable[0]]
    assert cluster is not None, "it is usable"
    same = {
        place: each.timeline
        for place in usable
        if (each := found[place]) is not None and each.system_identifier == cluster.system_identifier
    }
    return max(same, key=lambda place: (same[place], place == current, -place))


class Hosts:
    """The hosts of a database URL, and which one is the primary."""

    def __init__(
        self, database_url: str, *, role: str | None = None, newest: Mapping[str, int] | None = None
    ) -> None:
        """Take what is known.

        Args:
            role: that is taken on for the question what a host is; None: the user's own.
            newest: the newest timeline that was seen of a cluster, by its system identifier.
        Raises:
            ValueError: the URL is of no use for writing.
        """
        self._urls = urls_of(database_url)
        self._settings = {} if role is None else {"role": role}
        self._newest = dict(newest or {})
        self._chosen: int | None = None
        self._looking: asyncio.Task[Standing] | None = None

    @property
    def several(self) -> bool:
        """Whether there is a choice."""
        return len(self._urls) > 1

    async def connect(self, *_: object, **named: Any) -> Any:
        """Connect to the primary as asyncpg does; what asyncpg's pools say of the place does not matter.

        Raises:
            NoPrimary: there is none that may be used.
            OSError, asyncpg.PostgresError: it does not answer, or refuses.
        """
        if not self.several:
            return await _connect(self._urls[0], **named)
        if self._chosen is None:
            await self.look()
        place = self._chosen
        if place is None:
            raise NoPrimary("the primary went away")
        try:
            return await _connect(self._urls[place], **{**named, _ATTRIBUTE: "read-write"})
        except BaseException:
            # Also where a pool gave up waiting: the next one looks at all hosts again.
            if self._chosen == place:
                self._chosen = None
            raise

    async def look(self) -> Standing:
        """Ask all hosts what they are, choose the primary and return what it is; callers share a look.

        Raises:
            NoPrimary: none may be used; the text says what each of them is.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(_retrieve)
        return await asyncio.shield(self._looking)

    async def watch(self, begun: int, changed: asyncio.Event, *, seconds: float = LOOK_SECONDS) -> None:
        """Look now and then until a primary of a newer timeline than the begun one is found; then say so."""
        while not changed.is_set():
            await asyncio.sleep(seconds)
            with suppress(NoPrimary):
                found = await self.look()
                if found.timeline > begun:
                    log.error("another host is the primary", timeline=found.timeline, before=begun)
                    changed.set()

    async def _look(self) -> Standing:
        asked = [asyncio.create_task(self._ask(url)) for url in self._urls]
        for task in asked:
            task.add_done_callback(_retrieve)
        try:
            await self._until_known(asked)
        finally:
            for task in asked:
                task.cancel()
        found = [_result(task) for task in asked]
        primaries = [each if isinstance(each, Standing) else None for each in found]
        self._chosen = choose(primaries, self._newest, current=self._chosen)
        if self._chosen is None:
            raise NoPrimary("; ".join(map(self._told, self._urls, found)))
        chosen = primaries[self._chosen]
        assert chosen is not None, "it was chosen"
        self._newest[chosen.system_identifier] = chosen.timeline
        return chosen

    async def _until_known(self, asked: Sequence[asyncio.Task[Standing | None]]) -> None:
        """Wait until all have answered, or for a while; for a shorter one once a primary has."""
        pending, loop = set(asked), asyncio.get_running_loop()
        until = loop.time() + _ASK_SECONDS
        while pending and loop.time() < until:
            done, pending = await asyncio.wait(
                pending, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
            for each in map(_result, done):
                if isinstance(each, Standing):
                    seen = self._newest.get(each.system_identifier, each.timeline)
                    newer = each.timeline > seen
                    until = min(
                        until, loop.time() + (_OTHERS_OF_A_NEWER_SECONDS if newer else _OTHERS_SECONDS)
                    )

    async def _ask(self, url: str) -> Standing | None:
        """Return what a host is; None for a standby."""
        connection = await _connect(
            url,
            timeout=_ASK_SECONDS,
            command_timeout=_ASK_SECONDS,
            server_settings=self._settings,
            target_session_attrs="any",
        )
        try:
            row = await connection.fetchrow(_ASK)
        finally:
            connection.terminate()
        assert row is not None, "the statement returns one row"
        if row["timeline"] is None:
            return None
        return Standing(row["system_identifier"], int(row["timeline"], 16))

    def _told(self, url: str, found: Standing | BaseException | None) -> str:
        """Return what is wrong with a host."""
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query))["host"]
        if found is None:
            return f"{host} is a standby"
        if isinstance(found, Standing):
            newest = self._newest[found.system_identifier]
            return (
                f"{host} is a primary that was replaced: its timeline is {found.timeline}, {newest} was seen"
            )
        return f"{host}: {str(found) or 'no answer'}"


async def _connect(url: str, **named: Any) -> Any:
    try:
        return await asyncpg.connect(url, **named)
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise NoPrimary("the host is a standby") from error


def _result(task: "asyncio.Task[Standing | None]") -> Standing | BaseException | None:
    if not task.done() or task.cancelled():
        return TimeoutError()
    return task.exception() or task.result()


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve an error, so that asyncio does not complain if all callers have gone."""
    if not task.cancelled():
        task.exception()
