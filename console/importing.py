"""Owns what is done with a settlement report that somebody has sent: first it is previewed, then imported.

Each is one call of the ledger for the person, in the background: a page asks how far it is. The ledger knows
a file by its content, so that sending it again is never a second import.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import structlog

from console.ledger import PersonsLedger
from console.uploads import Upload, Uploads
from defter_client import LedgerError
from defter_client import messages as m

log = structlog.get_logger()

_CHUNK_BYTES: Final = 256 * 1024
_MOST_SECONDS: Final = 3_600
"""An import rests while players post; a preview is an import that is not kept."""

_Message = TypeVar("_Message", m.PreviewSettlementReportRequest, m.ImportSettlementReportRequest)
Stage = Literal["previewing", "previewed", "importing", "imported"]


@dataclass(eq=False)
class Work:
    """What has become of a file.

    Attributes:
        sent: bytes of it that have gone to the ledger in the call under way.
        error: why the latest call failed; None while it has not.
    """

    stage: Stage = "previewing"
    sent: int = 0
    preview: m.PreviewSettlementReportResponse | None = None
    report: m.ImportSettlementReportResponse | None = None
    error: LedgerError | None = None
    task: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether a call is being made."""
        return self.task is not None and not self.task.done()


def begin_preview(upload: Upload, ledger: PersonsLedger) -> None:
    """Have the ledger say what it would make of a file."""
    work = upload.job = Work()

    async def work_on() -> None:
        messages = _messages(upload, work, m.PreviewSettlementReportRequest)
        work.preview = await ledger.client.settlements.preview_settlement_report(
            messages, timeout=_MOST_SECONDS, metadata=ledger.lasting(_MOST_SECONDS)
        )
        work.stage = "previewed"

    work.task = asyncio.create_task(_told(work, work_on()))


def begin_import(upload: Upload, ledger: PersonsLedger) -> None:
    """Have the ledger take a file in; while it does, or once it has, nothing more is begun."""
    work: Work = upload.job
    if work.is_under_way or work.preview is None or work.stage == "imported":
        return
    work.stage = "importing"

    async def work_on() -> None:
        messages = _messages(upload, work, m.ImportSettlementReportRequest)
        work.report = await ledger.client.settlements.import_settlement_report(
            messages, timeout=_MOST_SECONDS, metadata=ledger.lasting(_MOST_SECONDS)
        )
        work.stage = "imported"

    work.task = asyncio.create_task(_told(work, work_on()))


async def end_work(uploads: Uploads) -> None:
    """Break off what is under way, and forget all files: the ledger keeps all of a file or nothing."""
    tasks = [each.job.task for each in uploads.all() if each.job is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    uploads.close()


async def _told(work: Work, work_on: Coroutine[object, object, None]) -> None:
    """Do a piece of work, and keep why it could not be done."""
    work.sent, work.error = 0, None
    try:
        await work_on
    except LedgerError as error:
        work.error = error
        log.info("a settlement report was not taken", stage=work.stage, reason=error.reason)


async def _messages(upload: Upload, work: Work, kind: type[_Message]) -> AsyncIterator[_Message]:
    """Yield the header, then the file in chunks."""
    yield kind(header=_header(upload))
    file = upload.file.fileno()
    while chunk := await asyncio.to_thread(os.pread, file, _CHUNK_BYTES, work.sent):
        yield kind(chunk=chunk)
        work.sent += len(chunk)


def _header(upload: Upload) -> m.ImportSettlementReportRequest.Header:
    return m.ImportSettlementReportRequest.Header(
        tenant_id=upload.tenant_id,
        provider=upload.facts["provider"],
        format=int(upload.facts["format"]),  # type: ignore[arg-type]  # one of the words' keys
        file_name=upload.file_name,
        account=upload.facts["account"],
    )
