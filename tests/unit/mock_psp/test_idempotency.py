"""The mock provider's idempotency keys: one answer a key, for as long as it is kept."""

import pytest

from mock_psp.idempotency import Answer, KeyInUse, KeyReused, Keys
from tests.support.clock import FakeClock

ANSWER = Answer(status=201, body=b"{}")


def answered(clock: FakeClock) -> Keys:
    """Return keys among which `k` was answered to the request `a`."""
    keys = Keys(clock)
    keys.begin("k", b"a", kept_seconds=60)
    keys.finish("k", ANSWER)
    return keys


def test_repeat_key_with_same_request_returns_first_answer() -> None:
    """A retry is told what was told before."""
    assert answered(FakeClock()).begin("k", b"a", kept_seconds=60) == ANSWER


def test_reuse_key_for_another_request_is_refused() -> None:
    """A key belongs to one request, answered or not."""
    keys = answered(FakeClock())
    keys.begin("open", b"a", kept_seconds=60)

    for key in ("k", "open"):
        with pytest.raises(KeyReused):
            keys.begin(key, b"b", kept_seconds=60)


def test_repeat_key_under_way_is_refused() -> None:
    """Whoever retries too early is told to wait, however old the first request is."""
    clock = FakeClock()
    keys = Keys(clock)
    keys.begin("k", b"a", kept_seconds=60)
    clock.advance(seconds=1_000)

    with pytest.raises(KeyInUse):
        keys.begin("k", b"a", kept_seconds=60)


def test_repeat_key_after_it_was_forgotten_makes_a_new_request() -> None:
    """That is how people are paid twice: the key is kept for a time only."""
    clock = FakeClock()
    keys = answered(clock)
    clock.advance(seconds=59)
    kept = keys.begin("k", b"a", kept_seconds=60)
    clock.advance(seconds=1)

    assert kept == ANSWER
    assert keys.begin("k", b"b", kept_seconds=60) is None


def test_abandon_key_leaves_it_free() -> None:
    """A request that did nothing has not used its key."""
    keys = Keys(FakeClock())
    keys.begin("k", b"a", kept_seconds=60)

    keys.abandon("k")

    assert keys.begin("k", b"b", kept_seconds=60) is None
