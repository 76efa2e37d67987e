"""Streams of a call: the error of a source that fails is the caller's own, and the end says more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from defter.backfill.v1 import backfill_pb2
from defter.backfill.v1.backfill_pb2_grpc import (
    BackfillServiceServicer,
    add_BackfillServiceServicer_to_server,
)
from defter.reconciliation.v1 import reconciliation_pb2, settlement_pb2
from defter.reconciliation.v1.reconciliation_pb2_grpc import (
    ReconciliationServiceServicer,
    add_ReconciliationServiceServicer_to_server,
)
from defter.reconciliation.v1.settlement_pb2_grpc import (
    SettlementServiceServicer,
    add_SettlementServiceServicer_to_server,
)

from defter_client import BlockingLedgerClient, LedgerClient
from defter_client._async.streams import Stream
from tests.support.patience import HANG_SECONDS
from tests.support.wire import REPLAYED

HEADER = settlement_pb2.ImportSettlementReportRequest.Header(tenant_id="casino")


class Broken(Exception):
    """What a caller's own source raises."""


class Server(ReconciliationServiceServicer, SettlementServiceServicer, BackfillServiceServicer):
    """Reads all that is sent, and says what it is told."""

    replayed = False

    async def RunReconciliation(
        self, _: reconciliation_pb2.RunReconciliationRequest, context: Any
    ) -> AsyncIterator[reconciliation_pb2.RunReconciliationResponse]:
        """Answer twice."""
        if self.replayed:
            context.set_trailing_metadata((REPLAYED,))
        for __ in range(2):
            yield reconciliation_pb2.RunReconciliationResponse()

    async def ImportSettlementReport(
        self, requests: Any, _: Any
    ) -> settlement_pb2.ImportSettlementReportResponse:
        """Answer at the end."""
        count = len([each async for each in requests])
        report = settlement_pb2.SettlementReport(line_count=count)
        return settlement_pb2.ImportSettlementReportResponse(report=report)

    async def ImportOpeningBalances(
        self, requests: Any, _: Any
    ) -> AsyncIterator[backfill_pb2.ImportOpeningBalancesResponse]:
        """Answer each."""
        async for __ in requests:
            yield backfill_pb2.ImportOpeningBalancesResponse()


@pytest.fixture
async def served() -> AsyncIterator[tuple[Server, str]]:
    """A server, and where it is."""
    server = grpc.aio.server()
    script = Server()  # type: ignore[abstract]  # what is not scripted is not asked
    add_ReconciliationServiceServicer_to_server(script, server)
    add_SettlementServiceServicer_to_server(script, server)
    add_BackfillServiceServicer_to_server(script, server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield script, target
    await server.stop(None)


@pytest.mark.parametrize("replayed", [False, True])
async def test_stream_says_at_its_end_whether_it_was_replayed(
    served: tuple[Server, str], *, replayed: bool
) -> None:
    """As the answer of a keyed call that is no stream does."""
    served[0].replayed = replayed
    request = reconciliation_pb2.RunReconciliationRequest(tenant_id="casino", idempotency_key="k")

    def by_threads() -> tuple[int, bool]:
        with BlockingLedgerClient(served[1]) as ledger:
            responses = ledger.reconciliation.run_reconciliation(request, timeout=HANG_SECONDS)
            return len(list(responses)), responses.replayed

    async with LedgerClient(served[1]) as ledger:
        responses = ledger.reconciliation.run_reconciliation(request, timeout=HANG_SECONDS)
        assert not responses.replayed
        assert len([each async for each in responses]) == 2

    assert responses.replayed is replayed
    assert await asyncio.to_thread(by_threads) == (2, replayed)


@pytest.mark.parametrize("good", [0, 1, 100])
async def test_source_that_fails_is_what_the_caller_is_told(served: tuple[Server, str], good: int) -> None:
    """The call is ended by it, and an error of the ledger would not say why."""

    async def parts() -> AsyncIterator[settlement_pb2.ImportSettlementReportRequest]:
        for each in some_parts():
            yield each

    async def lines() -> AsyncIterator[backfill_pb2.ImportOpeningBalancesRequest]:
        for each in some_lines():
            yield each

    def some_parts() -> Iterator[settlement_pb2.ImportSettlementReportRequest]:
        yield from [settlement_pb2.ImportSettlementReportRequest(header=HEADER)] * good
        raise Broken

    def some_lines() -> Iterator[backfill_pb2.ImportOpeningBalancesRequest]:
        yield from [backfill_pb2.ImportOpeningBalancesRequest()] * good
        raise Broken

    def by_threads() -> None:
        with BlockingLedgerClient(served[1]) as ledger:
            with pytest.raises(Broken):
                ledger.settlements.import_settlement_report(some_parts(), timeout=HANG_SECONDS)
            with pytest.raises(Broken):
                list(ledger.backfill.import_opening_balances(some_lines(), timeout=HANG_SECONDS))

    async with LedgerClient(served[1]) as ledger:
        with pytest.raises(Broken):
            await ledger.settlements.import_settlement_report(parts(), timeout=HANG_SECONDS)
        with pytest.raises(Broken):
            await _all(ledger.backfill.import_opening_balances(lines(), timeout=HANG_SECONDS))
    await asyncio.to_thread(by_threads)


async def test_source_is_sent_whole(served: tuple[Server, str]) -> None:
    """All of it, in both kinds of client."""
    parts = [settlement_pb2.ImportSettlementReportRequest(header=HEADER)] * 7

    async def source() -> AsyncIterator[settlement_pb2.ImportSettlementReportRequest]:
        for each in parts:
            yield each

    def by_threads() -> int:
        with BlockingLedgerClient(served[1]) as ledger:
            found = ledger.settlements.import_settlement_report(iter(parts), timeout=HANG_SECONDS)
            return found.report.line_count

    async with LedgerClient(served[1]) as ledger:
        found = await ledger.settlements.import_settlement_report(source(), timeout=HANG_SECONDS)

    assert (found.report.line_count, await asyncio.to_thread(by_threads)) == (7, 7)


async def _all(stream: Stream[Any]) -> list[Any]:
    return [each async for each in stream]
