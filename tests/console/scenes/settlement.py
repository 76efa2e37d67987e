"""Own the pages of settlement with something on them."""

from __future__ import annotations

from tests.console.house import House, form_of
from tests.support.fake_provider import PROVIDER
from tests.support.settlement import STRIPE, Settler, charge, paid, stripe_file

PAGES = (
    "/t/{tenant}/settlement",
    "/t/{tenant}/settlement/batch",
    "/t/{tenant}/settlement/batch/confirm",
    "/t/{tenant}/settlement/import",
    "/t/{tenant}/settlement/files/{file}",
)
_BATCH = "provider={}&batch={}&currency={}"
HOSTILE = (
    "/t/{}/settlement?provider={}&state=0",
    f"/t/{{}}/settlement/batch?{_BATCH}",
    f"/t/{{}}/settlement/batch/confirm?{_BATCH}",
    "/t/{}/settlement/import?provider={}",
    "/t/{}/settlement/files/{}",
)


async def make(house: House) -> list[str]:
    """Show a batch that adds up, one that does not, and a file that was not imported yet."""
    rows = [charge(2_000, 50), paid(1_950), charge(700, batch="po_2"), paid(900, batch="po_2")]
    await Settler(house.ledger).send(stripe_file(rows))
    base = "/t/casino/settlement"
    async with await house.signed_in() as ada:
        form = form_of((await ada.get(f"{base}/import")).text, "/import")
        facts = {"provider": PROVIDER, "format": str(int(STRIPE)), "account": "", "encoding": "utf-8"}
        sent = await ada.send(f"{base}/import", {**form, **facts}, stripe_file([charge(5)]))
        assert sent.status_code == 303, sent.text
    name = f"provider={PROVIDER}&currency=EUR"
    return [
        base,
        f"{base}?state=4&provider=nobody",
        f"{base}/batch?{name}&batch=po_1",
        f"{base}/batch?{name}&batch=po_2",
        f"{base}/batch/confirm?{name}&batch=po_1",
        f"{base}/import",
        f"{base}/files/nobodys",
    ]
