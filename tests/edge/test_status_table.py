"""The edge's status table, row by row, over real sockets."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from defter.payments.v1 import payment_pb2
from structlog.testing import capture_logs

from tests.edge.harness import (
    BODY,
    NAME,
    OTHER,
    PATH,
    PROVIDER,
    SECRET,
    TENANT,
    Edge,
    FakeLedger,
    an_endpoint,
    running_edge,
    signed,
)
from tests.support.clock import START
from webhook_edge import sending
from webhook_edge.body import MOST_BYTES
from webhook_edge.configuration import RateLimits
from webhook_edge.scheme import Secret
from webhook_edge.standard import StandardScheme
from webhook_edge.throttle import rate_limit
from webhook_edge.verdicts import STATUSES, Verdict


async def test_deliver_genuine_webhook_is_forwarded_and_answered_success(
    edge: Edge, fake_ledger: FakeLedger
) -> None:
    """The ledger gets the event for the endpoint's tenant and provider, with the body as it came."""
    answer = await edge.deliver()

    [(tenant_id, [event])] = fake_ledger.calls
    assert (answer.status_code, answer.content) == (200, b"")
    assert (tenant_id, event.provider, event.event_id) == (TENANT, PROVIDER, "evt_1")
    assert event.payload == BODY
    assert (edge.count(Verdict.TAKEN), edge.secret_uses("s0")) == (1, 1)


async def test_deliver_webhook_again_is_forwarded_and_answered_the_same(
    edge: Edge, fake_ledger: FakeLedger
) -> None:
    """What is a duplicate the ledger knows; the provider hears the same success."""
    answers = [await edge.deliver(), await edge.deliver()]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert fake_ledger.event_ids == ["evt_1", "evt_1"]


@pytest.mark.parametrize("body", [b'{"type":"payment.danced","data":{}}', b"hello", b""])
async def test_deliver_verified_event_of_unknown_type_is_stored(
    body: bytes, edge: Edge, fake_ledger: FakeLedger
) -> None:
    """What is genuine is kept, whether it is understood or not."""
    answer = await edge.deliver(body)

    [(_, [event])] = fake_ledger.calls
    assert answer.status_code == 200
    assert event.type == payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED


async def test_answer_success_waits_for_the_ledger(edge: Edge, fake_ledger: FakeLedger) -> None:
    """Nothing is acknowledged before it is durable."""
    fake_ledger.open = asyncio.Event()
    delivery = asyncio.create_task(edge.deliver())
    await fake_ledger.called.wait()

    done, _ = await asyncio.wait([delivery], timeout=0.05)
    fake_ledger.open.set()

    assert not done
    assert (await delivery).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/standard/other",
        f"/webhooks/stripe/{NAME}",
        f"/webhooks/nonsense/{NAME}",
        f"/webhooks/Standard/{NAME}",
        f"/webhooks/standard/{NAME.upper()}",
        f"{PATH}/",
        f"{PATH}/x",
        f"/{PATH}",
        f"/webhooks/standard/../standard/{NAME}%2f",
        "/webhooks/standard/",
        "/webhooks/",
        "/",
        "/metrics",
    ],
)
async def test_deliver_to_unknown_endpoint_is_not_found(
    path: str, edge: Edge, fake_ledger: FakeLedger
) -> None:
    """There is no other way to write an endpoint's address, and no redirect to it."""
    answer = await edge.deliver(path=path)

    assert answer.status_code == 404
    assert fake_ledger.calls == []


@pytest.mark.parametrize(
    "secrets",
    [[], [Secret(name="old", value=SECRET, not_after=START)]],
    ids=["none", "over"],
)
async def test_deliver_to_endpoint_without_counting_secret_is_not_found(secrets: list[Secret]) -> None:
    """Without a secret nothing could ever verify, whatever it is signed with."""
    ledger = FakeLedger()
    async with running_edge(an_endpoint(secrets=secrets), ledger=ledger) as edge:
        answer = await edge.deliver()

        assert answer.status_code == 404
        assert edge.count(Verdict.UNKNOWN_ENDPOINT) == 1
    assert ledger.calls == []


