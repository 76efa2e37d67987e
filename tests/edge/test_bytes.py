"""What comes over a socket: bodies of every kind, senders that dawdle or vanish, and what is no HTTP."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edge.harness import (
    BODY,
    OTHER,
    PATH,
    Edge,
    FakeLedger,
    an_endpoint,
    connected,
    request_head,
    running_edge,
    signed,
    statuses_in,
)
from tests.support.clock import START
from tests.support.patience import HANG_SECONDS
from webhook_edge import sending
from webhook_edge.body import MOST_BYTES, BodyReader
from webhook_edge.verdicts import Verdict

CHUNKED = "transfer-encoding: chunked"
CLOSE = "connection: close"


def chunk(content: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(content), content)


async def test_send_chunked_body_is_taken_as_it_was_signed(edge: Edge, fake_ledger: FakeLedger) -> None:
    """How a body is cut says nothing."""
    async with connected(edge.port) as connection:
        await connection.send(request_head(signed(), CHUNKED, CLOSE))
        for byte in BODY:
            await connection.send(chunk(bytes([byte])))
        await connection.send(b"0\r\n\r\n")

        assert await connection.statuses() == [200]
    [(_, [event])] = fake_ledger.calls
    assert event.payload == BODY


async def test_send_endless_chunked_body_is_cut_at_the_bound(edge: Edge, fake_ledger: FakeLedger) -> None:
    """Without a length the bound holds all the same, and no more is read."""
    async with connected(edge.port) as connection:
        await connection.send(request_head(signed(), CHUNKED))
        sent = 0
        piece = chunk(b"x" * 65_536)
        answer = asyncio.create_task(connection.reader.readline())
        while not answer.done() and sent < 64 * MOST_BYTES:
            await connection.send(piece)
            sent += len(piece)

        assert statuses_in(await answer) == [413]
    # What the sockets of both sides buffer comes on top.
    assert sent < 16 * MOST_BYTES
    assert edge.count(Verdict.TOO_LARGE) == 1
    assert fake_ledger.calls == []


async def test_send_large_body_whole_before_reading_still_hears_the_answer(edge: Edge) -> None:
    """A sender that is not told at once is not reset while it sends."""

    def send() -> bytes:
        with socket.create_connection(("127.0.0.1", edge.port)) as sender:
            sender.settimeout(10)
            sender.sendall(request_head(signed(), CHUNKED))
            for _ in range(3 * MOST_BYTES // 65_536):
                sender.sendall(chunk(b"x" * 65_536))
            return sender.recv(65_536)

    assert statuses_in(await asyncio.to_thread(send)) == [413]


async def test_send_no_http_after_the_answer_closes_the_connection(
    edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    """While the rest of a body that is too large is dropped, it may turn into anything."""
    async with connected(edge.port) as connection:
        await connection.send(request_head(signed(), CHUNKED) + b"%x\r\n" % (MOST_BYTES + 1))
        await connection.send(b"x" * (MOST_BYTES + 1) + b"\r\n")
        assert statuses_in(await connection.reader.readuntil(b"too_large")) == [413]
        await connection.send(b"no chunk\r\n")

        assert await connection.statuses() == []
    assert [record for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize("length", [MOST_BYTES + 1, 10**12])
async def test_announce_large_body_is_refused_unread(length: int, edge: Edge) -> None:
    """What is announced need not be sent, and a sender that asks first is not told to go on."""
    async with connected(edge.port) as connection:
        await connection.send(request_head(signed(), f"content-length: {length}", "expect: 100-continue"))

        assert await connection.statuses() == [413]


async def test_ask_before_sending_body_is_told_to_go_on(edge: Edge) -> None:
    """A careful sender is answered as HTTP says."""
    async with connected(edge.port) as connection:
        await connection.send(
            request_head(signed(), f"content-length: {len(BODY)}", "expect: 100-continue", CLOSE)
        )
        assert await connection.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        await connection.send(BODY)

        assert await connection.statuses() == [200]


@pytest.mark.parametrize("framing", [CHUNKED, f"content-length: {len(BODY)}"])
async def test_send_body_too_slowly_is_timed_out(framing: str) -> None:
    """A body that does not come to its end takes no place for long."""
    ledger = FakeLedger()
    async with (
        running_edge(ledger=ledger, reader=BodyReader(seconds=0.1)) as edge,
        connected(edge.port) as connection,
    ):
        await connection.send(request_head(signed(), framing))
        await connection.send(chunk(BODY[:5]) if framing == CHUNKED else BODY[:-1])

        assert await connection.statuses() == [408]
        assert edge.count(Verdict.TOO_SLOW) == 1
    assert ledger.calls == []


async def test_drip_body_is_timed_out_as_a_whole() -> None:
    """Every byte in time does not make the body in time."""
    async with running_edge(reader=BodyReader(seconds=0.2)) as edge, connected(edge.port) as connection:
        await connection.send(request_head(signed(), f"content-length: {MOST_BYTES}"))
        answer = asyncio.create_task(connection.statuses())
        while not edge.count(Verdict.TOO_SLOW):
            await connection.send(b"x")
            await asyncio.sleep(0.005)

        assert await answer == [408]


async def test_hold_more_than_the_memory_for_bodies_is_put_off() -> None:
    """Bodies that wait together have a bound, and what is done makes room again."""
    reader = BodyReader(most_bytes_at_once=2 * len(BODY))
    async with (
        running_edge(reader=reader) as edge,
        connected(edge.port) as first,
        connected(edge.port) as second,
    ):
        for connection in (first, second):
            # The edge has begun to read the body when it says that it may come.
            head = request_head(signed(), f"content-length: {len(BODY)}", "expect: 100-continue")
            await connection.send(head)
            assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await connection.send(BODY[:-1])
        late = await edge.deliver()
        assert (late.status_code, late.headers["retry-after"]) == (429, "1")
        await first.send(BODY[-1:])
        assert statuses_in(await first.reader.readline()) == [200]
        assert (await edge.deliver()).status_code == 200


@pytest.mark.parametrize(("answers", "status"), [(True, 200), (False, 503)])
async def test_stop_edge_answers_what_was_begun(answers: bool, status: int) -> None:
    """What the ledger takes in time is a success; the rest is put off, and none ends in an error of ours."""
    ledger = FakeLedger(open=asyncio.Event())
    assert ledger.open is not None
    async with contextlib.AsyncExitStack() as stack:
        edge = await stack.enter_async_context(running_edge(ledger=ledger))
        async with connected(edge.port) as connection:
            await connection.send(request_head(signed(), f"content-length: {len(BODY)}") + BODY)
            await ledger.called.wait()
            if answers:
                asyncio.get_running_loop().call_later(0.1, ledger.open.set)
            await stack.aclose()

            assert await connection.statuses() == [status]


@pytest.mark.parametrize("aborts", [False, True])
async def test_cut_body_off_forwards_nothing(aborts: bool, edge: Edge, fake_ledger: FakeLedger) -> None:
    """What did not come whole is nothing, however its sender left."""
    async with connected(edge.port) as connection:
        await connection.send(request_head(signed(), f"content-length: {len(BODY)}"))
        await connection.send(BODY[:-1])
        if aborts:
            connection.writer.transport.abort()
        else:
            connection.writer.write_eof()
            assert await connection.statuses() == []
    async with asyncio.timeout(HANG_SECONDS):
        while not edge.count(Verdict.CUT_OFF):  # noqa: ASYNC110  # the edge tells it by its metric alone
            await asyncio.sleep(0.001)

    assert fake_ledger.calls == []
    assert (await edge.deliver()).status_code == 200


async def test_send_two_requests_at_once_answers_both_in_order(edge: Edge, fake_ledger: FakeLedger) -> None:
    """A second request in the same bytes is a request of its own."""
    forged = request_head(signed(BODY, OTHER), f"content-length: {len(BODY)}") + BODY
    genuine = request_head(signed(), f"content-length: {len(BODY)}", CLOSE) + BODY
    async with connected(edge.port) as connection:
        await connection.send(forged + genuine)

        assert await connection.statuses() == [401, 200]
    assert fake_ledger.event_ids == ["evt_1"]


@pytest.mark.parametrize("path", ["/webhooks/standard/none", "/nowhere", PATH + "/"])
async def test_hide_request_in_unread_body_is_never_answered(
    path: str, edge: Edge, fake_ledger: FakeLedger
) -> None:
    """What follows a refusal whose body was not read is not taken for a request."""
    genuine = request_head(signed(), f"content-length: {len(BODY)}") + BODY
    async with connected(edge.port) as connection:
        await connection.send(request_head({}, f"content-length: {len(genuine) + 9}", path=path) + genuine)

        assert await connection.statuses() == [404]
    assert fake_ledger.calls == []


NO_HTTP: list[bytes] = [
    b"\r\n" * 9 + b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST / HTTP/9.9\r\nhost: x\r\n\r\n",
    b"POST\r\n\r\n",
    b"POST " + PATH.encode() + b" HTTP/1.1\r\n\r\n",
    request_head({"x": "y" * 70_000}),
    b"POST /" + b"a" * 70_000,
    request_head(signed(), "content-length: -1"),
    request_head(signed(), "content-length: 1e3"),
    request_head(signed(), "content-length: 5", "content-length: 6"),
    request_head(signed(), "content-length: " + "9" * 30),
    request_head(signed(), "transfer-encoding: gzip"),
    request_head(signed(), CHUNKED, "transfer-encoding: chunked, chunked"),
    request_head(signed(), CHUNKED) + b"ffffffffffffffffffffffff\r\n",
    request_head(signed(), CHUNKED) + b"-1\r\nx\r\n",
    request_head(signed(), CHUNKED) + b"5;" + b"e" * 70_000,
    request_head(signed(), "bad header: x"),
    request_head(signed(), "x: a\x00b"),
]


@pytest.mark.parametrize("content", NO_HTTP, ids=lambda content: repr(content[:24] + b".." + content[-24:]))
async def test_send_no_http_is_bad_request(content: bytes, edge: Edge, fake_ledger: FakeLedger) -> None:
    """It is refused and the connection closed; those of others live on."""
    async with connected(edge.port) as connection:
        await connection.send(content)

        assert set(await connection.statuses()) <= {400, 404, 501}
    assert fake_ledger.calls == []
    assert (await edge.deliver()).status_code == 200


async def test_send_both_framings_takes_the_chunks_alone(edge: Edge, fake_ledger: FakeLedger) -> None:
    """A length beside chunks can't smuggle anything past the signature."""
    async with connected(edge.port) as connection:
        await connection.send(request_head(signed(), "content-length: 3", CHUNKED, CLOSE) + chunk(BODY))
        await connection.send(b"0\r\n\r\n")

        assert set(await connection.statuses()) <= {200, 400}
    assert all(events[0].payload == BODY for _, events in fake_ledger.calls)


