"""Owns the quotas of tenants and callers: how often they may call, and how much of them may be under way.

The clock is handed in, and nothing here waits: who asks is told how long the wait would be.
"""

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

from ledger_server.domain.errors import QuotaBytesUnderWay, QuotaCallsUnderWay, QuotaRateExceeded

Kind = Literal["tenant", "caller"]

BURST_SECONDS: Final = 1.0
"""So many seconds' worth of calls may come at once, and always one."""

MOST_SECONDS: Final = 60.0
"""Nobody waits longer than this for what was used before, whatever the rate is and was."""

_ROUNDING_SECONDS: Final = 1e-6

# Names come from callers, so only so many without a call under way are remembered. A quota that is forgotten
# is a fresh one.
_MOST_REMEMBERED: Final = 8_192


class Quota(Struct, frozen=True, kw_only=True):
    """What one tenant, or one caller, may do.

    Attributes:
        calls_per_second: each item of a batch counts; None: as many as there are.
        calls_under_way: calls that have begun and not ended, open streams included.
        bytes_under_way: of their requests; one that is larger begins when there is no other.
    """

    calls_per_second: float | None
    calls_under_way: int
    bytes_under_way: int


class _Use:
    """What of a quota is in use: calls and bytes under way, and until when its rate is used up."""

    __slots__ = ("calls", "size", "used_until")

    def __init__(self) -> None:
        self.calls = 0
        self.size = 0
        self.used_until = 0.0

    def check(self, quota: Quota, place: tuple[Kind, str], calls: int, size: int, now: float) -> None:
        if self.calls >= quota.calls_under_way:
            raise QuotaCallsUnderWay(quota=place[0], name=place[1], limit=quota.calls_under_way)
        if self.size and self.size + size > quota.bytes_under_way:
            raise QuotaBytesUnderWay(quota=place[0], name=place[1], limit=quota.bytes_under_way)
        if calls and quota.calls_per_second is not None and (wait := self.wait(quota, now)) > 0:
            raise QuotaRateExceeded(
                quota=place[0], name=place[1], limit=quota.calls_per_second, retry_seconds=wait
            )

    def begin(self, quota: Quota, calls: int, size: int, now: float) -> None:
        self.charge(quota, calls, now)
        self.calls += 1
        self.size += size

    def wait(self, quota: Quota, now: float) -> float:
        """Return for how many seconds there is no room for one more call."""
        if quota.calls_per_second is None:
            return 0.0
        one = 1 / quota.calls_per_second
        seconds = max(self.used_until, now) + one - now - max(BURST_SECONDS, one)
        return seconds if seconds > _ROUNDING_SECONDS else 0.0

    def charge(self, quota: Quota, calls: int, now: float) -> None:
        """Count calls; those of one batch count whole, so a large one makes the next wait longer."""
        if quota.calls_per_second is not None:
            used_until = max(self.used_until, now) + calls / quota.calls_per_second
            self.used_until = min(used_until, max(self.used_until, now + MOST_SECONDS))


class Quotas:
    """The quotas of all tenants and callers, and what of them is in use."""

    def __init__(self, quota_of: Callable[[Kind, str], Quota], now: Callable[[], float]) -> None:
        """Take what says which quota is in force for a name, and a clock in seconds that never goes back."""
        self._quota_of = quota_of
        self._now = now
        self._uses: dict[tuple[Kind, str], _Use] = {}
        self._most = _MOST_REMEMBERED

    def begin(self, tenant_id: str, caller: str, *, calls: int, size: int) -> None:
        """Count a call that begins; `end` is due when it has ended.

        Args:
            tenant_id: as the request has it; empty where it has none, then the caller's quota alone counts.
            caller: an identity; empty where nobody knows, then the tenant's quota alone counts.
            calls: for how many calls it counts in the rate; 0: its messages will count, by `wait`.
            size: of its request, in bytes.
        Raises:
            QuotaCallsUnderWay, QuotaBytesUnderWay, QuotaRateExceeded: nothing was counted.
        """
        now = self._now()
        tenant: tuple[Kind, str] | None = ("tenant", tenant_id) if tenant_id or not caller else None
        if tenant is None:
            self._begin_one(("caller", caller), calls, size, now)
        else:
            use, quota = self._use(tenant), self._quota_of(*tenant)
            use.check(quota, tenant, calls, size, now)
            if caller:
                self._begin_one(("caller", caller), calls, size, now)
            use.begin(quota, calls, size, now)
            self._uses[tenant] = use
        if len(self._uses) > self._most:
            self._forget(now)

    def _begin_one(self, place: tuple[Kind, str], calls: int, size: int, now: float) -> None:
        use, quota = self._use(place), self._quota_of(*place)
        use.check(quota, place, calls, size, now)
        use.begin(quota, calls, size, now)
        self._uses[place] = use

    def end(self, tenant_id: str, caller: str, *, size: int) -> None:
        """Stop counting a call as under way."""
        for place in self._places(tenant_id, caller):
            use = self._uses[place]
            use.calls -= 1
            use.size -= size

    def name_tenant(self, tenant_id: str, caller: str) -> None:
        """Count a call that was begun without a tenant as one of a tenant from here on.

        Raises:
            QuotaCallsUnderWay: the tenant has no room; nothing was changed.
        """
        place: tuple[Kind, str] = ("tenant", tenant_id)
        use, quota = self._use(place), self._quota_of(*place)
        use.check(quota, place, 0, 0, self._now())
        use.calls += 1
        self._uses[place] = use
        if not caller:
            self._uses["tenant", ""].calls -= 1

    def wait(self, tenant_id: str, caller: str, *, calls: int) -> float:
        """Count a message of a stream that is under way, or return how many seconds it has to wait first."""
        now = self._now()
        found = [(self._uses[place], self._quota_of(*place)) for place in self._places(tenant_id, caller)]
        longest = max(use.wait(quota, now) for use, quota in found)
        if longest > 0:
            return longest
        for use, quota in found:
            use.charge(quota, calls, now)
        return 0.0

    @property
    def remembered(self) -> int:
        """Of how many names something is known."""
        return len(self._uses)

    def _use(self, place: tuple[Kind, str]) -> _Use:
        return self._uses.get(place) or _Use()

    @staticmethod
    def _places(tenant_id: str, caller: str) -> tuple[tuple[Kind, str], ...]:
        if not caller:
            return (("tenant", tenant_id),)
        return (("tenant", tenant_id), ("caller", caller)) if tenant_id else (("caller", caller),)

    def _forget(self, now: float) -> None:
        """Forget names that use nothing; if they are still too many, those whose calls have all ended too."""
        self._uses = {place: use for place, use in self._uses.items() if use.calls or use.used_until > now}
        if len(self._uses) > _MOST_REMEMBERED // 2:
            self._uses = {place: use for place, use in self._uses.items() if use.calls}
        self._most = max(_MOST_REMEMBERED, 2 * len(self._uses))
