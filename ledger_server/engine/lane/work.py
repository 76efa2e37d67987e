"""Owns the work that passes between an RPC and a lane: requests, and their outcomes."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from defter_tracing import Place
from ledger_server.domain.errors import Refused
from ledger_server.domain.state.commands import Command, NamedCaller, RequestKey
from ledger_server.domain.state.facts import FactKind
from ledger_server.store.ledger_rows import JournalRow

REJECTED: Final = FactKind.REQUEST_REJECTED

INTERNAL_BYTES: Final = 1024
"""What a command of the ledger itself counts as; such a command carries no long texts of callers."""


# A key, a digest and the objects around them.
_FRAME_BYTES: Final = 512


class Request(Struct, frozen=True, gc=False):
    """One command with its idempotency key and the digest of its body; both None for internal work.

    `size` is in bytes, of the serialized message that asked for it.
    """

    command: Command
    key: RequestKey | None = None
    digest: bytes | None = None
    size: int = INTERNAL_BYTES


class Outcome(Struct, frozen=True):  # garbage-collected, since a raised refusal may refer back to its outcome
    """What became of a request.

    With a `kind`, a record was decided for it, REQUEST_REJECTED among them, and `content` holds the
    serialized message of the record's fact. Without one, `refused` says why nothing was decided;
    internal work may have neither.
    """

    kind: FactKind | None
    content: bytes = b""
    sequence: int = 0
    replayed: bool = False
    refused: Refused | None = None

    @property
    def rejected(self) -> bool:
        """Whether the request was refused, recorded or not."""
        return self.kind is REJECTED or self.refused is not None


class Work:
    """Requests that are decided in one batch, in order: independently, or all or none (`atomic`).

    `deadline` is in the event loop's time; None waits as long as the lane's patience. `caller` is None for
    what the ledger asks of itself, and on a server without identities.
    """

    __slots__ = (
        "atomic",
        "begin_ns",
        "begun",
        "caller",
        "deadline",
        "future",
        "outcomes",
        "place",
        "requests",
        "rows",
        "size",
        "submit_time",
    )

    def __init__(
        self,
        requests: Sequence[Request],
        *,
        atomic: bool,
        deadline: float | None,
        future: "asyncio.Future[list[Outcome]]",
        submit_time: float,
        place: Place | None = None,
        caller: NamedCaller | None = None,
    ) -> None:
        self.requests = requests
        self.caller = caller
        # In bytes; the overhead of a request beside its message counts as a constant.
        self.size = sum([request.size for request in requests]) + _FRAME_BYTES * len(requests)
        self.atomic = atomic
        self.deadline = deadline
        self.future = future
        self.submit_time = submit_time
        self.outcomes: list[Outcome] = []
        # Of a traced call: its place in the trace, when it came, and what was written for it.
        self.place = place
        self.begin_ns = 0 if place is None else time.time_ns()
        self.rows: Sequence[JournalRow] = ()
        # Whether a database transaction was tried: then a lost answer leaves the outcome unknown.
        self.begun = False

    def finish(self) -> None:
        """Hand the outcomes to whoever still waits."""
        if not self.future.done():
            self.future.set_result(self.outcomes)

    def fail(self, refused: Refused) -> None:
        """Tell whoever still waits that nothing was decided, or that the outcome is unknown."""
        if not self.future.done():
            self.future.set_exception(refused)
