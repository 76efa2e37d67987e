"""Own what is on show on each page: a scene makes it, and says which pages it covers.

A scene is a module with

- `PAGES`: the addresses that it covers, as `console.app.PAGES` has them;
- `HOSTILE`: addresses to open on a ledger that says one text everywhere; `{}` is that text;
- `make(house)`: puts something on show, and returns addresses to open.
"""

from __future__ import annotations

from tests.console.house import House
from tests.console.scenes import (
    adjustments,
    beginning,
    books,
    deposits,
    findings,
    players,
    provider_events,
    providers,
    records,
    runs,
    settlement,
    withdrawals,
)
from tests.console.scenes.shape import Scene

SCENES: tuple[Scene, ...] = (
    beginning,
    adjustments,
    withdrawals,
    findings,
    deposits,
    provider_events,
    providers,
    settlement,
    runs,
    records,
    players,
    books,
)

__all__ = ["SCENES", "House", "Scene"]
