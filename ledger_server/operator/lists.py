"""Owns the display of lists: as a table of so many rows, or as JSON, one object per line."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import typer
from google.protobuf.message import Message
from rich.console import Console
from rich.text import Text

from defter_client import Pager
from ledger_server.operator.connection import pages
from ledger_server.operator.screen import console, print_json, print_line, print_table

ROWS: Final = 100
Request = TypeVar("Request", bound=Message)
Page = TypeVar("Page", bound=Message)
Limit = Annotated[
    int | None,
    typer.Option(min=1, help=f"so many at most; default: {ROWS} in a table, all of them as JSON"),
]


class Shape(NamedTuple):
    """The table for the items of a list.

    Attributes:
        field: the name of the items in a response.
        nouns: the noun for one item and for several.
        right: the columns of numbers.
        whole: the columns whose cells are never broken into lines.
    """

    field: str
    nouns: tuple[str, str]
    columns: Sequence[str]
    row: Callable[[Any], Sequence[str | Text]]
    right: Sequence[str] = ()
    whole: Sequence[str] = ()


async def show_list(
    method: Callable[[Request], Pager[Any, Page]],
    request: Request,
    shape: Shape,
    *,
    json: bool,
    limit: int | None,
    out: Console | None = None,
) -> None:
    """Read a list and print it; a table says how many rows it has, and whether there are more."""
    out = out or console()
    wanted = limit if limit is not None or json else ROWS
    rows: list[Sequence[str | Text]] = []
    count, more = 0, False
    async for page in pages(method, request, limit=wanted):
        for item in getattr(page, shape.field):
            more = wanted is not None and count == wanted
            if more:
                break
            count += 1
            if json:
                print_json(out, item)
            else:
                rows.append(shape.row(item))
        if more:
            break
    if not json:
        if rows:
            print_table(out, shape.columns, rows, right=shape.right, whole=shape.whole)
        print_line(out, f"{count} {shape.nouns[count != 1]}")
    if more:
        print_line(console(error=True), "there are more: say --limit")
