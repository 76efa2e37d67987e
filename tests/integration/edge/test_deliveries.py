"""From a provider's socket to the ledger's disk: every event once, none acknowledged before it is there."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable

from defter.payments.v1 import payment_pb2

from mock_psp.server import MockPsp, serve
from mock_psp.webhooks import Retries
from tests.edge.harness import NAME, OTHER, PATH, SECRET, TENANT, an_endpoint, running_edge, signed
from tests.support.cashier import WALLET, Cashier
from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.fake_provider import fake_providers
from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.service import Service
from webhook_edge.gateway import LedgerGateway
from webhook_edge.verdicts import Verdict

APPLIED = payment_pb2.PROVIDER_EVENT_STATE_APPLIED
PARKED = payment_pb2.PROVIDER_EVENT_STATE_PARKED
CAPTURED = payment_pb2.DEPOSIT_STATE_CAPTURED
STUBBORN = Retries(attempts=200, first_seconds=0.02, most_seconds=0.2)
WEBHOOKS = 2_000
AMOUNT = 500


def captured_body(deposit_id: str, amount_minor: int = AMOUNT, payment_id: str = "pay-1") -> bytes:
    """Return what a provider says of a captured payment."""
    data = {
        "payment_id": payment_id,
        "reference": deposit_id,
        "object_id": f"capture-{payment_id}",
        "amount_minor": amount_minor,
        "currency": "EUR",
        "final": True,
    }
    return json.dumps(
        {"type": "payment.captured", "created_at": "2030-01-01T12:00:00Z", "data": data}
    ).encode()


def capture(psp: MockPsp, deposit: payment_pb2.Deposit) -> None:
    """Let a deposit's money come in at the provider, which then tells."""
    payment = psp.state.payments.create(
        reference=deposit.deposit_id, amount_minor=deposit.amount_minor, currency="EUR"
    )
    psp.state.payments.capture(payment.id)


async def test_deliver_one_event_a_hundred_times_through_two_edges_has_one_effect(
    server: Service, ledger: Ledger, cashier: Cashier, gateway: LedgerGateway, clock: FakeClock
) -> None:
    """All are answered with success at the same time, and the player has the money once."""
    deposit = await cashier.initiate(AMOUNT)
    body = captured_body(deposit.deposit_id)
    other_gateway = LedgerGateway(f"127.0.0.1:{server.server.port}")
    async with (
        running_edge(ledger=gateway, clock=clock) as one,
        running_edge(ledger=other_gateway, clock=clock) as other,
    ):
        answers = await asyncio.gather(
            *(edge.deliver(body, signed(body)) for edge in (one, other) for _ in range(50))
        )

        assert Counter(answer.status_code for answer in answers) == {200: 100}
        assert one.count(Verdict.TAKEN) == other.count(Verdict.TAKEN) == 50
    await other_gateway.close()
    [stored] = await cashier.stored_events()
    assert (stored.state, stored.event.payload) == (APPLIED, b"")
    assert await ledger.posted(WALLET) == AMOUNT
    await assert_ledger_coherent(ledger)


