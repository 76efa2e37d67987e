"""Unread events by the command line, against the real server: listed, read again, and what was never told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from defter.payments.v1.payment_pb2 import ProviderEvent

from defter_client import LedgerClient
from ledger_server.operator.event_coverage import coverage
from tests.edge.test_unread import KINDS, Kind
from tests.integration.cli.conftest import PROVIDER, TENANT, CommandLine
from tests.support.cashier import WALLET, Cashier
from tests.support.clock import START, FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.findings import Desk
from tests.support.postgres import alter
from tests.support.service import Service
from webhook_edge.needed import PARTS, needs_of


class Shop(NamedTuple):
    """A tenant with a deposit that a provider has told of, and a file of endpoints."""

    cli: CommandLine
    cashier: Cashier
    endpoints: Path

    async def run(self, *words: str) -> Any:
        """Run a command on events."""
        return await self.cli.run("events", *words, DEFTER_EDGE_ENDPOINTS_FILE=str(self.endpoints))


@pytest.fixture
def shop(cli: CommandLine, reconciling: Service, tmp_path: Path) -> Shop:
    """A shop whose endpoint is of Stripe's; its secret is not there, and not needed."""
    return Shop(cli, Cashier(reconciling.ledger(TENANT)), endpoints_file(tmp_path, "stripe"))


def endpoints_file(folder: Path, scheme: str, options: str = "") -> Path:
    """Write a file of endpoints whose one secret nobody has."""
    file = folder / "endpoints.toml"
    file.write_text(
        f'[endpoints.one]\nscheme = "{scheme}"\ntenant = "{TENANT}"\nprovider = "{PROVIDER}"\n'
        f'secrets = [{{ name = "s", env = "NOWHERE" }}]\noptions = {{ {options} }}\n'
    )
    return file


def of_deposit(kind: Kind, deposit_id: str) -> dict[str, Any]:
    """Return the capture of a deposit that Stripe tells of."""
    return kind.changed(("data", "object", "metadata"), {"our_id": deposit_id})


async def ingest(shop: Shop, events: Sequence[ProviderEvent]) -> list[str]:
    """Take events in as an edge does; return their ids."""
    return [each.event.provider_event_id for each in await shop.cashier.ingest(*events)]


async def test_reread_after_an_upgrade_books_what_was_stored(shop: Shop) -> None:
    """A dry run tells it, a run books it and resolves the finding, and another run finds nothing to do."""
    stripe = KINDS["stripe"]
    deposit = await shop.cashier.initiate(1_000)
    unread = stripe.read(of_deposit(stripe, deposit.deposit_id), api_version="2019")
    [unread_id] = await ingest(shop, unread)

    dry = await shop.run("reread", "--dry-run")
    before = await shop.cashier.ledger.posted(WALLET)
    first = await shop.run("reread")
    second = await shop.run("reread")
    listed = await shop.run("list", "--state", "superseded", "--json")

    assert (dry.code, before) == (0, 0), dry
    assert f"{unread_id} {PROVIDER} payment_intent.succeeded: read: PAYMENT_CAPTURED" in dry.output
    assert (first.code, await shop.cashier.ledger.posted(WALLET)) == (0, 1_000), first
    assert (second.code, second.output) == (0, "0 events\n")
    [superseded] = listed.lines
    successor = await shop.cashier.stored_event(superseded["superseded_by_event_id"])
    assert superseded["provider_event_id"] == unread_id
    assert successor.event.event_id == "evt_1"
    [finding] = await Desk(shop.cashier.ledger).findings()
    assert finding.state == 4
    await assert_ledger_coherent(shop.cashier.ledger)


async def test_reread_what_was_mended_meanwhile_books_nothing_twice(shop: Shop) -> None:
    """The sender's mended delivery came first; reading the stored one again only says what it became."""
    stripe = KINDS["stripe"]
    deposit = await shop.cashier.initiate(1_000)
    content = of_deposit(stripe, deposit.deposit_id)
    await ingest(shop, stripe.read(content, api_version="2019"))
    await ingest(shop, stripe.read(content))

    ran = await shop.run("reread")

    assert ran.code == 0, ran
    assert "1 read" in ran.output
    assert await shop.cashier.ledger.posted(WALLET) == 1_000
    await assert_ledger_coherent(shop.cashier.ledger)


async def test_reread_what_an_older_edge_ignored_books_it(shop: Shop, tmp_path: Path) -> None:
    """It kept the plain id and no reason; `--ignored` looks at those too, and leaves what says nothing."""
    standard = KINDS["standard"]
    endpoints_file(tmp_path, "standard")
    deposit = await shop.cashier.initiate(1_000)
    content = standard.changed(("data", "reference"), deposit.deposit_id)
    body = json.dumps(content).encode()
    old = ProviderEvent(provider=PROVIDER, event_id="msg_1", provider_type="payment.captured", payload=body)
    old.occur_time.FromDatetime(START)
    await ingest(shop, [old])

    without, ran, again = await shop.run("reread"), *[await shop.run("reread", "--ignored") for _ in "12"]

    assert without.output == "0 events\n"
    assert (ran.code, "1 read" in ran.output) == (0, True), ran
    assert again.code == 0, again
    assert await shop.cashier.ledger.posted(WALLET) == 1_000
    await assert_ledger_coherent(shop.cashier.ledger)


