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


class Use:
    """What of one quota is in use: calls and bytes under way, and until when its rate is used up."""

    __slots__ = ("calls", "kind", "name", "size", "used_until")

    def __init__(self, kind: Kind, name: str) -> None:
        self.kind: Kind = kind
        self.name = name
        self.calls = 0
        self.size = 0
        self.used_until = 0.0

    def check(self, quota: Quota, calls: int, size: int, now: float) -> None:
        """Raise the refusal of one more call, if there is no room for it."""
        if self.calls >= quota.calls_under_way:
            raise QuotaCallsUnderWay(quota=self.kind, name=self.name, limit=quota.calls_under_way)
        if self.size and self.size + size > quota.bytes_under_way:
            raise QuotaBytesUnderWay(quota=self.kind, name=self.name, limit=quota.bytes_under_way)
        if calls and quota.calls_per_second is not None and (wait := self.wait(quota, now)) > 0:
            raise QuotaRateExceeded(
                quota=self.kind, name=self.name, limit=quota.calls_per_second, retry_seconds=wait
            )

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


Counted = tuple[Use, ...]
"""Where a call that has begun is counted: with its tenant, with its caller, or with both."""


class Quotas:
    """The quotas of all tenants and callers, and what of them is in use."""

    def __init__(self, quota_of: Callable[[Kind, str], Quota], now: Callable[[], float]) -> None:
        """Take what says which quota is in force for a name, and a clock in seconds that never goes back."""
        self._quota_of = quota_of
        self._now = now
        self._uses: dict[tuple[Kind, str], Use] = {}
        # The same for those who call together, so that a call needs one look.
        self._counted: dict[tuple[str, str], Counted] = {}
        self._most = _MOST_REMEMBERED

    def begin(self, flow: tuple[str, str], *, calls: int, size: int) -> Counted:
        """Count a call that begins, and return where; `end` is due when it has ended.

        Args:
            flow: the tenant as the request has it, and the caller's identity. Where one is empty, the quota
                of the other alone counts.
            calls: for how many calls it counts in the rate; 0: its messages will count, by `wait`.
            size: of its request, in bytes.
        Raises:
            QuotaCallsUnderWay, QuotaBytesUnderWay, QuotaRateExceeded: nothing was counted.
        """
        counted = self._counted.get(flow)
        known = counted is not None
        if counted is None:
            counted = self._uses_of(*flow)
        rated = False
        for use in counted:
            quota = self._quota_of(use.kind, use.name)
            if quota.calls_per_second is not None:
                rated = True
            elif use.calls < quota.calls_under_way and use.size + size <= quota.bytes_under_way:
                continue
            use.check(quota, calls, size, self._now())
        for use in counted:
            use.calls += 1
            use.size += size
        if rated:
            self._charge(counted, calls)
        if not known:
            self._remember(flow, counted)
        return counted

    def end(self, counted: Counted, *, size: int) -> None:
        """Stop counting a call as under way."""
        for use in counted:
            use.calls -= 1
            use.size -= size

    def name_tenant(self, counted: Counted, tenant_id: str) -> Counted:
        """Count a call that was begun without a tenant as one of a tenant from here on; return where.

        Raises:
            QuotaCallsUnderWay: the tenant has no room; nothing was changed.
        """
        place: tuple[Kind, str] = ("tenant", tenant_id)
        tenant = self._use(place)
        tenant.check(self._quota_of(*place), 0, 0, self._now())
        tenant.calls += 1
        self._uses[place] = tenant
        for use in counted:
            if use.kind == "tenant":
                use.calls -= 1
        if len(self._uses) > self._most:
            self._forget(self._now())
        return (tenant, *[use for use in counted if use.kind == "caller"])

    def has_rate(self, counted: Counted) -> bool:
        """Whether any of the quotas that a call is counted in has a rate."""
        for use in counted:  # noqa: SIM110  # `any` makes a generator, for each message
            if self._quota_of(use.kind, use.name).calls_per_second is not None:
                return True
        return False

    def wait(self, counted: Counted, *, calls: int) -> float:
        """Count a message of a stream that is under way, or return how many seconds it has to wait first."""
        longest: float | None = None
        for use in counted:
            quota = self._quota_of(use.kind, use.name)
            if quota.calls_per_second is not None:
                longest = max(longest or 0.0, use.wait(quota, self._now()))
        if longest is not None and longest <= 0:
            self._charge(counted, calls)
        return longest or 0.0

    @property
    def remembered(self) -> int:
        """Of how many names something is known."""
        return len(self._uses)

    def _charge(self, counted: Counted, calls: int) -> None:
        now = self._now()
        for use in counted:
            use.charge(self._quota_of(use.kind, use.name), calls, now)

    def _use(self, place: tuple[Kind, str]) -> Use:
        return self._uses.get(place) or Use(*place)

    def _uses_of(self, tenant_id: str, caller: str) -> Counted:
        if not caller:
            return (self._use(("tenant", tenant_id)),)
        of_caller = self._use(("caller", caller))
        return (self._use(("tenant", tenant_id)), of_caller) if tenant_id else (of_caller,)

    def _remember(self, flow: tuple[str, str], counted: Counted) -> None:
        for use in counted:
            self._uses[use.kind, use.name] = use
        self._counted[flow] = counted
        if len(self._uses) > self._most or len(self._counted) > self._most:
            self._forget(self._now())

    def _forget(self, now: float) -> None:
        """Forget names that use nothing; if they are still too many, those whose calls have all ended too."""
        self._counted = {}
        self._uses = {place: use for place, use in self._uses.items() if use.calls or use.used_until > now}
        if len(self._uses) > _MOST_REMEMBERED // 2:
            self._uses = {place: use for place, use in self._uses.items() if use.calls}
        self._most = max(_MOST_REMEMBERED, 2 * len(self._uses))
