"""The one reader of JSON: what it takes says one thing, and all else is the same nothing to every scheme."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.edge.test_unread import KINDS
from webhook_edge.reading import MOST_DEPTH, parsed

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)
NOTHING = {
    "empty": b"",
    "no JSON": b"{",
    "two values": b"{} {}",
    "no UTF-8": b'{"a": "\xff"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": [Infinity]}',
    "minus infinity": b'{"a": -Infinity}',
    "float without end": b'{"a": 1e999}',
    "negative float without end": b'{"a": -1e999}',
    "too many digits": b'{"a": %s}' % (b"9" * 5_000),
    "field twice": b'{"a": 1, "a": 1}',
    "field twice by escape": b'{"a": 1, "\\u0061": 2}',
    "field twice within": b'{"a": [{"b": {"c": 1, "c": 2}}]}',
    "lists too deep": b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1),
    "objects too deep": b'{"a":' * (MOST_DEPTH + 1) + b"1" + b"}" * (MOST_DEPTH + 1),
    "far too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", NOTHING.values(), ids=NOTHING)
def test_parse_what_has_no_single_meaning_says_nothing(body: bytes) -> None:
    """Nobody may choose between two readings, and nothing is read that could not be written again."""
    assert parsed(body) is None


@given(value=VALUES)
def test_parse_what_was_written_says_the_same_again(value: object) -> None:
    """All other JSON is taken as it is, also when it is written anew."""
    read = parsed(json.dumps(value).encode())

    assert read == value
    assert parsed(json.dumps(read).encode()) == read


@pytest.mark.parametrize("callers", [0, 600])
def test_parse_deep_body_says_the_same_whoever_calls(callers: int) -> None:
    """What was verified is what is read: the bound does not depend on how deep the stack is."""

    def parsed_from_far(body: bytes, more: int) -> object:
        return parsed(body) if more == 0 else parsed_from_far(body, more - 1)

    fits = b"[" * MOST_DEPTH + b"1" + b"]" * MOST_DEPTH

    assert parsed_from_far(fits, callers) == json.loads(fits)
    assert parsed_from_far(b"[" + fits + b"]", callers) is None


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_read_delivery_that_has_a_field_twice_moves_nothing(name: str, data: st.DataObject) -> None:
    """Whatever field of whatever object is there twice, and whichever value comes first."""
    kind = KINDS[name]
    text = json.dumps(kind.content)
    fields = [at for at in range(len(text)) if text.startswith(('{"',), at)]
    at = data.draw(st.sampled_from(fields)) + 1
    [field, _] = text[at:].split(":", 1)
    twice = f"{text[:at]}{field}: null, {text[at:]}".encode()

    events = kind.read(twice)

    assert all(event.type == 0 and event.unread_reason and event.moves_money for event in events)
    assert bool(events) == (name != "adyen"), "an item's signature is within what can't be read"
