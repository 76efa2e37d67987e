"""Faults of every class, hidden among sound payments: all are found, and nothing else is.

The test takes enough payments for many pages and every class; `make seeded-faults` takes a hundred thousand.
The faults are the same in both, and a sound payment has none.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta

import asyncpg
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2
from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceStub

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.domain.provider_record import ProviderRecord
from tests.integration.reconciliation.seeded import MAKERS, Fault, Place, in_transit
from tests.support.clock import FakeClock
from tests.support.listed_provider import ListedProvider
from tests.support.mirrored_payments import PROVIDER, Life, Mirror, write_payments
from tests.support.randomness import SEED
from tests.support.requests import timestamp
from tests.support.service import Service, serving

RecordProperty = Callable[[str, object], None]
Listed = Mapping[Place, list[ProviderRecord]]

TENANT = "casino"
PAYMENTS = int(os.environ.get("DEFTER_SEEDED_PAYMENTS", "10000"))
# A payment has more than one record; seventeen pages for ten thousand payments. Of the nine days that they
# take, the newest two have no fault.
PAGES = 17 * PAYMENTS // 10_000
OF_EACH = 24
DAYS = 9
COMPLETE = reconciliation_pb2.RUN_STATE_COMPLETE
PARTIAL = reconciliation_pb2.RUN_STATE_PARTIAL
RESOLVED = {finding_pb2.FINDING_STATE_RESOLVED, finding_pb2.FINDING_STATE_AUTO_RESOLVED}


class Seeded:
    """Both sides, and the faults between them."""

    def __init__(self, service: Service, clock: FakeClock, provider: ListedProvider) -> None:
        self.service = service
        self.clock = clock
        self.provider = provider
        self.mirror = Mirror(tenant_key(TenantId(TENANT)), seed=SEED)
        self.begun = clock() - timedelta(days=DAYS)
        self.faults: list[Fault] = []
        self.sound: list[ProviderRecord] = []

    async def fill(self) -> None:
        """Make payments, noise and faults, and write what the ledger knows of them."""
        mirror, now = self.mirror, self.clock()
        lives: list[Life] = list(mirror.lives(PAYMENTS, self.begun, now - timedelta(hours=3)))
        for number in range(PAYMENTS // 50):
            life, records = in_transit(mirror, now, number)
            lives.append(life)
            self.sound += records
        self.sound += [record for life in lives[:PAYMENTS] for record in life.records]
        for make in MAKERS.values():
            for number in range(OF_EACH):
                at = self.begun + timedelta(hours=mirror.random.uniform(1, 24 * (DAYS - 2)))
                self.faults.append(make(mirror, at, number))
        lives += [life for fault in self.faults for life in fault.lives]
        await write_payments(self.service.database_url, mirror, lives)
        self.list({fault.place: fault.records for fault in self.faults})

    def list(self, of_faults: Listed) -> None:
        """Say what the provider lists for faults; the rest stays as it is."""
        self.provider.records = [*self.sound, *(each for listed in of_faults.values() for each in listed)]

    @property
    def repairable(self) -> Sequence[Fault]:
        """The half that is repaired of the faults that can be repaired at the provider."""
        return [fault for fault in self.faults if fault.good][::2]

    def repair(self, changed: Listed | None = None) -> set[Place]:
        """Repair that half, and list what is said of some instead; return what was repaired."""
        listed = {fault.place: fault.records for fault in self.faults}
        repaired = {fault.place: fault.good for fault in self.repairable}
        self.list(listed | repaired | dict(changed or {}))
        return set(repaired)

    async def run(self) -> reconciliation_pb2.Run:
        """Run over all of it."""
        request = reconciliation_pb2.RunReconciliationRequest(
            tenant_id=TENANT,
            provider=PROVIDER,
            from_time=timestamp(self.begun - timedelta(hours=2)),
            to_time=timestamp(self.clock()),
            idempotency_key=uuid.uuid4().hex,
        )
        run = reconciliation_pb2.Run()
        async for response in ReconciliationServiceStub(self.service.channel).RunReconciliation(request):
            run = response.run
        return run

    async def findings(self) -> dict[Place, finding_pb2.Finding]:
        """Return all findings by what they name."""
        connection = await asyncpg.connect(self.service.database_url)
        try:
            bodies = await connection.fetch("SELECT body FROM reconciliation_findings")
        finally:
            await connection.close()
        found = [finding_pb2.Finding.FromString(row["body"]) for row in bodies]
        return {
            (FindingClass(each.finding_class), each.payment_id or each.at_provider.ref): each
            for each in found
        }

    async def rows(self) -> tuple[int, ...]:
        """Return how many rows there are, those of runs left out."""
        connection = await asyncpg.connect(self.service.database_url)
        try:
            tables = ("journal", "reconciliation_findings", "finding_versions", "provider_records")
            counts = [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables]
        finally:
            await connection.close()
        return tuple(counts)


def precision_and_recall(expected: Iterable[Place], found: Iterable[Place]) -> dict[str, tuple[float, float]]:
    """Return both for each class."""
    wanted, got = set(expected), set(found)
    right = Counter(kind for kind, _ in wanted & got)
    scores = {}
    for kind in sorted({kind for kind, _ in wanted | got}):
        asked = sum(1 for each, _ in wanted if each is kind)
        said = sum(1 for each, _ in got if each is kind)
        scores[kind.name] = (right[kind] / said if said else 1.0, right[kind] / asked if asked else 0.0)
    return scores


async def test_find_faults_of_every_class_and_nothing_else_then_live_with_what_was_found(
    database_url: str, clock: FakeClock, record_property: RecordProperty
) -> None:
    """Precision and recall are 1 in each class, over pages that move; then what is repaired is over."""
    provider = ListedProvider([], seed=SEED)
    provider.arrivals = 3
    async with serving(
        database_url, clock=clock, providers={PROVIDER: provider}, listing_pause_seconds=0.01
    ) as service:
        await service.new_ledger(TENANT)
        seeded = Seeded(service, clock, provider)
        await seeded.fill()

        run = await seeded.run()

        assert run.state == COMPLETE, run
        assert run.in_transit_count >= PAYMENTS // 50
        found = await seeded.findings()
        scores = precision_and_recall((fault.place for fault in seeded.faults), found)
        record_property("faults found", (PAYMENTS, run.fetched_count, OF_EACH, scores))
        assert set(scores.values()) == {(1.0, 1.0)}, scores
        assert len(scores) == len(MAKERS)

        rows = await seeded.rows()
        second = await seeded.run()
        assert (second.state, second.opened_count, second.resolved_count) == (COMPLETE, 0, 0)
        assert await seeded.rows() == rows, "the second run adds no row"

        # Half of what can be repaired at the provider is; then the listing breaks off before the first fault.
        repaired = seeded.repair()
        provider.breaks_after = PAGES // 5
        await assert_partial_run_changes_nothing(seeded, rows)

        provider.breaks_after = None
        healed = await seeded.run()
        assert healed.resolved_count == len(repaired)
        resolved = {place for place, each in (await seeded.findings()).items() if each.state in RESOLVED}
        assert resolved == repaired

        # Broken again, in another way.
        worse = {fault.place: fault.worse for fault in seeded.repairable if fault.worse}
        assert len({kind for kind, _ in worse}) >= 4
        seeded.repair(worse)
        again = await seeded.run()
        assert again.reopened_count == len(worse)
        states = {place: each.state for place, each in (await seeded.findings()).items()}
        assert {states[place] for place in worse} == {finding_pb2.FINDING_STATE_REOPENED}
        assert len(states) == len(seeded.faults)


async def assert_partial_run_changes_nothing(seeded: Seeded, rows: tuple[int, ...]) -> None:
    """An incomplete listing reports nothing missing and resolves nothing."""
    partial = await seeded.run()
    assert partial.state == PARTIAL
    assert await seeded.rows() == rows
    assert {each.state for each in (await seeded.findings()).values()} == {finding_pb2.FINDING_STATE_OPEN}
