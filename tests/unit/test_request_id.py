"""Own what becomes of a caller's request id: one that counts is kept as it is, for any other one is made."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.errors import MalformedMessage
from ledger_server.rpc.errors import status_of
from ledger_server.rpc.request_id import LONGEST, REQUEST_ID_KEY, request_id_of

PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F))


@given(st.text(PRINTABLE, min_size=1, max_size=LONGEST), st.booleans())
def test_keep_printable_id_as_it_is(given_id: str, other_first: bool) -> None:
    """The caller's logs have the same id."""
    metadata: list[tuple[str, str | bytes]] = [(REQUEST_ID_KEY, given_id), ("user-agent", "grpcurl")]

    assert request_id_of(metadata[::-1] if other_first else metadata) == given_id


@given(
    st.one_of(
        st.just(""),
        st.binary(),
        st.text(PRINTABLE, min_size=LONGEST + 1),
        st.text(min_size=1).filter(lambda text: not set(text) <= set(PRINTABLE)),
    )
)
def test_replace_any_other_id(given_id: str | bytes) -> None:
    """What may break a line of a log, or a header, is not passed on; the call is served all the same."""
    made = request_id_of([(REQUEST_ID_KEY, given_id)])

    assert made != given_id
    assert 0 < len(made) <= LONGEST
    assert set(made) <= set(string.hexdigits + "-")


@pytest.mark.parametrize("metadata", [None, (), (("x-request-ids", "a"),)])
def test_make_id_of_its_own_for_each_call(metadata: tuple[tuple[str, str | bytes], ...] | None) -> None:
    """No two calls share a made id."""
    assert len({request_id_of(metadata) for _ in range(100)}) == 100


def test_longest_id_leaves_refusal_within_its_bound() -> None:
    """Clients drop answers with too much metadata."""
    refused = MalformedMessage()
    refused.metadata = dict.fromkeys("abcdefgh", "ü" * 4_096)

    assert status_of(refused, "i" * LONGEST).ByteSize() <= 4_096
