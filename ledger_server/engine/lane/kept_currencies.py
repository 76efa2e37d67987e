"""Owns the currency gate before the lanes: a process decides only in currencies that it knows as kept.

Servers with different settings may run side by side. The first server that uses a currency writes its decimal
places to the database before anything is recorded in that currency. A server with other decimal places
refuses that currency, and begins no call to any provider, since it would ask for another amount.
"""

from collections.abc import Awaitable, Mapping, Sequence

import structlog

from ledger_server.domain.errors import CurrencyContradicted, StoreUnavailable
from ledger_server.domain.ledger.currency import Currencies
from ledger_server.domain.payments.calls import CallBegun
from ledger_server.domain.payments.commands import IngestEvent, InitiateDeposit, ReportCall, RequestWithdrawal
from ledger_server.domain.state.commands import Command, ContinueAccount, OpenAccount, PostTransaction
from ledger_server.engine.lane.work import Request
from ledger_server.store import kept_store
from ledger_server.store.database import Pool, is_outage

log = structlog.get_logger()


class KeptCurrencies:
    """The currencies whose kept decimal places are known to equal this process's own."""

    def __init__(self, pool: Pool, known: Currencies) -> None:
        self._pool = pool
        self._registry = known.registry
        self._confirmed = set(known.kept)
        self.withdrawn = known.withdrawn

    async def exponents(self) -> Mapping[str, int]:
        """Return the decimal places of all currencies: the kept ones for currencies in use.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        kept = await self._read()
        in_use = {code: exponent for code, exponent in kept.items() if exponent is not None}
        return {**self._registry.exponents(), **in_use}

    def admit(self, requests: Sequence[Request]) -> Awaitable[None] | None:
        """Return what to await before requests may pass, if anything.

        They pass once the decimal places of every currency that they use are kept.

        Raises:
            CurrencyContradicted: the database keeps other decimal places; nothing was decided.
            StoreUnavailable: the database did not answer.
        """
        if len(requests) == 1 and type(requests[0].command) is PostTransaction:
            return None  # by far the most frequent one; its accounts' currency is kept
        return self._admit([request.command for request in requests])

    async def _admit(self, commands: Sequence[Command]) -> None:
        # Transactions are passed by, since their accounts' currency is kept.
        asked = [each for each in commands if type(each) is not PostTransaction]
        used = {code for code in map(_used, asked) if code in self._registry} - self._confirmed
        begins = any(isinstance(each, ReportCall) and isinstance(each.news, CallBegun) for each in asked)
        if not used and not begins:
            return
        try:
            for code in sorted(used):
                self._confirm(code, await kept_store.keep(self._pool, code, self._registry.exponent(code)))
            if begins:
                await self.check()
        except Exception as error:
            if is_outage(error):
                raise StoreUnavailable from error
            raise

    async def check(self) -> None:
        """Refuse to go on if any currency is kept with other decimal places than this process has.

        Raises:
            CurrencyContradicted: names the first such currency.
            StoreUnavailable: the database did not answer.
        """
        for code, exponent in (await self._read()).items():
            if code in self._registry and exponent is not None:
                self._confirm(code, exponent)

    async def _read(self) -> dict[str, int | None]:
        try:
            return await kept_store.read_kept(self._pool)
        except Exception as error:
            if is_outage(error):
                raise StoreUnavailable from error
            raise

    def _confirm(self, code: str, kept: int) -> None:
        ours = self._registry.exponent(code)
        if kept != ours:
            self._confirmed.discard(code)
            log.error("the settings contradict the database", currency=code, decimal_places=ours, kept=kept)
            raise CurrencyContradicted(currency_code=code, decimal_places=ours, kept_decimal_places=kept)
        self._confirmed.add(code)


def _used(command: Command) -> str:
    """Return the currency that a command may use for the first time."""
    match command:
        case ContinueAccount(currency=code) if code:
            return code
        case OpenAccount(currency=code) | InitiateDeposit(currency=code) | RequestWithdrawal(currency=code):
            return code
        case IngestEvent(event=event):
            return event.currency
        case _:
            return ""
