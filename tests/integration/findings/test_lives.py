"""Own the proof that a finding lives one life, through however many processes it is reported and changed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from defter.ledger.v1 import error_pb2, journal_pb2

from ledger_server.domain.findings.commands import (
    AcknowledgeFinding,
    ReopenFinding,
    ResolveFinding,
    ResolveUnseen,
)
from ledger_server.domain.findings.finding import FindingState, Resolution
from ledger_server.domain.ids import finding_id
from ledger_server.domain.state.facts import FactKind
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.verification.verify import verify
from tests.support.clock import FakeClock
from tests.support.engine import KEY, TENANT, Engine, assert_coherent
from tests.support.findings import a_discrepancy, history_of, later, of_ref, reported, step, stored_finding
from tests.support.postgres import run_sql
from tests.support.randomness import SEED

DISCREPANCY = a_discrepancy()
FINGERPRINT = DISCREPANCY.fingerprint
ROUNDS = 20


def refused(outcome: Outcome) -> error_pb2.Rejection:
    """Return the refusal that an outcome is."""
    assert outcome.kind is FactKind.REQUEST_REJECTED
    return error_pb2.Rejection.FromString(outcome.content)


async def rows_of(running: Engine) -> list[tuple[bytes, int]]:
    """Return the fingerprints and versions of all findings."""
    rows = await running.pool.fetch(
        "SELECT fingerprint, version FROM reconciliation_findings WHERE tenant_key = $1 ORDER BY 1", KEY
    )
    return [tuple(row) for row in rows]


async def test_report_twice_makes_one_row_of_one_version(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """In one commit, in the next one, through another process, and all at once."""
    request = reported(DISCREPANCY)

    together = await first.ledger.submit(TENANT, [request, request])
    apart = [await first.ask(request), await second.ask(request)]
    at_once = await asyncio.gather(*(running.ask(request) for running in (first, second) * 10))

    news = [outcome for outcome in [*together, *apart, *at_once] if outcome.kind is not None]
    assert [outcome.kind for outcome in news] == [FactKind.FINDING_CHANGED]
    assert await rows_of(first) == [(FINGERPRINT, 1)]
    assert await history_of(first.pool, FINGERPRINT) == [(1, "OPEN")]
    await assert_coherent(database_url, clock)


async def test_report_new_discrepancy_through_two_processes_at_once_opens_it_once(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """One process loses the race and finds that it has nothing to say."""
    for number in range(ROUNDS):
        request = reported(of_ref(f"pi_{number}"))
        outcomes = await asyncio.gather(first.ask(request), second.ask(request))
        assert sorted(outcome.sequence > 0 for outcome in outcomes) == [False, True]

    assert [version for _, version in await rows_of(first)] == [1] * ROUNDS
    await assert_coherent(database_url, clock)


async def test_ask_again_with_same_key_replays_the_step(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """The first outcome is final, for successes and refusals, in either process."""
    await first.ask(reported(DISCREPANCY))
    acknowledge = step(AcknowledgeFinding, FINGERPRINT, 1, "ack")
    too_late = step(ReopenFinding, FINGERPRINT, 1, "reopen")

    taken = [await running.ask(acknowledge) for running in (first, first, second)]
    refusals = [await running.ask(too_late) for running in (second, second, first)]

    assert [outcome.replayed for outcome in taken + refusals] == [False, True, True] * 2
    assert len({outcome.content for outcome in taken}) == len({outcome.content for outcome in refusals}) == 1
    assert refused(refusals[0]).reason == error_pb2.ERROR_REASON_FINDING_VERSION_MISMATCH
    assert await history_of(first.pool, FINGERPRINT) == [(1, "OPEN"), (2, "ACKNOWLEDGED")]
    await assert_coherent(database_url, clock)


async def test_change_finding_by_two_people_at_once_lets_exactly_one_win(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """Both have read the same version; the one who loses is told the version that there is now."""
    for number in range(ROUNDS):
        discrepancy = of_ref(f"pi_{number}")
        await first.ask(reported(discrepancy))
        outcomes = await asyncio.gather(
            first.ask(step(AcknowledgeFinding, discrepancy.fingerprint, 1, f"ada-{number}", actor="ada")),
            second.ask(step(ResolveFinding, discrepancy.fingerprint, 1, f"eve-{number}", actor="eve")),
        )
        [lost] = [outcome for outcome in outcomes if outcome.rejected]
        winner = ("ada", "eve")[outcomes[0] is lost]
        found = await stored_finding(first.pool, discrepancy.fingerprint)
        assert refused(lost).reason == error_pb2.ERROR_REASON_FINDING_VERSION_MISMATCH
        assert refused(lost).metadata["version"] == "2"
        assert found is not None
        assert (found.version, found.actor) == (2, winner)
    await assert_coherent(database_url, clock)


async def test_resolve_by_run_what_somebody_takes_up_at_once_is_one_step(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """Either the run was first and the person is told so, or the run has nothing to say any more."""
    for number in range(ROUNDS):
        discrepancy = of_ref(f"pi_{number}")
        fingerprint = discrepancy.fingerprint
        await first.ask(reported(discrepancy))
        unseen = Request(ResolveUnseen(fingerprint=fingerprint, version=1, run=2))
        by_run, by_hand = await asyncio.gather(
            first.ask(unseen), second.ask(step(AcknowledgeFinding, fingerprint, 1, f"ada-{number}"))
        )
        assert (by_run.kind is None) == (not by_hand.rejected)
        expected = "AUTO_RESOLVED" if by_hand.rejected else "ACKNOWLEDGED"
        assert await history_of(first.pool, fingerprint) == [(1, "OPEN"), (2, expected)]
    await assert_coherent(database_url, clock)


async def test_accept_difference_stays_resolved_until_the_facts_change(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """Through either process: the same facts write nothing, other facts reopen it."""
    await first.ask(reported(DISCREPANCY))
    await second.ask(step(ResolveFinding, FINGERPRINT, 1, "resolve"))

    same = [await running.ask(reported(DISCREPANCY)) for running in (first, second)]
    other = await first.ask(reported(later(DISCREPANCY)))

    assert [outcome.kind for outcome in same] == [None, None]
    assert other.kind is FactKind.FINDING_CHANGED
    assert await history_of(first.pool, FINGERPRINT) == [(1, "OPEN"), (2, "RESOLVED"), (3, "REOPENED")]
    await assert_coherent(database_url, clock)


async def test_resolve_as_duplicate_through_process_that_knows_neither_finds_both(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """What a resolution names is loaded with what it resolves; what is not there is told so."""
    other, unknown = of_ref("pi_1"), of_ref("pi_2")
    await first.ledger.submit(TENANT, [reported(DISCREPANCY), reported(other)])

    def duplicate(key: str, of: bytes) -> Request:
        names: dict[str, Any] = {"resolution": Resolution.DUPLICATE_OF, "duplicate_of": finding_id(of)}
        return step(ResolveFinding, FINGERPRINT, 1, key, **names)

    missing = await second.ask(duplicate("unknown", unknown.fingerprint))
    resolved = await second.ask(duplicate("known", other.fingerprint))

    assert refused(missing).reason == error_pb2.ERROR_REASON_FINDING_NOT_FOUND
    assert refused(missing).metadata == {"finding_id": finding_id(unknown.fingerprint)}
    assert resolved.kind is FactKind.FINDING_CHANGED
    await assert_coherent(database_url, clock)


async def test_miss_and_see_it_again_is_back(first: Engine, second: Engine) -> None:
    """What had resolved itself is back when it is seen again, whatever the facts are."""
    await first.ask(reported(DISCREPANCY))
    await second.ask(Request(ResolveUnseen(fingerprint=FINGERPRINT, version=1, run=2)))
    stale = await first.ask(Request(ResolveUnseen(fingerprint=FINGERPRINT, version=1, run=3)))
    await first.ask(reported(DISCREPANCY, run=4))

    found = await stored_finding(first.pool, FINGERPRINT)

    assert stale.kind is None
    assert found is not None
    assert (found.state, found.version, found.run) == (FindingState.REOPENED, 3, 4)


async def test_live_long_through_two_processes_keeps_the_whole_history(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """Every version is there once, by the record that made it, and the row is the last of them."""
    randomness = random.Random(SEED)
    for number in range(60):
        clock.advance(seconds=1)
        known = await stored_finding(first.pool, FINGERPRINT)
        version = known.version if known is not None else 1
        kind = randomness.choice((AcknowledgeFinding, ResolveFinding, ReopenFinding))
        request = randomness.choice(
            (
                reported(later(DISCREPANCY, randomness.randrange(2))),
                Request(ResolveUnseen(fingerprint=FINGERPRINT, version=version, run=number)),
                step(kind, FINGERPRINT, version, f"key-{number}"),
            )
        )
        await randomness.choice((first, second)).ask(request)

    found = await stored_finding(second.pool, FINGERPRINT)
    history = await history_of(second.pool, FINGERPRINT)

    assert found is not None
    assert [version for version, _ in history] == list(range(1, found.version + 1))
    assert history[-1] == (found.version, found.state.name)
    assert found.version > 10
    await assert_coherent(database_url, clock)


@pytest.fixture
async def whole(first: Engine) -> Engine:
    """An engine with two findings, of which one was changed; the comments are the records' sequences."""
    await first.ask(reported(DISCREPANCY))  # 2, behind the tenant
    await first.ask(reported(of_ref("pi_1")))  # 3
    await first.ask(step(AcknowledgeFinding, FINGERPRINT, 1, "ack"))  # 4
    return first


