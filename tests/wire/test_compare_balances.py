"""Own comparisons of balances on the wire: what is found, what becomes of it, and what never may."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from defter.backfill.v1 import backfill_pb2 as pb
from defter.backfill.v1.backfill_pb2_grpc import BackfillServiceStub
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2

from tests.support.clock import FakeClock
from tests.support.fake_provider import PROVIDER
from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.requests import timestamp, transfer
from tests.support.wire import refusal

Part = pb.CompareBalancesRequest
Line = tuple[str, str, int, int]
COMPLETE = reconciliation_pb2.RUN_STATE_COMPLETE
INTERRUPTED = reconciliation_pb2.RUN_STATE_INTERRUPTED
DRIFT = finding_pb2.FINDING_CLASS_BALANCE_DRIFT


@dataclass
class Answer:
    """What a comparison has told: its differences, and the run as it ended."""

    run: reconciliation_pb2.Run = field(default_factory=reconciliation_pb2.Run)
    differences: list[pb.BalanceDifference] = field(default_factory=list)

    @property
    def told(self) -> list[tuple[str, str, str, str, int]]:
        """The differences in short."""
        return [
            (
                each.player_id,
                each.currency_code,
                pb.Bucket.Name(each.bucket).removeprefix("BUCKET_"),
                pb.DriftKind.Name(each.kind).removeprefix("DRIFT_KIND_"),
                each.difference_minor,
            )
            for each in self.differences
        ]


class Legacy:
    """A legacy system beside one tenant, which agrees with the ledger until a test says otherwise."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.stub = BackfillServiceStub(ledger.channel)

    async def give(self, player: str, amount: int, *, bucket: str = "real", currency: str = "EUR") -> int:
        """Move money from the house to a player, whose account is opened if need be; return the record."""
        account, house = f"player:{player}:{bucket}:{currency}", f"house:{currency}"
        known = {each.account.account_id for each in await self.ledger.accounts()}
        if house not in known:
            await self.ledger.open_house(house, currency_code=currency)
        if account not in known:
            await self.ledger.open(account, currency_code=currency)
        if amount:
            await self.ledger.submit(transfer(house, account, amount, currency_code=currency))
        return await self.ledger.head()

    async def compare(
        self, lines: Iterable[Line], sequence: int = 0, *, page: int = 1_000, **header: Any
    ) -> Answer:
        """Compare lines with the ledger as it is after a record, by default after the newest one."""
        fields: dict[str, Any] = {"tenant_id": self.ledger.tenant_id, "source": "legacy", **header}
        if "time" not in fields:
            fields["sequence"] = sequence or await self.ledger.head()
        balances = [
            pb.SnapshotBalance(player_id=player, currency_code=currency, real_minor=real, bonus_minor=bonus)
            for player, currency, real, bonus in sorted(lines, key=lambda line: (f"{line[0]}:", line[1]))
        ]
        parts = [Part(header=Part.Header(**fields))]
        parts += [
            Part(lines=Part.Lines(balances=balances[start : start + page]))
            for start in range(0, len(balances), page)
        ]
        return await self.send([*parts, Part(end=Part.End(line_count=len(balances)))])

    async def send(self, parts: Iterable[Part]) -> Answer:
        """Send messages as they are, each when it is wanted; behind the end nothing is."""
        answer = Answer()
        wanted: asyncio.Queue[bool] = asyncio.Queue()

        async def requests() -> AsyncIterator[Part]:
            waits = False
            for part in parts:
                if waits and not await wanted.get():
                    return
                yield part
                waits = not part.HasField("end")

        try:
            async for response in self.stub.CompareBalances(requests(), timeout=HANG_SECONDS):
                if response.wants_next:
                    wanted.put_nowait(True)
                answer.run = response.run
                answer.differences += response.differences
        finally:
            wanted.put_nowait(False)
        return answer

    async def findings(self) -> dict[str, str]:
        """Return the states of all findings by the account that each is about."""
        request = finding_pb2.ListFindingsRequest(tenant_id=self.ledger.tenant_id)
        listed = (await self.ledger.stubs.findings.ListFindings(request)).findings
        assert {each.finding_class for each in listed} <= {DRIFT}
        return {
            each.ledger.ref: finding_pb2.FindingState.Name(each.state).removeprefix("FINDING_STATE_")
            for each in listed
        }