async def test_deliver_with_secret_counts_until_its_end() -> None:
    """A secret's last moment is the one before its end."""
    end = START + timedelta(seconds=10)
    async with running_edge(an_endpoint(secrets=[Secret(name="s", value=SECRET, not_after=end)])) as edge:
        edge.clock.now = end - timedelta(microseconds=1)
        before = await edge.deliver()
        edge.clock.now = end
        after = await edge.deliver()

    assert (before.status_code, after.status_code) == (200, 404)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        *({k: v for k, v in signed().items() if k != name} for name in signed()),
        {**signed(), "webhook-timestamp": "soon"},
        {**signed(), "webhook-timestamp": "9" * 5_000},
        {**signed(), "webhook-signature": "v1"},
        {**signed(), "webhook-id": "a.b"},
    ],
    ids=str,
)
async def test_deliver_malformed_headers_is_bad_request(
    headers: dict[str, str], edge: Edge, fake_ledger: FakeLedger
) -> None:
    """What is no webhook of the scheme is told so."""
    answer = await edge.deliver(headers=headers)

    assert (answer.status_code, answer.text) == (400, "malformed")
    assert fake_ledger.calls == []


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature", "authorization"])
async def test_deliver_with_header_twice_is_bad_request(
    name: str, edge: Edge, fake_ledger: FakeLedger
) -> None:
    """Of two signatures nobody could tell which one counts, even if both are the same."""
    headers = [*signed().items(), (name, signed().get(name, "x")), (name.title(), signed().get(name, "x"))]

    answer = await edge.client.post(PATH, content=BODY, headers=headers)

    assert answer.status_code == 400
    assert fake_ledger.calls == []


async def test_deliver_with_other_header_twice_passes(edge: Edge) -> None:
    """Proxies may add what they like."""
    headers = [*signed().items(), ("via", "a"), ("via", "b")]

    assert (await edge.client.post(PATH, content=BODY, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY, signed(BODY, OTHER)),
        (BODY + b" ", signed()),
        (BODY, {**signed(), "webhook-id": "evt_2"}),
        (BODY, signed(at=START + timedelta(seconds=301))),
        (BODY, signed(at=START - timedelta(seconds=301))),
    ],
    ids=["other-secret", "other-body", "other-id", "future", "past"],
)
async def test_deliver_what_is_not_genuine_is_unauthorized(
    body: bytes, headers: dict[str, str], edge: Edge, fake_ledger: FakeLedger
) -> None:
    """It is counted, and nothing is forwarded."""
    answer = await edge.deliver(body, headers)

    assert (answer.status_code, answer.text) == (401, "not_verified")
    assert (edge.count(Verdict.NOT_VERIFIED), edge.secret_uses("s0")) == (1, 0)
    assert fake_ledger.calls == []


@pytest.mark.parametrize("seconds", [-300, 300])
async def test_deliver_at_the_edge_of_time_passes(seconds: int, edge: Edge) -> None:
    """Clocks may differ by five minutes either way."""
    assert (await edge.deliver(headers=signed(at=START + timedelta(seconds=seconds)))).status_code == 200


@pytest.mark.parametrize(("size", "status"), [(MOST_BYTES, 200), (MOST_BYTES + 1, 413)])
async def test_deliver_body_of_a_size_is_bounded(
    size: int, status: int, edge: Edge, fake_ledger: FakeLedger
) -> None:
    """A mebibyte passes, and one byte more does not."""
    answer = await edge.deliver(b"x" * size)

    assert answer.status_code == status
    assert len(fake_ledger.calls) == (status == 200)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def test_deliver_by_other_method_is_not_allowed(
    method: str, edge: Edge, fake_ledger: FakeLedger
) -> None:
    """Webhooks are posted."""
    answer = await edge.client.request(method, PATH, headers=signed())

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert fake_ledger.calls == []


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (Verdict.LEDGER_UNAVAILABLE, 503),
        (Verdict.MISCONFIGURED, 503),
        (Verdict.LEDGER_REFUSED, 400),
        (RuntimeError("payload inside"), 400),
    ],
)
async def test_deliver_what_the_ledger_has_not_taken_is_no_success(
    refusal: Verdict | Exception, status: int, edge: Edge, fake_ledger: FakeLedger
) -> None:
    """The provider delivers again, and then it may pass."""
    fake_ledger.refusals.append(refusal)

    answers = [await edge.deliver(), await edge.deliver()]

    assert [answer.status_code for answer in answers] == [status, 200]


