"""A guarded server opens no RPC by default: without proof or permission each is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import journal_pb2, tenant_pb2
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from ledger_server.domain.state.commands import Method
from ledger_server.rpc.methods import every_method
from ledger_server.rpc.tenant_scope import tenant_reader
from tests.support.certificates import AUDIENCE, ISSUER, Signer, TestAuthority
from tests.support.every_rpc import call, request_of, rpcs_of
from tests.support.guarded import POLICY, Guarded, authorization, guarding
from tests.support.health import health
from tests.support.ledger import Ledger
from tests.support.service import Service, serving
from tests.support.wire import Refusal, Stubs, refusal

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
PERMISSION_DENIED = grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture(params=[128, 0], ids=["calls ahead", "stock server"])
async def guarded(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> AsyncIterator[Guarded]:
    """A guarded server, with the tenant `casino`."""
    if request.param and os.environ.get("DEFTER_CALLS_AHEAD") == "0":
        pytest.skip("these tests are run on the stock server alone, as `make newest` does")
    async with guarding(database_url, tmp_path, calls_ahead=request.param) as made:
        async with made.channel_of("spiffe://d/root") as channel:
            await Ledger(channel, "casino", key_prefix="key").create()
        yield made


async def heads(guarded: Guarded) -> list[tuple[str, int]]:
    """Return all tenants with the number of their records."""
    async with guarded.channel_of("spiffe://d/root") as channel:
        listed = await Stubs.over(channel).tenants.ListTenants(tenant_pb2.ListTenantsRequest())
    return [(tenant.tenant_id, tenant.head_sequence) for tenant in listed.tenants]


async def walk(
    guarded: Guarded, channel: grpc.aio.Channel, metadata: Any = (), *, tenant_id: str = "casino"
) -> dict[str, Refusal]:
    """Call every RPC, each of which must be refused, and see that nothing has changed."""
    assert guarded.service is not None
    before = await heads(guarded)
    rpcs = rpcs_of(guarded.service)
    assert len(rpcs) > 60
    refusals = {
        name: await refusal(call(channel, method, request_of(method, tenant_id), metadata))
        for name, method in rpcs.items()
    }
    assert await heads(guarded) == before
    return refusals


async def look(guarded: Guarded) -> None:
    """Have the server look at its files now."""
    assert guarded.service is not None
    assert guarded.service.server.identity is not None
    await guarded.service.server.identity.look()


def part(value: object) -> str:
    """Return a part of a token by hand."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(guarded: Guarded, algorithm: str) -> str:
    """Return a token with another algorithm: an HMAC with the public key, or nothing."""
    claims = {"sub": "root", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 600}
    signed = f"{part({'alg': algorithm, 'kid': 'one'})}.{part(claims)}"
    mac = hmac.digest(guarded.signer.public_pem, signed.encode(), hashlib.sha256)
    signature = "" if algorithm == "none" else base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
    return f"{signed}.{signature}"


async def test_without_proof_every_rpc_is_refused_with_its_reason(guarded: Guarded) -> None:
    """Whatever is wrong with a token; and so is a call without one."""
    now = time.time()
    stranger = Signer("ES256", key_id="two")
    sign = guarded.signer.sign
    cases: dict[str, Any] = {
        "IDENTITY_MISSING": (),
        "TOKEN_EXPIRED": authorization(sign(now, sub="root", exp=now - 1)),
        "TOKEN_NOT_YET_VALID": authorization(sign(now, sub="root", nbf=now + 1_000, exp=now + 2_000)),
        "TOKEN_AUDIENCE_OTHER": authorization(sign(now, sub="root", aud="others")),
        "TOKEN_ISSUER_OTHER": authorization(sign(now, sub="root", iss="others")),
        "TOKEN_KEY_UNKNOWN": authorization(stranger.sign(now, sub="root")),
        "TOKEN_SIGNATURE_INVALID": authorization(stranger.sign(now, {"kid": "one"}, sub="root")),
        "TOKEN_MALFORMED": (("authorization", "Basic cm9vdDpyb290"),),
        "IDENTITY_GIVEN_TWICE": guarded.bearer() * 2,
    }
    async with guarded.token_channel() as channel:
        for reason, metadata in cases.items():
            for name, refused in (await walk(guarded, channel, metadata)).items():
                assert (refused.code, refused.reason) == (UNAUTHENTICATED, reason), name
        for algorithm in ("none", "HS256"):
            for name, refused in (
                await walk(guarded, channel, authorization(forged(guarded, algorithm)))
            ).items():
                assert (refused.code, refused.reason) == (UNAUTHENTICATED, "TOKEN_ALGORITHM_REFUSED"), name


