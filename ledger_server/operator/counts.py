"""Owns the display of counts: of deposits, withdrawals and findings."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from defter.payments.v1 import deposit_pb2, withdrawal_pb2
from defter.reconciliation.v1 import finding_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from ledger_server.operator.money import Money
from ledger_server.operator.screen import age, console, print_json, print_line, print_table
from ledger_server.operator.words import moment, read_by

From = Annotated[
    datetime | None,
    typer.Option(
        "--from",
        parser=read_by(moment),
        show_default=False,
        metavar="TIME",
        help="also count what has ended and was begun at or after this time, such as 2026-11-19",
    ),
]
To = Annotated[
    datetime | None,
    typer.Option(
        "--to", parser=read_by(moment), show_default=False, metavar="TIME", help="and before this time"
    ),
]

_Counted = (
    deposit_pb2.CountDepositsResponse
    | withdrawal_pb2.CountWithdrawalsResponse
    | finding_pb2.CountFindingsResponse
)
_Row = Callable[[Any, datetime], Sequence[str]]
PAYMENTS: Final = ("state", "provider", "count", "amount", "oldest")
FINDINGS: Final = ("class", "severity", "state", "provider", "count", "oldest")


def window(from_: datetime | None, to: datetime | None) -> dict[str, Timestamp]:
    """Return the fields of a request to count that say which of those that have ended are counted.

    Raises:
        BadParameter: an end without a beginning.
    """
    if to is not None and from_ is None:
        raise typer.BadParameter("goes with --from", param_hint="--to")
    told = {"from_time": from_, "to_time": to}
    found = {}
    for name, time in told.items():
        if time is not None:
            found[name] = Timestamp()
            found[name].FromDatetime(time)
    return found


def of_payments(states: Any, prefix: str, money: Money) -> _Row:
    """Return how a count of payments is shown; `states` is their enum, whose names begin with `prefix`."""

    def row(counted: Any, now: datetime) -> Sequence[str]:
        more = _more(counted)
        return (
            states.Name(counted.state).removeprefix(prefix),
            counted.provider,
            f"{counted.count:,}{more}",
            f"{money.show(counted.amount_minor, counted.currency_code)}{more}",
            age(counted.oldest_time, now),
        )

    return row


def of_findings(counted: Any, now: datetime) -> Sequence[str]:
    """Return how a count of findings is shown."""
    return (
        finding_pb2.FindingClass.Name(counted.finding_class).removeprefix("FINDING_CLASS_"),
        finding_pb2.Severity.Name(counted.severity).removeprefix("SEVERITY_"),
        finding_pb2.FindingState.Name(counted.state).removeprefix("FINDING_STATE_"),
        counted.provider,
        f"{counted.count:,}{_more(counted)}",
        age(counted.oldest_time, now),
    )


def show_counts(answer: _Counted, columns: Sequence[str], row: _Row, *, json: bool) -> None:
    """Print counts as a table, or as JSON, one object a line."""
    out = console()
    if json:
        for each in answer.counts:
            print_json(out, each)
        return
    now = datetime.now(UTC)
    if answer.counts:
        rows = [row(each, now) for each in answer.counts]
        print_table(out, columns, rows, right=("count", "amount", "oldest"))
    print_line(out, f"{sum(each.count for each in answer.counts):,} in all")
    if any(each.at_least for each in answer.counts):
        print_line(
            console(error=True), "a + stands behind what there may be more of: only so many are counted"
        )


def _more(counted: Any) -> str:
    return "+" if counted.at_least else ""
