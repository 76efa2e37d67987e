"""The running mock provider as a caller meets it: shapes, keys, refusals and faults over a real socket."""

import asyncio
import logging
from typing import Any

import httpx
import pytest

from mock_psp.server import MockPsp, serve
from tests.integration.mock_psp.waiting import until
from tests.support.clock import FakeClock

PAYMENT = {"reference": "dep_1", "amount_minor": 1_000, "currency": "EUR", "customer": "ann"}
PAYOUT = {"reference": "wd_1", "amount_minor": 700, "currency": "EUR", "destination": "iban"}


async def post(
    caller: httpx.AsyncClient, path: str, body: Any, key: str = "k", **options: Any
) -> httpx.Response:
    """Make a keyed call."""
    return await caller.post(path, json=body, headers={"Idempotency-Key": key}, **options)


def code(response: httpx.Response) -> str:
    """Return the code of a refusal."""
    found: str = response.json()["error"]["code"]
    assert response.json()["error"]["message"]
    return found


async def test_create_payment_and_read_it_back(caller: httpx.AsyncClient) -> None:
    """What was made is found by its id and by the caller's reference."""
    created = await post(caller, "/v1/payments", PAYMENT)

    assert created.status_code == 201
    assert created.json().items() >= {**PAYMENT, "state": "pending", "capture": "auto"}.items()
    assert created.json()["created_at"] == "2030-01-01T12:00:00.000000Z"
    assert (await caller.get(f"/v1/payments/{created.json()['id']}")).json() == created.json()
    assert (await caller.get("/v1/payments?reference=dep_1")).json() == {"data": [created.json()]}
    assert (await caller.get("/v1/payments?reference=dep_2")).json() == {"data": []}
    assert (await caller.get("/v1/payouts?reference=dep_1")).json() == {"data": []}


async def test_create_refund_and_read_it_back(psp: MockPsp, caller: httpx.AsyncClient) -> None:
    """A refund is found like a payment."""
    payment_id = (await post(caller, "/v1/payments", PAYMENT)).json()["id"]
    psp.state.payments.capture(payment_id)

    created = await post(
        caller, f"/v1/payments/{payment_id}/refunds", {"reference": "ref_1", "amount_minor": 400}, key="r"
    )

    assert (created.status_code, created.json()["state"]) == (201, "pending")
    assert (await caller.get(f"/v1/refunds/{created.json()['id']}")).json() == created.json()
    assert (await caller.get("/v1/refunds?reference=ref_1")).json() == {"data": [created.json()]}


