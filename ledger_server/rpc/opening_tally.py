"""Owns the sums of an import of opening balances, by currency: of what its lines say and of what is done."""

from collections.abc import Sequence
from typing import Final

from defter.backfill.v1 import backfill_pb2 as pb

from ledger_server.domain.decisions.openings import OpeningLine, OpeningStep
from ledger_server.domain.errors import AmountOverflow, ControlSumMismatch
from ledger_server.domain.ledger.accounts import MAX_AMOUNT
from ledger_server.domain.payments.accounts import opening_account
from ledger_server.engine.lane.work import Outcome

Response = pb.ImportOpeningBalancesResponse

_COUNTS: Final = (
    "line_count",
    "total_minor",
    "open_account_count",
    "post_count",
    "post_minor",
    "correct_count",
    "correct_minor",
    "present_count",
)


class Tally:
    """The sums of one pass.

    Attributes:
        sums: the control sum of each currency, minor units.
    """

    def __init__(self, sums: dict[str, int]) -> None:
        self.sums: Final = sums
        self._by_currency = {code: dict.fromkeys(_COUNTS, 0) for code in sums}

    def count(self, line: OpeningLine, step: OpeningStep) -> None:
        """Count what is to be done for a line."""
        self._count(line, len(step.opens), step, changes=bool(step.real or step.bonus))

    def done(
        self, line: OpeningLine, step: OpeningStep, opened: Sequence[Outcome], posted: Outcome | None
    ) -> None:
        """Count what was done for a line; what is refused counts nowhere."""
        if posted is not None and posted.rejected:
            return
        new = sum(not each.rejected and not each.replayed for each in opened)
        self._count(line, new, step, changes=posted is not None and not posted.replayed)

    def _count(self, line: OpeningLine, opened: int, step: OpeningStep, *, changes: bool) -> None:
        counts = self._by_currency.get(line.currency)
        if counts is None:
            counts = self._by_currency[line.currency] = dict.fromkeys(_COUNTS, 0)
        change = step.real + step.bonus
        counts["line_count"] += 1
        counts["total_minor"] += line.real + line.bonus
        counts["open_account_count"] += opened
        if not changes:
            counts["present_count"] += 1
        elif step.corrects:
            counts["correct_count"] += 1
            counts["correct_minor"] += change
        else:
            counts["post_count"] += 1
            counts["post_minor"] += change

    @property
    def adds_up(self) -> bool:
        """Whether the lines of every currency add up to its control sum."""
        return all(self.sums.get(code) == counts["total_minor"] for code, counts in self._by_currency.items())

    def check_sums(self) -> None:
        """Refuse lines that do not add up.

        Raises:
            ControlSumMismatch: names the first currency by code.
        """
        for code, counts in sorted(self._by_currency.items()):
            total = counts["total_minor"]
            if self.sums.get(code) != total:
                raise ControlSumMismatch(
                    currency_code=code, total_minor=total, control_minor=self.sums.get(code, "")
                )

    def check_size(self) -> None:
        """Refuse sums that no account and no message could hold.

        Raises:
            AmountOverflow: names the account of openings of that currency.
        """
        for code, counts in sorted(self._by_currency.items()):
            if counts["total_minor"] > MAX_AMOUNT:
                raise AmountOverflow(account_id=opening_account(code))

    def changes(self) -> dict[str, int]:
        """Return by how much the player's money grows in all, by currency, minor units."""
        return {
            code: counts["post_minor"] + counts["correct_minor"] for code, counts in self._by_currency.items()
        }

    def plan(self, refused_count: int, *, wants_lines: bool) -> Response.Plan:
        """Return the sums as the plan has them."""
        return Response.Plan(
            currencies=self._messages(), refused_count=refused_count, wants_lines=wants_lines
        )

    def result(self, refused_count: int, sequence: int) -> Response.Result:
        """Return the sums as the result has them."""
        return Response.Result(currencies=self._messages(), refused_count=refused_count, sequence=sequence)

    def _messages(self) -> list[pb.CurrencyOpenings]:
        return [
            pb.CurrencyOpenings(
                currency_code=code,
                control_minor=self.sums.get(code, 0),
                line_count=counts["line_count"],
                total_minor=counts["total_minor"],
                open_account_count=counts["open_account_count"],
                post_count=counts["post_count"],
                post_minor=counts["post_minor"],
                correct_count=counts["correct_count"],
                correct_minor=counts["correct_minor"],
                present_count=counts["present_count"],
            )
            for code, counts in sorted(self._by_currency.items())
        ]
