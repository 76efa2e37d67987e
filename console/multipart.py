"""Owns the reading of a form with a file: fields first, one file behind them, all within bounds.

It takes what browsers send and nothing else: no text around the parts, no part within a part, no second file.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

_BOUNDARY: Final = re.compile(
    r"multipart/form-data; ?boundary=([0-9A-Za-z'()+_,./:=?-]{1,70})", re.IGNORECASE
)
_PART: Final = re.compile(r'form-data; name="([^"\r\n]{1,64})"(; filename="([^"\r\n]*)")?', re.IGNORECASE)
_MOST_HEADER_BYTES: Final = 4_096
_MOST_FIELD_BYTES: Final = 4_096
_MOST_PARTS: Final = 20


class NoMultipart(Exception):
    """What was sent is no form with one file."""


class Field(NamedTuple):
    """A field with its text."""

    name: str
    text: str


class FileName(NamedTuple):
    """The file begins: all fields have been told."""

    field: str
    name: str


Piece = Field | FileName | bytes
"""What a form is made of, in the order in which it comes; bytes are of the file."""


def boundary_of(content_type: str) -> bytes:
    """Return what stands between the parts. Raises NoMultipart."""
    found = _BOUNDARY.fullmatch(content_type.strip())
    if found is None:
        raise NoMultipart
    return found[1].encode()


class Reader:
    """Reads one form as its bytes come in."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter has no line end in front of it; so it is one like the others.
        self._left = bytearray(b"\r\n")
        self._state: Literal["delimiter", "behind", "header", "field", "file", "end"] = "delimiter"
        self._name = ""
        self._parts = 0
        self._has_file = False

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield what has become known. Raises NoMultipart."""
        self._left += data
        while True:
            before = self._state, len(self._left)
            yield from self._step()
            if before == (self._state, len(self._left)):
                return

    def finish(self) -> None:
        """Say that nothing more comes. Raises NoMultipart where something is missing."""
        if self._state != "end" or not self._has_file:
            raise NoMultipart

    def _step(self) -> Iterator[Piece]:
        match self._state:
            case "delimiter":
                if not self._delimiter.startswith(self._left[: len(self._delimiter)]):
                    raise NoMultipart
                if len(self._left) >= len(self._delimiter):
                    self._skip(len(self._delimiter), "behind")
            case "behind":
                self._behind()
            case "header":
                yield from self._header()
            case "field":
                yield from self._field()
            case "file":
                yield from self._file()
            case "end":
                if len(self._left) > len(b"\r\n"):
                    raise NoMultipart

    def _behind(self) -> None:
        """Read whether a part or the end follows a delimiter."""
        if len(self._left) < 2:
            return
        follows = bytes(self._left[:2])
        if follows not in {b"\r\n", b"--"} or (follows == b"\r\n" and self._has_file):
            raise NoMultipart
        self._skip(2, "end" if follows == b"--" else "header")

    def _header(self) -> Iterator[Piece]:
        end = self._left.find(b"\r\n\r\n")
        if end < 0:
            if len(self._left) > _MOST_HEADER_BYTES:
                raise NoMultipart
            return
        self._parts += 1
        try:
            header = self._left[:end].decode()
        except UnicodeDecodeError:
            raise NoMultipart from None
        fields = dict(line.split(": ", 1) for line in header.split("\r\n") if ": " in line)
        named = {name.lower(): value for name, value in fields.items()}
        part = _PART.fullmatch(named.get("content-disposition", ""))
        if part is None or self._parts > _MOST_PARTS or end > _MOST_HEADER_BYTES:
            raise NoMultipart
        self._name = part[1]
        if part[2] is None:
            self._skip(end + 4, "field")
            return
        self._has_file = True
        self._skip(end + 4, "file")
        yield FileName(self._name, _last_part(part[3]))

    def _field(self) -> Iterator[Piece]:
        end = self._end_of_part()
        if end > _MOST_FIELD_BYTES or (
            end < 0 and len(self._left) > _MOST_FIELD_BYTES + len(self._delimiter)
        ):
            raise NoMultipart
        if end < 0:
            return
        try:
            text = self._left[:end].decode()
        except UnicodeDecodeError:
            raise NoMultipart from None
        self._skip(end + len(self._delimiter), "behind")
        yield Field(self._name, text.replace("\r\n", "\n"))

    def _file(self) -> Iterator[Piece]:
        end = self._end_of_part()
        # A delimiter may have begun at the end of what has come.
        sure = end if end >= 0 else len(self._left) - len(self._delimiter) + 1
        data = bytes(self._left[: max(sure, 0)])
        if end >= 0:
            self._skip(end + len(self._delimiter), "behind")
        else:
            del self._left[: len(data)]
        if data:
            yield data

    def _end_of_part(self) -> int:
        return self._left.find(self._delimiter)

    def _skip(self, count: int, state: Literal["behind", "header", "field", "file", "end"]) -> None:
        del self._left[:count]
        self._state = state


def _last_part(name: str) -> str:
    """Return a file's name without folders, as some browsers tell them."""
    return name.replace("%22", '"').replace("\\", "/").rpartition("/")[2][-255:]