@pytest.mark.parametrize(
    "header", ["upgrade: websocket", "upgrade: h2c", "connection: upgrade, close\r\nupgrade: websocket"]
)
async def test_ask_for_upgrade_is_taken_as_plain_http(header: str, edge: Edge) -> None:
    """Nothing is spoken here but HTTP."""
    async with connected(edge.port) as connection:
        await connection.send(request_head(signed(), header, f"content-length: {len(BODY)}", CLOSE) + BODY)

        assert await connection.statuses() == [200]


@pytest.mark.parametrize("begun", [b"", b"POST /webhooks", request_head({})[:-2]])
async def test_dawdle_before_a_request_is_cut(
    begun: bytes, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection without a whole head takes no place for long, the first time or later."""
    monkeypatch.setattr("webhook_edge.server._IDLE_SECONDS", 0.1)
    async with connected(edge.port) as connection:
        await connection.send(begun)
        assert await connection.statuses() == []
    async with connected(edge.port) as connection:
        await connection.send(request_head(signed(), f"content-length: {len(BODY)}") + BODY + begun)
        assert await connection.statuses() == [200]


async def test_connect_too_often_is_cut_and_harms_no_other(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are bounded, and a place that becomes free is free again."""
    monkeypatch.setattr("webhook_edge.server._MOST_CONNECTIONS", 2)
    assert (await edge.deliver()).status_code == 200
    async with connected(edge.port) as _, connected(edge.port) as third:
        assert await third.statuses() == []

        assert (await edge.deliver()).status_code == 200


@pytest.fixture(scope="module")
def hostile_edge() -> Iterator[tuple[int, FakeLedger]]:
    """An edge in a thread of its own: its port, and what its ledger was given."""
    started, ledger = threading.Event(), FakeLedger()
    found: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stop = asyncio.Event()
        endpoints = [
            an_endpoint(),
            an_endpoint("whsec_one", name="s", scheme="stripe"),
            an_endpoint("00" * 32, name="a", scheme="adyen"),
        ]
        async with running_edge(*endpoints, ledger=ledger, reader=BodyReader(seconds=0.1)) as edge:
            found.append((edge.port, asyncio.get_running_loop(), stop))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert started.wait(10)
    port, loop, stop = found[0]
    try:
        yield port, ledger
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


# Signed with another secret: no change whatsoever can make it genuine.
FORGED = request_head(signed(BODY, OTHER), f"content-length: {len(BODY)}") + BODY
FORGED_CHUNKED = request_head(signed(BODY, OTHER), CHUNKED) + chunk(BODY) + b"0\r\n\r\n"
FORGERIES = {
    scheme: sending.signed(scheme, sending.Sample(type=type_), secret, START)
    for scheme, type_, secret in [
        ("stripe", "payment_intent.succeeded", "whsec_other"),
        ("adyen", "CAPTURE", "11" * 32),
    ]
}
OTHER_FORGED = [
    request_head(
        forgery.headers, f"content-length: {len(forgery.body)}", path=f"/webhooks/{scheme}/{scheme[0]}"
    )
    + forgery.body
    for scheme, forgery in FORGERIES.items()
]
BODIES = [BODY, *(forgery.body for forgery in FORGERIES.values())]
HEADER_NAMES = [
    *signed(),
    "stripe-signature",
    "authorization",
    "hmacsignature",
    "protocol",
    "host",
    "content-length",
    "transfer-encoding",
    "expect",
    "upgrade",
    "connection",
]
HEADER_VALUES = st.one_of(
    st.sampled_from(
        [
            *signed(BODY, OTHER).values(),
            FORGERIES["stripe"].headers["stripe-signature"],
            "Basic OjpZ",
            "HmacSHA256",
            "chunked",
            "0",
            "9" * 20,
            "100-continue",
            "close",
            "",
        ]
    ),
    st.text(st.characters(max_codepoint=255), max_size=40),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a forged request with bytes cut, changed, doubled and put in."""
    content = bytearray(draw(st.sampled_from([FORGED, FORGED_CHUNKED, *OTHER_FORGED])))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 20)))
        content[start:end] = draw(st.one_of(st.binary(max_size=12), st.just(bytes(content[start:end]) * 2)))
    return bytes(content)


@st.composite
def composed(draw: st.DrawFn) -> bytes:
    """Return a request of likely and unlikely parts."""
    method = draw(st.sampled_from(["POST", "GET", "HEAD", "OPTIONS", "CONNECT", "post", "PRI", ""]))
    path = draw(
        st.one_of(
            st.sampled_from([PATH, "/webhooks/stripe/s", "/webhooks/adyen/a"]),
            st.sampled_from([PATH + "/", PATH + "?a=b", "*", "/", "http://edge" + PATH, "//" + PATH]),
            st.text(max_size=20).map(lambda text: "/webhooks/standard/" + text),
            st.binary(max_size=9).map(lambda raw: "/webhooks/" + "".join(f"%{byte:02x}" for byte in raw)),
        )
    )
    headers = draw(st.lists(st.tuples(st.sampled_from(HEADER_NAMES), HEADER_VALUES), max_size=9))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n"
    body = draw(st.one_of(st.binary(max_size=60), st.sampled_from(BODIES)))
    return head + draw(st.sampled_from([body, chunk(body) + b"0\r\n\r\n"]))


@settings(max_examples=300, deadline=None)
@given(content=st.one_of(mutated(), composed(), st.binary(max_size=200)))
def test_send_anything_at_all_is_never_an_error_of_ours(
    content: bytes, hostile_edge: tuple[int, FakeLedger]
) -> None:
    """No bytes whatsoever bring a 5xx or a redirect, or reach the ledger."""
    port, ledger = hostile_edge
    answered = b""
    with socket.create_connection(("127.0.0.1", port)) as sender:
        # Longer than a body may take; what waits for the rest of a head has no answer yet.
        sender.settimeout(0.2)
        try:
            sender.sendall(content)
            while received := sender.recv(65_536):
                answered += received
                sender.settimeout(0.05)
        except (TimeoutError, ConnectionError):
            pass

    assert all(status == 100 or status // 100 in {2, 4} for status in statuses_in(answered)), answered
    assert ledger.calls == []


async def test_deliver_after_hostile_senders_still_works(hostile_edge: tuple[int, FakeLedger]) -> None:
    """What came before has left nothing behind."""
    port, ledger = hostile_edge
    async with connected(port) as connection:
        await connection.send(request_head(signed(), f"content-length: {len(BODY)}", CLOSE) + BODY)
        assert await connection.statuses() == [200]
    assert ledger.event_ids == ["evt_1"]
