"""How webhooks are counted: by sender and by endpoint, each for itself."""

import pytest

from webhook_edge.throttle import Throttle, rate_limit
from webhook_edge.verdicts import Refused, Verdict

ONCE = rate_limit("1/hour")


async def passes(throttle: Throttle, address: str, endpoint: str = "one") -> bool:
    """Count a request of an address; return whether it may pass."""
    try:
        await throttle.admit_address(ONCE, endpoint, address)
    except Refused:
        return False
    return True


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("no-address", "no-address", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "192.0.2.2", False),
    ],
)
async def test_count_address_takes_for_one_what_one_sender_can_change(
    first: str, second: str, same: bool
) -> None:
    """An IPv6 sender has a whole network of addresses; two others share a counter once in thousands."""
    verdicts = []
    for _ in range(3):
        throttle = Throttle()
        assert await passes(throttle, first)
        verdicts.append(await passes(throttle, second))

    assert any(verdicts) is not same


async def test_count_endpoints_are_apart_and_so_are_both_kinds() -> None:
    """One endpoint's flood is no other's, and junk uses up nothing of what is genuine."""
    throttle = Throttle()

    assert [await passes(throttle, "192.0.2.1", name) for name in ("one", "one", "two")] == [
        True,
        False,
        True,
    ]
    await throttle.admit_verified(ONCE, "one")
    with pytest.raises(Refused) as refused:
        await throttle.admit_verified(ONCE, "one")
    assert refused.value.verdict is Verdict.TOO_MANY
    assert refused.value.retry_seconds is not None


@pytest.mark.parametrize(
    "text", ["", "x", "10", "10/fortnight", "-1/minute", "0/minute", "a/minute", "1/second;9/day"]
)
def test_read_rate_limit_that_is_none_is_refused(text: str) -> None:
    """A limit is a number of at least one and a time."""
    with pytest.raises(ValueError, match=r".+"):
        rate_limit(text)
