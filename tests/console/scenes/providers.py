"""Own the pages of the border with something on them: calls that nobody answers."""

from __future__ import annotations

from tests.console.house import House
from tests.support.cashier import CAPTURED
from tests.support.fake_provider import SILENT_PROVIDER

PAGES = ("/t/{tenant}/providers", "/t/{tenant}/calls")
HOSTILE = ("/t/{}/providers", "/t/{}/calls", "/t/{}/calls?provider={}")


async def make(house: House) -> list[str]:
    """Show calls of each kind."""
    cashier = house.cashier
    await cashier.initiate(700, provider=SILENT_PROVIDER, provider_ref="")
    deposit = await cashier.initiate(5_000, provider=SILENT_PROVIDER)
    await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 5_000, provider=SILENT_PROVIDER))
    await cashier.refund(deposit.deposit_id, 200)
    withdrawal = await cashier.request(100, provider=SILENT_PROVIDER)
    await cashier.approve(withdrawal.withdrawal_id)
    return ["/t/casino/providers", "/t/casino/calls", "/t/casino/calls?provider=nobody"]
