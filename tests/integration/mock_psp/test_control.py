"""The mock provider's control API: everything that can be made to happen, by HTTP."""

from typing import Any

import httpx
import pytest

from mock_psp.server import MockPsp

VERBS: list[tuple[str, list[tuple[str, dict[str, object]]], str]] = [
    ("payments", [("authorize", {})], "payment.authorized"),
    ("payments", [("capture", {"amount_minor": 300, "final": False})], "payment.captured"),
    ("payments", [("attempt_fail", {"reason": "no money"})], "payment.attempt_failed"),
    ("payments", [("fail", {})], "payment.failed"),
    ("payments", [("capture", {}), ("capture_fail", {})], "payment.capture_failed"),
    ("payments", [("capture", {}), ("capture_fail", {}), ("recapture", {})], "payment.captured"),
    ("payments", [("fee", {"amount_minor": 3})], "fee.charged"),
    ("payments", [("capture", {}), ("refund", {"amount_minor": 3})], "refund.pending"),
    ("payments", [("dispute", {"amount_minor": 5, "reason": "fraud"})], "dispute.opened"),
    (
        "payments",
        [("dispute_withdraw", {"amount_minor": 5, "stage": "chargeback"})],
        "dispute.funds_withdrawn",
    ),
    ("payments", [("dispute_reinstate", {"amount_minor": 5})], "dispute.funds_reinstated"),
    ("payments", [("dispute", {}), ("dispute_win", {})], "dispute.won"),
    ("payments", [("dispute", {}), ("dispute_lose", {})], "dispute.lost"),
    ("payouts", [("submit", {})], "payout.submitted"),
    ("payouts", [("pay", {})], "payout.paid"),
    ("payouts", [("fail", {"reason": "closed"})], "payout.failed"),
    ("payouts", [("pay", {}), ("return", {})], "payout.failed"),
    ("payouts", [("fee", {"amount_minor": 3})], "fee.charged"),
    ("refunds", [("succeed", {})], "refund.succeeded"),
    ("refunds", [("fail", {"reason": "closed"})], "refund.failed"),
]


def made(psp: MockPsp, objects: str) -> str:
    """Make an object of that sort, and return its id."""
    if objects == "payouts":
        return psp.state.payouts.create(
            reference="wd_1", amount_minor=500, currency="EUR", destination="iban"
        ).id
    payment = psp.state.payments.create(reference="dep_1", amount_minor=500, currency="EUR")
    if objects == "payments":
        return payment.id
    psp.state.payments.capture(payment.id)
    return psp.state.refunds.create(payment.id).id


@pytest.mark.parametrize(
    ("objects", "steps", "told"), VERBS, ids=lambda part: part[-1][0] if isinstance(part, list) else part
)
async def test_control_object_makes_it_happen(
    psp: MockPsp,
    caller: httpx.AsyncClient,
    objects: str,
    steps: list[tuple[str, dict[str, object]]],
    told: str,
) -> None:
    """Each verb makes one thing happen, with the details that it takes."""
    id_ = made(psp, objects)

    responses = [
        await caller.post(f"/control/{objects}/{id_}/{verb}", json=details) for verb, details in steps
    ]

    assert [response.status_code for response in responses] == [200] * len(steps)
    event = psp.state.books.events[-1]
    assert event.type == told
    details = steps[-1][1]
    assert event.data.amount_minor == details.get("amount_minor", event.data.amount_minor)
    assert event.data.reason == details.get("reason", event.data.reason)
    assert event.data.stage == details.get("stage", "")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("payments/mp_pay_0/capture", {}, 404),
        ("payments/{id}/explode", {}, 404),
        ("refunds/{id}/pay", {}, 404),
        ("payments/{id}/authorize", {"amount_minor": 5}, 400),
        ("payments/{id}/capture", {"amount_minor": -1}, 400),
        ("payments/{id}/capture", {"amount_minor": None}, 400),
        ("payments/{id}/capture", {"amout": 1}, 400),
        ("payments/{id}/recapture", {}, 400),
        ("payments/{id}/refund", {}, 402),
        ("account/settle", {"currency": "EUR"}, 400),
        ("account/settle", {"currency": "EUR", "amount_minor": 5}, 400),
        ("account/fee", {"currency": "EUR"}, 400),
        ("account/correct", {"currency": "EUR", "amount_minor": 5, "kind": "other"}, 400),
        ("account/surprise", {"currency": "euro", "amount_minor": 5}, 400),
        ("account/explode", {"currency": "EUR"}, 404),
        ("movements/mp_cap_0/vanish", {}, 404),
        ("knobs", {"no_such_knob": 1}, 400),
        ("knobs", [], 400),
        ("webhooks/resend", {"event_id": "evt_0"}, 404),
        ("webhooks/rotate", {"secret": "whsec_short"}, 400),
    ],
)
async def test_control_what_cannot_be_is_refused(
    psp: MockPsp, caller: httpx.AsyncClient, path: str, body: Any, status: int
) -> None:
    """A mistake in a test's script is told, and changes nothing."""
    path = path.format(id=made(psp, "payments"))

    response = await caller.post(f"/control/{path}", json=body)

    assert response.status_code == status
    assert response.json()["error"]["code"]
    assert psp.state.books.events == []


