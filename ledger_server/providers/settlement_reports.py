"""Owns the reading of settlement reports; a report with wrong lines is refused as a whole, naming them."""

from collections.abc import Iterable, Iterator
from datetime import tzinfo
from typing import Final

from ledger_server.domain.errors import ReportMalformed
from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.domain.reconciliation.settlement import ReportFormat, SettlementLine
from ledger_server.providers.adyen_report import AdyenReport
from ledger_server.providers.report_rows import Broken, Header, Rows, Units, Unreadable
from ledger_server.providers.stripe_report import StripeReport

MAX_PROBLEMS: Final = 10


class ReportReader:
    """Reads one file as its bytes come in, holding one row of it.

    Only at its end is it known whether a file is valid. Lines are handed out before that, so that a file need
    not fit into memory: the caller writes them in one database transaction and commits after `finish`.

    Args:
        account: only lines of this account of the provider; empty: all.
        time_zone: of Stripe's `created` in a file without `created_utc`; None refuses such a file.
    """

    __slots__ = ("_account", "_currencies", "_format", "_header", "_problems", "_report", "_rows", "_zone")

    def __init__(
        self,
        report_format: ReportFormat,
        currencies: CurrencyRegistry,
        *,
        account: str = "",
        time_zone: tzinfo | None = None,
    ) -> None:
        self._format: Final = report_format
        self._currencies: Final = currencies
        self._account: Final = account
        self._zone: Final = time_zone
        self._rows: Final = Rows()
        self._header: Header | None = None
        self._report: StripeReport | AdyenReport | None = None
        self._problems: list[tuple[int, str]] = []

    def feed(self, chunk: bytes) -> list[SettlementLine]:
        """Return the lines that end in the next bytes of the file; none after a wrong line.

        Raises:
            ReportMalformed: the file is refused; nothing more need be read.
        """
        lines = []
        try:
            for number, cells in self._rows.feed(chunk):
                line = self._line(number, cells)
                if line is not None:
                    lines.append(line)
        except Broken as broken:
            raise self._refused(broken) from None
        return [] if self._problems else lines

    def finish(self) -> None:
        """Say that the file has ended.

        Raises:
            ReportMalformed: the file is refused as a whole: nothing of it may be kept.
        """
        try:
            self._rows.finish()
            if self._report is not None:
                self._report.finish()
        except Broken as broken:
            raise self._refused(broken) from None
        if self._report is None:
            self._problems.append((1, "the file is empty"))
        if self._problems:
            raise self._malformed()

    def _line(self, number: int, cells: list[str]) -> SettlementLine | None:
        if self._header is None or self._report is None:
            self._header = Header(number, cells)
            self._report = self._reader(self._header)
            return None
        try:
            return self._report.line(self._header.row(number, cells))
        except Unreadable as problem:
            self._problems.append((number, str(problem)))
            if len(self._problems) == MAX_PROBLEMS:
                raise self._malformed() from None
            return None

    def _reader(self, header: Header) -> StripeReport | AdyenReport:
        units = Units(self._currencies)
        match self._format:
            case ReportFormat.ADYEN_SETTLEMENT_DETAILS:
                return AdyenReport(header, units, account=self._account)
            case ReportFormat.STRIPE_PAYOUT_RECONCILIATION | ReportFormat.STRIPE_BALANCE_CHANGE:
                return StripeReport(self._format, header, units, account=self._account, time_zone=self._zone)

    def _refused(self, broken: Broken) -> ReportMalformed:
        self._problems += [(broken.line, sentence) for sentence in broken.sentences]
        return self._malformed()

    def _malformed(self) -> ReportMalformed:
        problems = self._problems[:MAX_PROBLEMS]
        return ReportMalformed(
            line=problems[0][0], problems="\n".join(f"line {line}: {sentence}" for line, sentence in problems)
        )


def read_report(
    report_format: ReportFormat,
    chunks: Iterable[bytes],
    currencies: CurrencyRegistry,
    *,
    account: str = "",
    time_zone: tzinfo | None = None,
) -> Iterator[SettlementLine]:
    """Return the lines of a whole file, one by one; see `ReportReader`.

    Raises:
        ReportMalformed: the file is wrong, possibly found after some lines: nothing of it may be kept.
    """
    reader = ReportReader(report_format, currencies, account=account, time_zone=time_zone)
    for chunk in chunks:
        yield from reader.feed(chunk)
    reader.finish()
