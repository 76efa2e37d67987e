"""Owns the sessions: who has signed in, kept in this process, so that each can be ended at once.

The browser has 256 random bits; the process keeps their hash alone.
"""

import hashlib
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from console.oidc.logout_token import Logout
from console.oidc.person import ProviderPerson

STREAMS_EACH: Final = 4
"""Live pages of one session; browsers open no more than six connections to a host without HTTP/2."""
_NOTES: Final = 8


@dataclass(eq=False, slots=True, kw_only=True)
class Session:
    """One person who has signed in.

    Attributes:
        password: what the file of users kept of the password then; another one ends the session.
        provider_person: who it is by the provider; None: a local user.
        csrf: in each form; nobody else's page can know it.
        begin: seconds of the store's clock, like `seen`.
        notes: what the next page says once, as (kind, word, id).
        access: by tenant the methods that the ledger lets the person call, and until when that counts.
    """

    person: str
    password: str = ""
    provider_person: ProviderPerson | None = None
    begin: float
    seen: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    notes: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=_NOTES))
    access: dict[str, tuple[frozenset[str], float]] = field(default_factory=dict)
    streams: int = 0
    ended: bool = False


class Sessions:
    """All sessions of this process."""

    def __init__(
        self, *, idle_seconds: float, session_seconds: float, most: int, now: Callable[[], float]
    ) -> None:
        """Begin with none.

        Args:
            now: seconds of a clock that never goes back.
        """
        self._idle_seconds = idle_seconds
        self._session_seconds = session_seconds
        self._most = most
        self._now = now
        # The longest unused one is the first.
        self._open: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, person: str, password: str) -> tuple[str, Session]:
        """Begin the session of a local user under an id that nobody has had; return both."""
        now = self._now()
        return self._begin(Session(person=person, password=password, begin=now, seen=now))

    def begin_by_provider(self, person: ProviderPerson) -> tuple[str, Session]:
        """Begin the session of somebody whom the provider has signed in."""
        now = self._now()
        return self._begin(Session(person=person.name, provider_person=person, begin=now, seen=now))

    def _begin(self, session: Session) -> tuple[str, Session]:
        token = secrets.token_urlsafe(32)
        while len(self._open) >= self._most:
            self._end(next(iter(self._open)))
        self._open[_digest(token)] = session
        return token, session

    def find(self, token: str, *, is_activity: bool) -> Session | None:
        """Return the session of an id unless it has ended.

        Args:
            is_activity: whether the person has done something; what a page fetches by itself is none.
        """
        digest = _digest(token)
        session = self._open.get(digest)
        if session is None:
            return None
        if not self.counts(session):
            self._end(digest)
            return None
        if is_activity:
            session.seen = self._now()
            self._open.move_to_end(digest)
        return session

    def counts(self, session: Session) -> bool:
        """Whether a session goes on."""
        now = self._now()
        return (
            not session.ended
            and now - session.seen < self._idle_seconds
            and now - session.begin < self._session_seconds
        )

    def end(self, token: str) -> None:
        """End a session, if there is one."""
        digest = _digest(token)
        if digest in self._open:
            self._end(digest)

    def end_by_provider(self, logout: Logout) -> int:
        """End the sessions that the provider has ended; return how many they were.

        A session whose id at the provider is not known here ends with its person.
        """
        ended = [
            digest
            for digest, session in self._open.items()
            if session.provider_person is not None and _is_meant(session.provider_person, logout)
        ]
        for digest in ended:
            self._end(digest)
        return len(ended)

    def __len__(self) -> int:
        return len(self._open)

    def _end(self, digest: bytes) -> None:
        self._open.pop(digest).ended = True


def _is_meant(person: ProviderPerson, logout: Logout) -> bool:
    if logout.subject and person.subject != logout.subject:
        return False
    if logout.session and person.session:
        return person.session == logout.session
    return bool(logout.subject)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
