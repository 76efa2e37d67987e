"""Own the tables of which failed calls are made again, read from errors as gRPC brings them."""

from __future__ import annotations

import importlib
import pkgutil

import defter
import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor
from google.rpc import error_details_pb2, status_pb2

from defter_client import ledger_error
from defter_retrying.calls import call_until_answered, may_come_again, retry_delay
from ledger_server.domain import errors
from ledger_server.domain.errors import Reason, Refused
from ledger_server.operator.connection import breaks
from ledger_server.rpc.errors import CODES, status_of
from tests.unit.retrying.test_backoff import Time, tries

Code = grpc.StatusCode
DETAILS = "grpc-status-details-bin"


def failed(code: grpc.StatusCode, *details: bytes | status_pb2.Status) -> grpc.aio.AioRpcError:
    """Return an error as it comes from gRPC."""
    trailing = []
    for each in details:
        if isinstance(each, status_pb2.Status):
            same = status_pb2.Status(code=code.value[0], message="said", details=each.details)
            trailing.append((DETAILS, same.SerializeToString()))
        else:
            trailing.append((DETAILS, each))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), "said")


def asking(seconds: int, nanos: int = 0) -> status_pb2.Status:
    """Return a status that asks to come again, behind other details."""
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="WHATEVER"))
    delay = duration_pb2.Duration(seconds=seconds, nanos=nanos)
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


BROKEN = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff")


@pytest.mark.parametrize(
    ("details", "delay"),
    [
        ((), None),
        ((b"",), None),
        ((b"\xff\xff",), None),
        ((status_pb2.Status(),), None),
        ((status_pb2.Status(details=[BROKEN]),), None),
        ((asking(0),), 0.0),
        ((asking(0, 250_000_000),), 0.25),
        ((asking(90),), 90.0),
        ((asking(-3),), 0.0),
    ],
)
def test_retry_delay_is_what_the_server_says(details: tuple[bytes, ...], delay: float | None) -> None:
    """Broken details ask for nothing, and raise nothing."""
    assert retry_delay(failed(Code.RESOURCE_EXHAUSTED, *details)) == delay
    assert ledger_error_delay(details) == delay


def ledger_error_delay(details: tuple[bytes | status_pb2.Status, ...]) -> float | None:
    """Return what the client's error says, where its details can be read."""
    error = failed(Code.RESOURCE_EXHAUSTED, *details)
    return ledger_error(error).retry_delay_seconds


@pytest.mark.parametrize("code", list(Code))
@pytest.mark.parametrize("asks", [False, True])
def test_come_again_when_the_server_is_away_or_asks_for_it(code: grpc.StatusCode, asks: bool) -> None:
    """No other answer is asked for twice; RESOURCE_EXHAUSTED by itself is a message that is too large."""
    error = failed(code, *([asking(1)] if asks else []))

    assert may_come_again(error) == (asks or code is Code.UNAVAILABLE)
    assert ledger_error(error).retryable == may_come_again(error)


def every_refusal() -> list[Refused]:
    """Return one of each kind of refusal."""
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Refused)]
    return [each() for each in kinds if hasattr(each, "reason")]


REFUSALS = {each.reason: each for each in every_refusal()}
ASKING_AGAIN = {
    Reason.LANE_FULL,
    Reason.SERVER_FULL,
    Reason.QUOTA_RATE_EXCEEDED,
    Reason.QUOTA_CALLS_UNDER_WAY,
    Reason.QUOTA_BYTES_UNDER_WAY,
    Reason.QUOTA_READS_WAITING,
}
AWAY = {
    Reason.SHUTTING_DOWN,
    Reason.STORE_UNAVAILABLE,
    Reason.CLOCK_ASTRAY,
    Reason.PERSONAL_KEYS_MISSING,
}


@pytest.mark.parametrize("reason", REFUSALS, ids=lambda reason: reason.name)
def test_refusal_of_the_ledger_is_asked_again_only_where_it_says_so(reason: Reason) -> None:
    """What the ledger has decided it would say again; what it had no room for, it asks to hear once more."""
    refused = REFUSALS[reason]
    error = failed(CODES[reason], status_of(refused))

    assert may_come_again(error) == (reason in ASKING_AGAIN | AWAY)
    assert retry_delay(error) == refused.retry_seconds
    assert (refused.retry_seconds is not None) == (reason in ASKING_AGAIN)
    assert breaks(ledger_error(error)) == may_come_again(error)


