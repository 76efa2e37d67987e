"""Owns how a statement reads: what each line did to the account, and what adds up to what."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from console import words
from defter_client import messages as m

_GROWS_BY_DEBITS: Final = frozenset({m.ACCOUNT_KIND_ASSET, m.ACCOUNT_KIND_EXPENSE})
_OF_PAYMENTS: Final = ("dep_", "wd_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a statement as it is read.

    Attributes:
        word: what happened, in English; `catalogue` translates it.
        change_minor: of the posted balance, minor units; negative for what went out.
        held_minor: of pending money, minor units; positive where more is held than before.
        is_held_in: whether the pending money is on its way in, and not out.
        payment_id: the deposit or withdrawal that it is of; empty for none.
        hold_id: the hold that it placed; empty where that is not known.
    """

    line: m.StatementLine
    word: str
    change_minor: int
    held_minor: int
    is_held_in: bool
    payment_id: str
    hold_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """What a statement adds up to, minor units.

    Attributes:
        into_minor: of lines that raised the balance; not negative.
        out_minor: of lines that lowered it; not negative.
        adds_up: whether opening and lines make the closing balance.
    """

    opening_minor: int
    into_minor: int
    out_minor: int
    closing_minor: int

    @property
    def adds_up(self) -> bool:
        """Whether opening balance and lines make the closing balance."""
        return self.opening_minor + self.into_minor - self.out_minor == self.closing_minor


def read(lines: Iterable[m.StatementLine], kind: int, holds: Iterable[m.Hold] = ()) -> list[Line]:
    """Return lines as they are read.

    Args:
        kind: of the account; it says on which side its balance grows.
        holds: of the account, as far as they are known.
    """
    # A hold's id ends in the number of the record that placed it.
    placed = {hold.hold_id.rpartition("_")[2]: hold.hold_id for hold in holds}
    return [_read(line, kind, placed) for line in lines]


def _read(line: m.StatementLine, kind: int, placed: dict[str, str]) -> Line:
    raises = (line.direction == m.DIRECTION_DEBIT) == (kind in _GROWS_BY_DEBITS)
    posts = line.phase in {m.POSTING_PHASE_POSTED, m.POSTING_PHASE_CAPTURED}
    table = words.STATEMENT_TYPES if posts else words.STATEMENT_PHASES
    both = table.get(line.type if posts else line.phase)
    return Line(
        line=line,
        word=str(line.type) if both is None else both[0 if raises else 1],
        change_minor=line.amount_minor if raises else -line.amount_minor,
        held_minor=line.pending_change_minor,
        is_held_in=raises,
        payment_id=line.reference if line.reference.startswith(_OF_PAYMENTS) else "",
        hold_id=placed.get(str(line.sequence), "") if line.phase == m.POSTING_PHASE_HELD else "",
    )


def summed(opening_minor: int, lines: Sequence[Line], closing_minor: int) -> Sum:
    """Return what lines add up to between two balances, which were asked for by themselves."""
    return Sum(
        opening_minor=opening_minor,
        into_minor=sum(each.change_minor for each in lines if each.change_minor > 0),
        out_minor=-sum(each.change_minor for each in lines if each.change_minor < 0),
        closing_minor=closing_minor,
    )