async def test_reread_what_is_broken_still_says_so_by_its_exit_code(shop: Shop) -> None:
    """Money waits for a person: exit code 1, and nothing has changed."""
    stripe = KINDS["stripe"]
    await ingest(shop, stripe.read(stripe.changed(("data", "object", "amount_received"), "1000")))
    head = await shop.cashier.ledger.head()

    ran = await shop.run("reread")

    assert (ran.code, "amount_received is no amount" in ran.output) == (1, True), ran
    assert await shop.cashier.ledger.head() == head


async def test_reread_what_was_settled_otherwise_waits_for_nobody(shop: Shop) -> None:
    """The sender has mended it: the unreadable delivery stays as it was, and is no more work."""
    stripe = KINDS["stripe"]
    deposit = await shop.cashier.initiate(1_000)
    content = of_deposit(stripe, deposit.deposit_id)
    broken = json.dumps(content).replace("1000", '"1000"').encode()
    await ingest(shop, stripe.read(broken))
    waiting = await shop.run("reread")
    await ingest(shop, stripe.read(content))

    mended = await shop.run("reread")

    assert (waiting.code, "1 still unread" in waiting.output) == (1, True), waiting
    assert (mended.code, "1 settled otherwise" in mended.output) == (0, True), mended


async def test_reread_altered_payload_takes_nothing_in(shop: Shop, database_url: str) -> None:
    """What is in the table and was not verified is never read."""
    stripe = KINDS["stripe"]
    await ingest(shop, stripe.read(stripe.content, api_version="2019"))
    forged = json.dumps(stripe.changed(("data", "object", "amount_received"), 999_999)).encode()
    await alter(database_url, f"UPDATE provider_events SET payload = '\\x{forged.hex()}'")
    head = await shop.cashier.ledger.head()

    ran = await shop.run("reread")

    assert (ran.code, "altered" in ran.output) == (3, True), ran
    assert await shop.cashier.ledger.head() == head


async def test_reread_without_an_endpoint_is_refused(shop: Shop, tmp_path: Path) -> None:
    """Without a reader nothing is read, and two that differ are for a person to choose from."""
    missing = await shop.run("reread", "--provider", "nobody")
    file = endpoints_file(tmp_path, "stripe", 'api_version = "2019"')
    file.write_text(file.read_text() + file.read_text().replace("one", "two").replace("2019", "2026"))
    several = await shop.run("reread")
    named = await shop.run("reread", "--endpoint", "two")
    file.write_text("endpoints = 7")
    broken = await shop.run("reread")

    assert [each.code for each in (missing, several, named, broken)] == [2, 2, 0, 2]
    assert "--endpoint" in several.errors
    assert "endpoints.toml" in broken.errors


async def test_cover_tells_what_was_never_seen(shop: Shop) -> None:
    """What is missing and not rare is the exit code's matter; what can't be read was not told."""
    stripe = KINDS["stripe"]
    nothing = await shop.run("coverage", "--part", "deposits")
    await ingest(shop, stripe.read(stripe.content, api_version="2019"))
    unread = await shop.run("coverage", "--part", "deposits")
    await ingest(shop, stripe.read(stripe.content))
    seen = await shop.run("coverage", "--part", "deposits")
    rare = await shop.run("coverage", "--part", "deposits", "--rare")
    others = await shop.run("coverage")
    wrong = await shop.run("coverage", "--part", "bonuses")

    assert [ran.code for ran in (nothing, unread, seen, rare, others, wrong)] == [1, 1, 0, 1, 1, 2]
    assert "not seen (rare)" in seen.output
    assert "refund.created or refund.updated" in " ".join(others.output.split())


async def test_cover_looks_at_the_time_asked_for_and_no_earlier(
    shop: Shop, reconciling: Service, clock: FakeClock
) -> None:
    """What was told before counts as not told."""
    stripe = KINDS["stripe"]
    await ingest(shop, stripe.read(stripe.content))
    now = clock.advance(seconds=86_400)

    async with LedgerClient(shop.cli.server) as ledger:
        found = [
            await coverage(ledger, stripe.endpoint(), PARTS, now - timedelta(seconds=seconds))
            for seconds in (86_401, 86_399)
        ]

    assert [sum(not one.missing for one in each) for each in found] == [1, 0]
    assert [len(each) for each in found] == [len(needs_of(stripe.endpoint()))] * 2