async def test_deliver_what_our_own_code_fails_at_is_logged_and_not_forwarded(
    edge: Edge, fake_ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer carries the id under which the log says where, in nobody else's words."""

    def fail(*_: object) -> None:
        raise KeyError("secret-of-the-payload")

    monkeypatch.setattr(StandardScheme, "events", fail)
    with capture_logs() as logs:
        answer = await edge.deliver()

    error_id = answer.text.removeprefix("unexpected ")
    [logged] = [line for line in logs if line.get("error_id") == error_id]
    assert (answer.status_code, logged["kind"], logged["log_level"]) == (400, "KeyError", "error")
    assert "secret-of-the-payload" not in repr(logs)
    assert fake_ledger.calls == []


async def test_log_webhook_names_the_event_and_nothing_of_what_came(edge: Edge) -> None:
    """Neither payloads nor headers nor secrets have a place in a log."""
    with capture_logs() as logs:
        await edge.deliver()
        await edge.deliver(headers=signed(BODY, OTHER, event_id="evt_forged"))

    assert [line["provider_event_ids"] for line in logs] == [["evt_1"], ()]
    assert [line["secret"] for line in logs] == ["s0", ""]
    text = repr(logs)
    assert not any(
        part in text for part in ("pay-1", SECRET, "v1,", "evt_forged", str(int(START.timestamp())))
    )


async def test_observe_endpoint_forwards_nothing_and_answers_success() -> None:
    """A new endpoint can be watched before it counts."""
    ledger = FakeLedger()
    async with running_edge(an_endpoint(observes=True), ledger=ledger) as edge:
        answers = [await edge.deliver(), await edge.deliver(headers=signed(BODY, OTHER))]

        assert [answer.status_code for answer in answers] == [200, 401]
        assert (edge.count(Verdict.OBSERVED), edge.count(Verdict.NOT_VERIFIED)) == (1, 1)
        assert edge.secret_uses("s0") == 1
    assert ledger.calls == []


async def test_deliver_more_than_the_endpoint_may_is_put_off() -> None:
    """What is not genuine does not use up what is."""
    rates = RateLimits(verified=rate_limit("3/hour"))
    ledger = FakeLedger()
    async with running_edge(an_endpoint(rates=rates), ledger=ledger) as edge:
        junk = [await edge.deliver(headers=signed(BODY, OTHER)) for _ in range(5)]
        answers = [await edge.deliver() for _ in range(4)]

    assert [answer.status_code for answer in junk] == [401] * 5
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 7_200
    assert len(ledger.calls) == 3


async def test_send_more_than_an_address_may_is_put_off() -> None:
    """One sender's flood is put off unread, and at every endpoint it has a count of its own."""
    rates = RateLimits(address=rate_limit("2/hour"))
    async with running_edge(an_endpoint(rates=rates), an_endpoint(name="other")) as edge:
        answers: list[httpx.Response] = [await edge.deliver(headers={}) for _ in range(3)]
        other = await edge.deliver(path="/webhooks/standard/other")

    assert [answer.status_code for answer in answers] == [400, 400, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert other.status_code == 200


async def test_send_through_a_proxy_is_counted_by_its_sender() -> None:
    """A trusted proxy tells who sent; nobody else can choose another address."""
    rates = RateLimits(address=rate_limit("1/hour"))
    statuses = {}
    for proxies in ("127.0.0.1", ""):
        async with running_edge(an_endpoint(rates=rates), proxies=proxies) as edge:
            statuses[proxies] = [
                (await edge.deliver(headers={**signed(), "x-forwarded-for": sender})).status_code
                for sender in ("192.0.2.1", "192.0.2.2", "192.0.2.2")
            ]

    assert statuses == {"127.0.0.1": [200, 200, 429], "": [200, 429, 429]}


SCHEMES = {
    "standard": (SECRET, "payment.captured", (200, b"")),
    "stripe": ("whsec_one", "payment_intent.succeeded", (200, b"")),
    "adyen": ("0A" * 32, "CAPTURE", (200, b"[accepted]")),
}


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_deliver_webhook_of_each_scheme_is_answered_in_its_words(scheme: str) -> None:
    """Each provider hears the success that it knows, and the endpoint of one scheme takes no other."""
    secret, type_, success = SCHEMES[scheme]
    webhook = sending.signed(scheme, sending.Sample(type=type_), secret, START)
    ledger = FakeLedger()
    async with running_edge(an_endpoint(secret, scheme=scheme), ledger=ledger) as edge:
        answers = {
            name: await edge.deliver(webhook.body, webhook.headers, path=f"/webhooks/{name}/{NAME}")
            for name in SCHEMES
        }

    assert (answers[scheme].status_code, answers[scheme].content) == success
    assert {name: answer.status_code for name, answer in answers.items()} == {
        name: 200 if name == scheme else 404 for name in SCHEMES
    }
    [(_, [event])] = ledger.calls
    assert (event.provider, event.provider_type) == (PROVIDER, type_)


async def test_ask_for_health_and_readiness_tells_them_apart(edge: Edge) -> None:
    """An edge without a ledger lives, and is not ready."""
    ready = [await edge.client.get("/health"), await edge.client.get("/ready")]
    edge.is_ready = False
    not_ready = [await edge.client.get("/health"), await edge.client.get("/ready")]

    assert [answer.status_code for answer in ready] == [200, 200]
    assert [answer.status_code for answer in not_ready] == [200, 503]


def test_answer_statuses_are_complete_and_tell_no_internal_error() -> None:
    """Every refusal has a status, and the one above 499 stands for the ledger."""
    assert set(STATUSES) == set(Verdict) - {
        Verdict.TAKEN,
        Verdict.UNREAD,
        Verdict.NOT_OURS,
        Verdict.OBSERVED,
    }
    server_errors = {verdict for verdict, status in STATUSES.items() if status >= 500}
    assert server_errors == {Verdict.LEDGER_UNAVAILABLE, Verdict.MISCONFIGURED}
    assert {STATUSES[verdict] for verdict in server_errors} == {503}
