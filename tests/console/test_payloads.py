"""Own how bodies of webhooks are shown: whatever they are, as text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.payloads import MOST, SHOWN, payload_of


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b'{"a":[1,{"b":null}]}', "json", '{\n  "a": [\n    1,\n    {\n      "b": null\n    }\n  ]\n}'),
        # Numbers are shown as they came, and of two members with one name both.
        (b'{"a":1e400,"a":1.10,"b":NaN}', "json", '{\n  "a": 1e400,\n  "a": 1.10,\n  "b": NaN\n}'),
        (b'{"a":{},"b":[]}', "json", '{\n  "a": {},\n  "b": []\n}'),
        ('"ş<b>"'.encode(), "json", '"ş<b>"'),
        (b"a=1&b=2", "text", "a=1&b=2"),
        (b"\xff\x00", "bytes", "ff 00"),
        (b"", "text", ""),
        (b"[" * 50_000 + b"]" * 50_000, "text", "[" * SHOWN),
    ],
)
def test_body_is_shown_as_what_it_is(body: bytes, kind: str, text: str) -> None:
    """JSON in lines, text as text, bytes as their digits."""
    found = payload_of(body)
    assert (found.kind, found.beginning, found.byte_count) == (kind, text, len(body))


def test_long_body_is_cut_twice() -> None:
    """What is behind the beginning is one click away, up to a bound that is told."""
    found = payload_of(b"x" * (MOST + 1))
    assert (len(found.beginning), len(found.rest), found.is_cut) == (SHOWN, MOST - SHOWN, True)
    assert not payload_of(b"x" * MOST).is_cut


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=20,
)


@given(_VALUES)
def test_lines_say_what_the_body_says(value: Any) -> None:
    """Generated: read again, they are the same value."""
    found = payload_of(json.dumps(value).encode("utf-8", "surrogatepass"))
    assert json.loads(found.beginning + found.rest) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_shown(body: bytes) -> None:
    """Generated: nothing is raised."""
    assert payload_of(body).byte_count == len(body)