async def test_stop_ledger_while_webhooks_come_loses_none_and_acknowledges_none_early(
    database_url: str, clock: FakeClock
) -> None:
    """Whatever was answered with success is found after every crash; in the end all are applied once."""
    service = Service(database_url, clock=clock, providers=fake_providers())
    await service.start()
    port = service.server.port
    service.settings = service.settings.model_copy(update={"port": port})
    cashier = Cashier(await service.new_ledger(TENANT))
    deposits = [await cashier.initiate(AMOUNT, provider_ref="") for _ in range(WEBHOOKS)]
    gateway = LedgerGateway(f"127.0.0.1:{port}", seconds=2)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(service.stop)
        stack.push_async_callback(gateway.close)
        edge = await stack.enter_async_context(running_edge(ledger=gateway, clock=clock))
        psp = await stack.enter_async_context(
            serve(
                webhook_url=f"http://127.0.0.1:{edge.port}{PATH}",
                webhook_secrets=[SECRET],
                retries=STUBBORN,
                clock=clock,
                seed=7,
            )
        )
        psp.knobs.auto_complete = False
        taken = Taken(psp)
        for round_number in range(3):
            for deposit in deposits[round_number::3]:
                capture(psp, deposit)
            # Some are through, some under way and some still to come when the ledger is gone.
            wanted = (3 * round_number + 1) * WEBHOOKS // 9
            await until(lambda wanted=wanted: taken.count() >= wanted)  # type: ignore[misc]
            await service.crash()
            attempts = len(psp.webhooks.deliveries)
            await until(lambda attempts=attempts: refused_since(psp, attempts))  # type: ignore[misc]
            acknowledged = delivered(psp)
            await service.restart()
            cashier = Cashier(service.ledger(TENANT))
            assert acknowledged <= {stored.event.event_id for stored in await cashier.stored_events()}
        await psp.webhooks.drained()

        stored = await cashier.stored_events()
        assert Counter(event.state for event in stored) == {APPLIED: WEBHOOKS}
        assert {event.event.event_id for event in stored} == delivered(psp)
        assert {deposit.state for deposit in await cashier.deposits()} == {CAPTURED}
        assert await cashier.ledger.posted(WALLET) == WEBHOOKS * AMOUNT
        assert {attempt.status for attempt in psp.webhooks.deliveries} == {200, 503}
        await assert_ledger_coherent(cashier.ledger)


class Taken:
    """Counts the events that were answered with success; it looks at each attempt once.

    Whoever waits for a count asks a thousand times a second, beside the edge and the ledger in this process.
    """

    def __init__(self, psp: MockPsp) -> None:
        self._attempts = psp.webhooks.deliveries
        self._seen_count = 0
        self._taken: set[str] = set()

    def count(self) -> int:
        """Return how many events were answered with success so far."""
        fresh = self._attempts[self._seen_count :]
        self._seen_count += len(fresh)
        self._taken.update(attempt.event_id for attempt in fresh if attempt.status == 200)
        return len(self._taken)


def delivered(psp: MockPsp) -> set[str]:
    """Return the ids of all events that were answered with success."""
    return {attempt.event_id for attempt in psp.webhooks.deliveries if attempt.status == 200}


def refused_since(psp: MockPsp, attempts: int) -> bool:
    """Return whether the edge has said after so many attempts that the ledger is not there."""
    return any(attempt.status == 503 for attempt in psp.webhooks.deliveries[attempts:])


async def until(done: Callable[[], bool]) -> None:
    """Wait until something has happened elsewhere."""
    async with asyncio.timeout(HANG_SECONDS):
        while not done():  # noqa: ASYNC110  # the provider tells it by its list alone
            await asyncio.sleep(0.001)


async def test_deliver_reference_of_another_tenant_never_touches_it(
    server: Service, gateway: LedgerGateway, clock: FakeClock
) -> None:
    """What tenant A's endpoint has verified is A's, whatever it says of B's payments."""
    cashiers = [Cashier(await server.new_ledger(tenant)) for tenant in ("tenant-a", "tenant-b")]
    deposit = await cashiers[1].initiate(AMOUNT)
    body = captured_body(deposit.deposit_id, payment_id=deposit.provider_ref)
    endpoints = [
        an_endpoint(SECRET, name="a", tenant_id="tenant-a"),
        an_endpoint(OTHER, name="b", tenant_id="tenant-b"),
    ]
    async with running_edge(*endpoints, ledger=gateway, clock=clock) as edge:
        with_own_secret = await edge.deliver(body, path="/webhooks/standard/a")
        at_the_other = await edge.deliver(body, path="/webhooks/standard/b")

    assert (with_own_secret.status_code, at_the_other.status_code) == (200, 401)
    assert [event.state for event in await cashiers[0].stored_events()] == [PARKED]
    assert await cashiers[1].stored_events() == []
    assert await cashiers[1].deposit(deposit.deposit_id) == deposit
    for cashier in cashiers:
        await assert_ledger_coherent(cashier.ledger)


