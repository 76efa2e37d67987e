"""The mock provider's webhooks: signed, retried, and disturbed in every way that the knobs know."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import httpx
import pytest
from defter.payments.v1 import payment_pb2
from standardwebhooks import Webhook

from mock_psp.errors import InvalidRequest
from mock_psp.server import MockPsp, serve
from mock_psp.webhooks import Retries
from tests.integration.mock_psp.receiver import Receiver, receiving
from tests.integration.mock_psp.waiting import until
from tests.support.clock import FakeClock
from tools.free_ports import free_port
from webhook_edge.standard import NotVerified, provider_events, verify

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
NEW_SECRET = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
RETRIES = Retries(attempts=4, first_seconds=0.01)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Where the provider sends its events."""
    async with receiving() as running:
        yield running


@pytest.fixture
async def psp(clock: FakeClock, receiver: Receiver) -> AsyncIterator[MockPsp]:
    """A provider that sends its events, at which nothing happens by itself."""
    async with serve(
        webhook_url=receiver.url, webhook_secrets=[SECRET], retries=RETRIES, clock=clock, seed=1
    ) as running:
        running.knobs.auto_complete = False
        yield running


def capture(psp: MockPsp, number: int = 1) -> str:
    """Make a captured payment of `dep_…`, and return its id."""
    payment = psp.state.payments.create(reference=f"dep_{number}", amount_minor=1_000, currency="EUR")
    psp.state.payments.capture(payment.id)
    return payment.id


def told_ids(psp: MockPsp) -> list[str]:
    """Return the ids of all events, in the order in which they happened."""
    return [event.id for event in psp.state.books.events]


async def test_deliver_event_passes_the_vendors_own_verification() -> None:
    """The SDK takes what the provider sends, by its own clock."""
    async with receiving() as receiver, serve(webhook_url=receiver.url, webhook_secrets=[SECRET]) as psp:
        capture(psp)
        await psp.webhooks.drained()

    (received,) = receiver.received
    assert Webhook(SECRET).verify(received.body, received.headers) == json.loads(received.body)
    assert set(json.loads(received.body)) == {"type", "id", "created_at", "data"}


async def test_deliver_event_is_understood_by_the_edge(
    psp: MockPsp, receiver: Receiver, clock: FakeClock
) -> None:
    """The edge verifies it by an injected clock and says the same in the ledger's words."""
    payment_id = capture(psp)
    await psp.webhooks.drained()

    (received,) = receiver.received
    verify(received.body, received.headers, [SECRET], clock())
    (event,) = provider_events(received.body, received.headers, "mock")
    assert event.type == payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED
    assert (event.event_id, event.payment_ref) == (told_ids(psp)[0], payment_id)
    assert (event.payment_id, event.provider_amount_minor, event.currency_code) == ("dep_1", 1_000, "EUR")
    assert (event.final, event.occur_time.ToDatetime(UTC)) == (True, clock())


async def test_deliver_every_type_is_known_to_the_edge(psp: MockPsp, receiver: Receiver) -> None:
    """The two sides agree on the words of all events."""
    payment_id = capture(psp)
    state = psp.state
    for happen in (state.payments.authorize, state.payments.attempt_fail, state.payments.fail):
        happen(payment_id)
    state.payments.fee(payment_id, amount_minor=1)
    for refund in (state.refunds.create(payment_id, reference="ref_1", amount_minor=n) for n in (1, 2)):
        state.refunds.succeed(refund.id)
        state.refunds.fail(refund.id)
    for dispute in ("open", "withdraw", "reinstate", "win", "lose"):
        getattr(state.disputes, dispute)(payment_id)
    state.payments.capture_fail(payment_id)
    payout = state.payouts.create(reference="wd_1", amount_minor=5, currency="EUR", destination="iban")
    for pay in (state.payouts.submit, state.payouts.pay, state.payouts.return_):
        pay(payout.id)
    await psp.webhooks.drained()

    events = [provider_events(got.body, got.headers, "mock")[0] for got in receiver.received]
    # Totals over refunds are Stripe's own way of telling.
    untold = {0, payment_pb2.PROVIDER_EVENT_TYPE_REFUND_TOTAL}
    assert {event.type for event in events} == set(payment_pb2.ProviderEventType.values()) - untold
    assert {event.payment_id for event in events} == {"dep_1", "wd_1"}
    assert {event.object_id for event in events} == {"", "ref_1"}


