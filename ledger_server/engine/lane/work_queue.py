"""Owns the queue of a lane: work that is not answered yet, its order, bounds and deadlines."""

from collections import deque
from collections.abc import Sequence

from ledger_server.domain.errors import DeadlinePassed, LaneFull, Refused, StoreUnavailable
from ledger_server.engine.lane.work import Work


class WorkQueue:
    """Waiting work in order, counted in requests and bytes together with what was taken and not answered."""

    __slots__ = (
        "_byte_capacity",
        "_callers_under_way",
        "_capacity",
        "_patience",
        "_under_way",
        "_works",
        "unanswered_bytes",
        "waiting",
    )

    def __init__(self, capacity: int, patience_seconds: float, *, byte_capacity: int) -> None:
        self._capacity = capacity
        self._byte_capacity = byte_capacity
        self._patience = patience_seconds
        self._works: deque[Work] = deque()
        self._under_way = 0
        self._callers_under_way = 0
        self.waiting = 0
        """Requests that are not taken yet."""
        self.unanswered_bytes = 0
        """Bytes of the requests that wait or are under way."""

    def __bool__(self) -> bool:
        return bool(self._works)

    @property
    def unanswered(self) -> int:
        """Requests that wait or are under way."""
        return self.waiting + self._under_way

    @property
    def callers(self) -> int:
        """How many callers wait for an answer, whatever number of requests each has made."""
        return len(self._works) + self._callers_under_way

    def put(self, work: Work, tenant_id: str) -> None:
        """Append work; work larger than a bound is taken when nothing else waits.

        Raises:
            LaneFull: the queue holds as much as it may.
        """
        size = len(work.requests)
        unanswered = self.waiting + self._under_way
        if unanswered and (
            unanswered + size > self._capacity or self.unanswered_bytes + work.size > self._byte_capacity
        ):
            raise LaneFull(tenant_id=tenant_id)
        self._works.append(work)
        self.waiting += size
        self.unanswered_bytes += work.size

    def take(self, size: int, time: float, *, size_bytes: int) -> list[Work]:
        """Take work whose caller still waits: at least one, up to `size` requests and `size_bytes` bytes.

        Args:
            time: of the event loop; work whose deadline has passed is refused instead.
        """
        taken: list[Work] = []
        count = taken_bytes = 0
        while self._works:
            work = self._works[0]
            if taken and (count + len(work.requests) > size or taken_bytes + work.size > size_bytes):
                break
            self._works.popleft()
            self.waiting -= len(work.requests)
            if work.future.done():
                self.unanswered_bytes -= work.size
                continue
            if work.deadline is not None and time >= work.deadline:
                self.unanswered_bytes -= work.size
                work.fail(StoreUnavailable() if work.begun else DeadlinePassed())
                continue
            taken.append(work)
            count += len(work.requests)
            taken_bytes += work.size
        self._under_way += count
        self._callers_under_way += len(taken)
        return taken

    def put_back(self, works: Sequence[Work]) -> None:
        """Put taken work back in front, in its order."""
        self._works.extendleft(reversed(works))
        count = sum(len(work.requests) for work in works)
        self.waiting += count
        self._under_way -= count
        self._callers_under_way -= len(works)

    def answered(self, works: Sequence[Work]) -> None:
        """Note that taken work has its answer."""
        self._under_way -= sum(len(work.requests) for work in works)
        self._callers_under_way -= len(works)
        self.unanswered_bytes -= sum([work.size for work in works])

    def refuse_overdue(self, time: float) -> None:
        """Refuse work that has waited for the database too long."""
        patient: deque[Work] = deque()
        for work in self._works:
            until = work.submit_time + self._patience
            if work.deadline is not None:
                until = min(until, work.deadline)
            if time < until and not work.future.done():
                patient.append(work)
            else:
                self.waiting -= len(work.requests)
                self.unanswered_bytes -= work.size
                work.fail(StoreUnavailable())
        self._works = patient

    def refuse_all(self, refused: Refused) -> None:
        """Refuse everything that waits."""
        while self._works:
            work = self._works.popleft()
            self.waiting -= len(work.requests)
            self.unanswered_bytes -= work.size
            work.fail(refused)