async def test_rotate_secret_at_the_provider_under_load_loses_nothing(
    ledger: Ledger, cashier: Cashier, gateway: LedgerGateway, clock: FakeClock
) -> None:
    """Old, both, new: every delivery passes at its first attempt, and the uses tell when the old can go."""
    deposits = [await cashier.initiate(AMOUNT, provider_ref="") for _ in range(90)]
    async with (
        running_edge(an_endpoint(OTHER, SECRET), ledger=gateway, clock=clock) as edge,
        serve(
            webhook_url=f"http://127.0.0.1:{edge.port}{PATH}", webhook_secrets=[SECRET], clock=clock, seed=7
        ) as psp,
    ):
        psp.knobs.auto_complete = False
        uses: list[tuple[float, float]] = []
        for number, change in enumerate([None, True, False]):
            if change is not None:
                psp.webhooks.rotate(OTHER, keep_old=change)
            for deposit in deposits[30 * number : 30 * number + 30]:
                capture(psp, deposit)
            await psp.webhooks.drained()
            uses.append((edge.secret_uses("s1"), edge.secret_uses("s0")))

        assert {attempt.status for attempt in psp.webhooks.deliveries} == {200}
    # Where both signed, the one that the endpoint names first is found first.
    assert uses == [(30, 0), (30, 30), (30, 60)]
    assert await ledger.posted(WALLET) == 90 * AMOUNT


async def test_observe_endpoint_leaves_the_ledger_alone(
    cashier: Cashier, gateway: LedgerGateway, clock: FakeClock
) -> None:
    """A provider can be connected, and watched, before it counts."""
    deposit = await cashier.initiate(AMOUNT)
    body = captured_body(deposit.deposit_id)
    async with running_edge(an_endpoint(observes=True), ledger=gateway, clock=clock) as edge:
        answer = await edge.deliver(body)

        assert (answer.status_code, edge.count(Verdict.OBSERVED, NAME)) == (200, 1)
    assert await cashier.stored_events() == []


GENUINE_NONSENSE: list[bytes] = [
    b"",
    b"hello",
    b"[" * 50_000,
    b'{"type":"payment.captured"}',
    b'{"type":"payment.captured","data":{}}',
    b'{"type":"payment.captured","created_at":"0001-01-01T00:00:00Z","data":{}}',
    b'{"type":"payment.captured","created_at":"9999-12-31T23:59:59Z","data":{}}',
    b'{"type":"payment.captured","data":{"amount_minor":9223372036854775807,"currency":"EUR"}}',
    b'{"type":"payment.captured","data":{"amount_minor":5,"currency":"NOPE"}}',
    b'{"type":"payment.captured","data":{"amount_minor":5}}',
    b'{"type":"payment.captured","data":{"payment_id":"\\u0007\\n\\u202e","reference":"dep_0_0"}}',
    b'{"type":"\\u0000","data":{"reason":"%s"}}' % (b"x" * 900),
    b'{"type":"payment.captured","data":{"payment_id":"%s"}}' % ("é" * 255).encode(),
    b'{"type":"payout.paid","data":{"reference":"wd_999999_999999","payment_id":"x"}}',
    b'{"type":"refund.succeeded","data":{"object_reference":"ref_x_y","amount_minor":0,"currency":"EUR"}}',
]


async def test_deliver_genuine_nonsense_is_stored_and_answered_success(
    ledger: Ledger, cashier: Cashier, gateway: LedgerGateway, clock: FakeClock
) -> None:
    """What is verified is taken, whatever it says; and a second time too, also when its time is ours."""
    async with running_edge(ledger=gateway, clock=clock) as edge:
        statuses = []
        for _ in range(2):
            for number, body in enumerate(GENUINE_NONSENSE):
                headers = signed(body, event_id=f"evt_{number}", at=clock())
                statuses.append((await edge.deliver(body, headers)).status_code)
            clock.advance(seconds=60)

    assert statuses == [200] * 2 * len(GENUINE_NONSENSE)
    stored = await cashier.stored_events()
    told = [event.event.read_event_id or event.event.event_id for event in stored]
    assert told == [f"evt_{n}" for n in range(len(GENUINE_NONSENSE))]
    await assert_ledger_coherent(ledger)