async def test_create_payout_and_read_it_back(caller: httpx.AsyncClient) -> None:
    """A payout is found like a payment."""
    created = await post(caller, "/v1/payouts", PAYOUT)

    assert (created.status_code, created.json()["id"][:7]) == (201, "mp_out_")
    assert (await caller.get(f"/v1/payouts/{created.json()['id']}")).json() == created.json()
    assert (await caller.get("/v1/payouts?reference=wd_1")).json() == {"data": [created.json()]}


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", "the-token", "Bearer th\u00e9-token"])
@pytest.mark.parametrize("path", ["/v1/payments?reference=x", "/control/state"])
async def test_call_without_token_is_refused(caller: httpx.AsyncClient, token: str, path: str) -> None:
    """Both APIs are for those who know the token."""
    response = await caller.get(path, headers=httpx.Headers({"Authorization": token}, encoding="utf-8"))

    assert (response.status_code, code(response)) == (401, "unauthorized")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        {**PAYOUT, "amount_minor": 0},
        {**PAYOUT, "amount_minor": -1},
        {**PAYOUT, "amount_minor": 1.5},
        {**PAYOUT, "amount_minor": "700"},
        {**PAYOUT, "amount_minor": True},
        {**PAYOUT, "amount_minor": 2**63},
        {**PAYOUT, "currency": "eur"},
        {**PAYOUT, "reference": "a b"},
        {**PAYOUT, "reference": "a" * 65},
        {**PAYOUT, "destination": ""},
        {**PAYOUT, "extra": 1},
    ],
    ids=lambda body: repr(body)[-40:],
)
async def test_send_wrong_shape_is_refused_and_leaves_the_key_free(
    psp: MockPsp, caller: httpx.AsyncClient, body: Any
) -> None:
    """A call that could not be read is not kept under its key."""
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    refused = await caller.post("/v1/payouts", headers={"Idempotency-Key": "k"}, **content)

    assert (refused.status_code, code(refused)) == (400, "invalid_request")
    assert (await post(caller, "/v1/payouts", PAYOUT)).status_code == 201
    assert psp.state.executions == {"wd_1": 1}


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_send_no_proper_key_is_refused(psp: MockPsp, caller: httpx.AsyncClient, key: str) -> None:
    """Nothing is done without a key."""
    assert (await post(caller, "/v1/payouts", PAYOUT, key=key)).status_code == 400
    assert not psp.state.executions


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/payments/mp_pay_0", 404),
        ("/v1/payouts/mp_out_0", 404),
        ("/v1/refunds/mp_ref_0", 404),
        ("/v1/nothing", 404),
        ("/v1/payments", 400),
        ("/v1/records?limit=0", 400),
        ("/v1/records?limit=1001", 400),
        ("/v1/records?limit=x", 400),
        ("/v1/records?cursor=x", 400),
        ("/v1/records?created_from=yesterday", 400),
        ("/v1/records?created_to=2030-01-01T00:00:00", 400),
    ],
)
async def test_read_what_is_not_there_is_refused(caller: httpx.AsyncClient, path: str, status: int) -> None:
    """Refusals of reading calls have the same form as all others."""
    response = await caller.get(path)

    assert response.status_code == status
    assert code(response)


async def test_refund_unknown_payment_leaves_the_key_free(caller: httpx.AsyncClient) -> None:
    """What is not there yet may come to be, and the same call then succeeds."""
    body = {"reference": "ref_1", "amount_minor": 1}

    for _ in range(2):
        assert (await post(caller, "/v1/payments/mp_pay_0/refunds", body)).status_code == 404


async def test_repeat_call_is_answered_the_same_and_done_once(
    psp: MockPsp, caller: httpx.AsyncClient
) -> None:
    """A replay says the same, even when the object has moved on, and says that it is a replay."""
    first = await post(caller, "/v1/payouts", PAYOUT)
    psp.state.payouts.pay(first.json()["id"])

    second = await post(caller, "/v1/payouts", dict(reversed(PAYOUT.items())))

    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert psp.state.executions == {"wd_1": 1}
    assert [call.replayed for call in psp.state.calls] == [False, True]


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/payouts", {**PAYOUT, "amount_minor": 701}), ("/v1/payments", PAYMENT)]
)
async def test_reuse_key_for_another_call_is_refused(
    psp: MockPsp, caller: httpx.AsyncClient, path: str, body: dict[str, object]
) -> None:
    """A key belongs to one call, whatever the endpoint."""
    await post(caller, "/v1/payouts", PAYOUT)

    response = await post(caller, path, body)

    assert (response.status_code, code(response)) == (400, "idempotency_error")
    assert psp.state.executions == {"wd_1": 1}


async def test_repeat_forgotten_key_pays_twice(
    psp: MockPsp, caller: httpx.AsyncClient, clock: FakeClock
) -> None:
    """A provider forgets keys after a day; the count of executions shows what that does."""
    await post(caller, "/v1/payouts", PAYOUT)
    clock.advance(seconds=86_400)
    await post(caller, "/v1/payouts", PAYOUT)

    assert psp.state.executions == {"wd_1": 2}


async def test_call_at_once_with_one_key_is_done_once(psp: MockPsp, caller: httpx.AsyncClient) -> None:
    """While the first call is under way, the others are told to wait."""
    psp.knobs.delay_seconds = 0.3

    responses = await asyncio.gather(*(post(caller, "/v1/payouts", PAYOUT) for _ in range(5)))

    assert sorted(response.status_code for response in responses) == [201, 409, 409, 409, 409]
    assert psp.state.executions == {"wd_1": 1}


