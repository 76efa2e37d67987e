"""Own what is read of forms with files, of typed amounts, and how bars are drawn: pure, and generated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from console.multipart import Field, FileName, NoMultipart, Reader, boundary_of
from console.side_charts import WIDTH, Pair, paired

BOUNDARY = "----WebKitFormBoundaryAbC123"
_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=40)


def form(fields: Sequence[tuple[str, str]], data: bytes, name: str = "a.csv") -> bytes:
    """Return a form as browsers send it."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{text}\r\n'.encode()
        for field, text in fields
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    parts += [head.encode(), b"Content-Type: text/csv\r\n\r\n", data, f"\r\n--{BOUNDARY}--\r\n".encode()]
    return b"".join(parts)


def read(body: bytes, cuts: Sequence[int] = ()) -> tuple[list[tuple[str, str]], str, bytes]:
    """Read a form that comes in pieces; return fields, the file's name and the file."""
    fields, name, data = [], "", b""
    reader = Reader(boundary_of(f"multipart/form-data; boundary={BOUNDARY}"))
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for begin, end in itertools.pairwise(places):
        for piece in reader.feed(body[begin:end]):
            match piece:
                case Field():
                    assert not name, "fields come before the file"
                    fields.append((piece.name, piece.text))
                case FileName():
                    name = piece.name
                case _:
                    data += piece
    reader.finish()
    return fields, name, data


@given(
    fields=st.lists(st.tuples(st.sampled_from(["csrf", "key", "provider"]), _TEXTS), max_size=5),
    data=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
)
@example(fields=[], data=f"\r\n--{BOUNDARY[:-1]}".encode(), cuts=[])
@example(fields=[("key", "")], data=b"\r\n\r\n--", cuts=list(range(400)))
def test_form_is_read_the_same_however_it_is_cut(
    fields: list[tuple[str, str]], data: bytes, cuts: list[int]
) -> None:
    """Byte by byte too: what looks like a boundary and is none is the file's."""
    assert read(form(fields, data), cuts) == (fields, "a.csv", data)


@given(st.binary(max_size=400), st.lists(st.integers(0, 500), max_size=5))
def test_anything_else_is_refused_or_read_and_nothing_breaks(body: bytes, cuts: list[int]) -> None:
    """No other error than the one that is told."""
    with pytest.raises(NoMultipart):
        read(body, cuts)


@pytest.mark.parametrize(
    "body",
    [
        form([], b"x")[:-4],
        b"preamble\r\n" + form([], b"x"),
        form([], b"x") + b"epilogue",
        form([], b"x").replace(b"--\r\n", b"\r\n") + form([], b"y"),
        form([("a", "x" * 5_000)], b"x"),
        form([(f"f{number}", "") for number in range(30)], b"x"),
        form([], b"x").replace(b"form-data", b"attachment"),
        form([], b"x").replace(b"Content-Type: text/csv", b"X: " + b"y" * 9_000),
        form([("a", "b")], b"").replace(b'; filename="a.csv"', b""),
        form([("a", "b")], b"x").replace(b"\r\n\r\nb", b"\r\n\r\n\xff"),
    ],
    ids=["cut", "preamble", "epilogue", "two", "long", "many", "other", "header", "no file", "no text"],
)
def test_form_out_of_bounds_is_refused(body: bytes) -> None:
    """One file behind few and short fields, and nothing around them."""
    with pytest.raises(NoMultipart):
        read(body)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("a.csv", "a.csv"), ("../../etc/x", "x"), ("C:\\dir\\r.csv", "r.csv"), ("a%22b", 'a"b'), ("/", "")],
)
def test_name_of_a_file_has_no_folders(sent: str, kept: str) -> None:
    """It is shown and told to the ledger, and names no file of ours."""
    assert read(form([], b"x", sent))[1] == kept


@pytest.mark.parametrize(
    "told",
    [
        "",
        "text/plain",
        "multipart/form-data",
        "multipart/mixed; boundary=x",
        "multipart/form-data; boundary=",
    ],
)
def test_form_without_a_boundary_is_refused(told: str) -> None:
    """What is no form with a file is not read."""
    with pytest.raises(NoMultipart):
        boundary_of(told)


_AMOUNTS = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.tuples(_AMOUNTS, _AMOUNTS), max_size=12))
def test_bars_stay_within_the_chart_and_grow_with_their_amounts(amounts: list[tuple[int, int]]) -> None:
    """Any two numbers: nothing overlaps, and what is more is never drawn as less."""
    chart = paired([Pair("EUR", a, b, str(a), str(b)) for a, b in amounts], "Ledger", "Provider")
    below = 0
    for group, (first, second) in zip(chart.groups, amounts, strict=True):
        assert group.title_y > below
        for bar, amount in zip(group.bars, (first, second), strict=True):
            assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
            assert (bar.width > 0) == (amount != 0)
            assert bar.number == str(amount)
            assert group.top <= bar.y <= bar.y + bar.height <= group.bottom
        sizes = [bar.width for bar in group.bars]
        assert (abs(first) > abs(second)) <= (sizes[0] >= sizes[1])
        assert (abs(first) < abs(second)) <= (sizes[0] <= sizes[1])
        below = group.bottom
    assert below <= chart.height
