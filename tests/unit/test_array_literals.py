"""Own the proof that PostgreSQL reads back from array literals what was written, whatever texts are in it."""

from hypothesis import given
from hypothesis import strategies as st

from ledger_server.store.array_literals import array_literals

TEXTS = st.lists(st.none() | st.text(st.sampled_from("ab\",{}\\ 'NULé\n"), max_size=6), min_size=1)


def read(literal: str) -> list[str | None]:
    """Read an array of texts by the rules of PostgreSQL's documentation (8.15.6), each text quoted."""
    assert literal[0] == "{"
    assert literal[-1] == "}"
    found: list[str | None] = []
    rest = literal[1:-1] + ","
    while rest:
        if rest.startswith("NULL,"):
            found.append(None)
            rest = rest[len("NULL,") :]
            continue
        assert rest[0] == '"'
        text, place = "", 1
        while rest[place] != '"':
            place += rest[place] == "\\"
            text += rest[place]
            place += 1
        assert rest[place + 1] == ","
        found.append(text)
        rest = rest[place + 2 :]
    return found


@given(TEXTS)
def test_texts_come_back(column: list[str | None]) -> None:
    """With quotes, backslashes, commas and absent texts in any place."""
    [literal] = array_literals(["text"], [(text,) for text in column])

    assert read(literal) == column
