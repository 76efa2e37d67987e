"""Own the proofs that tests give to adapters."""

from __future__ import annotations

from ledger_server.providers.sending import Unproven


class Proven:
    """A proof that lets everything leave, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked_count = 0

    async def ask(self) -> None:
        """Say that it may."""
        self.asked_count += 1

    def check(self) -> None:
        """Say that it still may."""


class Disproven:
    """A proof that fails, at once or from a chosen write on.

    Args:
        after_writes: how many writes of the request pass before the proof is invalid; None: it is refused as
            soon as it is asked for.
    """

    def __init__(self, after_writes: int | None = None) -> None:
        self._left = after_writes

    async def ask(self) -> None:
        """Refuse, unless the proof is to fail only later."""
        if self._left is None:
            raise Unproven("it is another's")

    def check(self) -> None:
        """Refuse once the writes are used up."""
        if not self._left:
            raise Unproven("the process stood still")
        self._left -= 1


PROVEN = Proven()