async def test_call_again_waits_as_asked_and_passes_on_what_is_left() -> None:
    """Each try has the time that is left; the answer ends it."""
    time = Time()
    lefts: list[float] = []
    errors = [failed(Code.UNAVAILABLE), failed(Code.RESOURCE_EXHAUSTED, asking(2))]

    async def attempt(left: float) -> str:
        lefts.append(left)
        if errors:
            raise errors.pop(0)
        return "done"

    assert await call_until_answered(attempt, tries(time, 10.0)) == "done"
    assert time.slept == pytest.approx([0.1, 2.2])
    assert lefts == pytest.approx([10.0, 9.9, 7.7])


@pytest.mark.parametrize(
    ("errors", "pauses"),
    [
        # An answer ends it at once, also after others.
        ([failed(Code.INVALID_ARGUMENT)], 0),
        ([failed(Code.RESOURCE_EXHAUSTED)], 0),
        ([failed(Code.UNAVAILABLE), failed(Code.INTERNAL)], 1),
        ([failed(Code.UNAVAILABLE), failed(Code.DEADLINE_EXCEEDED)], 1),
        # There is no time for what the server asks for.
        ([failed(Code.RESOURCE_EXHAUSTED, asking(11))], 0),
        ([failed(Code.UNAVAILABLE, asking(6)), failed(Code.UNAVAILABLE, asking(6))], 1),
    ],
)
async def test_call_again_ends_with_the_last_error(errors: list[grpc.aio.AioRpcError], pauses: int) -> None:
    """What nobody should repeat is raised as it came."""
    time = Time()
    left = list(errors)

    async def attempt(_: float) -> None:
        raise left.pop(0)

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call_until_answered(attempt, tries(time, 10.0))
    assert raised.value is errors[-1]
    assert (left, len(time.slept)) == ([], pauses)


# A change without an idempotency key, and why making it twice is making it once.
SAFE_WITHOUT_KEY = {
    "IngestProviderEvents": "an event is stored once by its provider and id",
    "StopOutbound": "what is stopped is stopped",
    "ResumeOutbound": "it names the epoch, and a second one is a first one that came later",
    "RepairFinding": "books the event that the finding asks for, which has one id",
    "ImportSettlementReport": "the same file twice changes nothing",
    "PreviewSettlementReport": "nothing of it is kept",
    "ConfirmSettlementBatch": "what is confirmed is confirmed",
    "CompareBalances": "the same snapshot twice is two runs, and no finding changes by the second",
    "ImportOpeningBalances": "a player's balance in a currency is opened once",
}


def unary_methods() -> dict[str, MethodDescriptor]:
    """Return every RPC of the contract."""
    found: dict[str, MethodDescriptor] = {}
    for module in pkgutil.walk_packages(defter.__path__, "defter."):
        if module.name.endswith("_pb2"):
            file: FileDescriptor = importlib.import_module(module.name).DESCRIPTOR
            for service in file.services_by_name.values():
                found.update({method.name: method for method in service.methods})
    return found


def has_key(message: Descriptor) -> bool:
    """Whether a request, or each item of it, carries an idempotency key."""
    items = [field.message_type for field in message.fields if field.name == "items"]
    return "idempotency_key" in message.fields_by_name or any(item and has_key(item) for item in items)


@pytest.mark.parametrize("method", unary_methods().values(), ids=lambda method: method.name)
def test_every_rpc_may_be_made_twice(method: MethodDescriptor) -> None:
    """A read, a change under a key, or one whose second time is nothing: what retrying rests on."""
    reads = method.name.startswith(("Get", "List", "BatchGet", "Count", "Reveal", "Watch", "Verify"))

    assert reads or has_key(method.input_type) or method.name in SAFE_WITHOUT_KEY
    assert not (method.name in SAFE_WITHOUT_KEY and (reads or has_key(method.input_type)))
