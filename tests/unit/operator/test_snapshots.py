"""Own what a snapshot of balances may look like: exact or refused, in whatever order and packing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from defter.backfill.v1 import backfill_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.operator.snapshot_lines import BadLine, BadSnapshot, SnapshotLine, columns_of, read_line
from ledger_server.operator.snapshot_order import SortedSnapshot
from ledger_server.operator.snapshot_reading import Snapshot, read_file

PLACES = {"EUR": 2, "JPY": 0, "BTC": 8}
HEAD = "player_id,currency,real,bonus"
Read = Callable[..., Snapshot]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads what stands in a file."""

    def read(content: str | bytes, name: str = "snapshot.csv") -> Snapshot:
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_file(file, PLACES, lambda _: None)

    return read


def told(snapshot: Snapshot) -> list[tuple[str, str, int, int]]:
    """Return the balances in the order in which they are sent."""
    return [
        (each.player_id, each.currency, each.real, each.bonus)
        for page in snapshot.lines.pages(2)
        for each in page
    ]


TWO = [("a", "EUR", 1050, -5), ("b", "JPY", 7, 0)]
ROWS = "a,EUR,10.50,-0.05\nb,JPY,7,0\n"
OBJECTS = (
    '{"player_id": "a", "currency": "EUR", "real": 10.50, "bonus": "-0.05", "more": [1]}\n'
    '{"bonus": 0, "real": 7, "currency": "JPY", "player_id": "b"}\n'
)
OBJECT = '{"player_id": "a", "currency": "EUR", "real": 1}\n'
OBJECT_BOTH = '{"player_id": "b", "currency": "EUR", "real": 1, "bonus": 0}\n'


@pytest.mark.parametrize(
    "content",
    [
        f"{HEAD}\n{ROWS}",
        f"{HEAD}\r\n{ROWS}".replace("\n", "\r\n").replace("\r\r", "\r"),
        f"\ufeff{HEAD}\n{ROWS}\n",
        "Bonus,Currency_Code,note,PLAYER,Real\n-0.05,EUR,\"x,\ny\",a,+10.500\n0,JPY,,b,7.0",
        f"{HEAD}\nb,JPY,7,0\na,EUR,10.50,-0.05",
        OBJECTS,
        f"\ufeff{OBJECTS}",
        gzip.compress(f"{HEAD}\n{ROWS}".encode(), mtime=0),
        gzip.compress(OBJECTS.encode(), mtime=0),
    ],
)  # fmt: skip
def test_read_snapshot_in_any_form_is_the_same(read: Read, content: str | bytes) -> None:
    """SnapshotLine ends, byte order marks, order and names of columns, order of lines, packing."""
    snapshot = read(content)
    assert (told(snapshot), snapshot.buckets) == (TWO, [pb.BUCKET_REAL, pb.BUCKET_BONUS])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "empty"),
        ("player_id,real\na,1\n", "there must be columns player_id and currency"),
        ("player_id,currency\na,EUR\n", "a column real, bonus, or both"),
        ("player_id,player,currency,real\na,a,EUR,1\n", "several columns"),
        (f"{HEAD}\na,EUR,10.005,0\n", "line 2: 10.005 has more decimal places than EUR"),
        (f"{HEAD}\na,JPY,1.5,0\n", "line 2: 1.5 has more decimal places than JPY"),
        (f"{HEAD}\na,EUR,1e3,0\n", "line 2: '1e3' is no amount"),
        (f"{HEAD}\na,EUR,\"1,000\",0\n", "'1,000' is no amount"),
        (f"{HEAD}\na,EUR,NaN,0\n", "'NaN' is no amount"),
        (f"{HEAD}\na,EUR,,0\n", "'' is no amount"),
        (f"{HEAD}\na,EUR,٣,0\n", "is no amount"),
        (f"{HEAD}\na,EUR,99999999999999999999,0\n", "more than a balance can be"),
        (f"{HEAD}\na,XXQ,1,0\n", "line 2: 'XXQ' is no currency"),
        (f"{HEAD}\na:b,EUR,1,0\n", "line 2: 'a:b' is no id"),
        (f"{HEAD}\na,EUR,1\n", "line 2: it has 3 cells"),
        (f"{HEAD}\na,EUR,1,0\nb,EUR,1,0\na,EUR,1,0\n", "line 4: a has EUR in line 2 already"),
        (f"{HEAD}\na,EUR,\"1,0\n", "line 2: it is no CSV: unexpected end"),
        (f"{HEAD}\na,EUR,1,0\nb,EUR,\"1\"x,0\nc,EUR,1,0\n", "line 3: it is no CSV"),
        (f"{HEAD}\n{ROWS}".encode() + b"c,EUR,\xff,0\n" + b"d,EUR,1,0\n" * 5_000, "line 4: it is no text"),
        (OBJECT.encode() + b'{"player_id": "\xc3"}\n', "line 2: it is no text"),
        (gzip.compress(b"x", mtime=0)[:5], "line 1: the gzip file is cut off"),
        (gzip.compress(f"{HEAD}\n{ROWS}".encode(), mtime=0)[:-8] + bytes(8), "the gzip file is damaged"),
        (gzip.compress(b"x", mtime=0)[:10] + bytes([255] * 40), "line 1: the gzip file is damaged"),
        ('{"player_id": "a", "currency": "EUR", "real": 1e2}\n', "'1e2' is no amount"),
        ('{"player_id": "a", "currency": "EUR", "real": NaN}\n', "NaN is no amount"),
        ('{"player_id": "a", "currency": "EUR", "real": true}\n', "'True' is no amount"),
        ('{"player_id": "a", "currency": "EUR", "real": 1}\n[]\n', "line 2: it is no JSON object"),
        (OBJECT + '{"player_id": "b", "currency": "EUR", "bonus": 1}\n', "line 2: it has other columns"),
        ('{"player_id": "a", "currency": "EUR", "real": 1}\n{\n', "line 2: "),
        (b"\xff\xfe\x00", "line 1: it is no text"),
        (gzip.compress(f"{HEAD}\n{ROWS}".encode() * 9, mtime=0)[:-9], "cut off"),
    ],
)  # fmt: skip
def test_read_snapshot_that_is_not_exact_is_refused_whole(
    read: Read, content: str | bytes, problem: str
) -> None:
    """Nothing is rounded, guessed or left out; the line is told."""
    with pytest.raises(BadSnapshot) as refused:
        read(content)
    assert problem in str(refused.value)


