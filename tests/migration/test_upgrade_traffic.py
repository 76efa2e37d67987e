"""Own the judge of `make upgrade`: where the journal differs from what callers have heard, that is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.fake_provider import fake_providers
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import Databases
from tests.support.service import serving
from tests.upgrade.books import Books
from tests.upgrade.filling import Filling
from tests.upgrade.traffic import Target, Traffic

CALLS = 80


def _forget(traffic: Traffic) -> None:
    del traffic.answered[next(iter(traffic.posted))]


def _make_up(traffic: Traffic) -> None:
    traffic.answered["up-nobody"] += 1


def _alter(traffic: Traffic) -> None:
    next(iter(traffic.posted.values())).sequence += 1


def _rename(traffic: Traffic) -> None:
    traffic.kept[0].request.idempotency_key = "up-later"


DIFFERENCES: dict[str, Callable[[Traffic], None]] = {
    "in the journal and not answered": _forget,
    "answered and not in the journal": _make_up,
    "answers that the journal has otherwise": _alter,
    "was decided again": _rename,
}


async def test_traffic_of_all_kinds_agrees_with_the_journal_and_differences_are_told(
    databases: Databases,
) -> None:
    """Books and outcomes are what was sent; whatever differs from the journal is among what is wrong."""
    with databases.fresh() as url:
        async with serving(url, providers=fake_providers()) as service:
            ledger = service.ledger()
            filling = Filling(ledger, records=200, tell=lambda _: None)
            for stage in (filling.journal, filling.payments, filling.findings):
                await stage()
            head, books = await ledger.head(), await Books.of(ledger)
            traffic = Traffic()
            traffic.route = [Target(service.channel, refuses_whole=False)]
            async with asyncio.timeout(HANG_SECONDS), traffic.going_on(payments=True):
                while traffic.call_count < CALLS:
                    await ledger.head()
            await traffic.check(ledger, after_sequence=head)
            assert traffic.wrong == []
            assert await Books.of(ledger) == books + traffic.sent
            for told, differ in DIFFERENCES.items():
                differ(traffic)
                await traffic.check(ledger, after_sequence=head)
                assert any(told in each for each in traffic.wrong), told
