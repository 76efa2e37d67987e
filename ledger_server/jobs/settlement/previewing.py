"""Owns what a preview shows of a file itself: its first lines, and what all of them add up to by currency."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from defter.reconciliation.v1 import settlement_pb2 as pb
from msgspec import Struct

from ledger_server.domain.reconciliation.settled import refused_at
from ledger_server.domain.reconciliation.settlement import SettlementLine
from ledger_server.engine.records.settlements import message_of_line, stored_line
from ledger_server.jobs.settlement.spool import Spool

MOST_LINES: Final = 200
_LARGEST: Final = 2**63 - 1


class Sums(NamedTuple):
    """What a preview shows of a file."""

    messages: Sequence[pb.SettlementSum]
    first: Sequence[pb.SettlementLine]


class _Sum(Struct):
    count: int = 0
    gross: int = 0
    fee: int = 0
    paid_out: int = 0

    def add(self, line: SettlementLine) -> None:
        """Count one line in."""
        self.count += 1
        self.fee += line.fee
        if line.is_payout:
            self.paid_out -= line.gross
        else:
            self.gross += line.gross


def sums_of(spool: Spool) -> Sums:
    """Return them; blocks while the lines are read from the disk.

    Raises:
        ReportMalformed: the lines add up to more than can be told.
    """
    sums: dict[str, _Sum] = {}
    first: list[pb.SettlementLine] = []
    spool.rewind_lines()
    while lines := spool.next_lines():
        first += [message_of_line(stored_line(line)) for line in lines[: MOST_LINES - len(first)]]
        _add(sums, lines)
    return Sums([_message(currency, found) for currency, found in sorted(sums.items())], first)


def _add(sums: dict[str, _Sum], lines: Iterable[SettlementLine]) -> None:
    for line in lines:
        sums.setdefault(line.currency, _Sum()).add(line)


def _message(currency: str, found: _Sum) -> pb.SettlementSum:
    if any(abs(amount) > _LARGEST for amount in (found.gross, found.fee, found.paid_out)):
        raise refused_at(1, f"{currency} adds up to more than 64 bits")
    return pb.SettlementSum(
        currency_code=currency,
        line_count=found.count,
        gross_minor=found.gross,
        fee_minor=found.fee,
        paid_out_minor=found.paid_out,
    )