async def test_control_account_answers_the_movement(psp: MockPsp, caller: httpx.AsyncClient) -> None:
    """What befalls the account is told as the list of records tells it."""
    psp.state.payments.capture(made(psp, "payments"))

    entries: list[tuple[str, dict[str, object]]] = [
        ("fee", {"amount_minor": 30}),
        ("correct", {"amount_minor": -20}),
        ("surprise", {"amount_minor": 50, "kind": "loyalty_points"}),
        ("settle", {}),
    ]

    answers = [
        (await caller.post(f"/control/account/{verb}", json={"currency": "EUR", **details})).json()
        for verb, details in entries
    ]
    listed = (await caller.get("/v1/records")).json()["data"]

    assert [(answer["kind"], answer["amount_minor"]) for answer in answers] == [
        ("fee", -30),
        ("other", -20),
        ("loyalty_points", 50),
        ("settlement", -500),
    ]
    assert {row["batch_id"] for row in listed} == {answers[-1]["batch_id"]}
    assert listed[0] == answers[-1]


async def test_control_movements_changes_what_is_listed(psp: MockPsp, caller: httpx.AsyncClient) -> None:
    """A payout can be made twice, and rows can lie or vanish."""
    payout_id = made(psp, "payouts")
    psp.state.payouts.pay(payout_id)

    second = (await caller.post(f"/control/payouts/{payout_id}/duplicate")).json()
    await caller.post(
        f"/control/movements/{second['id']}/misstate", json={"amount_minor": 7, "currency": "USD"}
    )
    await caller.post(f"/control/movements/{payout_id}/vanish")

    (row,) = (await caller.get("/v1/records")).json()["data"]
    assert (row["id"], row["reference"]) == (second["id"], "wd_1")
    assert (row["amount_minor"], row["currency"]) == (-7, "USD")


async def test_turn_knobs_answers_how_all_stand(psp: MockPsp, caller: httpx.AsyncClient) -> None:
    """Knobs are turned while the provider runs."""
    response = await caller.post("/control/knobs", json={"fee_minor": 7, "reject": 2})

    assert response.json()["fee_minor"] == psp.knobs.fee_minor == 7
    assert response.json()["auto_complete"] is False


async def test_show_state_tells_everything_but_secrets(psp: MockPsp, caller: httpx.AsyncClient) -> None:
    """What was executed, called, told and moved is all there to be looked at."""
    await caller.post(
        "/v1/payouts",
        json={"reference": "wd_1", "amount_minor": 5, "currency": "EUR", "destination": "x"},
        headers={"Idempotency-Key": "k"},
    )
    psp.state.payments.capture(made(psp, "payments"))

    shown = (await caller.get("/control/state")).json()

    assert shown["executions"] == {"wd_1": 1, "dep_1": 1}
    assert shown["balances"] == {"EUR": 500}
    assert [call["idempotency_key"] for call in shown["calls"]] == ["k"]
    assert [event["type"] for event in shown["events"]] == ["payment.captured"]
    assert (len(shown["payments"]), len(shown["payouts"]), shown["movement_count"]) == (1, 1, 1)
    assert shown["secret_count"] == 0
