"""A running edge tells what it could not read, and what is not ours, apart from what was taken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.edge.harness import BODY, NAME, Edge, FakeLedger, an_endpoint, running_edge
from tests.support.clock import START
from webhook_edge import sending
from webhook_edge.configuration import ConfiguredEndpoint
from webhook_edge.verdicts import Verdict


def unread_count(edge: Edge, reason: str, *, moves_money: bool) -> float:
    """Return how many events could not be read for a reason."""
    labels = {"endpoint": NAME, "reason": reason, "moves_money": str(moves_money).lower()}
    return edge.metrics.registry.get_sample_value("defter_edge_unread_events_total", labels) or 0


def with_options(secret: str, scheme: str, **options: str) -> ConfiguredEndpoint:
    """Return an endpoint with options."""
    configured = an_endpoint(secret, scheme=scheme)
    return replace(configured, endpoint=replace(configured.endpoint, options=options))


UNREAD: list[tuple[dict[str, Any] | list[Any], str, bool]] = [
    ({"type": "payment.captured", "data": {"amount_minor": "500"}}, "field", True),
    ({"type": "payment.authorized", "data": {"amount_minor": "500"}}, "field", True),
    ({"type": "payout.celebrated", "data": {}}, "type", True),
    ({"type": "customer.created", "data": {}}, "type", False),
    ([], "body", True),
]


@pytest.mark.parametrize(("content", "reason", "moves_money"), UNREAD)
async def test_deliver_what_cannot_be_read_is_counted_by_reason(
    content: object, reason: str, moves_money: bool, edge: Edge, fake_ledger: FakeLedger
) -> None:
    """It is acknowledged and forwarded like any other; the log has its kind and none of its words."""
    body = json.dumps(content).encode()

    with capture_logs() as logs:
        answer = await edge.deliver(body)

    assert (answer.status_code, answer.content) == (200, b"")
    assert (edge.count(Verdict.UNREAD), edge.count(Verdict.TAKEN)) == (1, 0)
    assert unread_count(edge, reason, moves_money=moves_money) == 1
    [(_, [event])] = fake_ledger.calls
    assert event.payload == body
    assert [line["unread"] for line in logs] == [[f"UNREAD_REASON_{reason.upper()}"]]
    assert "500" not in repr(logs)


async def test_deliver_mended_after_unread_is_forwarded_under_the_plain_id(
    edge: Edge, fake_ledger: FakeLedger
) -> None:
    """The sender keeps its id; only the first delivery has another one at the ledger."""
    broken = BODY.replace(b"500", b'"500"')

    answers = [await edge.deliver(broken), await edge.deliver(broken), await edge.deliver(BODY)]

    assert [answer.status_code for answer in answers] == [200] * 3
    first, second, third = fake_ledger.event_ids
    assert first == second != third == "evt_1"
    assert (edge.count(Verdict.UNREAD), edge.count(Verdict.TAKEN)) == (2, 1)


async def test_observe_what_cannot_be_read_counts_it_all_the_same() -> None:
    """That is what one watches a new endpoint for."""
    ledger = FakeLedger()
    async with running_edge(an_endpoint(observes=True), ledger=ledger) as edge:
        await edge.deliver(b"[]")

        assert unread_count(edge, "body", moves_money=True) == 1
        assert edge.count(Verdict.OBSERVED) == 1
    assert ledger.calls == []


OTHERS = [
    ("adyen", "0A" * 32, "CAPTURE", {"merchant_account": "Casino"}, {"merchant_account": "SampleMerchant"}),
    ("stripe", "whsec_one", "payment_intent.succeeded", {"account": "acct_1"}, {}),
]


@pytest.mark.parametrize(("scheme", "secret", "type_", "other", "ours"), OTHERS)
async def test_deliver_event_of_another_account_is_acknowledged_and_not_forwarded(
    scheme: str, secret: str, type_: str, other: dict[str, str], ours: dict[str, str]
) -> None:
    """It is counted, and the provider hears the success that it knows."""
    webhook = sending.signed(scheme, sending.Sample(type=type_), secret, START)
    path = f"/webhooks/{scheme}/{NAME}"
    counts = []
    for options in (other, ours):
        ledger = FakeLedger()
        async with running_edge(with_options(secret, scheme, **options), ledger=ledger) as edge:
            answer = await edge.deliver(webhook.body, webhook.headers, path=path)
            counts.append((edge.count(Verdict.NOT_OURS), edge.count(Verdict.TAKEN), len(ledger.calls)))
        assert answer.status_code == 200

    assert counts == [(1, 0, 0), (0, 1, 1)]


@pytest.mark.parametrize("refusal", [Verdict.LEDGER_UNAVAILABLE, Verdict.MISCONFIGURED])
async def test_deliver_what_cannot_be_read_is_no_success_before_it_is_durable(
    refusal: Verdict, edge: Edge, fake_ledger: FakeLedger
) -> None:
    """What nobody could read is not lost either."""
    fake_ledger.refusals.append(refusal)

    answers = [await edge.deliver(b"[]"), await edge.deliver(b"[]")]

    assert [answer.status_code for answer in answers] == [503, 200]
    assert len(set(fake_ledger.event_ids)) == 1


async def test_count_events_names_needed_types_alone(edge: Edge) -> None:
    """Labels come from our own table, and never from a request."""
    other = b'{"type":"payment.%s","data":{}}'
    await edge.deliver(BODY)
    for name in (b"a", b"b"):
        await edge.deliver(other % name)

    def count(type_: str) -> float:
        labels = {"endpoint": NAME, "type": type_}
        return edge.metrics.registry.get_sample_value("defter_edge_events_total", labels) or 0

    assert (count("payment.captured"), count(""), count("payment.a")) == (1, 2, 0)