async def test_refuse_for_business_keeps_refusing_the_same_key(
    psp: MockPsp, caller: httpx.AsyncClient
) -> None:
    """A refusal is kept like any answer; only a new key is a new try."""
    psp.knobs.reject = 1

    for key, status in (("k", 402), ("k", 402), ("k2", 201)):
        assert (await post(caller, "/v1/payouts", PAYOUT, key=key)).status_code == status
    refused = await post(caller, "/v1/payouts", {**PAYOUT, "destination": "rejected"}, key="k3")
    assert (refused.status_code, code(refused)) == (402, "destination_rejected")
    assert psp.state.executions == {"wd_1": 1}


@pytest.mark.parametrize(("knob", "done"), [("timeout_before_execute", 0), ("timeout_after_execute", 1)])
async def test_lose_connection_leaves_caller_ignorant_and_retry_safe(
    psp: MockPsp, caller: httpx.AsyncClient, knob: str, done: int
) -> None:
    """The caller cannot tell whether it was done; the same key finds out and never pays twice."""
    psp.knobs.patch({knob: 1})

    with pytest.raises(httpx.TransportError):
        await post(caller, "/v1/payouts", PAYOUT)

    assert psp.state.executions["wd_1"] == done
    assert psp.state.calls[0].status == 0
    assert len((await caller.get("/v1/payouts?reference=wd_1")).json()["data"]) == done
    retried = await post(caller, "/v1/payouts", PAYOUT)
    assert (retried.status_code, "idempotent-replayed" in retried.headers) == (201, done == 1)
    assert psp.state.executions["wd_1"] == 1


@pytest.mark.parametrize(("knob", "done"), [("timeout_before_execute", 0), ("timeout_after_execute", 1)])
async def test_hang_outlasts_the_callers_patience(
    psp: MockPsp, caller: httpx.AsyncClient, knob: str, done: int
) -> None:
    """A call that hangs ends when its caller has had enough; the provider stops without waiting for it."""
    psp.knobs.patch({knob: 1, "hang_seconds": 600})

    with pytest.raises(httpx.ReadTimeout):
        await post(caller, "/v1/payouts", PAYOUT, timeout=0.2)

    assert psp.state.executions["wd_1"] == done