FIELDS = {"player_id": "a", "currency": "EUR", "real": "1.00", "bonus": "0"}
NAMES = [
    ("player_id", "player_id"),
    ("player_id", "player"),
    ("player_id", "PLAYER"),
    ("currency", "currency"),
    ("currency", "Currency_Code"),
    ("real", "real"),
    ("real", " REAL"),
    ("bonus", "bonus"),
    ("bonus", "Bonus "),
]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("name", "again"), NAMES)
def test_read_snapshot_with_a_column_twice_is_refused(read: Read, name: str, again: str, first: bool) -> None:
    """Under the same name, another one, or other capitals; before or behind; the same value or not."""
    pairs = list(FIELDS.items())
    pairs.insert(0 if first else len(pairs), (again, FIELDS[name]))
    head, cells = (",".join(each) for each in zip(*pairs, strict=True))
    line = "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs) + "}\n"

    for content, number in ((f"{head}\n{cells}\n", 1), (line, 1), (OBJECT_BOTH + line, 2)):
        with pytest.raises(BadSnapshot) as refused:
            read(content)
        assert f"line {number}: there are several columns {name}" in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        f"note,{HEAD},note\nx,a,EUR,1.00,0,y\n",
        json.dumps(FIELDS)[:-1] + ', "note": 1, "note": {"real": 1, "real": 2}}\n',
    ],
)
def test_read_snapshot_passes_over_other_columns_however_often_they_come(read: Read, content: str) -> None:
    """What is not read can't be taken for something else."""
    assert told(read(content)) == [("a", "EUR", 100, 0)]


def test_read_snapshot_with_many_wrong_lines_tells_the_first_and_how_many(read: Read) -> None:
    """A file of another kind does not fill the screen."""
    with pytest.raises(BadSnapshot) as refused:
        read(HEAD + "\na,EUR,x,0" * 500)
    assert (len(str(refused.value).splitlines()), "480 more" in str(refused.value)) == (22, True)


@pytest.mark.parametrize(("head", "buckets"), [("real", [pb.BUCKET_REAL]), ("bonus", [pb.BUCKET_BONUS])])
def test_read_snapshot_without_a_bucket_says_which_it_has(read: Read, head: str, buckets: list[int]) -> None:
    """What the file has no column of is not compared."""
    assert read(f"player,currency,{head}\na,EUR,1\n").buckets == buckets


def test_read_binary_float_is_refused_and_decimal_taken() -> None:
    """A legacy column of double precision was never exact."""
    columns = columns_of(["player", "currency", "real"])

    def line(real: object) -> SnapshotLine:
        return read_line({"player": 7, "currency": "EUR", "real": real}, columns, PLACES, 1)

    assert line(Decimal("10.50")).real == line(Decimal("1.05E+1")).real == 1050
    with pytest.raises(BadLine, match="binary float"):
        line(10.5)


@given(
    st.lists(
        st.tuples(st.text("7aZ-.@_", min_size=1, max_size=4), st.sampled_from(["EUR", "JPY"])),
        max_size=30,
    )
)
def test_sort_snapshot_is_in_the_order_of_the_ids_of_accounts(names: list[tuple[str, str]]) -> None:
    """The order is that of `player:<id>:` by bytes, then of currencies; what comes twice is told."""
    snapshot = SortedSnapshot()
    for number, (player, currency) in enumerate(names):
        snapshot.add(SnapshotLine(player, currency, number, 0, number))
    snapshot.sort()

    read = [(each.player_id, each.currency) for page in snapshot.pages(7) for each in page]
    repeated = {(each.player_id, each.currency) for each in snapshot.twice(100)}
    snapshot.close()

    assert read == sorted(names, key=lambda name: (f"player:{name[0]}:".encode(), name[1]))
    assert repeated == {name for name in names if names.count(name) > 1}


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from(sorted(PLACES)))
def test_read_amount_is_exact_however_large(minor: int, currency: str) -> None:
    """No digit is lost between a JSON number and minor units."""
    text = format(Decimal(minor).scaleb(-PLACES[currency]), "f")
    fields = json.loads(f'{{"real": {text}}}', parse_float=str, parse_int=str)
    columns = columns_of(["player", "currency", "real"])
    line = read_line({"player": "a", "currency": currency, **fields}, columns, PLACES, 1)
    assert line.real == minor
