"""Owns how many lines of one kind a caller may cause in the audit log; what is left out is counted."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)


class _Bucket:
    """Lines that may be written now, and how many were left out; times in seconds."""

    __slots__ = ("left", "left_out", "left_out_since", "stamp")

    def __init__(self, burst: float, now: float) -> None:
        self.left = burst
        self.left_out = 0
        self.left_out_since = now
        self.stamp = now

    def fill(self, now: float, per_second: float, burst: float) -> None:
        self.left = min(burst, self.left + max(now - self.stamp, 0.0) * per_second)
        self.stamp = now


class AuditLimit(Generic[_Key]):
    """A token bucket for each key, and one for all of them together."""

    def __init__(self, *, per_second: float, burst: int, all_per_second: float, all_burst: int) -> None:
        """Take how many lines a key may have, and all keys together."""
        self._rate: Final = (per_second, float(burst))
        self._all_rate: Final = (all_per_second, float(all_burst))
        self._all: _Bucket | None = None
        self._buckets: OrderedDict[_Key, _Bucket] = OrderedDict()

    def admit(self, key: _Key, now: float) -> int | None:
        """Return how many lines were left out since the key's last one; None: leave this one out too."""
        if self._all is None:
            self._all = _Bucket(self._all_rate[1], now)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._rate[1], now)
        self._buckets.move_to_end(key)
        bucket.fill(now, *self._rate)
        self._all.fill(now, *self._all_rate)
        if bucket.left < 1 or self._all.left < 1:
            if not bucket.left_out:
                bucket.left_out_since = now
            bucket.left_out += 1
            return None
        bucket.left -= 1
        self._all.left -= 1
        return _taken(bucket)

    def overdue(self, now: float, *, after_seconds: float, most_keys: int) -> Iterator[tuple[_Key, int]]:
        """Yield what was left out long enough ago, and forget it; forget the longest unused keys as well."""
        for key, bucket in list(self._buckets.items()):
            if bucket.left_out and now - bucket.left_out_since >= after_seconds:
                yield key, _taken(bucket)
        while len(self._buckets) > most_keys:
            key, bucket = self._buckets.popitem(last=False)
            if bucket.left_out:
                yield key, _taken(bucket)


def _taken(bucket: _Bucket) -> int:
    left_out, bucket.left_out = bucket.left_out, 0
    return left_out
