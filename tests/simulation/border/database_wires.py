"""Own the connections to the database, as far as a simulated loop must know whether one is at work."""

from __future__ import annotations

import contextlib
import socket
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.simulation.border.loop import Body

# ReadyForQuery: the type, its length, and whether a database transaction is open.
_READY: Final = b"Z\x00\x00\x00\x05"
_READY_SIZE: Final = 6
_IDLE: Final = ord("I")


class DatabaseWire(_SelectorSocketTransport):  # type: ignore[misc]  # CPython's own
    """A connection on which PostgreSQL's protocol is spoken.

    Attributes:
        busy: whether the database still owes an answer.
        forsaken: whether its process stands still, so that the database ends what is left open.
    """

    owner: Body | None = None
    busy = False
    forsaken = False
    in_transaction = False
    _tail = b""

    def write(self, data: Any) -> None:
        """Send; from here on an answer is owed."""
        if self.owner is not None and self.owner.dead:
            return
        self.busy = True
        super().write(data)

    def writelines(self, list_of_data: Any) -> None:
        """Send several pieces."""
        self.write(b"".join(bytes(piece) for piece in list_of_data))

    def forsake(self) -> None:
        """Do what the database's time-outs do to a client that stands still within a transaction."""
        self.forsaken = True
        if self.in_transaction and not self.busy:
            self._cut()

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

    def _cut(self) -> None:
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
            self.in_transaction = tail[-1] != _IDLE
            if self.forsaken and self.in_transaction:
                self._cut()
        self._protocol.data_received(data)
