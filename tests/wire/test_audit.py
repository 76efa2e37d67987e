"""On a guarded server the audit log says who was refused what, and which persons read players' money."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import journal_pb2, posting_pb2
from defter.payments.v1 import wallet_pb2, withdrawal_pb2

from ledger_server.rpc.method_kinds import changes, reads_players
from tests.support.clock import FakeClock
from tests.support.every_rpc import call, request_of, rpcs_of
from tests.support.fake_provider import fake_providers
from tests.support.guarded import Guarded, guarding
from tests.support.ledger import Ledger
from tests.support.requests import item, transfer
from tests.support.service import serving
from tests.support.wire import Stubs, refusal

STAFF = ["staff"]


class Audited:
    """A guarded server; its audit log is read once it has stopped."""

    def __init__(self, guarded: Guarded, file: Path) -> None:
        self.guarded = guarded
        self.file = file

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All lines."""
        return [json.loads(text) for text in self.file.read_text().splitlines()]


@asynccontextmanager
async def audited(database_url: str, folder: Path, clock: FakeClock) -> AsyncIterator[Audited]:
    """Run one with the tenant `casino`."""
    file = folder / "audit.log"
    settings: dict[str, Any] = {"clock": clock, "providers": fake_providers(), "audit_log_file": file}
    async with guarding(database_url, folder, **settings) as guarded:
        async with guarded.channel_of("spiffe://d/root") as channel:
            ledger = Ledger(channel, "casino", key_prefix="root")
            await ledger.create()
            await ledger.open_house()
            await ledger.open("bob")
        yield Audited(guarded, file)


async def test_each_rpc_that_is_refused_is_told(database_url: str, tmp_path: Path, clock: FakeClock) -> None:
    """Without a token, without permission, and for any reason where it would have changed something."""
    async with audited(database_url, tmp_path, clock) as log:
        assert log.guarded.service is not None
        rpcs = rpcs_of(log.guarded.service)
        callers = {"": (), "token:stranger": log.guarded.bearer("stranger")}
        asked: list[tuple[str, str, str]] = []
        async with log.guarded.token_channel() as channel:
            for identity, metadata in callers.items():
                for name, method in list(rpcs.items())[:80]:
                    given = (*metadata, ("x-request-id", f"{identity}-{name[-40:]}"))
                    refused = await refusal(call(channel, method, request_of(method, "casino"), given))
                    asked.append((identity, name, refused.reason))
        async with log.guarded.channel_of("spiffe://d/root") as channel:
            for name, method in rpcs.items():
                if changes(name) and not method.client_streaming:
                    refused = await refusal(call(channel, method, request_of(method, "casino")))
                    asked.append(("spiffe://d/root", name, refused.reason))
    told = [
        (each["identity"], each["method"], each["verdict"])
        for each in log.lines
        if each["event"] == "refused"
    ]
    assert told == asked
    for each in log.lines:
        assert each["logger"] == "audit"
        assert each["request_id"]
        if each["identity"] != "spiffe://d/root":
            assert each["request_id"].startswith(f"{each['identity']}-")
        assert each["tenant_id"] in ("casino", "*", "")


