"""An edge under requests of every hostile kind, which are the same for the same seed."""

from bench.http_servers import SCHEMES, secret_of
from tests.edge.harness import FakeLedger, an_endpoint, running_edge
from tests.edge.hostile.attack import Attack
from tests.edge.hostile.requests import KINDS, hostile
from tests.support.clock import FakeClock

SEED = 7
COUNT = 600


def test_make_hostile_request_twice_is_the_same() -> None:
    """A violation can be looked at again by its seed and number."""
    clock = FakeClock()

    assert all(hostile(SEED, number, clock) == hostile(SEED, number, clock) for number in range(300))


def test_make_hostile_requests_expects_no_error_of_ours() -> None:
    """Whatever is sent, a 5xx is none of the answers that are in order; a success needs a signature."""
    for number in range(1_000):
        kind, request = hostile(SEED, number, FakeClock())

        assert max(request.statuses) < 500
        assert (200 in request.statuses) == (kind in {"genuine", "signed rubbish"})


async def test_attack_edge_by_every_kind_of_request_gives_it_nothing_but_what_was_signed() -> None:
    """Each status is in order; what was genuine comes to the ledger once, and what nobody signed never."""
    clock, ledger = FakeClock(), FakeLedger()
    endpoints = [
        an_endpoint(secret_of(scheme), name=scheme, scheme=scheme, tenant_id=scheme) for scheme in SCHEMES
    ]
    attack = Attack(SEED, clock)
    # Those that stall take the time of a body, which other tests shorten.
    numbers = [number for number in range(COUNT) if hostile(SEED, number, clock)[0] != "stalled"]

    async with running_edge(*endpoints, ledger=ledger, clock=clock) as edge:
        await attack.send_all(edge.port, numbers)

    for tenant_id, events in ledger.calls:
        for event in events:
            attack.note_event(tenant_id, event.payload)
    attack.compare_given()
    assert not attack.violations
    assert set(attack.statuses) == {kind for kind in KINDS if kind != "stalled"}
