"""A call is tried again while that is safe, with the same key, and never longer than its caller waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import account_pb2, posting_pb2
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from defter_client import LedgerClient, LedgerError
from defter_client import aio as io
from defter_client._async.connections import Connections
from defter_client.errors import RetryLater

Sent = list[tuple[str, Any, float]]


def failure(code: grpc.StatusCode, reason: str = "", retry_seconds: int = 0) -> grpc.aio.AioRpcError:
    """Return a failed call."""
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message="no")
    if reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="defter"))
    if retry_seconds:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.seconds = retry_seconds
        detail = any_pb2.Any()
        detail.Pack(info)
        status.details.append(detail)
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, "no")


AWAY = failure(grpc.StatusCode.UNAVAILABLE)


class Wire:
    """The addresses of a client, with what each try is answered; time passes while it waits."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.sent: Sent = []
        self.slept: list[float] = []
        self.now = 100.0

    async def answered(self, method: str, request: Any, **options: Any) -> tuple[Any, Any]:
        """Answer a try."""
        self.sent.append((method, type(request).FromString(request.SerializeToString()), options["timeout"]))
        self.now += 0.25
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, (("idempotent-replayed", "true"),) if len(self.sent) > 2 else ()

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[LedgerClient, Wire]]:
    """Return what makes a client whose tries have these outcomes."""

    def made(*outcomes: object, targets: int = 1, **options: Any) -> tuple[LedgerClient, Wire]:
        wire = Wire(*outcomes)

        class Fake:
            def __init__(self, target: str, _: object) -> None:
                self.target = target
                self.rests_until = 0.0

            def unary(self, path: str, _: object) -> str:
                return f"{self.target}{path}"

            def rest(self) -> None:
                self.rests_until = wire.now + 1.0

        monkeypatch.setattr("defter_client._async.connections.Connection", Fake)
        monkeypatch.setattr(io, "answered", wire.answered)
        monkeypatch.setattr(io, "sleep", wire.sleep)
        monkeypatch.setattr(io, "now", lambda: wire.now)
        names = [f"server-{number}" for number in range(targets)]
        return LedgerClient(names, tenant="casino", **options), wire

    return made


POSTED = posting_pb2.PostTransactionResponse()
FOUND = account_pb2.GetBalanceResponse()


async def test_key_is_made_once_and_told(begin: Any) -> None:
    """Whatever becomes of the tries; the caller's message stays as it was."""
    ledger, wire = begin(AWAY, AWAY, POSTED)
    request = posting_pb2.PostTransactionRequest()
    answer = await ledger.postings.post_transaction(request)
    assert {sent.idempotency_key for _, sent, _ in wire.sent} == {answer.key}
    assert {sent.tenant_id for _, sent, _ in wire.sent} == {"casino"}
    assert answer.replayed
    assert request == posting_pb2.PostTransactionRequest()
    assert len(answer.key) == 26


async def test_callers_own_key_and_tenant_stay(begin: Any) -> None:
    """In the message or beside it; two that differ are a mistake."""
    ledger, wire = begin(POSTED, POSTED)
    request = posting_pb2.PostTransactionRequest(tenant_id="other", idempotency_key="mine")
    assert (await ledger.postings.post_transaction(request)).key == "mine"
    assert (await ledger.postings.post_transaction(request, key="mine")).key == "mine"
    assert {(sent.tenant_id, sent.idempotency_key) for _, sent, _ in wire.sent} == {("other", "mine")}
    with pytest.raises(ValueError, match="mine"):
        await ledger.postings.post_transaction(request, key="another")


async def test_items_of_a_batch_get_keys_of_their_own(begin: Any) -> None:
    """Those that have one keep it."""
    ledger, wire = begin(AWAY, posting_pb2.BatchPostTransactionsResponse())
    item = posting_pb2.PostTransactionItem
    request = posting_pb2.BatchPostTransactionsRequest(items=[item(), item(idempotency_key="mine"), item()])
    await ledger.postings.batch_post_transactions(request)
    tries = [[each.idempotency_key for each in sent.items] for _, sent, _ in wire.sent]
    assert tries[0] == tries[1]
    assert tries[0][1] == "mine"
    assert len(set(tries[0])) == 3


async def test_keys_that_were_made_for_items_are_in_the_error(begin: Any) -> None:
    """Who repeats the batch with them moves nothing twice."""
    ledger, wire = begin(failure(grpc.StatusCode.INTERNAL, "INTERNAL"))
    item = posting_pb2.PostTransactionItem
    request = posting_pb2.BatchPostTransactionsRequest(items=[item(), item(idempotency_key="mine")])
    with pytest.raises(LedgerError) as raised:
        await ledger.postings.batch_post_transactions(request)
    assert raised.value.outcome_unknown
    assert raised.value.keys == tuple(each.idempotency_key for each in wire.sent[0][1].items)
    assert raised.value.keys[1] == "mine"


@pytest.mark.parametrize("key", [None, 5, b"k"])
async def test_missing_id_does_not_pass_for_no_key(begin: Any, key: Any) -> None:
    """Else an event without an id would be paid at each try."""
    ledger, wire = begin(POSTED)
    with pytest.raises(TypeError, match="key"):
        await ledger.postings.post_transaction(posting_pb2.PostTransactionRequest(), key=key)
    assert not wire.sent


async def test_empty_key_does_not_pass_for_no_key(begin: Any) -> None:
    """It is what becomes of an id that is missing, too; left out, a key is made."""
    ledger, wire = begin(POSTED)
    with pytest.raises(ValueError, match="the key is empty"):
        await ledger.postings.post_transaction(posting_pb2.PostTransactionRequest(), key="")
    assert not wire.sent
    answer = await ledger.postings.post_transaction(posting_pb2.PostTransactionRequest())
    assert len(answer.key) == 26


