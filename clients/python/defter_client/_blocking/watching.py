# Generated from _async/watching.py by `make gen`: do not edit.
"""Own the watch: the journal from a place on, without end, whatever becomes of connections and servers."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Self

from defter.ledger.v1 import journal_pb2

from defter_client import threads as io
from defter_client._blocking.calls import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Caller
from defter_client._blocking.connections import Connection
from defter_client.checkpoint import Checkpoint
from defter_client.errors import AccessDenied, InvalidRequest, LedgerError, RetryLater
from defter_client.failures import ledger_error
from defter_retrying.backoff import pause_seconds

_PATH: Final = "/defter.ledger.v1.JournalService/WatchJournal"
_HEARTBEATS_MISSED: Final = 2.5
"""After so many a stream on which nothing comes is given up."""
_FOR_EVER: Final = float("inf")
_ENDS: Final = frozenset({"TENANT_NOT_FOUND", "NOT_YET_RECORDED"})
"""Answers, beside a wrong request and a caller who may not, that no later try changes."""


class Watch:
    """The records of a journal, each once and in order.

    Iterate over it, and store `checkpoint` with what you do.

    Attributes:
        checkpoint: the last record that was delivered.
    """

    def __init__(
        self,
        caller: Caller,
        tenant_id: str,
        checkpoint: Checkpoint,
        *,
        verify: bool,
        heartbeat_seconds: int,
        on_break: Callable[[Exception], None] | None,
    ) -> None:
        """Read nothing yet; see `BlockingLedgerClient.watch`."""
        self.checkpoint = checkpoint
        self._caller = caller
        self._tenant_id = tenant_id
        self._verify = verify
        self._heartbeat_seconds = heartbeat_seconds
        self._on_break = on_break
        self._ready: deque[journal_pb2.JournalEntry] = deque()
        self._call: Any = None
        self._connection: Connection | None = None
        self._failures = 0
        self._is_closed = False
        self._closings = caller.connections.closings

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> journal_pb2.JournalEntry:
        """Return the next record, as soon as there is one; `record` is what its hashed bytes say.

        Raises:
            JournalBroken: a record is missing, or its bytes are not those that were hashed.
            LedgerError: there is no such tenant, its journal has no such place, or the caller may not.
        """
        while not self._ready:
            if self._has_ended():
                raise StopIteration
            self._receive()
        entry = self._ready[0]
        self.checkpoint = self.checkpoint.after(entry, verify=self._verify)
        self._ready.popleft()
        entry.record.ParseFromString(entry.record_bytes)
        return entry

    def close(self) -> None:
        """End it, also for whoever waits for a record in another thread or task."""
        self._is_closed = True
        if self._call is not None:
            self._call.cancel()

    def _has_ended(self) -> bool:
        """Whether it was closed, or its client was."""
        return self._is_closed or self._closings != self._caller.connections.closings

    def _receive(self) -> None:
        """Take in the next message, or find another way to the server."""
        if self._call is None:
            self._begin()
        try:
            message = io.read(self._call, self._heartbeat_seconds * _HEARTBEATS_MISSED)
        except io.Silent as error:
            self._broken(error, None)
        except io.RpcError as error:
            failure = ledger_error(error)
            if _ends(failure):
                raise failure from None
            self._broken(failure, failure.retry_delay_seconds)
        else:
            if message is None:
                self._broken(io.Silent("the server has ended the stream"), None)
                return
            self._failures = 0
            self._ready.extend(message.entries)

    def _begin(self) -> None:
        self._connection = self._caller.connections.next()
        request = journal_pb2.WatchJournalRequest(
            tenant_id=self._tenant_id,
            after_sequence=self.checkpoint.sequence,
            heartbeat_seconds=self._heartbeat_seconds,
            bytes_only=True,  # which the client decodes: so what is read is what was hashed
        )
        watch = self._connection.server_stream(_PATH, journal_pb2.WatchJournalResponse)
        self._call = watch(self._caller.completed(request))

    def _broken(self, error: Exception, asked_seconds: float | None) -> None:
        self._call = None
        if self._has_ended():
            return
        self._failures += 1
        if self._connection is not None:
            self._connection.rest()
        if self._on_break is not None:
            self._on_break(error)
        pause = pause_seconds(
            failures=self._failures,
            asked_seconds=asked_seconds,
            left_seconds=_FOR_EVER,
            first_seconds=FIRST_PAUSE_SECONDS,
            longest_seconds=LONGEST_PAUSE_SECONDS,
            uniform=random.uniform,
        )
        io.sleep(pause or 0.0)


def _ends(failure: LedgerError) -> bool:
    if failure.reason in _ENDS:
        return True
    return isinstance(failure, AccessDenied | InvalidRequest) and not isinstance(failure, RetryLater)
