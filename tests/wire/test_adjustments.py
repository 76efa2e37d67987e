"""Adjustments at the border: what is malformed is refused by name; persons are proved on a guarded server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import account_pb2
from defter.ledger.v1 import adjustment_pb2 as pb

from tests.support.adjusters import POSTED, REQUESTED, Adjusters
from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.guarded import Guarded, guarding
from tests.support.ledger import Ledger
from tests.support.requests import CREDIT, DEBIT, leg
from tests.support.wire import refusal

CONSOLE = "spiffe://d/console"
UNSAID = account_pb2.DIRECTION_UNSPECIFIED


@pytest.fixture
async def adjusters(ledger: Ledger) -> Adjusters:
    """People of a tenant with a player."""
    await ledger.open("ann")
    return Adjusters(ledger)


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        pytest.param({"postings": []}, "POSTING_COUNT_OUT_OF_RANGE", "postings", id="no legs"),
        pytest.param(
            {"postings": [leg("house", DEBIT, 1)] * 1001}, "POSTING_COUNT_OUT_OF_RANGE", "postings", id="many"
        ),
        pytest.param(
            {"postings": [leg("", DEBIT, 1), leg("ann", CREDIT, 1)]},
            "FIELD_MISSING",
            "postings[0].account_id",
            id="no account",
        ),
        pytest.param(
            {"postings": [leg("house", UNSAID, 1), leg("ann", CREDIT, 1)]},
            "FIELD_MISSING",
            "postings[0].direction",
            id="no side",
        ),
        pytest.param(
            {"postings": [leg("house", DEBIT, 0), leg("ann", CREDIT, 0)]},
            "AMOUNT_NOT_POSITIVE",
            "postings[0].amount_minor",
            id="nothing",
        ),
        pytest.param(
            {"postings": [leg("house", DEBIT, 1, "XYZ"), leg("ann", CREDIT, 1, "XYZ")]},
            "CURRENCY_UNKNOWN",
            "postings[0].currency_code",
            id="no currency",
        ),
        pytest.param(
            {"postings": [leg("house", DEBIT, 2), leg("ann", CREDIT, 1)]},
            "UNBALANCED_TRANSACTION",
            "postings",
            id="unbalanced",
        ),
        pytest.param(
            {"postings": [leg("ann", DEBIT, 1), leg("ann", CREDIT, 1)]},
            "SAME_ACCOUNT",
            "postings",
            id="itself",
        ),
        pytest.param(
            {"postings": [leg("house", DEBIT, 2**62)] * 2 + [leg("ann", CREDIT, 2**62)] * 2},
            "AMOUNT_TOO_LARGE",
            "postings",
            id="too much in all",
        ),
        pytest.param({"reason": ""}, "FIELD_MISSING", "reason", id="no reason"),
        pytest.param({"reason": "x" * 513}, "FIELD_TOO_LONG", "reason", id="long reason"),
        pytest.param({"description": "x" * 2001}, "FIELD_TOO_LONG", "description", id="long description"),
        pytest.param({"reference": "x" * 256}, "FIELD_TOO_LONG", "reference", id="long reference"),
        pytest.param({"metadata": {"defter_x": "1"}}, "FIELD_MALFORMED", "metadata", id="metadata of ours"),
        pytest.param({"actor": ""}, "FIELD_MISSING", "actor", id="nobody"),
        pytest.param({"actor": "x" * 256}, "FIELD_TOO_LONG", "actor", id="long name"),
        pytest.param({"reason": "a\x00b"}, "FIELD_MALFORMED", "reason", id="NUL"),
    ],
)
async def test_malformed_request_is_refused_and_leaves_the_key(
    adjusters: Adjusters, fields: dict[str, Any], reason: str, field: str
) -> None:
    """By the first rule that is broken, with the field; nothing is recorded."""
    before = await adjusters.ledger.head()

    refused = await refusal(adjusters.stub.RequestAdjustment(adjusters.asked(key="k", **fields)))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert field in {refused.metadata.get("field"), *refused.violated_fields}
    assert await adjusters.ledger.head() == before
    assert (await adjusters.request(key="k")).state == REQUESTED


async def test_longest_request_is_taken_and_read_back(adjusters: Adjusters) -> None:
    """A thousand legs, and each text as long as it may be."""
    legs = [leg("house", DEBIT, 1)] * 500 + [leg("ann", CREDIT, 1)] * 500

    asked = await adjusters.request_legs(
        legs,
        reason="r" * 512,
        description="d" * 2_000,
        reference="f" * 255,
        metadata={f"{number:064}": "v" * 512 for number in range(32)},
        actor="a" * 255,
    )
    posted = await adjusters.approve(asked.adjustment_id, "b" * 255, note="n" * 512)

    assert posted.state == POSTED
    assert await adjusters.get(asked.adjustment_id) == posted
    assert await adjusters.listed() == [posted]
    await assert_ledger_coherent(adjusters.ledger)


@pytest.mark.parametrize(
    ("step", "fields", "reason", "field"),
    [
        ("Approve", {"reviewer": ""}, "FIELD_MISSING", "reviewer"),
        ("Approve", {"reviewer": "g", "note": "x" * 513}, "FIELD_TOO_LONG", "note"),
        ("Approve", {"reviewer": "g", "expected_state": 9}, "FIELD_MALFORMED", "expected_state"),
        ("Reject", {"reviewer": "", "reason": "no"}, "FIELD_MISSING", "reviewer"),
        ("Reject", {"reviewer": "g", "reason": ""}, "FIELD_MISSING", "reason"),
        ("Cancel", {"actor": ""}, "FIELD_MISSING", "actor"),
        ("Cancel", {"actor": "ada", "reason": "x" * 513}, "FIELD_TOO_LONG", "reason"),
        ("Cancel", {"actor": "ada", "adjustment_id": ""}, "FIELD_MISSING", "adjustment_id"),
    ],
)
async def test_malformed_step_is_refused(
    adjusters: Adjusters, step: str, fields: dict[str, Any], reason: str, field: str
) -> None:
    """Each with the field that is wrong; the adjustment waits on."""
    asked = await adjusters.request()
    request = getattr(pb, f"{step}AdjustmentRequest")(
        **{
            "tenant_id": adjusters.ledger.tenant_id,
            "idempotency_key": "k",
            "adjustment_id": asked.adjustment_id,
            **fields,
        }
    )

    refused = await refusal(getattr(adjusters.stub, f"{step}Adjustment")(request))

    assert (refused.reason, refused.violated_fields) == (reason, (field,))
    assert (await adjusters.get(asked.adjustment_id)).state == REQUESTED


@pytest.mark.parametrize("amounts", [{"EUR": 0}, {"EUR": -1}, {"XYZ": 5}, {"": 5}])
async def test_malformed_policy_is_refused(adjusters: Adjusters, amounts: dict[str, int]) -> None:
    """An amount of nothing would be no second person, or one always; who wants the latter leaves it out."""
    refused = await refusal(adjusters.set_policy(amounts))

    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.violated_fields[0] == "policy.second_review_from_minor"
    assert await adjusters.policy() == pb.AdjustmentPolicy()


async def test_unknown_state_as_filter_is_refused(adjusters: Adjusters) -> None:
    """A client of a newer contract is told so."""
    refused = await refusal(adjusters.listed(states=[REQUESTED, 9]))

    assert (refused.reason, refused.violated_fields) == ("FIELD_MALFORMED", ("states",))


@pytest.fixture
async def guarded(database_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Guarded]:
    """A guarded server."""
    async with guarding(database_url, tmp_path, clock=clock) as made:
        yield made


class Desk:
    """A tenant on a guarded server, and the ways in which persons come."""

    def __init__(self, guarded: Guarded, channels: dict[str, grpc.aio.Channel]) -> None:
        self._guarded = guarded
        self._channels = channels
        self._keys = iter(range(1_000))

    async def asked(self, by: str, actor: str = "", *, amount_minor: int = 100) -> pb.Adjustment:
        """Ask as a token's person, or through a service that names one."""
        request = Adjusters(self._ledger(by)).asked(
            amount_minor=amount_minor, actor=actor, key=f"ask-{next(self._keys)}"
        )
        stub = self._ledger(by).stubs.adjustments
        return (await stub.RequestAdjustment(request, metadata=self._told(by))).adjustment

    async def approved(self, adjustment_id: str, by: str, reviewer: str = "") -> pb.Adjustment:
        """Approve likewise."""
        request = pb.ApproveAdjustmentRequest(
            tenant_id="casino",
            idempotency_key=f"approve-{next(self._keys)}",
            adjustment_id=adjustment_id,
            reviewer=reviewer,
        )
        stub = self._ledger(by).stubs.adjustments
        return (await stub.ApproveAdjustment(request, metadata=self._told(by))).adjustment

    def _ledger(self, by: str) -> Ledger:
        return Ledger(self._channels["token" if by.startswith("token:") else by], "casino")

    def _told(self, by: str) -> tuple[tuple[str, str], ...]:
        if not by.startswith("token:"):
            return ()
        return tuple(self._guarded.bearer(by.removeprefix("token:"), groups=["staff"]))