@pytest.mark.parametrize("seconds", [1e18, float("inf")])
async def test_no_timeout_is_too_long(begin: Any, seconds: float) -> None:
    """GRPC would take it for one that is over."""
    ledger, wire = begin(FOUND)
    await ledger.accounts.get_balance(account_pb2.GetBalanceRequest(), timeout=seconds)
    assert 1e6 < wire.sent[0][2] < 1e9
    with pytest.raises(ValueError, match="timeout"):
        await ledger.accounts.get_balance(account_pb2.GetBalanceRequest(), timeout=float("nan"))


@pytest.mark.parametrize(
    "failed",
    [
        failure(grpc.StatusCode.INTERNAL, "INTERNAL"),
        failure(grpc.StatusCode.DEADLINE_EXCEEDED),
        failure(grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS"),
        failure(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_MISSING"),
        failure(grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=str,
)
async def test_answers_are_not_asked_for_again(begin: Any, failed: grpc.aio.AioRpcError) -> None:
    """The key stands in the error."""
    ledger, wire = begin(failed)
    with pytest.raises(LedgerError) as raised:
        await ledger.postings.post_transaction(posting_pb2.PostTransactionRequest(), key="mine")
    assert len(wire.sent) == 1
    assert raised.value.key == "mine"


async def test_server_is_not_asked_before_it_wants(begin: Any) -> None:
    """`RetryInfo` counts in whatever code."""
    ledger, wire = begin(
        failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "LANE_FULL", 2),
        failure(grpc.StatusCode.OUT_OF_RANGE, "NOT_YET_RECORDED", 1),
        FOUND,
    )
    await ledger.accounts.get_balance(account_pb2.GetBalanceRequest())
    assert 2.0 <= wire.slept[0] <= 2.05
    assert 1.0 <= wire.slept[1] <= 1.1


async def test_no_try_goes_beyond_the_deadline(begin: Any) -> None:
    """Neither the tries nor the pauses; the last error is raised, and the doubt of an earlier one stays."""
    full = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "LANE_FULL", 3)
    ledger, wire = begin(AWAY, *[full] * 9, timeout_seconds=5.0)
    with pytest.raises(RetryLater) as raised:
        await ledger.postings.post_transaction(posting_pb2.PostTransactionRequest())
    assert wire.now <= 105.25
    assert wire.sent[0][2] == 5.0
    assert all(timeout <= 5.0 for _, _, timeout in wire.sent)
    assert raised.value.reason == "LANE_FULL"
    assert raised.value.outcome_unknown


async def test_client_that_is_closed_during_a_pause_is_not_opened_again(
    begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call ends with what it was told last, and with its doubt."""
    ledger, wire = begin(AWAY, POSTED)

    async def closed(_: float) -> None:
        ledger._connections.closings += 1

    monkeypatch.setattr(io, "sleep", closed)
    with pytest.raises(RetryLater) as raised:
        await ledger.postings.post_transaction(posting_pb2.PostTransactionRequest())
    assert raised.value.outcome_unknown
    assert len(wire.sent) == 1


async def test_call_has_the_deadline_that_it_is_given(begin: Any) -> None:
    """And not the client's."""
    ledger, wire = begin(FOUND, timeout_seconds=5.0)
    await ledger.accounts.get_balance(account_pb2.GetBalanceRequest(), timeout=0.5)
    assert wire.sent[0][2] == 0.5


async def test_address_that_is_away_is_passed_over(begin: Any) -> None:
    """The next try goes elsewhere; later it has its turn again."""
    ledger, wire = begin(FOUND, AWAY, FOUND, FOUND, FOUND, FOUND, targets=3)
    request = account_pb2.GetBalanceRequest()
    for _ in range(3):
        await ledger.accounts.get_balance(request)
    first, away, instead, after = [method.partition("/")[0] for method, _, _ in wire.sent]
    assert len({first, away, instead}) == 3
    assert after != away
    wire.now += 10
    for _ in range(2):
        await ledger.accounts.get_balance(request)
    assert away in [method.partition("/")[0] for method, _, _ in wire.sent[4:]]


async def test_pages_are_fetched_as_they_are_asked_for(begin: Any) -> None:
    """Each with tries of its own; a page without items ends nothing."""
    pages = [
        account_pb2.ListAccountsResponse(
            accounts=[
                account_pb2.ListAccountsResponse.Item(account=account_pb2.Account(account_id=each))
                for each in found
            ],
            next_page_token=token,
        )
        for found, token in (("ab", "1"), ("", "2"), ("c", ""))
    ]
    ledger, wire = begin(pages[0], AWAY, pages[1], pages[2])
    request = account_pb2.ListAccountsRequest(page_size=2)
    found = ledger.accounts.list_accounts(request)
    assert not wire.sent
    assert [item.account.account_id async for item in found] == ["a", "b", "c"]
    assert [sent.page_token for _, sent, _ in wire.sent] == ["", "1", "1", "2"]
    assert not request.page_token


async def test_nothing_is_opened_before_the_first_call_nor_shared_with_a_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """GRPC's channels can't go with a process that is forked."""
    opened: list[str] = []

    class Fake:
        rests_until = 0.0

        def __init__(self, target: str, _: object) -> None:
            opened.append(target)

    monkeypatch.setattr("defter_client._async.connections.Connection", Fake)
    connections = Connections(["here:1"], None)
    assert not opened
    first = connections.next()
    assert connections.next() is first
    monkeypatch.setattr("defter_client._async.connections.os.getpid", lambda: -1)
    assert connections.next() is not first
    monkeypatch.setattr(io, "home", lambda: "another loop")
    with pytest.raises(RuntimeError, match="event loop"):
        connections.next()