async def verdict(running: Engine) -> journal_pb2.VerifyResult:
    """Return what VerifyJournal says."""
    results = [each async for each in verify(running.pool, TENANT)]
    assert isinstance(results[-1], journal_pb2.VerifyResult)
    return results[-1]


async def test_verify_untouched_findings_counts_them(whole: Engine) -> None:
    """Each is as its newest record has it."""
    result = await verdict(whole)

    assert not result.HasField("first_difference"), result.first_difference
    assert result.finding_count == 2


@pytest.mark.parametrize(
    ("change", "sequence", "column"),
    [
        ("state = 3", 4, "state"),
        ("severity = 1", 4, "severity"),
        ("version = 9", 4, "version"),
        ("assignee = 'mallory'", 4, "assignee"),
        ("provider = 'other'", 4, "provider"),
        ("class = 5", 4, "class"),
        ("payment_number = 7", 4, "payment_number"),
        ("subject_time = subject_time - interval '1 day'", 4, "subject_time"),
        ("open_time = open_time - interval '1 day'", 4, "open_time"),
        ("update_time = update_time - interval '1 day'", 4, "update_time"),
        ("body = body || '\\x00'::bytea", 4, "body"),
        ("changed_by = 2", 4, "changed_by"),
    ],
)
async def test_verify_altered_finding_names_it(
    whole: Engine, database_url: str, change: str, sequence: int, column: str
) -> None:
    """The first difference is named by the record that changed the finding last, and by what differs."""
    tamper(
        database_url, f"UPDATE reconciliation_findings SET {change} WHERE fingerprint = {sql(FINGERPRINT)}"
    )

    difference = (await verdict(whole)).first_difference

    assert difference.sequence == sequence
    assert FINGERPRINT.hex() in difference.subject
    assert difference.subject.endswith(f" {column}")


