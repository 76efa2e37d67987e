"""Own the connections to the database, so that a simulated loop knows whether one is at work."""

from __future__ import annotations

import contextlib
import socket
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.simulation.border.loop import Body

# ReadyForQuery: the type, the length, and whether a database transaction is open.
_READY: Final = b"Z\x00\x00\x00\x05"
_READY_SIZE: Final = 6
_FLUSH: Final = b"H\x00\x00\x00\x04"
# RowDescription, NoData, ErrorResponse.
_DESCRIBED: Final = b"TnE"
_IDLE: Final = ord("I")


class DatabaseWire(_SelectorSocketTransport):  # type: ignore[misc]  # CPython's own
    """A connection on which PostgreSQL's protocol is spoken.

    Attributes:
        busy: whether the database still owes an answer.
        forsaken: whether the process stands still, so that the database ends open transactions.
        waits: whether the database waits for its client: within a database transaction, or for rows.
    """

    owner: Body | None = None
    busy = False
    forsaken = False
    waits = False
    _tail = b""
    _flushed: bytes | None = None

    def write(self, data: Any) -> None:
        """Send; from here on the database owes an answer."""
        if self.owner is not None and self.owner.dead:
            return
        self.busy = True
        self.waits = False
        self._flushed = b"" if bytes(data[-len(_FLUSH) :]) == _FLUSH else None
        super().write(data)

    def writelines(self, list_of_data: Any) -> None:
        """Send several pieces."""
        self.write(b"".join(bytes(piece) for piece in list_of_data))

    def forsake(self) -> None:
        """Apply the database's time-outs for a client that stands still within a database transaction."""
        self.forsaken = True
        if self.waits:
            self.cut()

    def close(self) -> None:
        """Close."""
        self._ended()
        super().close()

    def abort(self) -> None:
        """Close at once."""
        self._ended()
        super().abort()

    def _force_close(self, exc: Any) -> None:
        self._ended()
        super()._force_close(exc)

    def _ended(self) -> None:
        self.busy = False
        if self._loop is not None:  # after it was closed, nobody has it
            self._loop.forget_wire(self)
        if self.owner is not None:
            self.owner.wires.discard(self)

    def cut(self) -> None:
        """Let the other end be gone."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _read_ready__data_received(self) -> None:
        if self._conn_lost:
            return
        try:
            data = self._sock.recv(self.max_size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fatal_error(error, "reading from the database failed")
            return
        if not data:
            self.busy = False
            self._read_ready__on_eof()
            return
        tail = (self._tail + data)[-_READY_SIZE:]
        self._tail = tail
        if tail[:-1] == _READY:
            self.busy = False
            self.waits = tail[-1] != _IDLE
        elif _asks_for_rows(data):
            self.waits = True
        elif self._flushed is not None:
            self._flushed += data
            # A statement was described; the database does nothing until the client goes on.
            self.busy = not _ends_with_description(self._flushed)
        if self.forsaken and self.waits:
            self.cut()
        self._protocol.data_received(data)


def _asks_for_rows(data: bytes) -> bool:
    """Return whether a piece of the protocol ends with CopyInResponse."""
    start = data.rfind(b"G\x00\x00")
    return start >= 0 and start + 1 + int.from_bytes(data[start + 1 : start + 5], "big") == len(data)


def _ends_with_description(data: bytes) -> bool:
    """Return whether whole messages end with what a statement returns."""
    position, last = 0, 0
    while position + 5 <= len(data):
        last = data[position]
        position += 1 + int.from_bytes(data[position + 1 : position + 5], "big")
    return position == len(data) and last in _DESCRIBED
