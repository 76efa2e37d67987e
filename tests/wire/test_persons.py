"""On a guarded server a person is who was proved, by a token or by a service that may act for persons."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from defter.identity.v1 import caller_pb2
from defter.payments.v1 import outbound_pb2, payment_pb2, withdrawal_pb2

from tests.support.cashier import Cashier
from tests.support.clock import FakeClock
from tests.support.every_rpc import call, request_of, rpcs_of
from tests.support.fake_provider import fake_providers
from tests.support.guarded import Guarded, guarding
from tests.support.ledger import Ledger
from tests.support.requests import transfer
from tests.support.wire import Refusal, refusal, reply

REQUESTED = payment_pb2.WITHDRAWAL_STATE_REQUESTED
APPROVED = payment_pb2.WITHDRAWAL_STATE_APPROVED
CONSOLE = "spiffe://d/console"


@pytest.fixture
async def guarded(database_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Guarded]:
    """A guarded server with a fake provider."""
    async with guarding(database_url, tmp_path, clock=clock, providers=fake_providers()) as made:
        yield made


class Office:
    """A tenant whose withdrawals need two approvals, and the ways in which they come."""

    def __init__(self, guarded: Guarded, cashier: Cashier, channels: dict[str, grpc.aio.Channel]) -> None:
        self.guarded = guarded
        self.cashier = cashier
        self._channels = channels
        self._keys = itertools.count(1)

    async def withdrawal(self) -> str:
        """Return a withdrawal that waits for review."""
        return (await self.cashier.request(100)).withdrawal_id

    def approve(
        self, withdrawal_id: str, by: str, reviewer: str = "", key: str = "", *metadata: tuple[str, str]
    ) -> Any:
        """Approve by a token (`token:...`) or a service, with a name in the request or without."""
        request = withdrawal_pb2.ApproveWithdrawalRequest(
            tenant_id="casino",
            idempotency_key=key or f"approve-{next(self._keys)}",
            withdrawal_id=withdrawal_id,
            reviewer=reviewer,
        )
        told = tuple(metadata)
        if by.startswith("token:"):
            told += self.guarded.bearer(by.removeprefix("token:"), groups=["staff"])
        channel = self._channels["token" if by.startswith("token:") else by]
        return Ledger(channel, "casino").stubs.withdrawals.ApproveWithdrawal(request, metadata=told)

    async def refused(self, *asked: Any) -> Refusal:
        """Have an approval refused."""
        return await refusal(self.approve(*asked))


@asynccontextmanager
async def office(guarded: Guarded) -> AsyncIterator[Office]:
    """Open a tenant with money of a player, in which two must approve."""
    async with AsyncExitStack() as opened:
        channels = {"token": await opened.enter_async_context(guarded.token_channel())}
        for identity in ("spiffe://d/root", CONSOLE, "spiffe://d/other-console", "spiffe://d/service"):
            channels[identity] = await opened.enter_async_context(guarded.channel_of(identity))
        ledger = Ledger(channels["spiffe://d/root"], "casino", key_prefix="root")
        await ledger.create()
        cashier = Cashier(ledger)
        await cashier.captured(5_000)
        await cashier.set_policy(second_review_from_minor={"EUR": 1})
        yield Office(guarded, cashier, channels)


# Who asks, and whom the request names; each pair is one person.
ONE_PERSON = [
    (("token:ada", ""), ("token:ada", "ada")),
    (("token:ada", ""), (CONSOLE, "ada")),
    ((CONSOLE, "ada"), ("token:ada", "")),
    ((CONSOLE, "ada"), ("spiffe://d/other-console", "ada")),
    ((CONSOLE, "ada"), (CONSOLE, "ADA")),
    (("token:ada", ""), ("token:Ada", "")),
    (("token:Ada", ""), (CONSOLE, "ada")),
]


@pytest.mark.parametrize("again", [0, 1])
async def test_one_person_never_approves_twice(guarded: Guarded, again: int) -> None:
    """However they come; and a second one lets it pass."""
    async with office(guarded) as here:
        for ways in ONE_PERSON:
            first, second = ways[::-1] if again else ways
            withdrawal_id = await here.withdrawal()
            assert (await here.approve(withdrawal_id, *first)).withdrawal.state == REQUESTED
            assert (await here.refused(withdrawal_id, *second)).reason == "SECOND_REVIEWER_REQUIRED"
            passed = (await here.approve(withdrawal_id, "token:bob")).withdrawal
            assert passed.state == APPROVED
            approved = first[1] or first[0].removeprefix("token:")
            assert [(each.reviewer, each.identity) for each in passed.approvals] == [
                (approved, first[0]),
                ("bob", "token:bob"),
            ]


OTHER_NAMES = ["bob", "Ada", "ada ", " ada", "token:ada", "\u0430da", "\uff41da", "ada\u200b"]


@pytest.mark.parametrize("name", OTHER_NAMES)
async def test_token_speaks_for_its_subject_alone(guarded: Guarded, name: str) -> None:
    """In the request and in metadata, where only ASCII may stand; nothing is decided."""
    async with office(guarded) as here:
        withdrawal_id = await here.withdrawal()
        before = await here.cashier.ledger.head()
        tried: list[tuple[Any, ...]] = [(withdrawal_id, "token:ada", name)]
        if name.isascii() and name == name.strip():
            tried.append((withdrawal_id, "token:ada", "", "k", ("defter-person", name)))
        for asked in tried:
            refused = await here.refused(*asked)
            assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERSON_OTHER")
            assert refused.metadata == {"person": name, "identity": "token:ada"}
        assert await here.cashier.ledger.head() == before


async def test_token_with_a_subject_of_two_spellings_proves_nothing(guarded: Guarded) -> None:
    """Its owner may look like another reviewer, also in what is recorded of other calls."""
    async with office(guarded) as here:
        withdrawal_id = await here.withdrawal()
        refused = await here.refused(withdrawal_id, "token:\u0430da")
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MALFORMED")


@pytest.mark.parametrize("name", OTHER_NAMES[2:])
async def test_service_names_a_person_by_one_spelling(guarded: Guarded, name: str) -> None:
    """So that two approvals under its hand are of two persons."""
    async with office(guarded) as here:
        withdrawal_id = await here.withdrawal()
        refused = await here.refused(withdrawal_id, CONSOLE, name)
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PERSON_MALFORMED")


async def test_service_without_permission_acts_for_nobody(guarded: Guarded) -> None:
    """By any RPC that names a person, and by metadata for those that do not; nothing is decided."""
    assert guarded.service is not None
    async with office(guarded) as here, guarded.channel_of("spiffe://d/service") as channel:
        before = await here.cashier.ledger.head()
        for name, method in rpcs_of(guarded.service).items():
            request: Any = request_of(method, "casino")
            field = next((each for each in ("reviewer", "actor") if hasattr(request, each)), "")
            if field:
                setattr(request, field, "ada")
            metadata = () if field else (("defter-person", "ada"),)
            refused = await refusal(call(channel, method, request, metadata))
            assert (refused.code, refused.reason) == (
                grpc.StatusCode.PERMISSION_DENIED,
                "PERSON_NOT_PERMITTED",
            ), name
            assert refused.metadata["person"] == "ada"
            assert refused.metadata["identity"] == "spiffe://d/service"
        assert await here.cashier.ledger.head() == before


async def test_service_that_names_nobody_reviews_nothing(guarded: Guarded) -> None:
    """It is no person itself; and it names one, not two."""
    async with office(guarded) as here:
        withdrawal_id = await here.withdrawal()
        refused = await here.refused(withdrawal_id, CONSOLE)
        assert (refused.reason, refused.violated_fields) == ("FIELD_MISSING", ("reviewer",))
        refused = await here.refused(withdrawal_id, CONSOLE, "ada", "k", ("defter-person", "bob"))
        assert refused.reason == "PERSON_OTHER"
        named = ("defter-person", "ada")
        passed = (await here.approve(withdrawal_id, CONSOLE, "", "k", named)).withdrawal
        assert [(each.reviewer, each.identity) for each in passed.approvals] == [("ada", CONSOLE)]


async def test_person_is_recorded_where_the_request_has_no_field(guarded: Guarded) -> None:
    """Of a token always; of a service that says for whom it acts."""
    async with office(guarded) as here:
        ledger = here.cashier.ledger
        request = ledger.post_request
        for by, metadata, person in (
            ("token", guarded.bearer("ada", groups=["staff"]), "ada"),
            (CONSOLE, (("defter-person", "bob"),), "bob"),
            (CONSOLE, (), ""),
        ):
            stubs = Ledger(here._channels[by], "casino").stubs
            key = f"{by}-{person}"
            await reply(
                stubs.postings.PostTransaction(
                    request(transfer("player:ann:real:EUR", "psp:mock:clearing:EUR", 1), key=key),
                    metadata=metadata,
                )
            )
            entry = await ledger.outcome("PostTransaction", key)
            identity = "token:ada" if by == "token" else by
            assert entry.record.caller == caller_pb2.Caller(identity=identity, person=person)


async def test_retry_of_the_same_person_is_answered_and_of_another_is_not(guarded: Guarded) -> None:
    """A name that is left out, written out or brought by the console is one request; another's is another."""
    async with office(guarded) as here:
        withdrawal_id = await here.withdrawal()
        for by, reviewer in (("token:ada", ""), ("token:ada", "ada"), (CONSOLE, "ada")):
            answered = await reply(here.approve(withdrawal_id, by, reviewer, "one-key"))
            assert [each.identity for each in answered.response.withdrawal.approvals] == ["token:ada"]
        refused = await here.refused(withdrawal_id, "token:bob", "", "one-key")
        assert refused.reason == "IDEMPOTENCY_KEY_REUSED"
        withdrawal = await here.cashier.withdrawal(withdrawal_id)
        assert (withdrawal.state, len(withdrawal.approvals)) == (REQUESTED, 1)


async def test_switch_is_said_to_be_of_the_person(guarded: Guarded) -> None:
    """Though the request names nobody."""
    async with office(guarded) as here:
        stubs = Ledger(here._channels["token"], "casino").stubs
        metadata = guarded.bearer("ada", groups=["staff"])
        stop = outbound_pb2.StopOutboundRequest(note="fire")
        stopped = (await stubs.outbound.StopOutbound(stop, metadata=metadata)).outbound
        assert (stopped.actor, stopped.caller.identity) == ("ada", "token:ada")
        stop.actor = "bob"
        assert (await refusal(stubs.outbound.StopOutbound(stop, metadata=metadata))).reason == "PERSON_OTHER"