@pytest.fixture
async def desk(guarded: Guarded) -> AsyncIterator[Desk]:
    """The desk of a tenant in which one person may move less than 50 alone."""
    async with AsyncExitStack() as opened:
        channels = {"token": await opened.enter_async_context(guarded.token_channel())}
        for identity in ("spiffe://d/root", CONSOLE, "spiffe://d/other-console"):
            channels[identity] = await opened.enter_async_context(guarded.channel_of(identity))
        root = Ledger(channels["spiffe://d/root"], "casino", key_prefix="root")
        await root.create()
        await root.open_house()
        await root.open("ann")
        await Adjusters(root).set_policy({"EUR": 50})
        yield Desk(guarded, channels)
        await assert_ledger_coherent(root)


# Who asks, and whom the request names; each pair is one person.
ONE_PERSON = [
    (("token:ada", ""), ("token:ada", "ada")),
    (("token:ada", ""), (CONSOLE, "ada")),
    ((CONSOLE, "ada"), ("token:ada", "")),
    ((CONSOLE, "ada"), ("spiffe://d/other-console", "ada")),
    ((CONSOLE, "ada"), (CONSOLE, "ADA")),
    (("token:Ada", ""), ("token:ada", "")),
]


async def test_one_person_never_approves_what_they_have_asked_for(desk: Desk) -> None:
    """However they come; and another one posts it, with both names and what proved them."""
    for asks, approves in ONE_PERSON:
        asked = await desk.asked(*asks)
        assert asked.state == REQUESTED

        refused = await refusal(desk.approved(asked.adjustment_id, *approves))
        posted = await desk.approved(asked.adjustment_id, "token:bob")

        assert refused.reason == "SECOND_PERSON_REQUIRED"
        assert posted.state == POSTED
        name = asks[1] or asks[0].removeprefix("token:")
        assert (posted.requester, posted.requester_identity) == (name, asks[0])
        assert [(each.reviewer, each.identity) for each in posted.approvals] == [("bob", "token:bob")]


async def test_person_alone_moves_what_lies_below_the_amount(desk: Desk) -> None:
    """And nothing more."""
    assert (await desk.asked("token:ada", amount_minor=49)).state == POSTED
    assert (await desk.asked("token:ada", amount_minor=50)).state == REQUESTED


async def test_token_asks_in_its_own_name_alone(desk: Desk) -> None:
    """Otherwise one person would ask as two."""
    refused = await refusal(desk.asked("token:ada", "bob"))

    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERSON_OTHER")
