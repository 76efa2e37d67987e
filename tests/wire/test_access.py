"""A caller is told what it may do, and nobody is told of another one."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest
from defter.identity.v1 import access_pb2, caller_pb2
from google.protobuf.message import Message

from ledger_server.rpc.methods import every_method
from ledger_server.rpc.tenant_scope import OF_ALL_TENANTS, OF_NO_TENANT, OF_THE_CALLER
from tests.support.certificates import Signer
from tests.support.every_rpc import call, request_of, rpcs_of
from tests.support.guarded import POLICY, Guarded, authorization, guarding
from tests.support.service import Service
from tests.support.wire import Stubs, refusal

EVERYTHING = sorted(every_method())
INGEST = "defter.payments.v1.ProviderEventService/IngestProviderEvents"
ACTING = """
[[rule]]
name = "console for ada"
identities = ["spiffe://d/acting"]
methods = ["defter.payments.v1.WithdrawalService/*"]
tenants = ["casino"]
acts_for = ["ada"]

[[rule]]
name = "console by itself"
identities = ["spiffe://d/acting"]
methods = ["defter.ledger.v1.JournalService/WatchJournal"]
tenants = ["casino"]
"""
NO_METADATA: tuple[tuple[str, str], ...] = ()


@pytest.fixture
async def guarded(database_url: str, tmp_path: Path) -> AsyncIterator[Guarded]:
    """A guarded server with an audit log, a service that acts for ada alone, and no tenant at all."""
    async with guarding(database_url, tmp_path, audit_log_file=tmp_path / "audit.log") as made:
        made.write("policy.toml", (POLICY + ACTING).encode())
        assert made.service is not None
        assert made.service.server.identity is not None
        await made.service.server.identity.look()
        yield made


async def ask(
    channel: grpc.aio.Channel, tenant_id: str = "", metadata: Sequence[tuple[str, str]] = NO_METADATA
) -> tuple[caller_pb2.Caller | None, list[str]]:
    """Return who the server says that one is, and the methods that it lists."""
    told = await Stubs.over(channel).access.GetAccess(
        access_pb2.GetAccessRequest(tenant_id=tenant_id), metadata=tuple(metadata)
    )
    return (told.caller if told.HasField("caller") else None), list(told.methods)


def lines(guarded: Guarded) -> list[dict[str, str]]:
    """Return the lines of the audit log."""
    return [json.loads(text) for text in (guarded.folder / "audit.log").read_text().splitlines()]


async def test_open_server_lists_every_method_and_knows_nobody(server: Service) -> None:
    """Every one that it serves, but for the one that was asked."""
    caller, methods = await ask(server.channel, "casino")

    assert caller is None
    assert methods == sorted(rpcs_of(server)) == EVERYTHING
    assert not OF_THE_CALLER & set(methods)


@pytest.mark.parametrize("by_token", [True, False])
async def test_who_may_nothing_gets_an_empty_list(guarded: Guarded, by_token: bool) -> None:
    """Not an error, and no line in the audit log."""
    identity = "token:stranger" if by_token else "spiffe://d/stranger"
    metadata = guarded.bearer("stranger") if by_token else ()
    async with guarded.token_channel() if by_token else guarded.channel_of(identity) as channel:
        for tenant_id in ("", "casino"):
            caller, methods = await ask(channel, tenant_id, metadata)
            assert caller == caller_pb2.Caller(identity=identity, person="stranger" if by_token else "")
            assert methods == []
    assert lines(guarded) == []


@pytest.mark.parametrize(
    ("name", "tenant_id", "expected"),
    [
        ("root", "", EVERYTHING),
        ("root", "casino", EVERYTHING),
        ("edge", "", [INGEST]),
        ("edge", "casino", [INGEST]),
        ("edge", "elsewhere", []),
        ("elsewhere", "", sorted(set(EVERYTHING) - OF_ALL_TENANTS)),
        ("elsewhere", "elsewhere", sorted(set(EVERYTHING) - OF_ALL_TENANTS)),
        ("elsewhere", "casino", sorted(OF_NO_TENANT)),
    ],
)
async def test_list_has_what_the_rules_allow(
    guarded: Guarded, name: str, tenant_id: str, expected: list[str]
) -> None:
    """For a tenant or for any; a tenant that is not there is answered like others."""
    async with guarded.channel_of(f"spiffe://d/{name}") as channel:
        caller, methods = await ask(channel, tenant_id)

    assert caller == caller_pb2.Caller(identity=f"spiffe://d/{name}")
    assert methods == expected


async def test_list_is_what_calls_are_let_through_by(guarded: Guarded) -> None:
    """Each caller calls each method for each tenant: what is not listed is refused, and nothing else."""
    assert guarded.service is not None
    for name in ("root", "edge", "elsewhere", "stranger", "service", "acting"):
        async with guarded.channel_of(f"spiffe://d/{name}") as channel:
            for tenant_id in ("casino", "elsewhere"):
                _, listed = await ask(channel, tenant_id)
                for method, descriptor in rpcs_of(guarded.service).items():
                    assert await _is_let_through(channel, descriptor, tenant_id) == (method in listed), method


async def _is_let_through(channel: grpc.aio.Channel, method: object, tenant_id: str) -> bool:
    request: Message = request_of(method, tenant_id)  # type: ignore[arg-type]
    try:
        await call(channel, method, request)  # type: ignore[arg-type]
    except grpc.aio.AioRpcError as error:
        return error.code() is not grpc.StatusCode.PERMISSION_DENIED
    return True


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        ("", ["defter.ledger.v1.JournalService/WatchJournal"]),
        ("ada", []),
        ("bob", []),
    ],
)
async def test_service_is_told_what_it_may_do_for_a_person(
    guarded: Guarded, person: str, expected: list[str]
) -> None:
    """By the rules that let it act for that person; by itself by all of its rules."""
    withdrawals = [name for name in EVERYTHING if ".WithdrawalService/" in name]
    metadata = (("defter-person", person),) if person else ()
    async with guarded.channel_of("spiffe://d/acting") as channel:
        caller, methods = await ask(channel, "casino", metadata)

    assert caller == caller_pb2.Caller(identity="spiffe://d/acting", person=person)
    assert methods == sorted([*expected, *(withdrawals if person != "bob" else [])])


async def test_person_of_a_token_can_be_no_other(guarded: Guarded) -> None:
    """As in every call."""
    metadata = (*guarded.bearer("stranger"), ("defter-person", "root"))
    async with guarded.token_channel() as channel:
        refused = await refusal(
            Stubs.over(channel).access.GetAccess(access_pb2.GetAccessRequest(), metadata=metadata)
        )
    assert refused.reason == "PERSON_OTHER"


async def test_claims_of_a_token_count(guarded: Guarded) -> None:
    """Those of a person whose groups a rule names."""
    async with guarded.token_channel() as channel:
        caller, methods = await ask(channel, "casino", guarded.bearer("ada", groups=["staff"]))

    assert caller == caller_pb2.Caller(identity="token:ada", person="ada")
    assert methods == EVERYTHING


async def test_without_proof_nothing_is_told(guarded: Guarded) -> None:
    """It needs no permission, but it is not open."""
    now = time.time()
    cases = {
        "IDENTITY_MISSING": (),
        "TOKEN_EXPIRED": authorization(guarded.signer.sign(now, sub="root", exp=now - 1)),
        "TOKEN_SIGNATURE_INVALID": authorization(
            Signer("ES256", key_id="two").sign(now, {"kid": "one"}, sub="root")
        ),
        "IDENTITY_GIVEN_TWICE": guarded.bearer() * 2,
    }
    async with guarded.token_channel() as channel:
        for reason, metadata in cases.items():
            refused = await refusal(
                Stubs.over(channel).access.GetAccess(access_pb2.GetAccessRequest(), metadata=metadata)
            )
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)


@pytest.mark.parametrize("tenant_id", ["*", "casino-*", "CASINO", "a" * 64, "a b"])
async def test_tenant_that_can_be_none_is_refused(server: Service, tenant_id: str) -> None:
    """A pattern too: nobody is asked what a rule for all tenants would allow."""
    refused = await refusal(server.stubs.access.GetAccess(access_pb2.GetAccessRequest(tenant_id=tenant_id)))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_policy_that_was_replaced_counts_at_the_next_call(guarded: Guarded) -> None:
    """What is told is what is in force."""
    assert guarded.service is not None
    assert guarded.service.server.identity is not None
    async with guarded.channel_of("spiffe://d/edge") as channel:
        assert (await ask(channel, "casino"))[1] == [INGEST]
        guarded.write("policy.toml", POLICY.replace(f'methods = ["{INGEST}"]', 'methods = ["*"]').encode())
        await guarded.service.server.identity.look()
        assert (await ask(channel, "casino"))[1] == sorted(set(EVERYTHING) - OF_ALL_TENANTS)
