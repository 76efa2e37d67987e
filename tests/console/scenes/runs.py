"""Own the pages of reconciliation runs with something on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from defter.reconciliation.v1 import reconciliation_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec.structs import replace

from ledger_server.providers.adapter import Capabilities
from tests.console.house import House
from tests.support.cashier import CAPTURED
from tests.support.fake_provider import PROVIDER, FakeAdapter
from tests.support.listed_provider import LISTED

PAGES = ("/t/{tenant}/runs", "/t/{tenant}/runs/{run}", "/t/{tenant}/runs/new")
HOSTILE = (
    "/t/{}/runs?provider={}&state=0",
    "/t/{}/runs/{}",
    "/t/{}/runs/new?provider={}&from={}&to={}",
)


class Listing(FakeAdapter):
    """Says that it lists everything, and has nothing to list: so what the ledger has is missing there."""

    @property
    def capabilities(self) -> Capabilities:
        """Everything is listed."""
        return replace(super().capabilities, listed=LISTED)


async def run_over(house: House, key: str, **window: timedelta) -> reconciliation_pb2.Run:
    """Compare some time until now, in which the provider lists nothing; return the run as it ended."""
    now = datetime.now(UTC).replace(microsecond=0)
    begin, end = Timestamp(), Timestamp()
    begin.FromDatetime(now - window.get("since", timedelta(hours=1)))
    end.FromDatetime(now)
    request = reconciliation_pb2.RunReconciliationRequest(
        tenant_id=house.ledger.tenant_id,
        provider=PROVIDER,
        from_time=begin,
        to_time=end,
        idempotency_key=key,
    )
    request.grace.FromSeconds(0)
    run = reconciliation_pb2.Run()
    async for response in house.ledger.stubs.reconciliation.RunReconciliation(request):
        run = response.run
    return run


async def captured_before(house: House, amount_minor: int) -> None:
    """Have a deposit captured that the provider took in some minutes ago, and lists nowhere."""
    deposit = await house.cashier.initiate(amount_minor)
    at = Timestamp()
    at.FromDatetime(datetime.now(UTC) - timedelta(minutes=10))
    await house.cashier.ingest(house.cashier.event(CAPTURED, deposit.deposit_id, amount_minor, occur_time=at))


async def make(house: House) -> list[str]:
    """Show one that found something, and the form for the same time."""
    await captured_before(house, 123_456)
    run = await run_over(house, f"scene-{datetime.now(UTC).timestamp()}")
    now = datetime.now(UTC)
    window = f"from={now - timedelta(hours=2):%Y-%m-%dT%H:%M}&to={now:%Y-%m-%dT%H:%M}"
    base = "/t/casino/runs"
    return [
        base,
        f"{base}?provider=nobody",
        f"{base}/{run.run_id}",
        f"{base}/new",
        f"{base}/new?provider={PROVIDER}&{window}",
    ]
