# Generated from _async/transactions.py by `make gen`: do not edit.
"""Own the stream of transactions: what is without a result after a break is sent again."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from defter.ledger.v1 import posting_pb2

from defter_client import threads as io
from defter_client._blocking.calls import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Caller
from defter_client.errors import LedgerError
from defter_client.failures import broken, ledger_error
from defter_client.keys import new_key
from defter_retrying.backoff import pause_seconds
from defter_retrying.calls import may_come_again

_PATH: Final = "/defter.ledger.v1.PostingService/StreamTransactions"
_MOST_ITEMS: Final = 100
"""Of one message; the server takes 1,000 of up to 4 MiB."""
_MOST_WITHOUT_RESULT: Final = 1_000
_LONGEST_KEY: Final = 255
_LOST: Final = "the server gives no results any more"


class Attempt:
    """One call of the stream: how many of the items without a result were sent on it."""

    def __init__(self) -> None:
        self.sent_count = 0


class TransactionStream:
    """Sends items as they come, and yields a result for each, in their order."""

    def __init__(self, caller: Caller, tenant_id: str, items: Any, seconds: float) -> None:
        """Send nothing yet.

        Args:
            items: `PostTransactionItem`; those without a key get one.
            seconds: for how long nothing may come through, in all tries, before the stream fails.
        """
        self._caller = caller
        self._tenant_id = tenant_id
        self._source = io.chunks(items, _MOST_ITEMS)
        self._seconds = seconds
        self._waiting: deque[posting_pb2.PostTransactionItem] = deque()
        self._state = io.Condition()
        self._pulling = io.Work()
        self._attempt = Attempt()
        self._is_pulling = False
        self._is_over = False
        self._source_error: Exception | None = None

    def results(self) -> Iterator[posting_pb2.PostTransactionResult]:
        """Yield the results; whoever stops reading takes no further item from the source.

        See `_results` for what it raises.
        """
        try:
            for result in self._results():
                yield result
        except LedgerError as error:
            error.keys = tuple(item.idempotency_key for item in self._waiting)
            error.outcome_unknown = error.outcome_unknown and bool(self._waiting)
            raise
        finally:
            self._pulling.stop()

    def _results(self) -> Iterator[posting_pb2.PostTransactionResult]:
        """Yield the results.

        Raises:
            LedgerError: the stream was refused, or nothing came through for too long. What has no result may
                have taken effect: send it again with the same keys.
        """
        failures = 0
        closings = self._caller.connections.closings
        deadline: float | None = None  # of the tries; a reader may take all the time between two results
        while True:
            connection = self._caller.connections.next()
            attempt = self._begin()
            call = connection.both_streams(_PATH, posting_pb2.StreamTransactionsResponse)(
                self._requests(attempt)
            )
            try:
                while (message := io.read(call, self._seconds)) is not None:
                    failures, deadline = 0, None
                    for result in message.results:
                        self._done(result)
                        yield result
                failure: Any = None
                if self._is_over and not self._waiting:
                    break
            except io.Silent:
                failure = None
                # Where nothing waited there was nothing to answer; else the time is up.
                deadline = io.now() if self._waiting else None
            except io.RpcError as error:
                failure = error
            finally:
                call.cancel()
                self._begin()  # so that what sends on this call ends
            if failure is not None and not may_come_again(failure):
                raise ledger_error(failure, was_unknown=bool(self._waiting)) from None
            connection.rest()
            failures += 1
            deadline = io.now() + self._seconds if deadline is None else deadline
            pause = pause_seconds(
                failures=failures,
                asked_seconds=None,
                left_seconds=deadline - io.now(),
                first_seconds=FIRST_PAUSE_SECONDS,
                longest_seconds=LONGEST_PAUSE_SECONDS,
                uniform=random.uniform,
            )
            if pause is not None:
                io.sleep(pause)
            if pause is None or closings != self._caller.connections.closings:
                raise broken(_LOST) if failure is None else ledger_error(failure, was_unknown=True)
        if self._source_error is not None:
            raise self._source_error

    def _begin(self) -> Attempt:
        with self._state:
            self._attempt = Attempt()
            self._state.notify_all()
            return self._attempt

    def _done(self, result: posting_pb2.PostTransactionResult) -> None:
        """Forget the oldest item: it has its result.

        Raises:
            LedgerError: the result is another item's, so nobody knows any more what has become of which.
        """
        with self._state:
            if not self._waiting or _told(self._waiting[0].idempotency_key) != result.idempotency_key:
                raise broken(f"a result came of {result.idempotency_key!r}, which is not the next item")
            self._waiting.popleft()
            self._attempt.sent_count -= 1
            self._state.notify_all()

    def _requests(self, attempt: Attempt) -> Iterator[posting_pb2.StreamTransactionsRequest]:
        """Yield what is to be sent on one call: first what has no result yet."""
        while True:
            with self._state:
                self._state.wait_for(lambda: self._may_go_on(attempt))
                if attempt is not self._attempt:
                    return
                items = list(islice(self._waiting, attempt.sent_count, attempt.sent_count + _MOST_ITEMS))
                attempt.sent_count += len(items)
                if not items:
                    if self._is_over:
                        return
                    self._is_pulling = True
            if items:
                yield self._caller.completed(
                    posting_pb2.StreamTransactionsRequest(tenant_id=self._tenant_id, items=items)
                )
            else:
                self._pulling.done(self._pull())

    def _may_go_on(self, attempt: Attempt) -> bool:
        if attempt is not self._attempt or attempt.sent_count < len(self._waiting) or self._is_over:
            return True
        return not self._is_pulling and len(self._waiting) < _MOST_WITHOUT_RESULT

    def _pull(self) -> bool:
        """Take what is next of the source and keep it, whatever becomes of the call; return if it is over."""
        items: list[posting_pb2.PostTransactionItem] = []
        try:
            items = [_with_key(item) for item in self._source.__next__()]
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001  # the caller's own, raised where results are read
            self._source_error = error
        with self._state:
            self._is_pulling = False
            self._is_over = not items
            self._waiting.extend(items)
            self._state.notify_all()
        return self._is_over


def _told(key: str) -> str:
    """Return how a result names an item: of a key that is too long it has the beginning."""
    return key[:_LONGEST_KEY]


def _with_key(item: posting_pb2.PostTransactionItem) -> posting_pb2.PostTransactionItem:
    kept = posting_pb2.PostTransactionItem()
    kept.CopyFrom(item)  # the caller may use the message again, and it may have to be sent again
    kept.idempotency_key = kept.idempotency_key or new_key()
    return kept
