"""Owns the writing of the audit log, by a thread of its own: no call ever waits for a disk.

If lines can't be written, calls go on: a full disk must not keep players from their money. The lines wait in
memory; those without room there are lost, and counted: in a metric, and in the audit log once it can be
written again.
"""

import asyncio
import contextlib
import json
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import Counter

from ledger_server.rpc.audit import Audit
from ledger_server.rpc.guard import wall_clock

log = structlog.get_logger()

MOST_WAITING: Final = 10_000
"""Lines that wait to be written, of some 300 bytes each."""

_LINES: Final = Counter(
    "defter_audit_lines_total", "Lines of the audit log by what became of them", ["outcome"]
)
for _outcome in ("written", "lost"):
    _LINES.labels(outcome=_outcome)
_AGAIN_SECONDS: Final = 1.0
_TELL_SECONDS: Final = 1.0
_PARTING_SECONDS: Final = 5.0
_MOST_AT_ONCE: Final = 200
_MODE: Final = 0o600
_STANDARD_ERROR: Final = 2


class AuditLog:
    """The audit log of a server."""

    def __init__(self, file: Path | None) -> None:
        """Try the file; None: lines go where the other log lines go.

        Raises:
            ValueError: it can't be opened.
        """
        self.audit: Final = Audit(self.write, wall_clock)
        self._file = file
        self._descriptor = -1
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self._problem = ""
        self._ending = False
        self._room = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="audit log", daemon=True)
        self._telling: asyncio.Task[None] | None = None
        try:
            self._open()
            self._close()  # until the first line
        except OSError as error:
            raise ValueError(f"DEFTER_AUDIT_LOG_FILE: {file}: {error.strerror}") from None

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()
        self._telling = asyncio.create_task(self._tell())

    async def stop(self) -> None:
        """Write what waits, for a moment at most, and close the file."""
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling
            self._telling = None
            self.audit.tell_left_out(after_seconds=0)
        with self._room:
            self._ending = True
            self._room.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, _PARTING_SECONDS)

    def write(self, line: bytes) -> None:
        """Have a line written; if too many wait, it is lost."""
        with self._room:
            if len(self._waiting) >= MOST_WAITING:
                self._lost += 1
                _LINES.labels(outcome="lost").inc()
                return
            self._waiting.append(line)
            self._room.notify()

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            self.audit.tell_left_out()

    def _work(self) -> None:
        while True:
            with self._room:
                while not self._waiting and not self._lost and not self._ending:
                    self._room.wait()
                lines = [self._waiting[place] for place in range(min(len(self._waiting), _MOST_AT_ONCE))]
                lost, ending = self._lost, self._ending
            if not lines and not lost:
                self._close()
                return
            try:
                self._put(lines, lost)
            except OSError as error:
                self._say(str(error))
                if ending:
                    self._close()
                    return
                time.sleep(_AGAIN_SECONDS)  # this thread does nothing else
            else:
                self._say("")
                with self._room:
                    self._lost -= lost

    def _put(self, lines: list[bytes], lost: int) -> None:
        """Write lines, each of which is taken from those that wait once it stands in the file whole."""
        self._open()
        for line in lines:
            self._put_line(line)
            with self._room:
                self._waiting.popleft()
            _LINES.labels(outcome="written").inc()
        if lost:
            self._put_line(
                json.dumps({"logger": "audit", "event": "lost", "left_out": lost}).encode() + b"\n"
            )

    def _put_line(self, line: bytes) -> None:
        written = os.write(self._descriptor, line)
        if written < len(line):
            # The disk is full: a line that ends early is no line, and the whole one follows later.
            with contextlib.suppress(OSError):
                os.write(self._descriptor, b"\n")
            raise OSError("only a part of a line was written")

    def _open(self) -> None:
        """Open the file, anew if it was renamed, removed or replaced meanwhile."""
        if self._file is None:
            self._descriptor = _STANDARD_ERROR
            return
        if self._descriptor >= 0:
            with contextlib.suppress(FileNotFoundError):
                there, ours = self._file.stat(), os.fstat(self._descriptor)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return
            self._close()
        # Whoever opens a pipe that nobody reads would wait for ever.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._descriptor = os.open(self._file, flags, _MODE)

    def _close(self) -> None:
        if self._file is not None and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _say(self, problem: str) -> None:
        """Say once in the other log what is wrong, and that it is over."""
        if problem and problem != self._problem:
            log.error("the audit log can't be written; its lines wait", file=str(self._file), problem=problem)
        elif self._problem and not problem:
            log.info("the audit log is written again", file=str(self._file))
        self._problem = problem
