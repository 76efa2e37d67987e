"""The way to the ledger: what each of its answers means for the sender of a webhook."""

import asyncio
import socket

import pytest
from defter.payments.v1 import payment_pb2
from structlog.testing import capture_logs

from tests.edge.harness import PROVIDER, TENANT
from tests.support.cashier import Cashier
from tests.support.clock import START
from tests.support.patience import HANG_SECONDS
from tests.support.requests import timestamp
from tests.support.service import Service
from tools.free_ports import free_port
from webhook_edge.gateway import LedgerGateway
from webhook_edge.verdicts import Refused, Verdict

UNKNOWN = payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED


def an_event(
    event_id: str = "evt_1", *, provider: str = PROVIDER, kind: str = "odd", size: int = 2
) -> payment_pb2.ProviderEvent:
    """Return an event that says nothing."""
    return payment_pb2.ProviderEvent(
        provider=provider,
        event_id=event_id,
        type=UNKNOWN,
        provider_type=kind,
        payload=b"x" * size,
        occur_time=timestamp(START),
    )


async def test_ingest_events_returns_when_they_are_stored(gateway: LedgerGateway, cashier: Cashier) -> None:
    """They are there, in their order, and a second time changes nothing."""
    events = [an_event("evt_1"), an_event("evt_2")]

    await gateway.ingest(TENANT, events)
    await gateway.ingest(TENANT, events)

    assert [stored.event.event_id for stored in await cashier.stored_events()] == ["evt_1", "evt_2"]


@pytest.mark.parametrize(("count", "size"), [(250, 2), (7, 1024 * 1024)])
async def test_ingest_more_than_one_call_takes_is_divided(
    count: int, size: int, gateway: LedgerGateway, cashier: Cashier
) -> None:
    """Neither the number of events nor their size has to fit one call."""
    await gateway.ingest(TENANT, [an_event(f"evt_{number}", size=size) for number in range(count)])

    stored = await cashier.stored_events()
    assert [one.event.event_id for one in stored] == [f"evt_{number}" for number in range(count)]


async def test_ingest_a_hundred_broken_events_hears_the_reason(
    gateway: LedgerGateway, cashier: Cashier
) -> None:
    """However much there is to say, it comes through; another error would have them sent for ever."""
    with pytest.raises(Refused) as refused:
        await gateway.ingest(TENANT, [an_event("x" * 300, kind="y" * 300)] * 100)

    assert refused.value.verdict is Verdict.LEDGER_REFUSED
    assert await cashier.stored_events() == []


async def test_ingest_nothing_calls_nobody() -> None:
    """A webhook that says nothing is a success at once."""
    gateway = LedgerGateway("127.0.0.1:1")
    await gateway.ingest(TENANT, [])
    await gateway.close()


@pytest.mark.parametrize(
    ("tenant_id", "event", "verdict", "reason"),
    [
        (TENANT, an_event(provider="nobody"), Verdict.MISCONFIGURED, "PROVIDER_UNKNOWN"),
        ("elsewhere", an_event(), Verdict.MISCONFIGURED, "TENANT_NOT_FOUND"),
        (TENANT, an_event("x" * 300), Verdict.LEDGER_REFUSED, ""),
    ],
)
async def test_ingest_what_the_ledger_refuses_is_logged_with_its_id(
    tenant_id: str,
    event: payment_pb2.ProviderEvent,
    verdict: Verdict,
    reason: str,
    gateway: LedgerGateway,
    cashier: Cashier,
) -> None:
    """What somebody has to mend is told loudly, so that the event can be fetched again; no payload is."""
    with capture_logs() as logs, pytest.raises(Refused) as refused:
        await gateway.ingest(tenant_id, [event])

    [line] = [line for line in logs if "provider_event_ids" in line]
    assert refused.value.verdict is verdict
    assert (line["log_level"], line["provider_event_ids"]) == ("error", [event.event_id])
    assert reason in line["reasons"] or not reason
    assert await cashier.stored_events() == []


async def test_ingest_without_a_ledger_is_unavailable_in_time() -> None:
    """Nobody listens there."""
    gateway = LedgerGateway(f"127.0.0.1:{free_port()}", seconds=1)

    with pytest.raises(Refused) as refused:
        await gateway.ingest(TENANT, [an_event()])

    assert refused.value.verdict is Verdict.LEDGER_UNAVAILABLE
    await gateway.close()


async def test_ingest_at_a_ledger_that_never_answers_is_unavailable_in_time() -> None:
    """A ledger that hangs is not waited for longer than the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gateway = LedgerGateway(f"127.0.0.1:{silent.getsockname()[1]}", seconds=0.3)

        with pytest.raises(Refused) as refused:
            await gateway.ingest(TENANT, [an_event()])

        await gateway.close()
    assert refused.value.verdict is Verdict.LEDGER_UNAVAILABLE


async def test_watch_ledger_tells_whether_it_serves(server: Service, gateway: LedgerGateway) -> None:
    """It is known soon after the start, and forgotten after a while without an answer."""
    assert not gateway.served_within(60)

    async with asyncio.timeout(HANG_SECONDS), gateway.watched(0.01):
        while not gateway.served_within(60):  # noqa: ASYNC110  # the ledger is asked by another task
            await asyncio.sleep(0.01)
        await server.crash()
        while gateway.served_within(0.2):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
