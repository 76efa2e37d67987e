"""Owns what lists have in common: filters in the address, pages of it, and all of it as a file."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response, StreamingResponse

from console import csv_lists
from console.catalogue import N_
from console.formats import typed_time
from console.visit import Visit

PAGE_SIZE: Final = 50
_MOST_TOKEN: Final = 4_096
_CUT_OFF: Final = N_("cut off here: narrow the filter")
NO_TIME: Final = N_("This is no date and time.")


class Filters:
    """The filters of a list, as its address has them; what can't be read is told and left out."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self.problems: dict[str, str] = {}

    def text(self, name: str) -> str:
        """Return a text."""
        return self._visit.query.get(name, "").strip()[:255]

    def number(self, name: str, known: object) -> int:
        """Return one of some numbers; 0 for any other."""
        typed = self._visit.query.get(name, "")
        number = int(typed) if typed.isascii() and typed.isdecimal() and len(typed) < 4 else 0
        return number if isinstance(known, dict) and number in known else 0

    def time(self, name: str) -> Timestamp | None:
        """Return a time of the page's zone."""
        return self.time_of(self._visit.query, name)

    def time_of(self, typed: Mapping[str, str], name: str) -> Timestamp | None:
        """Return a time of the page's zone that was typed into a form."""
        try:
            return typed_time(typed.get(name, "").strip()[:255], self._visit.console.zone)
        except (ValueError, OverflowError):
            self.problems[name] = self._visit.say(NO_TIME)
            return None

    @property
    def page_token(self) -> str:
        """Where the page begins."""
        return self._visit.query.get("page", "")[:_MOST_TOKEN]


async def csv_answer(
    visit: Visit, name: str, header: Sequence[str], rows: AsyncIterator[Sequence[csv_lists.Cell]]
) -> Response:
    """Return a file to keep; one that breaks off is a failed download and no shorter file.

    Raises:
        LedgerError: the ledger lets the person have nothing of it.
    """
    first = await csv_lists.first_of(rows)
    stamp = visit.now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    return StreamingResponse(
        csv_lists.lines(header, first, rows, visit.say(_CUT_OFF)),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}-{stamp}.csv"'},
    )
