"""Owns the warning levels of an account's counters: each side warns long before it is full."""

from typing import Final

from ledger_server.domain.ledger.accounts import MAX_AMOUNT, Direction
from ledger_server.domain.ledger.transactions import Line

SHARES: Final = (99, 95, 90, 80)
"""Percent of what a side can count; each level warns once, when a line passes it."""

_LEAST: Final = MAX_AMOUNT * SHARES[-1] // 100


def share_passed(line: Line) -> int | None:
    """Return the largest of `SHARES` that a statement line has taken its side past, if any."""
    after = line.after
    if line.direction is Direction.DEBIT:
        counted = after.posted_debits + after.pending_debits
    else:
        counted = after.posted_credits + after.pending_credits
    if counted <= _LEAST:  # as nearly always
        return None
    before = counted - line.amount - line.pending_change
    return next((share for share in SHARES if before <= MAX_AMOUNT * share // 100 < counted), None)
