"""Owns the pages of the journal: its records as a list that can be live, and one record with its proof."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import journal_pages
from console.formats import moment_of
from console.pages import Page
from console.views.lists import Filters
from console.views.records import fields_of
from console.visit import Visit
from defter_client import messages as m

_SHOWN: Final = 50
_MOST_DIGITS: Final = 18
_HEX_BYTES: Final = 32
_MOST_RAW: Final = 65_536


def _reader(visit: Visit) -> journal_pages.Read:
    ledger = visit.ledger

    async def read(after: int, size: int) -> Sequence[m.JournalEntry]:
        request = m.ListJournalRequest(
            tenant_id=visit.tenant_id, after_sequence=after, page_size=min(size, 1_000), bytes_only=True
        )
        page = await ledger.page(ledger.client.journal.list_journal, request)
        found: Sequence[m.JournalEntry] = page.entries
        return found

    return read


async def _head(visit: Visit) -> int:
    """Return the newest sequence, as the list tells it: who may not read records is told nothing."""
    ledger = visit.ledger
    page = await ledger.page(
        ledger.client.journal.list_journal,
        m.ListJournalRequest(tenant_id=visit.tenant_id, page_size=1, bytes_only=True),
    )
    return int(page.sequence)


async def listed(visit: Visit) -> Response:
    """Show records, the newest first; a time leads to the records up to it."""
    filters = Filters(visit)
    read, head = _reader(visit), await _head(visit)
    moment = filters.time("time")
    if moment is not None:
        at = moment_of(moment)
        before = 1 if at is None else await journal_pages.first_after(read, head, at)
        return visit.redirect(
            visit.path("journal", before=str(before), kind=filters.text("kind"), until=filters.text("time"))
        )
    typed = _sequence(filters.text("before"))
    before = head + 1 if typed is None else min(typed, head + 1)
    kind = filters.text("kind")
    window = await journal_pages.window(read, before, _SHOWN, journal_pages.kinds_of(kind))
    return await visit.page(
        "journal.html",
        window=window,
        head=head,
        is_newest=typed is None,
        newer="" if before > head else str(min(before + _SHOWN, head + 1)),
        kind=kind,
        kinds=journal_pages.GROUPS,
        problems=filters.problems,
    )


async def one(visit: Visit) -> Response:
    """Show a record, its bytes, and whether its hash follows from the one before."""
    sequence = _sequence(visit.request.path_params["sequence"])
    if not sequence:
        raise HTTPException(404)
    first = max(sequence - 2, 0)
    entries = {each.sequence: each for each in await _reader(visit)(first, sequence - first)}
    entry = entries.get(sequence)
    if entry is None:
        raise HTTPException(404)
    before = journal_pages.NOTHING_BEFORE if sequence == 1 else None
    if sequence - 1 in entries:
        before = entries[sequence - 1].chain_hash
    line = journal_pages.line_of(entry)
    fields: Any = () if line.record is None else fields_of(line.record, await visit.formats())
    return await visit.page(
        "journal_record.html",
        entry=entry,
        line=line,
        fields=fields,
        before=before,
        is_proved=before is not None and journal_pages.follows(before, entry),
        raw=_hex(entry.record_bytes[:_MOST_RAW]),
        raw_left=max(0, len(entry.record_bytes) - _MOST_RAW),
    )


def _sequence(text: str) -> int | None:
    """Return a typed sequence; None for none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _hex(content: bytes) -> str:
    """Return bytes as lines of hexadecimal digits."""
    return "\n".join(
        content[begin : begin + _HEX_BYTES].hex(" ") for begin in range(0, len(content), _HEX_BYTES)
    )


PAGES: Final = (
    Page("/t/{tenant}/journal", listed),
    Page("/t/{tenant}/journal/{sequence}", one),
)
