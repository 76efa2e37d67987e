"""Owns files that people have sent: kept without a name on the disk until they are used or forgotten.

A file is of the session that sent it, and nobody else's. Its bytes are text for certain once it is kept.
"""

import codecs
import hashlib
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

from starlette.requests import Request

from console.catalogue import N_
from console.multipart import Field, FileName, NoMultipart, Reader, boundary_of
from console.sessions import Session

MOST_FILE_BYTES: Final = 64 * 1024 * 1024
_MOST_FORM_BYTES: Final = MOST_FILE_BYTES + 64 * 1024
_KEPT_SECONDS: Final = 1_800.0
_MOST_EACH: Final = 2
_MOST: Final = 8
ENCODINGS: Final[Mapping[str, str]] = {
    "utf-8": "UTF-8",
    "cp1254": "Windows-1254",
    "iso8859-9": "ISO-8859-9",
}
"""How a file's text may be written, by Python's names."""
_MAGIC: Final = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"7z\xbc\xaf",
    b"Rar!",
    b"%PDF",
)

TOO_LARGE: Final = N_("The file is too large for this page. `defter settlement import` reads larger ones.")
NO_FORM: Final = N_("The form can't be read. Go back and send it again.")
NO_TEXT: Final = N_("This is no text: the ledger reads CSV files, and no archives, sheets or documents.")
OTHER_ENCODING: Final = N_("The text is not written in the encoding that was chosen.")
EMPTY: Final = N_("The file is empty, or none was chosen.")
FULL: Final = N_("Too many files are being worked on. Try again in a few minutes.")


class UploadRefused(Exception):
    """A file can't be taken.

    Attributes:
        sentence: for the person, in English.
        line: where in the file, counted from 1; 0 for the whole.
    """

    def __init__(self, sentence: str, status: int = 422, *, line: int = 0) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status
        self.line = line


@dataclass(kw_only=True, eq=False)
class Upload:
    """One file, as UTF-8.

    Attributes:
        facts: what the form said of it.
        until: seconds of the store's clock.
        job: what is done with it; see `console.importing`.
    """

    upload_id: str
    session: Session
    tenant_id: str
    file_name: str
    facts: Mapping[str, str]
    file: IO[bytes]
    size: int
    digest: str
    until: float
    job: Any = field(default=None)


@dataclass(kw_only=True)
class Received:
    """A form with its file, before anything is known to be right; `close` frees the disk."""

    fields: dict[str, str]
    file_name: str
    file: IO[bytes]
    size: int

    def close(self) -> None:
        """Forget the file."""
        self.file.close()


async def receive(request: Request, check: Callable[[Mapping[str, str]], None]) -> Received:
    """Read a form with one file; nothing of the file is kept before its fields have been checked.

    Args:
        check: is told the fields; raises to refuse them.

    Raises:
        UploadRefused: it is too large, or no such form.
    """
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdecimal() and int(told[:18]) > _MOST_FORM_BYTES:
        raise UploadRefused(TOO_LARGE, 413)
    file = tempfile.TemporaryFile()  # noqa: SIM115  # whoever takes it closes it
    found = Received(fields={}, file_name="", file=file, size=0)
    try:
        reader = Reader(boundary_of(request.headers.get("content-type", "")))
        count = 0
        async for chunk in request.stream():
            count = _bounded(count + len(chunk), _MOST_FORM_BYTES)
            for piece in reader.feed(chunk):
                match piece:
                    case Field(name, text):
                        found.fields[name] = text
                    case FileName(_, name):
                        check(found.fields)
                        found.file_name = name
                    case data:
                        found.size = _bounded(found.size + len(data), MOST_FILE_BYTES)
                        file.write(data)
        reader.finish()
    except NoMultipart:
        found.close()
        raise UploadRefused(NO_FORM, 400) from None
    except BaseException:
        found.close()
        raise
    return found


def _bounded(count: int, most: int) -> int:
    if count > most:
        raise UploadRefused(TOO_LARGE, 413)
    return count


def _text(data: bytes) -> bytes:
    if b"\0" in data:
        raise UploadRefused(NO_TEXT)
    return data


def as_utf8(received: Received, encoding: str) -> tuple[IO[bytes], int, str]:
    """Return the text of a file as UTF-8, its size, and its SHA-256. Blocks; belongs in a thread.

    Raises:
        UploadRefused: it is no text, or not in this encoding.
    """
    if not received.size:
        raise UploadRefused(EMPTY)
    received.file.seek(0)
    if received.file.read(8).startswith(_MAGIC):
        raise UploadRefused(NO_TEXT)
    received.file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    made = tempfile.TemporaryFile()  # noqa: SIM115  # whoever takes it closes it
    digest, size, line = hashlib.sha256(), 0, 1
    try:
        while True:
            chunk = _text(received.file.read(256 * 1024))
            text = decoder.decode(chunk, final=not chunk)
            data = chunk if encoding == "utf-8" else text.encode()
            line += text.count("\n")
            made.write(data)
            digest.update(data)
            size += len(data)
            if not chunk:
                made.flush()  # it is read by its descriptor
                return made, size, digest.hexdigest()
    except UnicodeDecodeError as error:
        made.close()
        raise UploadRefused(OTHER_ENCODING, line=line + error.object[: error.start].count(b"\n")) from None
    except BaseException:
        made.close()
        raise


class Uploads:
    """The files of this process."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kept: dict[str, Upload] = {}

    def keep(
        self,
        session: Session,
        tenant_id: str,
        *,
        file_name: str,
        facts: Mapping[str, str],
        text: tuple[IO[bytes], int, str],
    ) -> Upload:
        """Keep a file; of a session's, those that came first go.

        Raises:
            UploadRefused: others have too many; the file is closed.
        """
        self._forget_old()
        own = [each for each in self._kept.values() if each.session is session and not _is_busy(each)]
        for each in own[: max(0, len(own) - _MOST_EACH + 1)]:
            self.forget(each)
        file, size, digest = text
        if len(self._kept) >= _MOST:
            file.close()
            raise UploadRefused(FULL, 503)
        upload = Upload(
            upload_id=secrets.token_urlsafe(16),
            session=session,
            tenant_id=tenant_id,
            file_name=file_name,
            facts=facts,
            file=file,
            size=size,
            digest=digest,
            until=self._now() + _KEPT_SECONDS,
        )
        self._kept[upload.upload_id] = upload
        return upload

    def find(self, upload_id: str, session: Session, tenant_id: str) -> Upload | None:
        """Return a session's own file."""
        self._forget_old()
        found = self._kept.get(upload_id)
        if found is None or found.session is not session or found.tenant_id != tenant_id:
            return None
        return found

    def forget(self, upload: Upload) -> None:
        """Free the disk of a file."""
        if self._kept.pop(upload.upload_id, None) is not None:
            upload.file.close()

    def all(self) -> list[Upload]:
        """Return every file that is kept."""
        return list(self._kept.values())

    def close(self) -> None:
        """Forget all files."""
        for each in self.all():
            self.forget(each)

    def _forget_old(self) -> None:
        now = self._now()
        for each in list(self._kept.values()):
            if (each.session.ended or now >= each.until) and not _is_busy(each):
                self.forget(each)


def _is_busy(upload: Upload) -> bool:
    return upload.job is not None and bool(upload.job.is_under_way)