async def test_without_certificate_of_the_authority_no_rpc_is_reached(guarded: Guarded) -> None:
    """The handshake fails without a certificate, with a foreign one, an expired one, and without TLS."""
    assert guarded.service is not None
    expired = guarded.authority.issue(uris=["spiffe://d/root"], valid_until=datetime(2021, 1, 1, tzinfo=UTC))
    channels = [
        guarded.channel(),
        guarded.channel(TestAuthority().issue(uris=["spiffe://d/root"])),
        guarded.channel(expired),
        guarded.service.channel,
    ]
    for channel in channels:
        async with channel:
            for name, refused in (await walk(guarded, channel, guarded.bearer())).items():
                assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, ""), name


@pytest.mark.parametrize("by_token", [True, False])
async def test_without_permission_every_rpc_is_refused_by_name(guarded: Guarded, by_token: bool) -> None:
    """Where a rule is for another method, and where it is for another tenant."""
    for who in ("stranger", "elsewhere"):
        identity = f"token:{who}" if by_token else f"spiffe://d/{who}"
        metadata = guarded.bearer(who) if by_token else ()
        async with guarded.token_channel() if by_token else guarded.channel_of(identity) as channel:
            assert guarded.service is not None
            rpcs = rpcs_of(guarded.service)
            for name, method in rpcs.items():
                if who == "elsewhere" and name in OF_ANY_TENANT:
                    await call(channel, method, request_of(method, "casino"), metadata)
                    continue
                refused = await refusal(call(channel, method, request_of(method, "casino"), metadata))
                assert (refused.code, refused.reason) == (PERMISSION_DENIED, "PERMISSION_MISSING"), name
                told = "casino"
                if "OutboundService" in name:
                    told = "*"
                elif name in OF_ANY_TENANT or (who == "stranger" and method.client_streaming):
                    told = ""  # of a stream, no message has come yet when its method is refused
                assert refused.metadata == {"method": name, "tenant_id": told, "identity": identity}
    assert await heads(guarded) == [("casino", 1)]


OF_ANY_TENANT = {
    "defter.ledger.v1.TenantService/ListCurrencies",
    "defter.ledger.v1.TenantService/ListTenants",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}


@pytest.mark.parametrize("by_token", [True, False])
async def test_with_permission_every_rpc_is_reached(guarded: Guarded, by_token: bool) -> None:
    """And answers as an open server does: the tenant is not there, or a field is missing."""
    assert guarded.service is not None
    metadata = guarded.bearer() if by_token else ()
    async with guarded.token_channel() if by_token else guarded.channel_of("spiffe://d/root") as channel:
        for name, method in rpcs_of(guarded.service).items():
            reasons: set[grpc.StatusCode] = set()
            try:
                await call(channel, method, request_of(method, "nowhere"), metadata)
            except grpc.aio.AioRpcError as error:
                reasons.add(error.code())
            assert reasons <= REACHED, name


REACHED = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
}


async def test_stolen_edge_certificate_takes_in_events_of_its_tenants_alone(guarded: Guarded) -> None:
    """Everything else is refused, and so are events of other tenants."""
    assert guarded.service is not None
    ingest = "defter.payments.v1.ProviderEventService/IngestProviderEvents"
    async with guarded.channel_of("spiffe://d/edge") as channel:
        for name, method in rpcs_of(guarded.service).items():
            for tenant_id in ("casino", "elsewhere", ""):
                refused = await refusal(call(channel, method, request_of(method, tenant_id)))
                if (name, tenant_id) == (ingest, "casino"):
                    assert refused.reason == "BATCH_SIZE_OUT_OF_RANGE"
                else:
                    assert refused.reason == "PERMISSION_MISSING", name


async def test_methods_that_policies_name_are_those_of_a_server(server: Service) -> None:
    """`defter policy check` knows every method without a server, and each says what permission it needs."""
    assert set(every_method()) == set(rpcs_of(server))
    for method in every_method().values():
        assert tenant_reader(method) is not None


async def test_certificate_of_an_authority_below_proves_its_own_name(guarded: Guarded) -> None:
    """By the certificates that its caller sends along; the name of the authority between is not its own."""
    between = guarded.authority.below(uris=["spiffe://d/root"])
    below = between.issue(uris=["spiffe://d/elsewhere"])
    async with guarded.channel(below, between.root) as channel:
        assert guarded.service is not None
        get = rpcs_of(guarded.service)["defter.ledger.v1.TenantService/GetTenant"]
        refused = await refusal(call(channel, get, request_of(get, "casino")))
        assert refused.reason == "PERMISSION_MISSING"
        assert refused.metadata["identity"] == "spiffe://d/elsewhere"
        refused = await refusal(call(channel, get, request_of(get, "elsewhere")))
        assert refused.reason == "TENANT_NOT_FOUND"