async def test_each_read_of_players_money_by_a_person_is_told(
    database_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """By a token, and by a service that acts for a person; a service by itself and other reads are not."""
    async with audited(database_url, tmp_path, clock) as log:
        assert log.guarded.service is not None
        token = log.guarded.bearer("ada", groups=STAFF)
        reads = {
            name: method
            for name, method in rpcs_of(log.guarded.service).items()
            if not changes(name) and "Watch" not in name
        }
        answered: list[tuple[str, bool]] = []
        for name, method in reads.items():
            for channel, metadata, person in (
                (log.guarded.token_channel(), token, "ada"),
                (log.guarded.channel_of("spiffe://d/console"), (("defter-person", "eve"),), "eve"),
                (log.guarded.channel_of("spiffe://d/console"), (), ""),
            ):
                async with channel:
                    request: Any = request_of(method, "casino")
                    if hasattr(request, "account_id"):
                        request.account_id = "bob"
                    try:
                        await call(channel, method, request, metadata)
                        verdict = "OK"
                    except grpc.aio.AioRpcError:
                        verdict = ""
                    if person and reads_players(name):
                        answered.append((f"{name} {person}", verdict == "OK"))
    told = [(f"{each['method']} {each['person']}", each["verdict"] == "OK") for each in log.lines]
    assert told == answered
    assert len(answered) > 30
    balances = [each for each in log.lines if each["method"].endswith("/GetBalance")]
    assert [(each["subject"], each["tenant_id"]) for each in balances] == [("bob", "casino")] * 2
    assert [each["identity"] for each in balances] == ["token:ada", "spiffe://d/console"]


async def test_watch_by_a_person_is_told_when_it_begins(
    database_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """It may last for ever."""
    async with audited(database_url, tmp_path, clock) as log, log.guarded.token_channel() as channel:
        request = journal_pb2.WatchJournalRequest(tenant_id="casino")
        metadata = log.guarded.bearer("ada", groups=STAFF)
        watching = Stubs.over(channel).journal.WatchJournal(request, metadata=metadata)
        await watching.read()
        watching.cancel()
    [told] = log.lines
    assert (told["event"], told["method"], told["verdict"]) == (
        "read",
        "defter.ledger.v1.JournalService/WatchJournal",
        "OK",
    )


async def test_refused_items_are_told_though_their_call_is_answered(
    database_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """Of a batch and of a stream, recorded or not; the tenant is that of the messages."""
    async with (
        audited(database_url, tmp_path, clock) as log,
        log.guarded.channel_of("spiffe://d/root") as channel,
    ):
        ledger = Ledger(channel, "casino", key_prefix="b")
        good, poor = item("a", transfer("house", "bob", 1)), item("b", transfer("bob", "house", 99))
        broken = item("", transfer("house", "bob", 1))
        await ledger.batch(good, poor)

        async def messages() -> AsyncIterator[posting_pb2.StreamTransactionsRequest]:
            yield posting_pb2.StreamTransactionsRequest(tenant_id="casino", items=[good, poor, broken])

        async for _ in ledger.stubs.postings.StreamTransactions(messages()):
            pass
    told = [(each["method"].rpartition("/")[2], each["tenant_id"], each["verdict"]) for each in log.lines]
    assert told == [
        ("BatchPostTransactions", "casino", "INSUFFICIENT_FUNDS"),
        ("StreamTransactions", "casino", "INSUFFICIENT_FUNDS"),
        ("StreamTransactions", "casino", "IDEMPOTENCY_KEY_MISSING"),
    ]


async def read_all(stream: Any) -> None:
    """Read a stream to its end."""
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_what_is_told_of_a_stream_is_of_its_own_tenant(
    database_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """A later message that names another tenant changes nothing of that."""
    async with (
        audited(database_url, tmp_path, clock) as log,
        log.guarded.token_channel() as channel,
    ):
        poor = item("b", transfer("bob", "house", 99))
        stream = Stubs.over(channel).postings.StreamTransactions(
            metadata=log.guarded.bearer("ada", groups=STAFF)
        )
        for tenant_id in ("casino", "of-nobody"):
            await stream.write(posting_pb2.StreamTransactionsRequest(tenant_id=tenant_id, items=[poor]))
        refused = await refusal(read_all(stream))
        assert refused.reason == "FIELD_MALFORMED"
    told = {(each["tenant_id"], each["verdict"]) for each in log.lines}
    assert ("casino", "INSUFFICIENT_FUNDS") in told
    assert not [verdict for tenant_id, verdict in told if tenant_id == "of-nobody" and "FUNDS" in verdict]


async def test_person_who_sends_anothers_request_again_is_told(
    database_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """The answer tells what was decided for another, and no record names who asked again."""
    request = posting_pb2.PostTransactionRequest(
        tenant_id="casino", idempotency_key="once", transaction=transfer("house", "bob", 5)
    )
    async with audited(database_url, tmp_path, clock) as log:
        async with log.guarded.channel_of("spiffe://d/root") as channel:
            await Stubs.over(channel).postings.PostTransaction(request)
        async with log.guarded.token_channel() as channel:
            await Stubs.over(channel).postings.PostTransaction(
                request, metadata=log.guarded.bearer("ada", groups=STAFF)
            )
    told = [(each["event"], each["person"], each["method"].rpartition("/")[2]) for each in log.lines]
    assert told == [("read", "ada", "PostTransaction")]


async def test_nothing_of_a_request_is_told_but_names_and_ids(
    database_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """No amount, note, token or text that stands where an id belongs."""
    secret = "whsec do not show"
    async with audited(database_url, tmp_path, clock) as log, log.guarded.token_channel() as channel:
        stubs = Stubs.over(channel)
        metadata: Any = ()
        for subject in ("stranger", "ada"):
            metadata = log.guarded.bearer(subject, groups=STAFF if subject == "ada" else [])
            for request in (
                withdrawal_pb2.ApproveWithdrawalRequest(
                    tenant_id="casino", withdrawal_id=secret, reviewer=secret, note=secret
                ),
                withdrawal_pb2.ApproveWithdrawalRequest(
                    tenant_id=secret, withdrawal_id="wd_1", reviewer=subject, note=secret
                ),
            ):
                await refusal(stubs.withdrawals.ApproveWithdrawal(request, metadata=metadata))
        wallet = wallet_pb2.GetWalletRequest(tenant_id="casino", player_id=secret)
        await refusal(stubs.wallets.GetWallet(wallet, metadata=(("authorization", f"Bearer {secret}"),)))
        sent = ("x-request-id", "a" * 65)
        await refusal(stubs.wallets.GetWallet(wallet, metadata=(*metadata, sent)))
    text = log.file.read_text()
    assert len(log.lines) == 6
    for hidden in (secret, "whsec", "eyJ", "a" * 65):
        assert hidden not in text
    assert {each["person"] for each in log.lines} == {"", "stranger", "ada"}


@pytest.mark.parametrize("is_there", [True, False])
async def test_open_server_has_no_audit_log(database_url: str, tmp_path: Path, is_there: bool) -> None:
    """Asked for one, it does not start: it knows nobody's name."""
    if is_there:
        with pytest.raises(ValueError, match="DEFTER_AUDIT_LOG_FILE: does nothing without TLS"):
            async with serving(database_url, audit_log_file=tmp_path / "audit.log"):
                pass
    else:
        async with serving(database_url) as service:
            assert service.server.identity is None
