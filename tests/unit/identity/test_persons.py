"""For whom a call is made is proved, or refused with its own reason."""

from __future__ import annotations

import pytest
from defter.ledger.v1 import error_pb2
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.errors import PersonMalformed, PersonNotPermitted, PersonOther
from ledger_server.identity.caller import Caller
from ledger_server.identity.persons import LONGEST_PERSON, check_name, person_of
from ledger_server.identity.policy import Policy
from ledger_server.rpc.method_kinds import NOT_OF_PLAYERS, changes, reads_players
from ledger_server.rpc.methods import every_method
from ledger_server.rpc.person_field import PERSONS, person_field

ADA = Caller("token:ada")
CONSOLE = Caller("spiffe://d/console")
POLICY = Policy(
    b"""
[[rule]]
name = "console"
identities = ["spiffe://d/console"]
methods = ["p.Withdrawals/Approve"]
tenants = ["casino-*"]
acts_for = ["ada", "ops-*"]

[[rule]]
name = "console elsewhere"
identities = ["spiffe://d/console"]
methods = ["p.Withdrawals/*"]
tenants = ["*"]
"""
)
METHODS = every_method()
# Texts of requests that change something and name nobody whose decision it is.
NO_PERSONS = {
    "account_id",
    "adjustment_id",
    "assignee",
    "bank",
    "bank_reference",
    "batch_id",
    "correction_transaction_id",
    "credit_account_id",
    "currency_code",
    "debit_account_id",
    "deposit_id",
    "description",
    "destination",
    "duplicate_of_finding_id",
    "epoch",
    "finding_id",
    "hold_id",
    "idempotency_key",
    "note",
    "player_id",
    "provider",
    "provider_event_id",
    "provider_ref",
    "reason",
    "reference",
    "superseded_by_event_id",
    "tenant_id",
    "text",
    "transaction_id",
    "withdrawal_id",
}
LOOK_ALIKES = [
    "",
    "ada ",
    " ada",
    "a da",
    "ada\t",
    "ada\n",
    "ada\u200b",
    "\u0430da",  # Cyrillic
    "\uff41da",  # full width
    "a\u0301da",
    "ad\u00e4",
    "ad\u0131a",  # Turkish
    "token:ada",
    "TOKEN:ada",
    "a" * (LONGEST_PERSON + 1),
]


def permitted(_: str) -> None:
    """Let a service act for everybody."""


@pytest.mark.parametrize("named", [[], [""], ["ada"], ["ada", ""], ["ada", "ada"]])
def test_caller_with_a_token_is_the_person(named: list[str]) -> None:
    """Whether the request leaves the name out or says it, in one place or in two."""
    assert person_of(ADA, named, check_permitted=permitted) == "ada"


@given(st.lists(st.text(max_size=8) | st.sampled_from([*LOOK_ALIKES, "ada", "Ada", "bob"]), max_size=3))
def test_caller_with_a_token_is_nobody_else(named: list[str]) -> None:
    """A name that differs in whatever way is refused, never corrected."""
    if set(named) <= {"", "ada"}:
        assert person_of(ADA, named, check_permitted=permitted) == "ada"
    else:
        with pytest.raises(PersonOther) as caught:
            person_of(ADA, named, check_permitted=permitted)
        assert caught.value.metadata["person"] in set(named) - {"", "ada"}
        assert caught.value.metadata["identity"] == "token:ada"


@given(st.text(max_size=300))
def test_service_names_persons_by_one_spelling(name: str) -> None:
    """Printable ASCII without blanks; two names that look alike are equal but for case."""
    good = name.isascii() and all(33 <= ord(each) <= 126 for each in name) and len(name) <= LONGEST_PERSON
    if name and good and not name.lower().startswith("token:"):
        assert person_of(CONSOLE, [name], check_permitted=permitted) == name
    elif name:
        with pytest.raises(PersonMalformed):
            person_of(CONSOLE, [name], check_permitted=permitted)
    else:
        assert not person_of(CONSOLE, [name], check_permitted=permitted)


@pytest.mark.parametrize("name", LOOK_ALIKES[1:])
def test_name_with_another_spelling_is_no_persons(name: str) -> None:
    """A subject of a token that is one can't review either."""
    with pytest.raises(PersonMalformed):
        check_name(name)


