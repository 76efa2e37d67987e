"""Own the promise that no message whatsoever makes the server fail inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from defter.identity.v1 import access_pb2
from defter.ledger.v1 import (
    account_pb2,
    adjustment_pb2,
    error_pb2,
    hold_pb2,
    journal_pb2,
    posting_pb2,
    tenant_pb2,
)
from defter.payments.v1 import deposit_pb2, player_pb2, provider_event_pb2, wallet_pb2, withdrawal_pb2
from defter.reconciliation.v1 import finding_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from tests.simulation.driving import World
from tests.support.adjusters import Adjusters
from tests.support.cashier import Cashier
from tests.support.clock import START
from tests.support.coherence import assert_ledger_coherent
from tests.support.fake_provider import PROVIDER, fake_providers
from tests.support.findings import Desk
from tests.support.ledger import Ledger
from tests.support.randomness import SEED
from tests.support.wire import read_refusal

METHODS: list[MethodDescriptor] = [
    method
    for module in (
        *(tenant_pb2, account_pb2, posting_pb2, adjustment_pb2, hold_pb2, journal_pb2),
        *(deposit_pb2, withdrawal_pb2, wallet_pb2, player_pb2, provider_event_pb2),
        *(finding_pb2, access_pb2),
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
# A watch never ends by itself.
WATCH_SECONDS = 0.05
# Reasons that say that the fault is the server's.
SERVER_FAULTS = {
    "",
    "INTERNAL",
    "STORE_UNAVAILABLE",
    "CLOCK_ASTRAY",
    "LANE_FULL",
    "SERVER_FULL",
    "QUOTA_RATE_EXCEEDED",
    "QUOTA_CALLS_UNDER_WAY",
    "QUOTA_BYTES_UNDER_WAY",
    "QUOTA_READS_WAITING",
    "READER_TOO_SLOW",
    "SHUTTING_DOWN",
    "DEADLINE_PASSED",
}

IDS = TenantIds(tenant_key(TenantId("casino")))
# The numbers of what `prepare_payments` makes.
DEPOSITS = (11, 16)
WITHDRAWALS = (18, 20, 22)
EVENTS = (14,)

# What fits the fields of that name; everything else gets whatever fits most fields of its type.
FITTING: dict[str, list[Any]] = {
    "tenant_id": ["casino"],
    "idempotency_key": ["key-1", "key-2", "fresh"],
    "account_id": ["house", "ann", "new"],
    "account_ids": ["house", "ann"],
    "debit_account_id": ["house", "ann"],
    "credit_account_id": ["ann", "house"],
    "currency_code": ["EUR"],
    "method": ["PostTransaction", "OpenAccount", "BatchPostTransactions"],
    "page_token": [""],
    "player_id": ["ann", "bob"],
    "provider": [PROVIDER],
    "provider_ref": ["", "pay-1", "pay-2"],
    "payment_ref": ["pay-1", "pay-2"],
    "payment_id": ["", *map(IDS.deposit_id, DEPOSITS), *map(IDS.withdrawal_id, WITHDRAWALS)],
    "deposit_id": [*map(IDS.deposit_id, DEPOSITS)],
    "withdrawal_id": [*map(IDS.withdrawal_id, WITHDRAWALS)],
    "provider_event_id": [*map(IDS.event_id, EVENTS)],
    "provider_amount_minor": [5],
    "type": [1, 2, 2, 7, 16, 17],
    "event_id": ["event-1", "event-2", "event-3"],
    "amount_minor": [5, 100],
    "additional_minor": [5],
    "seconds": [int(START.timestamp()), int(START.timestamp()) + 10],
    "nanos": [0, 1, 999_999_999],
}
FITTING_BY_TYPE: dict[int, list[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: ["x"],
    FieldDescriptor.CPPTYPE_INT32: [0, 1, 2],
    FieldDescriptor.CPPTYPE_INT64: [0, 1, 2],
    FieldDescriptor.CPPTYPE_BOOL: [False, True],
    FieldDescriptor.CPPTYPE_ENUM: [1, 2],
}
ODD_STRINGS = ["", "x" * 256, "x" * 5000, "\x00", "a\x00b", "é", "💣", " ", "%", "_", "\\", "'", "-1"]
ODD_INTEGERS = [0, 5, 1000, 1001, -1, 2**31 - 1, -(2**31)]
ODD_BY_TYPE: dict[int, list[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: ODD_STRINGS,
    FieldDescriptor.CPPTYPE_INT32: ODD_INTEGERS,
    FieldDescriptor.CPPTYPE_INT64: [*ODD_INTEGERS, 2**31, 2**62, 2**63 - 1, -(2**63)],
    FieldDescriptor.CPPTYPE_BOOL: [False, True],
    FieldDescriptor.CPPTYPE_ENUM: [0, 3, 6, 99, -1],
}


@dataclass(frozen=True)
class Oddness:
    """How many of twelve fields are left out or absurd."""

    of_twelve: int

    def strikes(self, draw: st.DrawFn) -> bool:
        """Tell whether the next field is hit."""
        return draw(st.integers(0, 11)) >= 12 - self.of_twelve


def value(draw: st.DrawFn, field: FieldDescriptor, oddness: Oddness) -> Any:
    """Return a value for a field that is no message."""
    fitting = FITTING.get(field.name, FITTING_BY_TYPE[field.cpp_type])
    drawn = draw(st.sampled_from(ODD_BY_TYPE[field.cpp_type] if oddness.strikes(draw) else fitting))
    return drawn.encode() if field.type == FieldDescriptor.TYPE_BYTES else drawn


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, oddness: Oddness) -> Message:
    """Any message of a type, more or less fitting."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if not oddness.strikes(draw):
            fill(draw, message, field, oddness)
    return message


def fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, oddness: Oddness) -> None:
    """Give one field a value."""
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        texts = st.sampled_from(ODD_STRINGS if oddness.strikes(draw) else ["x", "y", "EUR"])
        of_numbers = inner.fields_by_name["value"].cpp_type == FieldDescriptor.CPPTYPE_INT64
        values = st.sampled_from([*ODD_INTEGERS, 2**63 - 1]) if of_numbers else texts
        getattr(message, field.name).update(draw(st.dictionaries(texts, values)))
    elif inner is not None and field.is_repeated:
        for one in draw(st.lists(messages(inner, oddness), min_size=1, max_size=3)):
            getattr(message, field.name).add().CopyFrom(one)
    elif inner is not None:
        getattr(message, field.name).CopyFrom(draw(messages(inner, oddness)))
    elif field.is_repeated:
        count = draw(st.integers(1, 3))
        getattr(message, field.name).extend(value(draw, field, oddness) for _ in range(count))
    else:
        setattr(message, field.name, value(draw, field, oddness))


@st.composite
def calls(draw: st.DrawFn) -> tuple[MethodDescriptor, Message]:
    """Any method with any message."""
    method = draw(st.sampled_from(METHODS))
    oddness = Oddness(draw(st.sampled_from((0, 1, 1, 4))))
    return method, draw(messages(method.input_type, oddness))


async def reason_of_call(ledger: Ledger, method: MethodDescriptor, request: Message) -> str:
    """Call a method and return the reason of its refusal, or `OK`."""
    service = method.containing_service.name.removesuffix("Service").lower()
    names = {"access": "access", "journal": "journal", "providerevent": "events"}
    stub = getattr(getattr(ledger.stubs, names.get(service, f"{service}s")), method.name)
    try:
        if method.client_streaming:
            async for _ in stub(iter([request])):
                pass
        elif method.server_streaming:
            async for _ in stub(request, timeout=WATCH_SECONDS):
                pass
        else:
            await stub(request)
    except grpc.aio.AioRpcError as error:
        if method.server_streaming and error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return "OK"
        note(f"{error.code()} {error.details()}")
        return read_refusal(error).reason
    return "OK"


async def prepare_payments(ledger: Ledger) -> None:
    """Give two players money, and make payments and an event that messages may name."""
    for player in ("ann", "bob"):
        await ledger.open(f"player:{player}:real:EUR")
        await ledger.fund(f"player:{player}:real:EUR", 1_000)
    cashier = Cashier(ledger)
    deposits = [await cashier.captured(500), await cashier.initiate(500)]
    withdrawals = [await cashier.request(100) for _ in WITHDRAWALS]
    events = await cashier.stored_events()
    assert [one.deposit_id for one in deposits] == [*map(IDS.deposit_id, DEPOSITS)]
    assert [one.withdrawal_id for one in withdrawals] == [*map(IDS.withdrawal_id, WITHDRAWALS)]
    assert [one.provider_event_id for one in events] == [*map(IDS.event_id, EVENTS)]
    FITTING["finding_id"] = [(await Desk(ledger).raised()).finding_id for _ in range(2)]
    FITTING["duplicate_of_finding_id"] = ["", *FITTING["finding_id"]]
    adjustments = Adjusters(ledger)
    FITTING["adjustment_id"] = [
        (await adjustments.request("house", "ann", 5)).adjustment_id for _ in range(6)
    ]
    transactions = [entry.record.transaction_posted.transaction_id for entry in await ledger.entries()]
    FITTING["correction_transaction_id"] = ["", next(filter(None, transactions))]


def test_send_any_message_to_any_method_is_answered_by_the_contract(database_url: str) -> None:
    """Whatever is sent, the answer is a response or a reason, and the ledger stays whole."""
    with World(database_url, narrow=False, providers=fake_providers()) as world:
        ledger = world.run(world.service.new_ledger("casino"))
        world.run(ledger.open_house())
        world.run(ledger.open("ann"))
        world.run(prepare_payments(ledger))

        @seed(SEED)
        @settings(max_examples=900, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
        @given(calls())
        def send(call: tuple[MethodDescriptor, Message]) -> None:
            method, request = call
            note(f"{method.full_name} {request!r}")
            reason = world.run(reason_of_call(ledger, method, request))
            known = error_pb2.ErrorReason.DESCRIPTOR.values_by_name
            assert reason == "OK" or f"ERROR_REASON_{reason}" in known
            assert reason not in SERVER_FAULTS

        send()
        world.run(assert_ledger_coherent(ledger))
