"""What `python -m bench hostile` sends: the same for the same seed, and never to be answered by a 5xx."""

from bench.hostile_requests import hostile


def test_make_hostile_request_twice_is_the_same() -> None:
    """A violation can be looked at again by its seed and number."""
    for number in range(300):
        kind, first = hostile(7, number)
        again, second = hostile(7, number)

        # The time of a signature is the present one.
        assert (kind, first.scheme, first.statuses) == (again, second.scheme, second.statuses)
        if kind in {"no http", "unsigned", "too large"}:
            assert first.content == second.content


def test_make_hostile_requests_expects_no_error_of_ours() -> None:
    """Whatever is sent, a 5xx is none of the answers that are in order; a success needs a signature."""
    for number in range(1_000):
        kind, request = hostile(7, number)

        assert max(request.statuses) < 500
        assert (200 in request.statuses) == (kind in {"genuine", "signed rubbish"})