async def test_bytes_that_are_no_message_are_looked_at_last(guarded: Guarded) -> None:
    """Whom nobody knows, and who may not call, learns nothing about them."""
    assert guarded.service is not None
    callers = {(): "IDENTITY_MISSING", guarded.bearer("stranger"): "PERMISSION_MISSING"}
    async with guarded.token_channel() as channel:
        for metadata, reason in {**callers, guarded.bearer(): "MALFORMED_MESSAGE"}.items():
            for name, method in rpcs_of(guarded.service).items():
                if "reflection" in name and reason == "MALFORMED_MESSAGE":
                    continue  # grpcio reads its messages, and has no reason for it
                refused = await refusal(call(channel, method, b"\xff\xff\xff\xff", metadata))
                assert refused.reason == reason, name


async def test_health_is_open(guarded: Guarded) -> None:
    """Whoever gets through the handshake may ask, as a load balancer does."""
    for channel in (guarded.token_channel(), guarded.channel_of("spiffe://d/stranger")):
        async with channel:
            answer = await health(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_certificate_and_token_in_one_call_are_refused(guarded: Guarded) -> None:
    """Nobody guesses whose call it is."""
    async with guarded.channel_of("spiffe://d/root") as channel:
        for refused in (await walk(guarded, channel, guarded.bearer())).values():
            assert refused.reason == "IDENTITY_GIVEN_TWICE"


async def test_certificate_without_clear_identity_is_refused(guarded: Guarded) -> None:
    """Though the authority has issued it."""
    async with guarded.channel(guarded.authority.issue(uris=["spiffe://d/root", "spiffe://d/b"])) as channel:
        for refused in (await walk(guarded, channel)).values():
            assert refused.reason == "CERTIFICATE_IDENTITY_UNCLEAR"


async def test_token_over_plaintext_is_refused_by_every_rpc(server: Service) -> None:
    """Though the open server would have answered without it: its owner learns that it was readable."""
    signer = Signer("ES256")
    metadata = authorization(signer.sign(time.time()))
    for name, method in rpcs_of(server).items():
        if "reflection" in name:
            continue
        refused = await refusal(call(server.channel, method, request_of(method, "casino"), metadata))
        assert (refused.code, refused.reason) == (UNAUTHENTICATED, "TOKEN_OVER_PLAINTEXT"), name


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_open_server_says_so_at_each_start(database_url: str, tmp_path: Path, is_guarded: bool) -> None:
    """And a guarded one does not."""
    for _ in range(2):
        with capture_logs() as logs:
            async with guarding(database_url, tmp_path) if is_guarded else serving(database_url):
                pass
        warned = [line for line in logs if line["event"].startswith("OPEN: ")]
        assert [line["log_level"] for line in warned] == ([] if is_guarded else ["warning"])


async def test_list_of_tenants_shows_those_that_the_caller_may_see(guarded: Guarded) -> None:
    """Page by page, whose tokens tell of no other tenant either."""
    async with guarded.channel_of("spiffe://d/root") as channel:
        for tenant_id in ("a-first", "elsewhere", "z-last"):
            await Ledger(channel, tenant_id, key_prefix="key").create()
    async with guarded.channel_of("spiffe://d/elsewhere") as channel:
        shown: list[str] = []
        request = tenant_pb2.ListTenantsRequest(page_size=1)
        while True:
            page = await Stubs.over(channel).tenants.ListTenants(request)
            assert page.tenants  # also a page without any would tell that there are others
            shown += [tenant.tenant_id for tenant in page.tenants]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    assert shown == ["elsewhere"]
    assert not request.page_token


OUTCOMES = "\n".join(
    f"""
[[rule]]
name = "{name}"
identities = ["spiffe://d/{name}"]
methods = [{methods}]
tenants = ["casino"]
"""
    for name, methods in (
        ("game", '"defter.ledger.v1.JournalService/GetOutcome", "defter.ledger.v1.PostingService/*"'),
        ("auditor", '"defter.ledger.v1.JournalService/*"'),
        ("asker", '"defter.ledger.v1.JournalService/GetOutcome"'),
    )
)


async def test_outcome_is_for_whoever_may_make_the_call(database_url: str, tmp_path: Path) -> None:
    """Or may read the journal anyway; to others the answer of a call would tell what they may not ask for."""
    async with guarding(database_url, tmp_path) as guarded:
        guarded.write("policy.toml", (POLICY + OUTCOMES).encode())
        await look(guarded)
        async with guarded.channel_of("spiffe://d/root") as channel:
            await Ledger(channel, "casino", key_prefix="key").create()
        for name, may in (
            ("game", frozenset({Method.PostTransaction, Method.ReverseTransaction})),
            ("auditor", frozenset(Method)),
            ("asker", frozenset[Method]()),
        ):
            async with guarded.channel_of(f"spiffe://d/{name}") as channel:
                stubs = Stubs.over(channel)
                for asked in Method:
                    request = journal_pb2.GetOutcomeRequest(
                        tenant_id="casino", method=asked.name, idempotency_key="unused"
                    )
                    refused = await refusal(stubs.journal.GetOutcome(request))
                    assert (refused.reason != "PERMISSION_MISSING") == (asked in may), (name, refused)
                    if asked not in may:
                        assert refused.metadata["method"].endswith(f"/{asked.name}")
