"""Page tokens: what was made is read again, and nothing else is."""

import base64
import string

import pytest
from defter.ledger.v1 import account_pb2, hold_pb2, posting_pb2, tenant_pb2

from ledger_server.domain.errors import FieldOutOfRange, PageTokenInvalid
from ledger_server.rpc.page_token import (
    MAX_BYTES,
    Position,
    _hash,
    _text,
    fitting,
    page_position,
    page_size,
    page_token,
)
from ledger_server.rpc.violations import Violations


def request(**fields: object) -> account_pb2.ListAccountsRequest:
    """Return a list request."""
    return account_pb2.ListAccountsRequest(tenant_id="casino", **fields)  # type: ignore[arg-type]


def read(message: account_pb2.ListAccountsRequest, token: str, like: Position) -> Position | None:
    """Read a token as part of a request."""
    message.page_token = token
    violations = Violations()
    position = page_position(message, violations, like=like)
    violations.check()
    return position


@pytest.mark.parametrize("position", [("player:42:real:EUR",), (2**63 - 1,), (7, 0), ("a" * 255,)])
def test_read_token_returns_position_that_it_was_made_for(position: Position) -> None:
    """Positions of every list survive the way to the caller and back."""
    assert read(request(), page_token(request(), position), position) == position


def test_read_no_token_begins_at_the_first_page() -> None:
    """An empty token is no position."""
    assert read(request(), "", ("",)) is None


def test_change_page_size_keeps_token_valid() -> None:
    """How much is read at once is no part of what is listed."""
    token = page_token(request(page_size=5), ("ann",))

    assert read(request(page_size=7), token, ("",)) == ("ann",)


@pytest.mark.parametrize(
    "other",
    [
        request(account_id_prefix="player:"),
        request(kind=account_pb2.ACCOUNT_KIND_ASSET),
        account_pb2.ListAccountsRequest(tenant_id="other"),
    ],
)
def test_take_token_to_another_filter_is_refused(other: account_pb2.ListAccountsRequest) -> None:
    """A token carries its filter."""
    with pytest.raises(PageTokenInvalid):
        read(other, page_token(request(), ("ann",)), ("",))


def test_take_token_to_another_list_is_refused() -> None:
    """Requests of two lists may have the same fields; their tokens differ all the same."""
    holds = hold_pb2.ListHoldsRequest(tenant_id="casino")
    transactions = posting_pb2.ListTransactionsRequest(tenant_id="casino")
    transactions.page_token = page_token(holds, (7,))
    violations = Violations()

    page_position(transactions, violations, like=(0,))

    with pytest.raises(PageTokenInvalid):
        violations.check()


def test_alter_any_character_is_refused() -> None:
    """Every bit of a token counts, even those that base64 does not use."""
    token = page_token(request(), ("ann",))
    alphabet = string.ascii_letters + string.digits + "-_+/=.\u00e9 "
    altered = {
        token[:at] + character + token[at + 1 :]
        for at in range(len(token))
        for character in alphabet
        if character != token[at]
    }
    altered |= {token[:at] for at in range(1, len(token))}
    altered |= {token + character for character in alphabet} | {token + "==", token * 2, token * 100}

    for wrong in altered:
        with pytest.raises(PageTokenInvalid):
            read(request(), wrong, ("",))


@pytest.mark.parametrize("position", [(1,), ("ann", "bob"), (), (True,), (None,), ([],)])
def test_read_position_of_another_shape_is_refused(position: Position) -> None:
    """Even a token with the right hash must have a position that the list can begin at."""
    with pytest.raises(PageTokenInvalid):
        read(request(), page_token(request(), position), ("",))


@pytest.mark.parametrize(
    ("data", "like"),
    [
        (b"", ("",)),
        (b"{", ("",)),
        (b"\xff", ("",)),
        (b"5", (0,)),
        (b'"ann"', ("", "", "")),
        (b'{"ann":1}', ("",)),
        (b"[" * 700 + b"]" * 700, ("",)),
        (b"[-1]", (0,)),
        (b"[9223372036854775808]", (0,)),
        (b"[1e3]", (0,)),
        (b'["\\u0000"]', ("",)),
        (b'["\\ud800"]', ("",)),
    ],
)
def test_read_forged_token_is_refused(data: bytes, like: Position) -> None:
    """Anyone can make the hash, so what stands behind it is believed as little as the rest of a request."""
    with pytest.raises(PageTokenInvalid):
        read(request(), _text(_hash(request(), data) + data), like)


def test_read_token_of_valid_base64_without_hash_is_refused() -> None:
    """Short data is no reason to fail otherwise."""
    with pytest.raises(PageTokenInvalid):
        read(request(), base64.urlsafe_b64encode(b"[1]").decode(), ("",))


@pytest.mark.parametrize(("asked", "given"), [(0, 100), (1, 1), (1000, 1000)])
def test_ask_for_page_size_in_range_is_granted(asked: int, given: int) -> None:
    """Zero stands for the default."""
    assert page_size(tenant_pb2.ListTenantsRequest(page_size=asked), Violations()) == given


@pytest.mark.parametrize("asked", [-1, 1001, 2**31 - 1, -(2**31)])
def test_ask_for_page_size_out_of_range_is_refused(asked: int) -> None:
    """A page has at most 1,000 items."""
    violations = Violations()

    page_size(tenant_pb2.ListTenantsRequest(page_size=asked), violations)

    with pytest.raises(FieldOutOfRange):
        violations.check()


@pytest.mark.parametrize(("size", "count"), [(10, 100), (MAX_BYTES // 10, 9), (MAX_BYTES * 2, 1)])
def test_cut_page_of_large_items_keeps_it_sendable(size: int, count: int) -> None:
    """A page ends before it is too large for a message, yet never before its first item."""
    items = [account_pb2.Account(account_id="a" * size)] * 100

    assert fitting(items) == count