async def test_refuse_delivery_is_tried_again_with_the_same_id(
    psp: MockPsp, receiver: Receiver, clock: FakeClock
) -> None:
    """Whatever is not 2xx is tried again, redirects too: the same event, signed at the time of the try."""
    receiver.statuses = [500, 307, 410]
    receiver.on_receive = lambda: clock.advance(seconds=60)
    capture(psp)
    await psp.webhooks.drained()

    assert receiver.event_ids == told_ids(psp) * 4
    assert len({received.body for received in receiver.received}) == 1
    assert len({received.headers["webhook-timestamp"] for received in receiver.received}) == 4
    assert [delivery.status for delivery in psp.webhooks.deliveries] == [500, 307, 410, 204]
    verify(
        receiver.received[3].body,
        receiver.received[3].headers,
        [SECRET],
        datetime.fromtimestamp(int(receiver.received[3].headers["webhook-timestamp"]), UTC),
    )


async def test_refuse_delivery_too_often_gives_up_until_asked(psp: MockPsp, receiver: Receiver) -> None:
    """Tries are bounded; what was given up can be sent again."""
    receiver.statuses = [503] * 4
    capture(psp)
    await psp.webhooks.drained()
    given_up = len(receiver.received)

    psp.webhooks.resend()
    await psp.webhooks.drained()

    assert (given_up, len(receiver.received)) == (4, 5)
    assert set(receiver.event_ids) == set(told_ids(psp))


async def test_deliver_to_receiver_that_comes_up_later(clock: FakeClock) -> None:
    """A receiver that is down for a moment misses nothing."""
    port = free_port()
    retries = Retries(attempts=100, first_seconds=0.01, most_seconds=0.05)
    async with serve(
        webhook_url=f"http://127.0.0.1:{port}/hook", webhook_secrets=[SECRET], retries=retries, clock=clock
    ) as psp:
        capture(psp)
        await until(lambda: psp.webhooks.deliveries)
        async with receiving(port) as receiver:
            await psp.webhooks.drained()

            assert receiver.event_ids == told_ids(psp)
    assert psp.webhooks.deliveries[0].status == 0


async def test_deliver_events_of_one_payment_keeps_their_order(clock: FakeClock) -> None:
    """Unless a knob disturbs it, an event waits for the one before, however long that is under way."""
    taken: list[str] = []
    slow: list[str] = []

    async def deliver(_body: bytes, headers: Mapping[str, str]) -> int:
        if headers["webhook-id"] in slow:
            # Nothing here waits for anything outside of the loop, so an event that did not wait for this one
            # would be through after a few turns of it; time plays no part.
            for _ in range(100):
                await asyncio.sleep(0)
        taken.append(headers["webhook-id"])
        return 204

    async with serve(deliver=deliver, webhook_secrets=[SECRET], clock=clock) as psp:
        payment_id = capture(psp)
        slow += told_ids(psp)
        for _ in range(5):
            psp.state.payments.attempt_fail(payment_id)
        await psp.webhooks.drained()

    assert taken == told_ids(psp)


async def test_fail_one_event_holds_no_other_up(psp: MockPsp, receiver: Receiver) -> None:
    """What is tried again comes after what was taken at once."""
    receiver.statuses = [500]
    payment_id = capture(psp)
    psp.state.payments.fee(payment_id, amount_minor=3)
    await psp.webhooks.drained()

    first, second = told_ids(psp)
    assert receiver.event_ids == [first, second, first]


async def test_duplicate_webhooks_sends_each_so_many_times(psp: MockPsp, receiver: Receiver) -> None:
    """All deliveries of an event are the same one."""
    psp.knobs.duplicate_webhooks = 3
    capture(psp, 1)
    capture(psp, 2)
    await psp.webhooks.drained()

    assert sorted(receiver.event_ids) == sorted(told_ids(psp) * 3)


async def test_reorder_webhooks_sends_all_in_another_order(psp: MockPsp, receiver: Receiver) -> None:
    """Nothing is lost but the order."""
    psp.knobs.reorder_webhooks = True
    psp.state.payments.authorize(capture(psp))
    await psp.webhooks.drained()

    assert receiver.event_ids == list(reversed(told_ids(psp)))


