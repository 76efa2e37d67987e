"""Owns the list of adjustments, in the order in which they were asked for, or in the opposite one."""

from collections.abc import Iterable
from functools import cache
from typing import Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.adjustments.adjustment import AdjustmentState
from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection
from ledger_server.store.queries.rendering import PAGE_BYTES, ListStatement, Page, Rendered, fetch_page

_NAMES: Final = ("key", "low", "high", "count")


class AdjustmentFilter(NamedTuple):
    """Which adjustments are listed, and in which order; no states: those in any."""

    states: frozenset[AdjustmentState]
    newest_first: bool


async def list_adjustments(
    connection: AnyConnection,
    key: TenantKey,
    wanted: AdjustmentFilter,
    *,
    after: int,
    before: int,
    size: int,
) -> Page[bytes, int]:
    """Return a page of the messages of adjustments whose number lies strictly between two others."""
    statement = _statement(tuple(sorted(wanted.states)), newest_first=wanted.newest_first)
    values = {"key": key, "low": after, "high": before}
    page = await fetch_page(connection, statement, values, size, _position)
    return Page([row["body"] for row in page.items], page.next)


@cache
def _statement(states: Iterable[AdjustmentState], *, newest_first: bool) -> ListStatement:
    """Return the list: each state has its own place in an index; without states the primary key is read."""
    order = "DESC" if newest_first else "ASC"
    ways = " UNION ALL ".join(
        f"(SELECT adjustment_number AS position, body FROM adjustments WHERE tenant_key = $1 {condition}"
        f" AND adjustment_number > $2 AND adjustment_number < $3"
        f" ORDER BY tenant_key, {within}adjustment_number {order} LIMIT $4)"
        for condition, within in [(f"AND state = {int(state)}", "state, ") for state in states] or [("", "")]
    )
    # The length of a stored value is known without reading it, so only bodies that are returned are read.
    text = f"""
SELECT position, body, bytes FROM (
    SELECT position, body, sum(octet_length(body)) OVER (
        ORDER BY position {order} ROWS UNBOUNDED PRECEDING) AS bytes
    FROM ({ways}) AS merged
    ORDER BY position {order} LIMIT $4
) AS page
WHERE bytes - octet_length(body) < {PAGE_BYTES}
ORDER BY position {order}
"""
    return ListStatement(Rendered(text, _NAMES), None)


def _position(row: Record) -> int:
    return int(row["position"])
