"""Owns the pages on which a settlement report is sent, looked at before it is imported, and imported."""

import asyncio
from typing import Final

from starlette.responses import Response

from console import refusals, words
from console.catalogue import N_
from console.forms import form_key, key_of
from console.importing import Work, begin_import, begin_preview
from console.ledger import IMPORT_REPORT, PREVIEW_REPORT
from console.pages import Page
from console.uploads import ENCODINGS, MOST_FILE_BYTES, Upload, UploadRefused, as_utf8
from console.visit import Visit
from defter_client import LedgerError

_NEEDS_FACTS: Final = N_("Say which provider account and which report the file is of.")
_GONE: Final = N_("The file is not kept any more. Nothing more happens to it; send it again to import it.")
_LINE: Final = N_("Line")
_MOST_NAME: Final = 64


async def form(visit: Visit) -> Response:
    """Ask for a file."""
    typed = {"provider": visit.query.get("provider", "")}
    return await _form(visit, problem="", typed=typed, status=200)


async def send(visit: Visit, fields: dict[str, str]) -> Response:
    """Keep a file that is text, and have the ledger look at it."""
    received = visit.received
    assert received is not None
    assert visit.session is not None
    try:
        key_of(fields)
        facts = _facts(fields)
        text = await asyncio.to_thread(as_utf8, received, facts["encoding"])
        upload = visit.console.uploads.keep(
            visit.session, visit.tenant_id, file_name=received.file_name, facts=facts, text=text
        )
    except UploadRefused as refused:
        problem = visit.say(refused.sentence)
        if refused.line:
            problem = f"{problem} {visit.say(_LINE)}: {refused.line}"
        return await _form(visit, problem=problem, typed=fields, status=refused.status)
    finally:
        received.close()
    begin_preview(upload, visit.ledger)
    return visit.redirect(visit.path("settlement", "files", upload.upload_id))


def _facts(fields: dict[str, str]) -> dict[str, str]:
    """Return what the form says of its file. Raises UploadRefused."""
    wanted = fields.get("format", "")
    known = {str(number) for number in words.REPORT_FORMATS}
    provider = fields.get("provider", "").strip()[:_MOST_NAME]
    if wanted not in known or not provider:
        raise UploadRefused(_NEEDS_FACTS)
    encoding = fields.get("encoding", "")
    return {
        "provider": provider,
        "format": wanted,
        "account": fields.get("account", "").strip()[:255],
        "encoding": encoding if encoding in ENCODINGS else "utf-8",
    }


async def file(visit: Visit) -> Response:
    """Show what the ledger makes of a file, or has made of it."""
    return await _file(visit, _upload(visit))


async def begin(visit: Visit, fields: dict[str, str]) -> Response:
    """Import a file that was looked at; while it is imported, or once it was, nothing more is done."""
    key_of(fields)
    upload = _upload(visit)
    begin_import(upload, visit.ledger)
    return visit.redirect(visit.path("settlement", "files", upload.upload_id))


async def forget(visit: Visit, _fields: dict[str, str]) -> Response:
    """Forget a file that nothing is done with."""
    upload = _upload(visit)
    work: Work = upload.job
    if not work.is_under_way:
        visit.console.uploads.forget(upload)
    return visit.redirect(visit.path("settlement"))


def _upload(visit: Visit) -> Upload:
    assert visit.session is not None
    found = visit.console.uploads.find(visit.request.path_params["file"], visit.session, visit.tenant_id)
    if found is None:
        raise UploadRefused(_GONE, 404)
    return found


async def _form(visit: Visit, *, problem: str, typed: dict[str, str], status: int) -> Response:
    may = await visit.ledger.may(visit.tenant_id, PREVIEW_REPORT, IMPORT_REPORT)
    return await visit.page(
        "settlement_import.html",
        status,
        may=all(may.values()),
        key=form_key(),
        encodings=ENCODINGS,
        most_bytes=MOST_FILE_BYTES,
        typed=typed,
        problem=problem,
    )


async def _file(visit: Visit, upload: Upload) -> Response:
    work: Work = upload.job
    error = work.error
    return await visit.page(
        "settlement_file.html",
        200 if error is None else 422,
        upload=upload,
        work=work,
        key=form_key(),
        problem="" if error is None else visit.say(refusals.sentence_of(error)),
        code_told="" if error is None else error.reason,
        problems=_problems(error),
        format_word=words.REPORT_FORMATS[int(upload.facts["format"])],
    )


def _problems(error: LedgerError | None) -> list[str]:
    """Return what the ledger says of single lines."""
    told = "" if error is None else error.metadata.get("problems", "")
    return [line for line in told.split("\n") if line]


PAGES: Final = (
    Page("/t/{tenant}/settlement/import", form, send, takes_file=True),
    Page("/t/{tenant}/settlement/files/{file}", file),
    Page("/t/{tenant}/settlement/files/{file}/import", post=begin),
    Page("/t/{tenant}/settlement/files/{file}/forget", post=forget),
)
