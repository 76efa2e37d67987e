"""Owns the configuration in force: read again when its files change, or on request.

A request uses the configuration that is in force when it comes, until its end; so no request is lost between
an old and a new one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import structlog

from webhook_edge.configuration import Configuration, ConfigurationError
from webhook_edge.metrics import Metrics

log = structlog.get_logger()

_Marks: TypeAlias = tuple[tuple[int, int, int] | None, ...]


class LiveConfiguration:
    """The configuration in force; a broken new one leaves the old one in force."""

    def __init__(self, read: Callable[[], Configuration], metrics: Metrics) -> None:
        """Read the configuration for the first time.

        Raises:
            ConfigurationError: there is no old one to keep.
        """
        self._read = read
        self._metrics = metrics
        self._asked = asyncio.Event()
        self._problem = ""
        self.current = read()
        self._expect()
        self._marks = _marks(self.current.files)

    def reload(self) -> None:
        """Ask for a reload soon, whether or not a file has changed; safe in a signal handler."""
        self._asked.set()

    @asynccontextmanager
    async def watched(self, seconds: float) -> AsyncIterator[None]:
        """Look at the files every so often while the context lasts."""
        watching = asyncio.create_task(self._watch(seconds))
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _watch(self, seconds: float) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), seconds)
            marks = await asyncio.to_thread(_marks, self.current.files)
            # The fault may be mended in a file that is not known yet, so a failed read is tried again.
            if self._asked.is_set() or self._problem or marks != self._marks:
                self._asked.clear()
                # Noted before reading, so that a change meanwhile is seen by the next look.
                self._marks = marks
                await self._replace()

    async def _replace(self) -> None:
        try:
            configuration = await asyncio.to_thread(self._read)
        except ConfigurationError as error:
            self._keep(str(error))
            return
        except Exception as error:  # noqa: BLE001  # nothing in a file may end the watch
            self._keep(type(error).__name__)
            return
        self._problem = ""
        if configuration.files != self.current.files:
            self._marks = await asyncio.to_thread(_marks, configuration.files)
        self.current = configuration
        self._expect()
        self._metrics.count_reload(succeeded=True)
        log.info("configuration read", endpoints=sorted(configuration.endpoints))

    def _expect(self) -> None:
        self._metrics.expect(configured.endpoint for configured in self.current.endpoints.values())

    def _keep(self, problem: str) -> None:
        """Log once for each problem that the old configuration stays in force."""
        if problem != self._problem:
            log.error("configuration not read; the old one stays in force", problem=problem)
            self._metrics.count_reload(succeeded=False)
        self._problem = problem


def _marks(files: Iterable[Path]) -> _Marks:
    """Return marks that differ once a file was changed or replaced, also behind a symbolic link."""
    return tuple(_mark(file) for file in files)


def _mark(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
