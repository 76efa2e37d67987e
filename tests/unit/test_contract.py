"""Every element of the contract is served: a field, a list's member or a method that nobody knows turns red.

Fields are looked for by name in the code that may know them. So a field that shares its name with one that is
served passes here; the others of its kind have tests made from the types (`test_every_field.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
from defter.ledger.v1 import account_pb2, journal_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor

from ledger_server.domain import errors
from ledger_server.domain.adjustments.adjustment import AdjustmentState
from ledger_server.domain.code import Code
from ledger_server.domain.findings.discrepancy import FindingClass, Severity
from ledger_server.domain.findings.finding import FindingState, Resolution, Source
from ledger_server.domain.ledger.accounts import AccountKind, AccountState, Direction
from ledger_server.domain.ledger.holds import HoldState
from ledger_server.domain.ledger.transactions import Phase, TransactionType
from ledger_server.domain.payments.deposit import DepositState
from ledger_server.domain.payments.events import EventState, EventType, UnreadReason
from ledger_server.domain.payments.knowledge import CallState, DisputeState, RefundState
from ledger_server.domain.payments.withdrawal import WithdrawalState
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.reconciliation.balance_comparison import Bucket, DriftKind
from ledger_server.domain.reconciliation.comparison import Verdict
from ledger_server.domain.reconciliation.settlement import ReportFormat, SettlementBatchState
from ledger_server.domain.state.commands import Enforcement, Method
from ledger_server.rpc.errors import CODES
from tests.wire import test_any_message

ROOT: Final = Path(__file__).resolve().parents[2]
STUBS: Final = ROOT / "clients" / "python"
SERVER: Final = ROOT / "ledger_server"
CLIENT: Final = ROOT / "clients" / "python" / "defter_client"
# The closed lists that the domain has too, with the same numbers.
LISTS: Final[Mapping[str, type[Code | errors.Reason]]] = {
    "AccountKind": AccountKind,
    "AccountState": AccountState,
    "Bucket": Bucket,
    "DriftKind": DriftKind,
    "BalanceEnforcement": Enforcement,
    "SettlementBatchState": SettlementBatchState,
    "CallState": CallState,
    "DepositState": DepositState,
    "Direction": Direction,
    "DisputeState": DisputeState,
    "ErrorReason": errors.Reason,
    "FindingClass": FindingClass,
    "FindingSource": Source,
    "FindingState": FindingState,
    "HoldState": HoldState,
    "PostingPhase": Phase,
    "ProviderEventState": EventState,
    "ProviderEventType": EventType,
    "RecordKind": ProviderRecordKind,
    "RefundState": RefundState,
    "ReportFormat": ReportFormat,
    "ResolutionReason": Resolution,
    "Severity": Severity,
    "TransactionType": TransactionType,
    "UnreadReason": UnreadReason,
    "Verdict": Verdict,
    "WithdrawalState": WithdrawalState,
    "AdjustmentState": AdjustmentState,
}
# Those that it has not, with the reason.
OF_THE_WIRE: Final = {
    "BatchMode": "how a batch is answered; the rules see single commands",
    "MatchTier": "how surely a record was matched: made where runs are told",
    "RunState": "a run is work, and no rule asks for it",
    "RunStage": "the same",
}
# Fields that nobody names, with the reason.
UNNAMED: Final = {
    "GetOutcomeResponse.entry": "stored bytes are put around by hand (`rpc/journal.py`, `rpc/outcomes.py`)",
    "OpenAccountResult.rejection": "the same",
    "PostTransactionResult.rejection": "the same",
    "WatchJournalResponse.server_time": "the same",
}

# Methods whose key is not one of the journal's, with the reason.
KEYS_ELSEWHERE: Final = {
    "GetOutcome": "it asks what became of a key",
    "RunReconciliation": "a run keeps its key in its own row, which no record repeats",
}

# Services of which no random messages are drawn, with the reason.
NOT_DRAWN: Final = {
    "BackfillService": "streams: `tests/wire/test_compare_balances.py`, `tests/wire/test_openings.py`",
    "OutboundService": "it stops the calls of the whole database: `tests/integration/cli/test_outbound.py`",
    "ReconciliationService": "a run asks providers: `tests/integration/reconciliation`",
    "SettlementService": "it takes files: `tests/wire/test_settlement.py`",
}


def modules() -> Iterator[Any]:
    """Yield the generated modules of the contract."""
    for file in sorted((STUBS / "defter").rglob("*_pb2.py")):
        yield import_module(".".join(file.relative_to(STUBS).with_suffix("").parts))


METHODS: Final[list[MethodDescriptor]] = [
    method
    for module in modules()
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
ENUMS: Final[list[EnumDescriptor]] = [
    kind for module in modules() for kind in module.DESCRIPTOR.enum_types_by_name.values()
]


def within(*roots: Descriptor) -> list[FieldDescriptor]:
    """Return the fields of messages and of the messages within them."""
    waiting, seen, found = list(roots), set[str](), list[FieldDescriptor]()
    while waiting:
        kind = waiting.pop()
        if kind.full_name in seen or kind.file.package.startswith("google"):
            continue
        seen.add(kind.full_name)
        for field in kind.fields:
            found.append(field)
            if field.message_type is not None:
                waiting.append(field.message_type)
    return sorted(found, key=lambda field: field.full_name)


def name_of(field: FieldDescriptor) -> str:
    """Return a field's name with its message's."""
    assert field.containing_type is not None
    return f"{field.containing_type.name}.{field.name}"


@cache
def names_in(*folders: str) -> frozenset[str]:
    """Return what code of these folders reads, writes or says as text; comments don't count."""
    found: set[str] = set()
    for folder in folders:
        for file in (SERVER / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                match node:
                    case (
                        ast.Attribute(attr=name) | ast.keyword(arg=str(name)) | ast.Constant(value=str(name))
                    ):
                        found.add(name)
    return frozenset(found)


REQUESTED: Final = within(*(method.input_type for method in METHODS))
ANSWERED: Final = within(
    *(kind for module in modules() for kind in module.DESCRIPTOR.message_types_by_name.values())
)


def test_each_field_of_a_request_is_read() -> None:
    """What callers may say is read at the border, or from the records that keep it."""
    read = names_in("rpc", "engine/records")

    assert [name_of(field) for field in REQUESTED if field.name not in read] == []


def test_each_field_of_an_answer_is_filled() -> None:
    """What callers are promised is told by somebody; facts are held against `FactKind` elsewhere."""
    filled = names_in("")
    facts = journal_pb2.JournalRecord.DESCRIPTOR.oneofs_by_name["fact"]
    fields = [field for field in ANSWERED if field.containing_oneof is not facts]

    assert {name_of(field) for field in fields if field.name not in filled} == set(UNNAMED)


@pytest.mark.parametrize("kind", ENUMS, ids=lambda kind: kind.name)
def test_each_list_is_the_same_in_the_domain(kind: EnumDescriptor) -> None:
    """Name by name and number by number, but for the number 0, which says nothing."""
    assert (kind.name in LISTS) != (kind.name in OF_THE_WIRE)
    if kind.name in LISTS:
        prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
        said = {value.name.removeprefix(prefix): value.number for value in kind.values if value.number}
        assert said == {member.name: member.value for member in LISTS[kind.name] if member.value}


def test_simulation_asks_for_each_limit() -> None:
    """A limit that the state machine never asks for is never held against the model."""
    source = (ROOT / "tests" / "simulation" / "asks.py").read_text()
    fields = account_pb2.AccountLimits.DESCRIPTOR.fields

    assert [field.name for field in fields if f"{field.name}=" not in source] == []


def test_runbook_tells_what_may_be_retried() -> None:
    """Whoever may come again is told when: reasons that say so by their code have a row."""
    runbook = (ROOT / "docs" / "operations" / "runbook.md").read_text()
    again = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    reasons = [reason for reason, code in CODES.items() if code.name in again and reason < 200]

    assert [reason.name for reason in reasons if f"`{reason.name}`" not in runbook] == []


def test_random_messages_are_drawn_of_each_service() -> None:
    """No message makes the server fail inside, whichever service it is for."""
    drawn = {method.containing_service.name for method in test_any_message.METHODS}

    assert drawn | NOT_DRAWN.keys() == {method.containing_service.name for method in METHODS}
    assert not drawn & NOT_DRAWN.keys()


def test_each_method_has_a_handler_and_a_client() -> None:
    """It is served by a servicer of ours, the client calls it, and its key is one of the methods'."""
    handlers = {
        (owner.name, each.name)
        for file in (SERVER / "rpc").glob("*.py")
        for owner in ast.walk(ast.parse(file.read_text()))
        if isinstance(owner, ast.ClassDef)
        for each in owner.body
        if isinstance(each, ast.AsyncFunctionDef)
    }
    client = "".join(file.read_text() for file in (CLIENT / "_async").glob("*.py"))
    for method in METHODS:
        service = method.containing_service.name
        assert (service.removesuffix("Service") + "Servicer", method.name) in handlers
        assert f'"/{method.containing_service.full_name}/{method.name}"' in client
    keyed = {method.name for method in METHODS if "idempotency_key" in method.input_type.fields_by_name}
    assert keyed - set(Method.__members__) == set(KEYS_ELSEWHERE)
