"""Owns the border of opening balances: the header, the shape of single lines, and lines that are repeated."""

import hashlib
import re
from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from defter.backfill.v1 import backfill_pb2 as pb

from ledger_server.domain.decisions.openings import OpeningLine
from ledger_server.domain.errors import (
    FieldMalformed,
    FieldMissing,
    FieldOutOfRange,
    OpeningBalanceNegative,
    OpeningBalanceRepeated,
    Refused,
)
from ledger_server.domain.ledger.amounts import AmountBounds
from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.rpc.payment_requests import MAX_PLAYER_ID, player_id
from ledger_server.rpc.violations import Violations

MAX_LINES: Final = 5_000_000
"""Lines of one import; each takes some 13 bytes of memory for as long as the call lasts."""

_IMPORT_ID: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,64}")
_PLAYER_ID: Final = re.compile(rf"[A-Za-z0-9_.@-]{{1,{MAX_PLAYER_ID}}}")
_MAX_NUMBER: Final = 2**32 - 1
_MAX_SUMS: Final = 1_000
_HASH_BYTES: Final = 8
_PARTS: Final = 1_024

Header = pb.ImportOpeningBalancesRequest.Header


def check_header(header: Header, currencies: CurrencyRegistry) -> dict[str, int]:
    """Refuse a malformed header, and return its control sums by currency, in minor units."""
    violations = Violations()
    within = "header."
    violations.tenant_id(header.tenant_id, f"{within}tenant_id")
    if not header.import_id:
        violations.add(FieldMissing(field=f"{within}import_id"))
    elif not _IMPORT_ID.fullmatch(header.import_id):
        violations.add(FieldMalformed(field=f"{within}import_id"))
    violations.time(header, "as_of_time", within=within)
    sums: dict[str, int] = {}
    if not 1 <= len(header.control_sums) <= _MAX_SUMS:
        wrong = FieldOutOfRange if header.control_sums else FieldMissing
        violations.add(wrong(field=f"{within}control_sums"))
    for index, each in enumerate(header.control_sums[:_MAX_SUMS]):
        at = f"{within}control_sums[{index}]."
        violations.currency(each.currency_code, f"{at}currency_code", currencies)
        if each.currency_code in sums:
            violations.add(FieldMalformed(field=f"{at}currency_code"))
        if each.amount_minor < 0:
            violations.add(FieldOutOfRange(field=f"{at}amount_minor"))
        sums[each.currency_code] = each.amount_minor
    violations.check()
    return sums


def read_line(
    message: pb.OpeningBalance, currencies: CurrencyRegistry, bounds: AmountBounds
) -> OpeningLine | Refused:
    """Return a line, or why it is refused whatever the ledger knows."""
    real, bonus, currency = message.real_minor, message.bonus_minor, message.currency_code
    if (
        real < 0
        or bonus < 0
        or not 1 <= message.line_number <= _MAX_NUMBER
        or currency not in currencies
        or real + bonus > bounds.of(currency)
        or not _PLAYER_ID.fullmatch(message.player_id)
    ):
        return _refusal(message, currencies, bounds)
    return OpeningLine(message.line_number, message.player_id, currency, real, bonus)


def _refusal(message: pb.OpeningBalance, currencies: CurrencyRegistry, bounds: AmountBounds) -> Refused:
    violations = Violations()
    if not 1 <= message.line_number <= _MAX_NUMBER:
        violations.add(FieldOutOfRange(field="line_number"))
    player_id(violations, message.player_id)
    violations.currency(message.currency_code, "currency_code", currencies)
    for name in ("real_minor", "bonus_minor"):
        amount = getattr(message, name)
        if amount < 0:
            violations.add(OpeningBalanceNegative(field=name, amount_minor=amount))
    total = message.real_minor + message.bonus_minor
    violations.bounded(total, "real_minor", message.currency_code, bounds)
    try:
        violations.check()
    except Refused as refused:
        return refused
    raise AssertionError("a line that is right was taken for one that is not")


class Repeated(NamedTuple):
    """A line whose player and currency another line has as well."""

    number: int
    other: int

    @property
    def refusal(self) -> Refused:
        """Why it is refused."""
        return OpeningBalanceRepeated(other_line=self.other)


class SeenLines:
    """The players and currencies of lines, by a hash of 64 bits each, in parts that are quick to sort.

    With a million lines, two of which are none of the same player would be taken for such once in 30 million
    imports; nothing is posted then, and the next try has another key.
    """

    __slots__ = ("_hashes", "_key", "_numbers")

    def __init__(self, key: bytes) -> None:
        """Take a key of up to 64 bytes that no caller knows."""
        self._key = key
        self._hashes = [array("Q") for _ in range(_PARTS)]
        self._numbers = [array("I") for _ in range(_PARTS)]

    def add(self, line: OpeningLine) -> None:
        """Note a line."""
        said = f"{line.player_id}\n{line.currency}".encode()
        number = int.from_bytes(hashlib.blake2b(said, digest_size=_HASH_BYTES, key=self._key).digest())
        part = number % _PARTS
        self._hashes[part].append(number)
        self._numbers[part].append(line.number)

    def repeated(self) -> Iterator[list[Repeated]]:
        """Yield lines that are repeated, part by part; most parts have none."""
        for hashes, numbers in zip(self._hashes, self._numbers, strict=True):
            yield [] if len(set(hashes)) == len(hashes) else _repeated(hashes, numbers)


def _repeated(hashes: "array[int]", numbers: "array[int]") -> list[Repeated]:
    lines: dict[int, list[int]] = {}
    for each, number in zip(hashes, numbers, strict=True):
        lines.setdefault(each, []).append(number)
    found = []
    for same in lines.values():
        if len(same) > 1:
            first, *others = sorted(same)
            found += [Repeated(first, others[0]), *(Repeated(each, first) for each in others)]
    return found
