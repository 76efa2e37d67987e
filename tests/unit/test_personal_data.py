"""Each text of each request is of one class, and says what that asks for: none comes in unnoticed.

A hashed journal keeps what it is told for ever, so callers are told at the field itself.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from ledger_server.identity.policy import Rule
from ledger_server.rpc.method_kinds import changes, reads_players
from tests.unit.test_contract import METHODS

PROTOS: Final = Path(__file__).resolve().parents[2] / "protos"
FREE: Final = "No personal data: kept for ever."
PSEUDONYM: Final = "A pseudonym, no personal data: kept for ever."
STAFF: Final = "The name of a staff account and no more of the person: kept for ever."
# What the caller writes freely, with what its comment says of it.
SAID: Final = {
    "reference": FREE,
    "metadata": FREE,
    "note": FREE,
    "reason": FREE,
    "description": FREE,
    "file_name": FREE,
    "destination": FREE,
    "AddWithdrawalNoteRequest.text": FREE,
    "import_id": FREE,
    "personal_metadata": "the only place for it",
    "idempotency_key": FREE,
    "player_id": PSEUDONYM,
    "account_id": PSEUDONYM,
    "debit_account_id": PSEUDONYM,
    "credit_account_id": PSEUDONYM,
    "actor": STAFF,
    "reviewer": STAFF,
    "assignee": STAFF,
    "ProviderEvent.reason": "Kept for ever as the provider wrote it.",
    "ProviderEvent.payload": "Kept beside the journal, which has its digest: may have personal data.",
    "bank_reference": FREE,
    "PreviewSettlementReportRequest.chunk": "Nothing of them is kept.",
    "ImportSettlementReportRequest.chunk": (
        "Its lines are kept beside the journal: none may have personal data."
    ),
}
# Names that the ledger, the operator or a provider gives.
IDENTIFIERS: Final = frozenset(
    {
        "tenant_id",
        "deposit_id",
        "withdrawal_id",
        "adjustment_id",
        "hold_id",
        "transaction_id",
        "finding_id",
        "provider_event_id",
        "superseded_by_event_id",
        "correction_transaction_id",
        "duplicate_of_finding_id",
        "batch_id",
        "epoch",
        "provider",
        "source",
        "bank",
        "account",
        "provider_ref",
        "event_id",
        "read_event_id",
        "delivery",
        "payment_ref",
        "payment_id",
        "object_ref",
        "object_id",
    }
)
# One of a list of words, or the provider's word for one.
CLOSED: Final = frozenset({"currency_code", "second_review_from_minor", "provider_type", "stage"})
READ_VERBS: Final = ("Get", "BatchGet", "Count", "List", "Reveal", "Verify", "Watch")


def is_text(field: FieldDescriptor) -> bool:
    """Whether a field is a text, bytes or a map with texts."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return any(is_text(each) for each in kind.fields)
    return field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}


def texts_of(kind: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """Yield the texts of a message and of the messages within it."""
    if kind.full_name in seen or kind.file.package.startswith("google"):
        return
    seen.add(kind.full_name)
    for field in kind.fields:
        if is_text(field):
            yield field
        elif field.message_type is not None:
            yield from texts_of(field.message_type, seen)


_SEEN: Final = set[str]()
# What only filters or pages a read is not kept.
WRITTEN: Final = [
    field
    for method in METHODS
    if not method.name.startswith(READ_VERBS)
    for field in texts_of(method.input_type, _SEEN)
]


def name_of(field: FieldDescriptor) -> str:
    """Return a field's name behind that of its message."""
    assert field.containing_type is not None
    return f"{field.containing_type.name}.{field.name}"


def said_of(field: FieldDescriptor) -> str | None:
    """Return what a field's comment has to say; None where it is no text of the caller's own."""
    return SAID.get(name_of(field), SAID.get(field.name))


def body_of(kind: Descriptor) -> str:
    """Return what stands between the braces of a message; two may have a message of the same name within."""
    outer = kind.containing_type
    text = (PROTOS / kind.file.name).read_text() if outer is None else body_of(outer)
    found = re.search(rf"^( *)message {kind.name} {{\n(.*?)^\1}}", text, flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[2]


def comment_of(field: FieldDescriptor) -> str:
    """Return the comment above a field, as the contract has it."""
    assert field.containing_type is not None
    body = body_of(field.containing_type)
    found = re.search(rf"((?: *//[^\n]*\n)+) *[^\n/]* {field.name} = {field.number}\b", body)
    assert found is not None, f"{field.full_name} has no comment"
    return " ".join(found[1].replace("//", " ").split())


@pytest.mark.parametrize("field", WRITTEN, ids=lambda field: field.full_name)
def test_each_text_of_a_request_is_of_one_class(field: FieldDescriptor) -> None:
    """A field that is new, or renamed, is thought about; one that callers fill freely warns them."""
    said = said_of(field)
    classes = [said is not None, field.name in IDENTIFIERS, field.name in CLOSED]

    assert classes.count(True) == 1, f"{field.full_name}: what may be in it?"
    assert said is None or said in comment_of(field)


def test_each_row_of_the_classes_is_a_field() -> None:
    """A name that no request has any more leaves the lists."""
    names = {field.name for field in WRITTEN}
    names |= {name_of(field) for field in WRITTEN}

    assert (SAID.keys() | IDENTIFIERS | CLOSED) - names == set()


def test_reveal_is_allowed_by_name_alone() -> None:
    """Who may read all payments does not read persons by that; to the audit log it is a read of players."""
    example = PROTOS.parent / "docs" / "operations" / "policy.example.toml"
    rules = msgspec.convert(tomllib.loads(example.read_text())["rule"], list[Rule])
    reveal = "defter.payments.v1.PlayerService/RevealPersonalMetadata"

    assert [rule.name for rule in rules if rule.covers(reveal, "casino")] == ["data protection"]
    assert reads_players(reveal)
    assert not changes(reveal)
    assert changes("defter.payments.v1.PlayerService/ForgetPlayer")