async def test_break_off_in_the_middle_of_a_call_does_nothing(
    psp: MockPsp, caller: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a call is none, leaves its key free, and is no mistake of the provider."""
    head = f"POST /v1/payouts HTTP/1.1\r\nHost: x\r\nAuthorization: {caller.headers['authorization']}\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", psp.port)
    writer.write(f"{head}Idempotency-Key: k\r\nContent-Length: 99\r\n\r\n{{".encode())
    await until(lambda: psp.state.calls)
    writer.close()
    await writer.wait_closed()

    assert (await post(caller, "/v1/payouts", PAYOUT)).status_code == 201
    assert [call.status for call in psp.state.calls] == [0, 201]
    assert psp.state.executions == {"wd_1": 1}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_execute_late_is_found_later_than_asked(psp: MockPsp, caller: httpx.AsyncClient) -> None:
    """That nothing is found does not say that nothing is coming."""
    psp.knobs.delay_execution_seconds = 0.4

    with pytest.raises(httpx.ReadTimeout):
        await post(caller, "/v1/payouts", PAYOUT, timeout=0.1)
    before = (await caller.get("/v1/payouts?reference=wd_1")).json()["data"]
    await until(lambda: psp.state.executions)

    assert before == []
    assert len((await caller.get("/v1/payouts?reference=wd_1")).json()["data"]) == 1


async def test_fail_with_500_before_executing_does_and_keeps_nothing(
    psp: MockPsp, caller: httpx.AsyncClient
) -> None:
    """The same key succeeds once the provider is well again."""
    psp.knobs.error_500 = 1

    statuses = [(await post(caller, "/v1/payouts", PAYOUT)).status_code for _ in range(2)]

    assert statuses == [500, 201]


async def test_fail_with_500_after_executing_is_said_for_ever(
    psp: MockPsp, caller: httpx.AsyncClient
) -> None:
    """The money moves while every retry hears of a failure; only reading tells."""
    psp.knobs.error_500_after_execute = 1

    statuses = [(await post(caller, "/v1/payouts", PAYOUT)).status_code for _ in range(2)]

    assert statuses == [500, 500]
    assert len((await caller.get("/v1/payouts?reference=wd_1")).json()["data"]) == 1


async def test_exceed_rate_names_the_time_to_wait(psp: MockPsp, caller: httpx.AsyncClient) -> None:
    """A call too many is not kept under its key."""
    psp.knobs.patch({"rate_limit": 1, "retry_after_seconds": 7})

    refused = await post(caller, "/v1/payouts", PAYOUT)

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert (await post(caller, "/v1/payouts", PAYOUT)).status_code == 201


@pytest.mark.parametrize(
    ("hit", "read_status", "write_status"),
    [("writes", 200, 429), ("reads", 429, 201), ("all", 429, 429)],
)
async def test_aim_faults_hits_only_what_is_named(
    psp: MockPsp, caller: httpx.AsyncClient, hit: str, read_status: int, write_status: int
) -> None:
    """Reading can fail while writing works, and the other way round."""
    psp.knobs.patch({"rate_limit": 9, "faults_hit": hit})

    assert (await caller.get("/v1/records")).status_code == read_status
    assert (await post(caller, "/v1/payouts", PAYOUT)).status_code == write_status


async def test_lose_connection_of_reading_call(psp: MockPsp, caller: httpx.AsyncClient) -> None:
    """A listing can break off, too."""
    psp.knobs.patch({"timeout_after_execute": 1, "faults_hit": "reads"})

    with pytest.raises(httpx.TransportError):
        await caller.get("/v1/records")

    assert (await caller.get("/v1/records")).json() == {"data": [], "next_cursor": ""}


async def test_list_records_page_by_page(psp: MockPsp, caller: httpx.AsyncClient, clock: FakeClock) -> None:
    """Everything that moved is listed, the newest first, within the window that was asked for."""
    for number in range(5):
        payment = psp.state.payments.create(reference=f"dep_{number}", amount_minor=100, currency="EUR")
        psp.state.payments.capture(payment.id)
        clock.advance(seconds=1)
    window = {"created_from": "2030-01-01T12:00:01Z", "created_to": "2030-01-01T13:00:04+01:00", "limit": "2"}

    first = (await caller.get("/v1/records", params=window)).json()
    second = (await caller.get("/v1/records", params={**window, "cursor": first["next_cursor"]})).json()

    rows = first["data"] + second["data"]
    assert [row["reference"] for row in rows] == ["dep_3", "dep_2", "dep_1"]
    assert second["next_cursor"] == ""
    assert {key for row in rows for key in row} == {
        "kind", "type", "id", "object_id", "payment_id", "reference", "state", "amount_minor", "currency",
        "created_at", "batch_id",
    }  # fmt: skip


async def test_complete_by_itself_without_being_asked() -> None:
    """With real time and no knob turned, a payment and a payout come to their end."""
    async with serve() as running, httpx.AsyncClient(base_url=running.url, trust_env=False) as caller:
        running.knobs.patch({"settle_seconds": 0.01, "fee_minor": 30})
        await post(caller, "/v1/payments", PAYMENT, key="a")
        await post(caller, "/v1/payouts", PAYOUT, key="b")
        await until(lambda: len(running.state.books.movements) == 3)

        assert running.state.books.balances == {"EUR": 270}


async def test_run_on_a_taken_port_says_so(psp: MockPsp) -> None:
    """A provider that cannot listen does not pretend to."""
    with pytest.raises(OSError, match=r"."):
        async with serve(port=psp.port):
            pass