def test_service_names_one_person() -> None:
    """Two names in one call are refused, for nobody knows who it was."""
    with pytest.raises(PersonOther):
        person_of(CONSOLE, ["ada", "bob"], check_permitted=permitted)


@pytest.mark.parametrize(
    ("caller", "method", "tenant_id", "person", "allowed"),
    [
        (CONSOLE, "p.Withdrawals/Approve", "casino-1", "ada", True),
        (CONSOLE, "p.Withdrawals/Approve", "casino-1", "ops-7", True),
        (CONSOLE, "p.Withdrawals/Approve", "casino-1", "bob", False),
        (CONSOLE, "p.Withdrawals/Approve", "casino-1", "Ada", False),
        # Another rule allows the call, and one that lets act for her does not.
        (CONSOLE, "p.Withdrawals/Approve", "bingo", "ada", False),
        (CONSOLE, "p.Withdrawals/Reject", "casino-1", "ada", False),
        (CONSOLE, "p.Withdrawals/Approve", None, "ada", True),
        (Caller("spiffe://d/game"), "p.Withdrawals/Approve", "casino-1", "ada", False),
        (Caller("token:console"), "p.Withdrawals/Approve", "casino-1", "ada", False),
    ],
)
def test_service_acts_for_whom_one_rule_names(
    caller: Caller, method: str, tenant_id: str | None, person: str, allowed: bool
) -> None:
    """The rule that allows the call for the tenant must let the service act for the person, too."""
    if allowed:
        POLICY.check_acting(caller, method, tenant_id, person)
        return
    with pytest.raises(PersonNotPermitted) as caught:
        POLICY.check_acting(caller, method, tenant_id, person)
    assert caught.value.metadata == {
        "method": method,
        "tenant_id": tenant_id or "",
        "identity": caller.identity,
        "person": person,
    }


def test_each_text_of_a_change_names_a_person_or_does_not() -> None:
    """A new field that says whose decision a request is has to be listed: else anybody could be named."""
    texts = {
        field.name
        for name, method in METHODS.items()
        if changes(name)
        for field in method.input_type.fields
        if field.type == FieldDescriptor.TYPE_STRING
    }
    assert texts == NO_PERSONS | set(PERSONS)


def test_requests_that_name_a_person_are_known() -> None:
    """Each in one field."""
    named = {name.rpartition("/")[2]: person_field(method) for name, method in METHODS.items()}
    assert {name: field for name, field in named.items() if field} == {
        "RequestAdjustment": "actor",
        "ApproveAdjustment": "reviewer",
        "RejectAdjustment": "reviewer",
        "CancelAdjustment": "actor",
        "ApproveWithdrawal": "reviewer",
        "RejectWithdrawal": "reviewer",
        "MarkWithdrawalPaid": "reviewer",
        "ClaimWithdrawal": "reviewer",
        "AddWithdrawalNote": "reviewer",
        "AcknowledgeFinding": "actor",
        "ResolveFinding": "actor",
        "ReopenFinding": "actor",
        "RepairFinding": "actor",
        "ConfirmSettlementBatch": "actor",
        "StopOutbound": "actor",
        "ResumeOutbound": "actor",
    }
    for method in METHODS.values():
        assert sum(name in method.input_type.fields_by_name for name in PERSONS) <= 1


def test_methods_that_read_something_else_exist() -> None:
    """And change nothing; whatever is in no list reads players' money or changes something."""
    assert set(METHODS) >= NOT_OF_PLAYERS
    assert not any(changes(name) or reads_players(name) for name in NOT_OF_PLAYERS)
    assert reads_players("defter.payments.v1.WalletService/GetWallet")


def test_reasons_of_persons_come_before_those_of_the_message() -> None:
    """Who asks is known before what is asked."""
    order = [
        "PERMISSION_MISSING",
        "PERSON_OTHER",
        "PERSON_MALFORMED",
        "PERSON_NOT_PERMITTED",
        "MESSAGE_TOO_LARGE",
    ]
    names = [each.name.removeprefix("ERROR_REASON_") for each in error_pb2.ErrorReason.DESCRIPTOR.values]
    assert [name for name in names if name in order] == order