async def test_verify_deleted_and_invented_finding_names_it(whole: Engine, database_url: str) -> None:
    """A row that is gone, and one that nothing accounts for."""
    tamper(
        database_url,
        "INSERT INTO reconciliation_findings SELECT tenant_key, '\\x77', class, severity, state, version,"
        " provider, payment_number, assignee, subject_time, open_time, update_time, 3, body"
        f" FROM reconciliation_findings WHERE fingerprint = {sql(FINGERPRINT)}",
    )
    invented = (await verdict(whole)).first_difference
    tamper(database_url, f"DELETE FROM reconciliation_findings WHERE fingerprint <> {sql(FINGERPRINT)}")
    deleted = (await verdict(whole)).first_difference

    assert (invented.sequence, invented.expected, invented.actual) == (3, "absent", "present")
    assert "77" in invented.subject
    assert (deleted.sequence, deleted.expected, deleted.actual) == (3, "present", "absent")
    assert of_ref("pi_1").fingerprint.hex() in deleted.subject


@pytest.mark.parametrize(
    ("statement", "sequence", "subject"),
    [
        ("DELETE FROM finding_versions WHERE fingerprint = {0} AND version = 1", 4, "{1} count"),
        ("DELETE FROM finding_versions WHERE fingerprint = {0}", 4, "{1} count"),
        (
            "UPDATE finding_versions SET sequence = 3 WHERE fingerprint = {0} AND version = 1",
            3,
            "{1} version 1",
        ),
        (
            "UPDATE finding_versions SET sequence = 99 WHERE fingerprint = {0} AND version = 2",
            4,
            "{1} count",
        ),
        (
            "INSERT INTO finding_versions VALUES ({2}, {0}, 3, 2)",
            2,
            "{1} version 3",
        ),
    ],
)
async def test_verify_altered_history_of_finding_names_it(
    whole: Engine, database_url: str, statement: str, sequence: int, subject: str
) -> None:
    """What GetFinding tells of the past is what the journal says."""
    tamper(database_url, statement.format(sql(FINGERPRINT), "", KEY))

    difference = (await verdict(whole)).first_difference

    assert difference.sequence == sequence
    assert difference.subject == f"finding_versions {subject.format('', FINGERPRINT.hex())}"


def tamper(database_url: str, statement: str) -> None:
    """Change what is stored as a superuser may."""
    run_sql(database_url, f"SET session_replication_role = replica; {statement}")


def sql(fingerprint: bytes) -> str:
    """Return a fingerprint as SQL has it."""
    return f"'\\x{fingerprint.hex()}'::bytea"
