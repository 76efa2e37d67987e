"""A line has names and ids, and never what else a request says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.errors import InsufficientFunds, PermissionMissing, Refused
from ledger_server.rpc.audit import MALFORMED, Audit, person_told, subject_of, tenant_told
from ledger_server.rpc.call_facts import CallFacts
from ledger_server.rpc.method_kinds import changes
from ledger_server.rpc.methods import every_method
from ledger_server.rpc.request_id import LONGEST

START = datetime(2030, 1, 1, tzinfo=UTC)
FACTS = {
    "identity": "token:ada",
    "person": "ada",
    "method": "p.S/Get",
    "tenant_id": "casino",
    "subject": "ann",
    "request_id": "r1",
    "peer": "ipv4:1",
}
METHODS = every_method()
SECRET = "whsec do not show"


class Lines:
    """An audit log in memory, with a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START
        self.lines: list[dict[str, Any]] = []
        self.audit = Audit(self._write, lambda: self.now)

    def _write(self, line: bytes) -> None:
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        self.lines.append(json.loads(line))


def filled(message: Any, depth: int = 0) -> Any:
    """Fill every text of a request with something that is nobody's business."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.type == FieldDescriptor.TYPE_STRING:
            if field.is_repeated:
                getattr(message, field.name).append(SECRET)
            else:
                setattr(message, field.name, SECRET)
        elif field.type == FieldDescriptor.TYPE_INT64 and not field.is_repeated:
            setattr(message, field.name, 987_654_321)
        elif depth < 3 and field.message_type is not None and field.message_type.file.package[:6] == "defter":
            inner = getattr(message, field.name)
            filled(inner.add() if field.is_repeated else inner, depth + 1)
    return message


@pytest.mark.parametrize("name", METHODS)
def test_nothing_of_a_request_but_ids_is_told(name: str) -> None:
    """Whatever stands where an id belongs is not repeated either."""
    request = filled(GetMessageClass(METHODS[name].input_type)())
    told = subject_of(request)
    assert SECRET not in told
    assert "987654321" not in told
    assert told.replace(MALFORMED, "").strip(",") in ("", " and 1 more")


@given(st.text(max_size=300))
def test_names_that_are_none_are_not_repeated(text: str) -> None:
    """They may be anything, also a secret that somebody has pasted."""
    for told in (person_told(text), tenant_told(text)):
        assert told in (text, MALFORMED)
        if told == text and text:
            assert text.isascii()
            assert " " not in text
    assert person_told("") == tenant_told("") == tenant_told(None) == ""
    assert tenant_told("*") == "*"


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        (
            "defter.ledger.v1.AccountService/GetBalance",
            {"account_id": "player:1:real:EUR"},
            "player:1:real:EUR",
        ),
        ("defter.payments.v1.WalletService/GetWallet", {"player_id": "ann"}, "ann"),
        (
            "defter.payments.v1.WithdrawalService/ApproveWithdrawal",
            {"withdrawal_id": "wd_1", "reviewer": "ada"},
            "wd_1",
        ),
        ("defter.payments.v1.WithdrawalService/ListWithdrawals", {}, ""),
        (
            "defter.ledger.v1.AccountService/BatchGetBalances",
            {"account_ids": [f"a{number}" for number in range(7)]},
            "a0,a1,a2,a3,a4 and 2 more",
        ),
        ("defter.ledger.v1.AccountService/OpenAccount", {"account": {"account_id": "bob"}}, "bob"),
        (
            "defter.ledger.v1.PostingService/PostTransaction",
            {"transaction": {"postings": [{"account_id": "a"}, {"account_id": "b"}, {"account_id": "a"}]}},
            "a,b",
        ),
    ],
)
def test_subject_is_what_a_request_is_about(name: str, fields: dict[str, Any], told: str) -> None:
    """The account, the player or the payment."""
    assert subject_of(GetMessageClass(METHODS[name].input_type)(**fields)) == told


def test_line_has_every_fact() -> None:
    """And none beside them."""
    log = Lines()
    log.audit.read(**FACTS)
    log.audit.refused(PermissionMissing(method="m", tenant_id="t", identity="i"), **FACTS)
    common = {"logger": "audit", "time": "2030-01-01T00:00:00+00:00", "left_out": 0, **FACTS}
    assert log.lines == [
        {**common, "event": "read", "verdict": "OK"},
        {**common, "event": "refused", "verdict": "PERMISSION_MISSING"},
    ]


@pytest.mark.parametrize("refused", [PermissionMissing(), InsufficientFunds(account_id="a")])
def test_flood_of_refusals_is_bounded_and_counted(refused: Refused) -> None:
    """The other kind of refusal, other callers and reads are told all the same."""
    log = Lines()
    other = InsufficientFunds() if isinstance(refused, PermissionMissing) else PermissionMissing()
    for _ in range(10_000):
        log.audit.refused(refused, **FACTS)
    assert len(log.lines) == 100
    log.audit.refused(other, **FACTS)
    log.audit.refused(refused, **{**FACTS, "identity": "token:bob"})
    for _ in range(1_000):
        log.audit.read(**FACTS)
    assert len(log.lines) == 1_102
    log.now += timedelta(seconds=10)
    log.audit.tell_left_out()
    [last] = log.lines[1_102:]
    assert (last["event"], last["identity"], last["left_out"]) == ("left out", "token:ada", 9_900)


def test_methods_that_change_something_are_told_of_by_name() -> None:
    """So that refusals of a new one are, too."""
    assert sum(map(changes, METHODS)) > 35


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ("abc-1", True),
        ("x" * LONGEST, True),
        ("x" * (LONGEST + 1), False),
        ("", False),
        ("a\tb", False),
        ("\u00e9", False),
        (b"bytes", False),
        (None, False),
    ],
)
def test_request_id_is_the_callers_if_it_is_one(sent: object, taken: bool) -> None:
    """Else one is made, and it stays the same for the call."""
    facts = CallFacts("Service/Method", [] if sent is None else [("x-request-id", sent)])
    first = facts.request_id
    assert facts.request_id == first
    assert (first == sent) == taken
    assert 0 < len(first) <= LONGEST