@pytest.fixture
def legacy(ledger: Ledger) -> Legacy:
    """A legacy system beside the tenant."""
    return Legacy(ledger)


async def test_compare_planted_drift_of_five_kinds_tells_each(legacy: Legacy) -> None:
    """Missing here, missing there, another amount, own and bonus money swapped, another currency."""
    await legacy.give("equal", 700)
    await legacy.give("there", 40)
    await legacy.give("amount", 100)
    await legacy.give("swap", 30)
    await legacy.give("swap", 5, bucket="bonus")
    await legacy.give("currency", 10)

    answer = await legacy.compare(
        [
            ("equal", "EUR", 700, 0),
            ("here", "EUR", 15, 0),
            ("amount", "EUR", 101, 0),
            ("swap", "EUR", 5, 30),
            ("currency", "USD", 10, 0),
        ]
    )

    assert answer.told == [
        ("amount", "EUR", "REAL", "DRIFTED", 1),
        ("currency", "EUR", "REAL", "MISSING_THERE", -10),
        ("currency", "USD", "REAL", "MISSING_HERE", 10),
        ("here", "EUR", "REAL", "MISSING_HERE", 15),
        ("swap", "EUR", "REAL", "DRIFTED", -25),
        ("swap", "EUR", "BONUS", "DRIFTED", 25),
        ("there", "EUR", "REAL", "MISSING_THERE", -40),
    ]
    seen = answer.run.comparison
    assert (answer.run.state, seen.line_count) == (COMPLETE, 5)
    assert (seen.drifted_count, seen.missing_here_count, seen.missing_there_count) == (3, 2, 2)
    assert [(each.currency_code, each.difference_minor, each.absolute_minor) for each in seen.drifts] == [
        ("EUR", -34, 116),
        ("USD", 10, 10),
    ]
    assert set((await legacy.findings()).values()) == {"OPEN"}
    assert all(each.finding_id for each in answer.differences)
    assert not (await legacy.ledger.verify()).HasField("first_difference")


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_compare_tells_the_same_however_the_lines_are_cut(legacy: Legacy, page: int) -> None:
    """Ids whose order is not that of their letters, several currencies, players between any two messages."""
    for player in ("7", "7-a", "71", "8", "Z", "a.b"):
        await legacy.give(player, 5)
        await legacy.give(player, 6, currency="USD")

    answer = await legacy.compare(
        [
            ("7", "EUR", 5, 0),
            ("7", "USD", 6, 0),
            ("71", "USD", 6, 0),
            ("8", "EUR", 5, 0),
            ("8", "USD", 7, 0),
            ("a", "EUR", 0, 0),
            ("a.b", "EUR", 5, 0),
        ],
        page=page,
    )

    assert answer.told == [
        ("7-a", "EUR", "REAL", "MISSING_THERE", -5),
        ("7-a", "USD", "REAL", "MISSING_THERE", -6),
        ("71", "EUR", "REAL", "MISSING_THERE", -5),
        ("8", "USD", "REAL", "DRIFTED", 1),
        ("Z", "EUR", "REAL", "MISSING_THERE", -5),
        ("Z", "USD", "REAL", "MISSING_THERE", -6),
        ("a.b", "USD", "REAL", "MISSING_THERE", -6),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("partial", [False, True])
async def test_compare_tells_the_same_however_few_are_read_at_once(
    legacy: Legacy, monkeypatch: pytest.MonkeyPatch, size: int, partial: bool
) -> None:
    """Pages of accounts that cut a player in two, pages of findings to resolve, and accounts of nobody."""
    for name in ("wallets._PAGE", "wallets._PLAYERS", "wallets._LOOKS", "telling._PAGE", "telling._AT_ONCE"):
        monkeypatch.setattr(f"ledger_server.jobs.balances.{name}", size)
    for player in ("a", "b", "c"):
        for currency, bucket in (("EUR", "real"), ("EUR", "bonus"), ("USD", "real")):
            await legacy.give(player, 5, bucket=bucket, currency=currency)
    for account in ("player:a", "player:b", "player:b:other:EUR", "player:d"):
        await legacy.ledger.open(account)
    off = [(player, currency, 6, 0) for player in "abc" for currency in ("EUR", "USD")]
    right = [(player, currency, 5, 5 * (currency == "EUR")) for player, currency, *_ in off]

    first = await legacy.compare(off, page=2, partial=partial)
    second = await legacy.compare(right, page=2, partial=partial)

    assert first.told == [
        (player, currency, bucket, "DRIFTED", difference)
        for player in "abc"
        for currency, bucket, difference in (("EUR", "REAL", 1), ("EUR", "BONUS", -5), ("USD", "REAL", 1))
    ]
    assert all(each.since_sequence for each in first.differences)
    assert (second.told, second.run.resolved_count) == ([], 9)


async def test_wrong_file_fills_no_journal(legacy: Legacy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many new differences no finding is opened; all are told, counted, and seen again."""
    monkeypatch.setattr("ledger_server.jobs.balances.telling.MOST_OPENED", 2)
    off = [(player, "EUR", 6, 0) for player in "abcd"]

    runs_after = [(await legacy.compare(off)).run for _ in range(2)]

    told = [(run.opened_count, run.comparison.untold_count, run.classes[0].seen) for run in runs_after]
    assert told == [(2, 2, 4), (2, 0, 4)]


async def test_compare_with_moment_leaves_later_records_out(legacy: Legacy) -> None:
    """Accounts that were opened and money that moved later are not seen; by time as by sequence."""
    then = await legacy.give("one", 50)
    await legacy.give("one", 25)
    await legacy.give("two", 10)

    assert (await legacy.compare([("one", "EUR", 50, 0)], then)).told == []
    assert (await legacy.compare([("one", "EUR", 75, 0), ("two", "EUR", 10, 0)])).told == []


async def test_compare_by_time_answers_once_the_instant_is_final(legacy: Legacy, clock: FakeClock) -> None:
    """A moment that is to come is refused; one that has passed is compared as of its last record."""
    await legacy.give("one", 50)
    clock.advance(seconds=60)
    moment = timestamp(clock())
    clock.advance(seconds=60)
    await legacy.give("one", 1)

    answer = await legacy.compare([("one", "EUR", 50, 0)], time=moment)
    clock.advance(seconds=60)
    late = timestamp(clock())
    late.seconds += 3_600

    assert (answer.told, answer.run.comparison.snapshot_time) == ([], moment)
    refused = await refusal(legacy.compare([("one", "EUR", 50, 0)], time=late))
    assert refused.reason == "NOT_YET_RECORDED"


async def test_compare_tells_since_which_record_a_drift_can_have_come(legacy: Legacy) -> None:
    """The account last stood at the snapshot's amount after one record, and the next one parted them."""
    agreed = await legacy.give("one", 50)
    since = await legacy.give("one", 25)
    await legacy.give("one", 25)
    opened = await legacy.give("two", 0)
    await legacy.give("two", 5)

    one, two = (await legacy.compare([("one", "EUR", 50, 0), ("two", "EUR", 4, 0)])).differences

    assert (one.agreed_sequence, one.since_sequence) == (agreed, since)
    assert (two.agreed_sequence, two.since_sequence) == (0, opened)


async def test_compare_continued_account_takes_its_successors_with_it(legacy: Legacy) -> None:
    """An account and those that continue it are one purse."""
    await legacy.give("one", 50)
    await legacy.ledger.continue_account("player:one:real:EUR")

    assert (await legacy.compare([("one", "EUR", 50, 0)])).told == []


async def test_compare_money_on_hold_is_still_posted(legacy: Legacy) -> None:
    """What is reserved has not moved, on either account."""
    await legacy.give("one", 50)
    await legacy.ledger.place_hold("player:one:real:EUR", "house:EUR", 20)

    assert (await legacy.compare([("one", "EUR", 50, 0)])).told == []


async def test_drift_is_opened_once_and_resolves_when_it_is_gone(legacy: Legacy) -> None:
    """The same finding however both sides have moved on; equal, it resolves; back, it reopens."""
    await legacy.give("one", 50)
    first = await legacy.compare([("one", "EUR", 55, 0)])
    again = await legacy.compare([("one", "EUR", 55, 0)])
    await legacy.give("one", 10)
    moved = await legacy.compare([("one", "EUR", 65, 0)])
    head = await legacy.ledger.head()
    gone = await legacy.compare([("one", "EUR", 60, 0)])
    states = [await legacy.findings()]
    back = await legacy.compare([("one", "EUR", 61, 0)])
    states.append(await legacy.findings())

    changes = [
        (each.run.opened_count, each.run.reopened_count, each.run.resolved_count)
        for each in (first, again, moved, gone, back)
    ]
    assert changes == [(1, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 1), (0, 1, 0)]
    assert head == gone.run.comparison.sequence
    account = "player:one:real:EUR"
    assert states == [{account: "AUTO_RESOLVED"}, {account: "REOPENED"}]


async def test_older_snapshot_changes_no_finding(legacy: Legacy) -> None:
    """What is known of a later moment is neither resolved, reopened nor added to by an earlier one."""
    then = await legacy.give("one", 50)
    await legacy.give("two", 5)
    newer = await legacy.compare([("one", "EUR", 51, 0), ("two", "EUR", 5, 0)])

    resolving = await legacy.compare([("one", "EUR", 50, 0)], then)
    opening = await legacy.compare([("one", "EUR", 50, 0), ("new", "EUR", 9, 0)], then)

    assert await legacy.findings() == {"player:one:real:EUR": "OPEN"}
    assert opening.told == [("new", "EUR", "REAL", "MISSING_HERE", 9)]
    for run in (resolving.run, opening.run):
        assert run.comparison.overtaken_by_run_id == newer.run.run_id
        assert (run.opened_count, run.resolved_count) == (0, 0)


async def test_older_snapshot_after_a_newer_partial_one_leaves_what_that_has_seen(legacy: Legacy) -> None:
    """A partial snapshot overtakes nothing but the findings that it has looked at."""
    await legacy.give("two", 5)
    then = await legacy.give("one", 50)
    await legacy.give("house-keeping", 1)
    await legacy.compare([("one", "EUR", 51, 0)], partial=True)

    older = await legacy.compare([("one", "EUR", 50, 0), ("two", "EUR", 6, 0)], then)

    assert await legacy.findings() == {"player:one:real:EUR": "OPEN", "player:two:real:EUR": "OPEN"}
    assert (older.run.opened_count, older.run.resolved_count) == (1, 0)


async def test_partial_snapshot_neither_reports_nor_resolves_what_it_does_not_cover(legacy: Legacy) -> None:
    """Other players, currencies and buckets stay as they are; what it shows to be equal resolves."""
    await legacy.give("one", 50)
    await legacy.give("two", 5)
    await legacy.give("two", 5, currency="USD")
    await legacy.compare([("one", "EUR", 51, 0), ("two", "EUR", 6, 7), ("two", "USD", 6, 0)])

    partial = await legacy.compare([("two", "EUR", 5, 0)], partial=True, buckets=[pb.BUCKET_REAL])

    assert partial.told == []
    assert await legacy.findings() == {
        "player:one:real:EUR": "OPEN",
        "player:two:real:EUR": "AUTO_RESOLVED",
        "player:two:bonus:EUR": "OPEN",
        "player:two:real:USD": "OPEN",
    }
    assert (await legacy.compare([], partial=True)).told == []


async def test_snapshot_without_bonus_money_says_nothing_of_it(legacy: Legacy) -> None:
    """A bucket that the snapshot has not is neither missing there nor resolved."""
    await legacy.give("one", 50, bucket="bonus")
    await legacy.give("one", 5)
    await legacy.compare([("one", "EUR", 5, 51)])

    answer = await legacy.compare([("one", "EUR", 5, 0)], buckets=[pb.BUCKET_REAL])

    assert answer.told == []
    assert await legacy.findings() == {"player:one:bonus:EUR": "OPEN"}


async def test_findings_are_kept_by_source(legacy: Legacy) -> None:
    """Another legacy system's snapshot resolves nothing of the first one's."""
    await legacy.give("one", 50)
    await legacy.compare([("one", "EUR", 51, 0)])

    await legacy.compare([("one", "EUR", 50, 0)], source="other")

    assert await legacy.findings() == {"player:one:real:EUR": "OPEN"}


async def test_snapshot_that_breaks_off_resolves_nothing(legacy: Legacy) -> None:
    """What it has found stays, its run is interrupted, and the next one is not kept waiting."""
    await legacy.give("one", 50)
    await legacy.give("two", 50)
    await legacy.compare([("one", "EUR", 51, 0), ("two", "EUR", 50, 0)])
    header = Part(
        header=Part.Header(
            tenant_id=legacy.ledger.tenant_id, source="legacy", sequence=await legacy.ledger.head()
        )
    )
    lines = Part(lines=Part.Lines(balances=[balance(real=50)]))

    for parts in (
        [header, lines],
        [header, lines, Part(end=Part.End(line_count=2))],
        [header, Part(end=Part.End())],
    ):
        refused = await refusal(legacy.send(parts))
        assert refused.reason == "SNAPSHOT_INCOMPLETE"

    assert await legacy.findings() == {"player:one:real:EUR": "OPEN"}
    assert sorted(run.state for run in await runs(legacy)) == [COMPLETE, *[INTERRUPTED] * 3]
    assert (await legacy.compare([("one", "EUR", 50, 0), ("two", "EUR", 50, 0)])).run.resolved_count == 1


async def test_two_comparisons_at_once_are_one_and_a_refusal(legacy: Legacy) -> None:
    """The second one is told which is under way; when the first one's caller goes away, it may begin."""
    await legacy.give("one", 50)
    going_on = asyncio.Event()
    head = await legacy.ledger.head()
    header = Part(header=Part.Header(tenant_id=legacy.ledger.tenant_id, source="legacy", sequence=head))

    async def parts() -> AsyncIterator[Part]:
        yield header
        for player in ("one", "two"):
            yield Part(lines=Part.Lines(balances=[balance(player, real=50)]))
        await going_on.wait()

    call = legacy.stub.CompareBalances(parts(), timeout=HANG_SECONDS)
    first: pb.CompareBalancesResponse = await call.read()  # type: ignore[assignment]  # no end yet
    assert first.run.state == reconciliation_pb2.RUN_STATE_RUNNING
    refused = await refusal(legacy.compare([("one", "EUR", 50, 0)]))
    call.cancel()
    going_on.set()
    async with asyncio.timeout(HANG_SECONDS):
        while (await runs(legacy))[-1].state != INTERRUPTED:  # noqa: ASYNC110  # nobody tells when it has noticed
            await asyncio.sleep(0)

    assert (refused.reason, refused.metadata) == (
        "RECONCILIATION_UNDER_WAY",
        {"source": "legacy", "run_id": first.run.run_id},
    )
    assert (await legacy.compare([("one", "EUR", 50, 0)])).run.state == COMPLETE


async def test_comparison_that_stood_still_too_long_changes_nothing_any_more(
    legacy: Legacy, clock: FakeClock
) -> None:
    """Another one of the same moment has begun meanwhile, and what that has seen is not unseen."""
    await legacy.give("one", 50)
    going_on = asyncio.Event()
    head = await legacy.ledger.head()

    async def parts() -> AsyncIterator[Part]:
        yield Part(header=Part.Header(tenant_id=legacy.ledger.tenant_id, source="legacy", sequence=head))
        for player, real in (("one", 51), ("two", 51), ("zero", 0)):
            yield lines(balance(player, real=real))
        await going_on.wait()
        yield Part(end=Part.End(line_count=3))

    responses = aiter(legacy.stub.CompareBalances(parts(), timeout=HANG_SECONDS))
    first = await anext(responses)
    while len(await legacy.findings()) < 2:  # noqa: ASYNC110  # both are seen before it stands still
        await asyncio.sleep(0)
    clock.advance(seconds=300)
    second = await legacy.compare([("one", "EUR", 51, 0), ("two", "EUR", 51, 0)], head)
    going_on.set()
    refused = await refusal(rest_of(responses))

    assert refused.reason == "RECONCILIATION_UNDER_WAY"
    assert await legacy.findings() == {"player:one:real:EUR": "OPEN", "player:two:real:EUR": "OPEN"}
    states = {run.run_id: run.state for run in await runs(legacy)}
    assert states == {first.run.run_id: INTERRUPTED, second.run.run_id: COMPLETE}


async def rest_of(responses: AsyncIterable[pb.CompareBalancesResponse]) -> None:
    """Read a comparison to its end."""
    async for _ in responses:
        pass


@pytest.mark.parametrize("seed", range(6))
async def test_findings_after_comparisons_in_any_order_are_as_a_model_says(legacy: Legacy, seed: int) -> None:
    """Whole and partial snapshots of random moments: later knowledge wins, and nothing else is touched."""
    chance = random.Random(seed)
    players = ("a", "b", "c")
    ledger_at: dict[int, dict[str, int]] = {}
    held = dict.fromkeys(players, 0)
    for _ in range(4):
        player = chance.choice(players)
        held[player] += 1
        ledger_at[await legacy.give(player, 1)] = dict(held)
    states: dict[str, str] = {}
    last: dict[str, int] = {}
    newest = 0
    for _ in range(8):
        moment, partial = chance.choice(sorted(ledger_at)), chance.random() < 0.4
        covered = chance.sample(players, chance.randint(1, 3)) if partial else players
        drifts = {player: chance.choice((0, 0, 1)) for player in covered}
        overtaken = moment < newest
        for player, drift in drifts.items():
            state = states.get(player)
            if overtaken or (state is not None and moment < last[player]):
                continue
            if drift:
                states[player] = {None: "OPEN", "AUTO_RESOLVED": "REOPENED"}.get(state, state or "")
                last[player] = moment
            elif state in ("OPEN", "REOPENED"):
                states[player] = "AUTO_RESOLVED"
                last[player] = moment
        if not partial and not overtaken:
            newest = max(newest, moment)

        answer = await legacy.compare(
            [(player, "EUR", ledger_at[moment][player] + drift, 0) for player, drift in drifts.items()],
            moment,
            partial=partial,
        )

        assert bool(answer.run.comparison.overtaken_by_run_id) is overtaken
        assert len(answer.differences) == sum(drifts.values())
        assert await legacy.findings() == {
            f"player:{player}:real:EUR": state for player, state in states.items()
        }


async def runs(legacy: Legacy) -> list[reconciliation_pb2.Run]:
    """Return the comparisons with the legacy system, the newest first."""
    request = reconciliation_pb2.ListRunsRequest(tenant_id=legacy.ledger.tenant_id, compared_source="legacy")
    return list((await legacy.ledger.stubs.reconciliation.ListRuns(request)).runs)


async def test_compare_amounts_at_the_bounds_of_the_contract(legacy: Legacy) -> None:
    """A difference that the contract can't hold is told as the largest that it can."""
    most = 2**63 - 1
    await legacy.give("one", 1)
    await legacy.give("two", 1)
    await legacy.ledger.post("player:two:real:EUR", "player:one:real:EUR", 1)

    answer = await legacy.compare([("one", "EUR", -most, 0), ("three", "EUR", most, most)])

    assert [each.difference_minor for each in answer.differences] == [-most, most, most]
    [drift] = answer.run.comparison.drifts
    assert (drift.difference_minor, drift.absolute_minor) == (most - 2, most)


async def test_comparison_is_no_reconciliation_of_a_provider(legacy: Legacy) -> None:
    """It is told apart in lists, and a source may have a provider's name."""
    await legacy.give("one", 1)
    await legacy.compare([("one", "EUR", 1, 0)], source=PROVIDER)
    stub, tenant = legacy.ledger.stubs.reconciliation, legacy.ledger.tenant_id
    wanted = reconciliation_pb2.ListRunsRequest

    of_provider = await stub.ListRuns(wanted(tenant_id=tenant, provider=PROVIDER))
    of_source = await stub.ListRuns(wanted(tenant_id=tenant, compared_source=PROVIDER))
    all_runs = await stub.ListRuns(wanted(tenant_id=tenant))
    both = await refusal(stub.ListRuns(wanted(tenant_id=tenant, provider="x", compared_source="x")))

    assert (len(of_provider.runs), len(of_source.runs), len(all_runs.runs)) == (0, 1, 1)
    assert (both.reason, both.violated_fields) == ("FIELD_MALFORMED", ("compared_source",))
    found = of_source.runs[0]
    read = await stub.GetRun(reconciliation_pb2.GetRunRequest(tenant_id=tenant, run_id=found.run_id))
    assert (read.run, found.provider, found.HasField("comparison")) == (found, PROVIDER, True)


async def test_drift_is_not_repaired_by_the_ledger(legacy: Legacy) -> None:
    """Which side is right is known to people alone."""
    await legacy.give("one", 1)
    [drift] = (await legacy.compare([("one", "EUR", 2, 0)])).differences
    request = finding_pb2.RepairFindingRequest(
        tenant_id=legacy.ledger.tenant_id, finding_id=drift.finding_id, actor="ada"
    )
    refused = await refusal(legacy.ledger.stubs.findings.RepairFinding(request))
    assert refused.reason == "FINDING_NOT_REPAIRABLE"


@pytest.mark.parametrize("again", [False, True])
async def test_drift_that_a_person_resolved_stays_so_while_its_difference_is_the_same(
    legacy: Legacy, again: bool
) -> None:
    """Both sides move on; another difference is another fact, and reopens it."""
    await legacy.give("one", 1)
    [drift] = (await legacy.compare([("one", "EUR", 3, 0)])).differences
    await legacy.ledger.stubs.findings.ResolveFinding(
        finding_pb2.ResolveFindingRequest(
            tenant_id=legacy.ledger.tenant_id,
            finding_id=drift.finding_id,
            expected_version=1,
            reason=finding_pb2.RESOLUTION_REASON_ACCEPTED_DIFFERENCE,
            actor="ada",
            idempotency_key=legacy.ledger.new_key(),
        )
    )
    await legacy.give("one", 10)

    answer = await legacy.compare([("one", "EUR", 14 if again else 13, 0)])

    assert answer.told == [("one", "EUR", "REAL", "DRIFTED", 3 if again else 2)]
    assert await legacy.findings() == {"player:one:real:EUR": "REOPENED" if again else "RESOLVED"}


SOUND: Mapping[str, Any] = {"tenant_id": "casino", "source": "legacy", "sequence": 1}
FIRST = "lines.balances[0]"


def balance(player: str = "one", currency: str = "EUR", real: int = 1) -> pb.SnapshotBalance:
    """Return a line."""
    return pb.SnapshotBalance(player_id=player, currency_code=currency, real_minor=real)


LINE = balance()


def header(**changed: Any) -> Part:
    """Return a header, sound but for what is changed."""
    return Part(header=Part.Header(**{**SOUND, **changed}))


def lines(*balances: pb.SnapshotBalance) -> Part:
    """Return a message of lines."""
    return Part(lines=Part.Lines(balances=balances))


@pytest.mark.parametrize(
    ("parts", "reason", "where"),
    [
        ([], "FIELD_MISSING", "header"),
        ([lines(LINE)], "FIELD_MISSING", "header"),
        ([header(tenant_id="")], "FIELD_MISSING", "header.tenant_id"),
        ([header(source="")], "FIELD_MISSING", "header.source"),
        ([header(source="balances:x")], "FIELD_MALFORMED", "header.source"),
        ([header(sequence=0)], "FIELD_MISSING", "header.time"),
        ([header(sequence=-1)], "FIELD_OUT_OF_RANGE", "header.sequence"),
        ([header(time={"seconds": 1})], "FIELD_MALFORMED", "header.sequence"),
        ([header(buckets=[3])], "FIELD_MALFORMED", "header.buckets[0]"),
        ([header(), header()], "FIELD_MALFORMED", "header"),
        ([header(), Part()], "FIELD_MISSING", "lines"),
        ([header(), lines()], "BATCH_SIZE_OUT_OF_RANGE", "lines.balances"),
        ([header(), lines(balance(""))], "FIELD_MISSING", f"{FIRST}.player_id"),
        ([header(), lines(balance("a:b"))], "FIELD_MALFORMED", f"{FIRST}.player_id"),
        ([header(), lines(balance(currency="XXQ"))], "CURRENCY_UNKNOWN", f"{FIRST}.currency_code"),
        ([header(), lines(LINE, LINE)], "SNAPSHOT_NOT_ORDERED", "2"),
        ([header(), lines(LINE), lines(LINE)], "SNAPSHOT_NOT_ORDERED", "2"),
        ([header(), lines(LINE), Part(end=Part.End(line_count=1)), lines(LINE)], "FIELD_MALFORMED", "end"),
    ],
)  # fmt: skip
async def test_compare_out_of_shape_is_refused(
    legacy: Legacy, parts: list[Part], reason: str, where: str
) -> None:
    """The header first, then lines that ascend, then the end; no finding is made by what is not."""
    for part in parts:
        if part.header.tenant_id:
            part.header.tenant_id = legacy.ledger.tenant_id
    refused = await refusal(legacy.send(parts))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert where in (*refused.violated_fields, *refused.metadata.values())


async def test_compare_sender_is_asked_for_each_message(legacy: Legacy) -> None:
    """The run is told before any line is sent, and a message that shows no difference is answered too."""
    await legacy.give("one", 50)
    head = await legacy.ledger.head()
    parts = [
        header(tenant_id=legacy.ledger.tenant_id, sequence=head),
        lines(balance("one", "EUR", 50)),
        lines(balance("one", "USD", 1)),
        Part(end=Part.End(line_count=2)),
    ]
    call = legacy.stub.CompareBalances(timeout=HANG_SECONDS)
    told: list[list[pb.CompareBalancesResponse]] = []
    for part in parts:
        await call.write(part)
        told.append([])
        while not (told[-1] and told[-1][-1].wants_next) and not part.HasField("end"):
            told[-1].append(await call.read())  # type: ignore[arg-type]  # no end yet
    await call.done_writing()
    rest: list[pb.CompareBalancesResponse] = []
    while isinstance(response := await call.read(), pb.CompareBalancesResponse):
        rest.append(response)

    begun = told[0][0].run
    assert (begun.state, begun.comparison.sequence) == (reconciliation_pb2.RUN_STATE_RUNNING, head)
    assert {response.run.run_id for each in [*told, rest] for response in each} == {begun.run_id}
    assert (rest[-1].run.state, any(each.wants_next for each in rest)) == (COMPLETE, False)


@pytest.mark.parametrize("wrong", [1, 2, 3, 4])
async def test_compare_refusal_is_told_however_much_there_is_to_send(legacy: Legacy, wrong: int) -> None:
    """Lines out of order in any of some messages; the sender has more, and waits until it is asked for it."""
    await legacy.give("one", 50)
    messages = [[balance(f"{(number * 500 + line):064}") for line in range(500)] for number in range(1, 5)]
    messages[wrong - 1][-1].player_id = "-"
    parts = [
        header(tenant_id=legacy.ledger.tenant_id),
        *(lines(*message) for message in messages * 2),
    ]

    refused = await refusal(legacy.send(parts))

    assert (refused.reason, refused.metadata["line"]) == ("SNAPSHOT_NOT_ORDERED", str(wrong * 500))


async def test_compare_unknown_tenant_or_record_is_refused(legacy: Legacy) -> None:
    """Both have reasons of their own."""
    unknown = await refusal(legacy.compare([("one", "EUR", 1, 0)], tenant_id="nobody-here"))
    ahead = await refusal(legacy.compare([("one", "EUR", 1, 0)], 10_000))
    assert (unknown.reason, ahead.reason) == ("TENANT_NOT_FOUND", "NOT_YET_RECORDED")
