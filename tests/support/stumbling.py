"""Own a ledger that refuses its first requests, as a busy lane, a database or a clock may."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ledger_server.domain.errors import (
    ClockAstray,
    DeadlinePassed,
    Internal,
    LaneFull,
    ShuttingDown,
    StoreUnavailable,
)
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.ledger import Ledger

TRANSIENT: dict[str, Exception] = {
    "lane full": LaneFull(),
    "deadline passed": DeadlinePassed(),
    "store unavailable": StoreUnavailable(),
    "shutting down": ShuttingDown(),
    "clock astray": ClockAstray(),
    "internal": Internal(),
    "time-out": TimeoutError(),
    "connection reset": ConnectionResetError(),
    "unexpected": ValueError("nobody thought of it"),
}


class Stumbling(Ledger):
    """A ledger that refuses some requests and then decides the rest; each answer can be waited for."""

    refusals: int = 0
    error: Exception = TimeoutError()
    singly: bool = False
    """Whether each request is refused by itself, and not the whole call."""

    async def submit(
        self,
        tenant_id: str,
        requests: Sequence[Request],
        *,
        atomic: bool = False,
        deadline: float | None = None,
        caller: NamedCaller | None = None,
    ) -> list[Outcome]:
        """Refuse, or decide."""
        if self.refusals:
            self.refusals -= 1
            await asyncio.sleep(0)
            if self.singly:
                return [Outcome(None, refused=Internal()) for _ in requests]
            raise self.error
        return await super().submit(tenant_id, requests, atomic=atomic, deadline=deadline, caller=caller)
