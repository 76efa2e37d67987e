"""Owns the spool of an arriving report: its bytes on the disk while they arrive, then its lines, by page.

Both files have no name, so the system frees them however the process ends. All methods block and belong in a
thread.
"""

import hashlib
import struct
import tempfile
from typing import IO, Final

import msgspec

from ledger_server.domain.reconciliation.settled import check_batch, refused_at
from ledger_server.domain.reconciliation.settlement import SettlementLine
from ledger_server.providers.settlement_reports import ReportReader
from ledger_server.store.settlement_store import SettlementBatchName

MAX_LINES: Final = 2_000_000
"""Bounded, since each line takes some 150 bytes of memory while its file is read."""
# Some 50 lines at a time: a thread that computes delays everything else in the process until it pauses.
_PIECE_BYTES: Final = 16 * 1024
_PAGE_LINES: Final = 250
_LENGTH: Final = struct.Struct("<I")
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[SettlementLine])


class Spool:
    """One report."""

    def __init__(self, reader: ReportReader) -> None:
        self.size = 0
        self.line_count = 0
        self.batches: set[SettlementBatchName] = set()
        self._reader = reader
        self._hash = hashlib.sha256()
        self._bytes: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        self._lines: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        self._page: list[SettlementLine] = []

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what has arrived."""
        return self._hash.digest()

    def close(self) -> None:
        """Free the disk."""
        self._bytes.close()
        self._lines.close()

    def add(self, chunk: bytes) -> None:
        """Keep the next bytes of the file."""
        self.size += len(chunk)
        self._hash.update(chunk)
        self._bytes.write(chunk)

    def rewind(self) -> None:
        """Go back to where the file begins."""
        self._bytes.seek(0)

    def read_on(self) -> bool:
        """Read a few lines; return False once the file has ended.

        Raises:
            ReportMalformed: the file is refused as a whole.
        """
        piece = self._bytes.read(_PIECE_BYTES)
        lines = self._reader.feed(piece) if piece else []
        for line in lines:
            check_batch(line)
            if line.batch:
                self.batches.add((line.batch, line.currency))
        self.line_count += len(lines)
        if self.line_count > MAX_LINES:
            raise refused_at(lines[-1].line_number, f"more than {MAX_LINES} lines: import a shorter time")
        self._page += lines
        if not piece:
            self._reader.finish()
        if len(self._page) >= _PAGE_LINES or not piece:
            self._write_page()
        return bool(piece)

    def rewind_lines(self) -> None:
        """Go back to the first page of lines."""
        self._lines.seek(0)

    def next_lines(self) -> list[SettlementLine]:
        """Return the next page of lines; empty behind the last one."""
        length = self._lines.read(_LENGTH.size)
        if not length:
            return []
        return _DECODER.decode(self._lines.read(_LENGTH.unpack(length)[0]))

    def _write_page(self) -> None:
        if self._page:
            data = _ENCODER.encode(self._page)
            self._lines.write(_LENGTH.pack(len(data)) + data)
            self._page = []
