"""Own the shape of a scene."""

from __future__ import annotations

from typing import Protocol

from tests.console.house import House


class Scene(Protocol):
    """A module of this package."""

    __name__: str

    @property
    def PAGES(self) -> tuple[str, ...]:  # noqa: N802  # as modules write constants
        """The addresses that it covers."""

    @property
    def HOSTILE(self) -> tuple[str, ...]:  # noqa: N802  # as modules write constants
        """Addresses to open on a ledger that says one text everywhere."""

    async def make(self, house: House, /) -> list[str]:
        """Put something on show, and return addresses to open."""