async def test_lose_webhooks_sends_them_only_when_asked(psp: MockPsp, receiver: Receiver) -> None:
    """An event that was lost is still known to the provider."""
    psp.knobs.lose_webhooks = 1
    capture(psp, 1)
    capture(psp, 2)
    await psp.webhooks.drained()
    lost, sent = told_ids(psp)
    received = list(receiver.event_ids)

    psp.webhooks.resend(lost)
    await psp.webhooks.drained()

    assert received == [sent]
    assert receiver.event_ids == [sent, lost]
    assert [event.id for event in psp.webhooks.lost] == [lost]


async def test_flush_late_webhooks_sends_them_now(psp: MockPsp, receiver: Receiver) -> None:
    """What would come much later can be had at once."""
    psp.knobs.patch({"late_webhooks_seconds": 3_000, "duplicate_webhooks": 2})
    capture(psp)
    async with httpx.AsyncClient(base_url=psp.url, trust_env=False) as caller:
        early = (await caller.get("/control/state")).json()["attempts"]
        await caller.post("/control/webhooks/flush")
    await psp.webhooks.drained()

    assert early == {}
    assert receiver.event_ids == told_ids(psp) * 2


async def test_rotate_secret_signs_with_both_until_the_old_one_is_retired(
    psp: MockPsp, receiver: Receiver, clock: FakeClock
) -> None:
    """A receiver may take the new secret before or after the provider does."""
    async with httpx.AsyncClient(base_url=psp.url, trust_env=False) as caller:
        await caller.post("/control/webhooks/rotate", json={"secret": NEW_SECRET})
        capture(psp, 1)
        await psp.webhooks.drained()
        await caller.post("/control/webhooks/rotate", json={"secret": NEW_SECRET, "keep_old": False})
        capture(psp, 2)
        await psp.webhooks.drained()

    during, after = receiver.received
    for secret in (SECRET, NEW_SECRET):
        verify(during.body, during.headers, [secret], clock())
    verify(after.body, after.headers, [NEW_SECRET], clock())
    with pytest.raises(NotVerified):
        verify(after.body, after.headers, [SECRET], clock())


@pytest.mark.parametrize("skew", [-301, 301])
async def test_skew_clock_makes_the_edge_refuse(
    psp: MockPsp, receiver: Receiver, clock: FakeClock, skew: int
) -> None:
    """A provider whose clock is far off signs for another time."""
    psp.knobs.clock_skew_seconds = skew
    capture(psp)
    await psp.webhooks.drained()

    with pytest.raises(NotVerified):
        verify(receiver.received[0].body, receiver.received[0].headers, [SECRET], clock())


async def test_deliver_in_process_needs_no_socket(clock: FakeClock) -> None:
    """A test may take the events itself; what it raises is not swallowed."""
    taken: list[str] = []

    async def deliver(body: bytes, headers: Mapping[str, str]) -> int:
        verify(body, headers, [SECRET], clock())
        taken.append(headers["webhook-id"])
        if len(taken) == 2:
            raise LookupError("a mistake of the test")
        return 204

    async with serve(deliver=deliver, webhook_secrets=[SECRET], clock=clock) as psp:
        psp.knobs.settle_seconds = 60
        psp.state.payments.create(reference="dep_1", amount_minor=5, currency="EUR")
        clock.advance(seconds=60)
        with pytest.raises(LookupError):
            await psp.settled()

    assert taken == told_ids(psp)


@pytest.mark.parametrize(
    "secrets", [[], [""], ["whsec_"], [SECRET.removeprefix("whsec_")], [SECRET, "whsec_é"]]
)
async def test_run_without_proper_secret_is_refused(secrets: list[str]) -> None:
    """Webhooks that nobody can verify are a mistake that is told at the start."""
    with pytest.raises(InvalidRequest):
        async with serve(webhook_url="http://127.0.0.1:9/", webhook_secrets=secrets):
            pass


async def test_stop_drops_what_waits(receiver: Receiver) -> None:
    """A provider that is stopped does not linger for its webhooks."""
    async with serve(webhook_url=receiver.url, webhook_secrets=[SECRET]) as psp:
        psp.knobs.late_webhooks_seconds = 3_000
        capture(psp)

    assert receiver.received == []
