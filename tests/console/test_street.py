"""Own what people see live in a browser of what happens at a provider: its webhooks, payouts and records."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from defter.payments.v1 import payment_pb2 as pb
from playwright.async_api import Browser, Page

from tests.console.street import Street, open_street
from tests.console.windows import window
from tests.support.postgres import Databases

pytestmark = pytest.mark.asyncio(loop_scope="module")
_LIVE = "text=Live: changes are shown by themselves."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def street(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Street]:
    """One street for all of these tests."""
    with databases.fresh() as url:
        async with open_street(url, tmp_path_factory.mktemp("street")) as found:
            yield found


async def opened(page: Page, path: str) -> None:
    """Open a page and wait until it is live."""
    await page.goto(path)
    await page.wait_for_selector(_LIVE)


async def test_deposit_appears_live_and_is_refunded(browser: Browser, street: Street) -> None:
    """From the provider's webhook to the open list; then a part goes back, which its page shows by itself."""
    cashier = street.house.cashier
    async with window(browser, street.house, "ada") as page:
        await opened(page, "/t/casino/deposits")
        deposit = await cashier.initiate(100_000, provider_ref="")
        row = f"[id='{deposit.deposit_id}']"
        await page.wait_for_selector(f"{row} .s-d-{pb.DEPOSIT_STATE_CAPTURED}")
        await page.click(f"{row} a")
        await page.wait_for_selector("text=taken by the provider")
        await page.click("text=Refund it, whole or in part")
        await page.fill("#amount", "250.50")
        await page.click("main button:has-text('Go on')")
        await page.wait_for_selector("text=Is this right?")
        assert await page.locator("form .head .amount").inner_text() == "250.50"
        await page.dblclick("button:has-text('Refund this amount')")
        await page.wait_for_selector("text=The refund is asked for")
        await page.wait_for_selector(f"#region .head .s-d-{pb.DEPOSIT_STATE_PARTIALLY_REFUNDED}")
        await page.wait_for_selector("text=refund has left")
    [refund] = (await cashier.deposit(deposit.deposit_id)).refunds
    assert (refund.amount_minor, refund.state) == (25_050, pb.REFUND_STATE_SUCCEEDED)


async def test_withdrawal_is_approved_by_two_and_paid_by_the_provider(
    browser: Browser, street: Street
) -> None:
    """The first sees the second's approval and the payout on the page that they have left open."""
    cashier = street.house.cashier
    await cashier.set_policy(second_review_from_minor={"EUR": 40_000})
    async with window(browser, street.house, "ada") as ada, window(browser, street.house, "grace") as grace:
        await opened(ada, "/t/casino/withdrawals")
        withdrawal = await cashier.request(40_000)
        await ada.click(f"[id='{withdrawal.withdrawal_id}'] a")
        await ada.click("button.primary:has-text('Approve')")
        await ada.wait_for_selector("text=Your approval is recorded.")
        await ada.wait_for_selector(_LIVE)
        assert (await cashier.withdrawal(withdrawal.withdrawal_id)).state == pb.WITHDRAWAL_STATE_REQUESTED
        await grace.goto(f"/t/casino/withdrawals/{withdrawal.withdrawal_id}")
        await grace.click("button.primary:has-text('Approve')")
        await ada.wait_for_selector(f"#region .head .s-w-{pb.WITHDRAWAL_STATE_PAID}")
    found = await cashier.withdrawal(withdrawal.withdrawal_id)
    assert [each.reviewer for each in found.approvals] == ["ada", "grace"]
    assert [each.reference for each in street.psp.state.payouts.all.values()] == [withdrawal.withdrawal_id]


async def test_lost_webhook_is_found_repaired_and_resolved_by_itself(
    browser: Browser, street: Street
) -> None:
    """The run raises it on the open list; what the provider says is booked; the next run ends it."""
    cashier, psp = street.house.cashier, street.psp
    psp.knobs.auto_complete = False
    deposit = await cashier.initiate(1_234, provider_ref="", player_id="lost")
    payment = await street.begun(deposit.deposit_id)
    psp.knobs.lose_webhooks = 10
    psp.state.payments.authorize(payment.id)
    psp.state.payments.capture(payment.id)
    await psp.settled()
    psp.knobs.lose_webhooks, psp.knobs.auto_complete = 0, True
    async with window(browser, street.house, "ada") as page:
        await opened(page, "/t/casino/findings")
        await street.run()
        await page.click("tbody th a")
        await page.wait_for_selector(f"text={deposit.deposit_id}")
        await page.wait_for_selector(_LIVE)
        await page.click("button:has-text('Book it')")
        await page.wait_for_selector("text=What the provider's record says is booked.")
        await page.wait_for_selector(_LIVE)
        assert (await cashier.deposit(deposit.deposit_id)).state == pb.DEPOSIT_STATE_CAPTURED
        await street.run()
        await page.wait_for_selector("#region .head .state:has-text('resolved by itself')")
        await page.goto(f"/t/casino/deposits/{deposit.deposit_id}")
        await page.wait_for_selector("#region .head .state:has-text('credited')")
    assert await cashier.ledger.posted("player:lost:real:EUR") == 1_234
