"""Whether two names of reviewers may be of one person: what only looks different is one name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.errors import SecondReviewerRequired
from ledger_server.domain.payments.reviewers import folded, may_be_one
from tests.support.payments import PaymentBooks

# Of one person each, in as many spellings as are given.
SPELLINGS = {
    "case": ["ada", "Ada", "ADA", "aDa"],
    "blanks": ["ada", " ada", "a d a", "ada\t", "ada\u00a0", "ad\u3000a", "ada\u2003"],
    "what nobody sees": ["ada", "a\u200bda", "ada\u2060", "\u202eada", "ada\ufeff", "a\u3164da", "ada\u00ad"],
    "width": ["ada", "ａｄａ", "ＡＤＡ", "𝐚𝐝𝐚", "ⓐⓓⓐ"],
    "accents": ["ada", "adá", "ada\u0301", "âdä", "ÅDA"],
    "Turkish letters": ["istanbul", "İstanbul", "ISTANBUL", "ıstanbul", "Istanbul"],
    "German letters": ["strasse", "Straße", "STRASSE", "ſtraße"],
    "ligatures": ["fink", "ﬁnk", "FINK"],
    "Cyrillic letters": ["cope", "соре", "СОРЕ", "cоpe"],
    "large Cyrillic letters": ["bob hat", "Вов Нат", "ВОВ НАТ"],
    "Greek letters": ["zoo kan", "Ζοο Καn", "zοο κan"],
    "dotted by another script": ["ivan", "іvan", "ӏvan", "Ιvan"],
}
PAIRS = [(kind, one, other) for kind, names in SPELLINGS.items() for one in names for other in names]


@pytest.mark.parametrize(("one", "other"), [pair[1:] for pair in PAIRS], ids=[pair[0] for pair in PAIRS])
def test_approve_twice_in_two_spellings_is_one_person(one: str, other: str) -> None:
    """A second approval needs a second person, and not a second spelling of the first one's name."""
    books = PaymentBooks()
    books.fund(1000)
    number = books.request(400)
    books.set_policy(second_review_from={"EUR": 1})
    books.approve(number, one)
    with pytest.raises(SecondReviewerRequired):
        books.approve(number, other)
    assert books.owed == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada", "adam"),
        ("ada", "bob"),
        ("dan1", "danl"),
        ("anna", "ana"),
        ("a.smith", "asmith"),
        ("a-smith", "a_smith"),
        ("ada@one.example", "ada@two.example"),
        ("шура", "жора"),
        ("山田", "山本"),
    ],
)
def test_approve_under_two_names_is_two_persons(one: str, other: str) -> None:
    """What is folded is not so much that colleagues become one."""
    books = PaymentBooks()
    books.fund(1000)
    number = books.request(400)
    books.set_policy(second_review_from={"EUR": 1})
    books.approve(number, one)
    books.approve(number, other)
    assert len(books.owed) == 1


@given(st.text(max_size=20), st.text(max_size=20))
def test_folding_is_done_after_one_time(one: str, other: str) -> None:
    """Being one is the same in both directions, and a folded name is one with what it was folded from."""
    assert folded(folded(one)) == folded(one)
    assert may_be_one(one, folded(one))
    assert may_be_one(one, one)
    assert may_be_one(one, other) == may_be_one(other, one)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20))
def test_of_ascii_names_only_case_is_folded(name: str) -> None:
    """So are the names that were proved: two accounts of one identity provider stay two."""
    assert folded(name) == name.lower()
