"""Own the clocks of a machine that a test may set, put to sleep, or copy."""

from __future__ import annotations

from ledger_server.store.database_clock import OwnClocks, own_clocks


class Machine:
    """The real clocks of this machine, each off by as much as a test says."""

    def __init__(self, *, wall: float = 0.0) -> None:
        self._real = own_clocks()
        self.wall = wall
        self.elapsed = 0.0
        self.awake = 0.0

    @property
    def clocks(self) -> OwnClocks:
        """The clocks, as a process reads them."""
        return OwnClocks(
            lambda: self._real.wall() + self.wall,
            lambda: self._real.elapsed() + self.elapsed,
            lambda: self._real.awake() + self.awake,
        )

    def mistake(self, seconds: float) -> None:
        """Move all clocks together, as after a copy of the machine: none of them shows it."""
        self.wall += seconds
        self.elapsed += seconds
        self.awake += seconds
