"""Owns the pages of reconciliation runs: the list, one with its progress and totals, and beginning one."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from console import csv_lists, refusals, words
from console.catalogue import N_
from console.csv_lists import Text
from console.formats import Formats, iso, moment_of
from console.forms import form_key, key_of
from console.ledger import RUN
from console.pages import Page
from console.side_charts import Chart, Pair, paired
from console.views.lists import PAGE_SIZE, Filters, csv_answer
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_MOST_GROUPS: Final = 12
_LOOKED_AT: Final = 1_000
_SHOWN: Final = 50
_OVERLAPS: Final = 10
_A_DAY: Final = timedelta(days=1)
_NEEDS_WINDOW: Final = N_("Say which provider account, and from when to when.")
_BACKWARDS: Final = N_("The end lies before the beginning.")
_FUTURE: Final = N_("The end lies in the future: what has not happened can't be compared.")


class Wanted(NamedTuple):
    """What somebody wants to compare, as far as it is clear; `problem` says what is not, in English."""

    provider: str
    from_time: Timestamp | None
    to_time: Timestamp | None
    problem: str


def _request(visit: Visit, filters: Filters) -> m.ListRunsRequest:
    return m.ListRunsRequest(
        tenant_id=visit.tenant_id,
        provider=filters.text("provider"),
        state=filters.number("state", words.RUN_STATES),  # type: ignore[arg-type]  # one of the words' keys
        page_size=PAGE_SIZE,
        page_token=filters.page_token,
    )


async def runs(visit: Visit) -> Response:
    """Show runs, the newest first."""
    ledger = visit.ledger
    request = _request(visit, Filters(visit))
    answer = await ledger.page(ledger.client.reconciliation.list_runs, request)
    return await visit.page(
        "runs.html",
        rows=answer.runs,
        state=request.state,
        next_token=answer.next_page_token,
        may_run=await _may(visit),
        any_under_way=any(each.state == m.RUN_STATE_RUNNING for each in answer.runs),
    )


async def as_csv(visit: Visit) -> Response:
    """Return all pages of the same list as a file."""
    request = _request(visit, Filters(visit))
    request.page_size, request.page_token = 1_000, ""
    ledger = visit.ledger

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        async for each in ledger.client.reconciliation.list_runs(request, metadata=ledger.metadata):
            yield (
                each.run_id,
                Text(each.provider),
                iso(each.from_time),
                iso(each.to_time),
                m.RunState.Name(each.state),
                str(each.fetched_count),
                str(each.matched_count),
                str(each.in_transit_count),
                str(sum(found.seen for found in each.classes)),
                str(each.opened_count),
                str(each.reopened_count),
                str(each.resolved_count),
                iso(each.begin_time),
                iso(each.end_time),
                Text(each.problem),
            )

    header = (
        "run_id,provider,from_time,to_time,state,fetched,matched,in_transit,discrepancies,opened,reopened"
    )
    rest = ("resolved", "begin_time", "end_time", "problem")
    return await csv_answer(visit, "runs", [*header.split(","), *rest], rows())


async def one(visit: Visit) -> Response:
    """Show one run."""
    return await _shown(visit, problem="", status=200)


async def beginning(visit: Visit) -> Response:
    """Ask for the account and the window, and show which runs have that time already."""
    wanted = _wanted(visit, visit.query) if "from" in visit.query else None
    problem = "" if wanted is None or not wanted.problem else visit.say(wanted.problem)
    return await _beginning(visit, wanted, problem=problem, status=422 if problem else 200)


async def begin(visit: Visit, form: dict[str, str]) -> Response:
    """Begin a run, and show it: it goes on by itself."""
    wanted = _wanted(visit, form)
    if wanted.problem:
        return await _beginning(visit, wanted, problem=visit.say(wanted.problem), status=422)
    request = m.RunReconciliationRequest(
        tenant_id=visit.tenant_id,
        provider=wanted.provider,
        from_time=wanted.from_time,
        to_time=wanted.to_time,
        idempotency_key=key_of(form),
    )
    ledger = visit.ledger
    try:
        answer = await ledger.first(ledger.client.reconciliation.run_reconciliation, request)
    except LedgerError as error:
        _forget_access(visit, error)
        return await _beginning(
            visit,
            wanted,
            problem=visit.say(refusals.sentence_of(error)),
            status=refusals.status_of(error),
            code=error.reason,
            other_run=error.metadata.get("run_id", ""),
            key=request.idempotency_key if error.outcome_unknown or error.retryable else "",
        )
    is_new = (visit.now - (moment_of(answer.run.begin_time) or visit.now)) < timedelta(seconds=30)
    visit.note("run_begun" if is_new and answer.run.state == m.RUN_STATE_RUNNING else "run_known")
    return visit.redirect(visit.path("runs", answer.run.run_id))


async def again(visit: Visit, form: dict[str, str]) -> Response:
    """Take an interrupted run up again, under its own key; else show it as it stands."""
    key_of(form)
    run = await _run(visit)
    request = m.RunReconciliationRequest(
        tenant_id=visit.tenant_id,
        provider=run.provider,
        from_time=run.from_time,
        to_time=run.to_time,
        idempotency_key=run.idempotency_key,
    )
    ledger = visit.ledger
    try:
        answer = await ledger.first(ledger.client.reconciliation.run_reconciliation, request)
    except LedgerError as error:
        _forget_access(visit, error)
        problem = visit.say(refusals.sentence_of(error))
        return await _shown(visit, problem=problem, status=refusals.status_of(error), code=error.reason)
    visit.note("run_begun" if answer.run.state == m.RUN_STATE_RUNNING else "run_known")
    return visit.redirect(visit.path("runs", answer.run.run_id))


def _forget_access(visit: Visit, error: LedgerError) -> None:
    if isinstance(error, AccessDenied):
        visit.ledger.forget_access(visit.tenant_id)


async def _may(visit: Visit) -> bool:
    return (await visit.ledger.may(visit.tenant_id, RUN))[RUN]


def _wanted(visit: Visit, typed: dict[str, str]) -> Wanted:
    """Return what was typed into the form, whose times are of the page's zone."""
    filters = Filters(visit)
    begin_time, end_time = filters.time_of(typed, "from"), filters.time_of(typed, "to")
    provider = typed.get("provider", "").strip()[:64]
    problem = next(iter(filters.problems.values()), "")
    if not problem and (begin_time is None or end_time is None or not provider):
        problem = _NEEDS_WINDOW
    if not problem and begin_time is not None and end_time is not None:
        if begin_time.ToNanoseconds() >= end_time.ToNanoseconds():
            problem = _BACKWARDS
        elif end_time.seconds > visit.now.timestamp():
            problem = _FUTURE
    return Wanted(provider, begin_time, end_time, problem)


async def _beginning(
    visit: Visit,
    wanted: Wanted | None,
    *,
    problem: str,
    status: int,
    code: str = "",
    other_run: str = "",
    key: str = "",
) -> Response:
    is_clear = wanted is not None and not wanted.problem
    zone = visit.console.zone
    midnight = visit.now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    typed = dict(visit.query) if visit.request.method == "GET" else {}
    if wanted is not None:
        typed["provider"] = wanted.provider
        typed["from"] = _typed(wanted.from_time, visit) or typed.get("from", "")
        typed["to"] = _typed(wanted.to_time, visit) or typed.get("to", "")
    return await visit.page(
        "run_begin.html",
        status,
        typed={"from": _local(midnight - _A_DAY), "to": _local(midnight), **typed},
        is_clear=is_clear,
        wanted=wanted,
        overlaps=await _overlapping(visit, wanted) if is_clear and wanted is not None else [],
        may_run=await _may(visit),
        key=key or form_key(),
        problem=problem,
        code_told=code,
        other_run=other_run,
    )


async def _overlapping(visit: Visit, wanted: Wanted) -> list[m.Run]:
    """Return the newest runs of the account that have some of the time."""
    assert wanted.from_time is not None
    assert wanted.to_time is not None
    ledger = visit.ledger
    request = m.ListRunsRequest(tenant_id=visit.tenant_id, provider=wanted.provider, page_size=_LOOKED_AT)
    answer = await ledger.page(ledger.client.reconciliation.list_runs, request)
    begin_ns, end_ns = wanted.from_time.ToNanoseconds(), wanted.to_time.ToNanoseconds()
    found = [
        each
        for each in answer.runs
        if each.from_time.ToNanoseconds() < end_ns and each.to_time.ToNanoseconds() > begin_ns
    ]
    return found[:_OVERLAPS]


def _local(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M")


def _typed(at: Timestamp | None, visit: Visit) -> str:
    """Return a time as a field of date and time has it, in the page's zone and exactly."""
    if at is None:
        return ""
    moment = at.ToDatetime(tzinfo=UTC).astimezone(visit.console.zone)
    return moment.strftime("%Y-%m-%dT%H:%M:%S" if moment.second else "%Y-%m-%dT%H:%M")


async def _run(visit: Visit) -> m.Run:
    ledger = visit.ledger
    request = m.GetRunRequest(tenant_id=visit.tenant_id, run_id=visit.request.path_params["run"])
    answer = await ledger.ask(ledger.client.reconciliation.get_run, request)
    return answer.run


async def _shown(visit: Visit, *, problem: str, status: int, code: str = "") -> Response:
    ledger, run = visit.ledger, await _run(visit)
    formats = Formats(
        visit.language, visit.console.zone, await visit.console.currencies.of(ledger), visit.now
    )
    findings, is_all = await _changed_findings(visit, run)
    return await visit.page(
        "run.html",
        status,
        r=run,
        chart=_chart(visit, run, formats),
        charts_left=max(0, len(run.totals) - _MOST_GROUPS),
        findings=findings,
        findings_all=is_all,
        is_under_way=run.state == m.RUN_STATE_RUNNING,
        stages=list(words.RUN_STAGES),
        may_run=await _may(visit),
        key=form_key(),
        problem=problem,
        code_told=code,
    )


def _chart(visit: Visit, run: m.Run, formats: Formats) -> Chart | None:
    """Return both sides' totals as bars; None where there are none."""
    pairs = [
        Pair(
            each.currency_code,
            each.ledger_minor,
            each.provider_minor,
            formats.amount(each.ledger_minor, each.currency_code),
            formats.amount(each.provider_minor, each.currency_code),
        )
        for each in run.totals[:_MOST_GROUPS]
    ]
    return paired(pairs, visit.say(N_("Ledger")), visit.say(N_("Provider"))) if pairs else None


async def _changed_findings(visit: Visit, run: m.Run) -> tuple[list[m.Finding] | None, bool]:
    """Return the findings that this run has changed last, and whether these are all that could be looked at.

    No list can be asked for them, so the newest of the account are looked through. None: the person may not.
    """
    if run.state == m.RUN_STATE_RUNNING or not (run.opened_count or run.reopened_count or run.resolved_count):
        return [], True
    ledger = visit.ledger
    request = m.ListFindingsRequest(tenant_id=visit.tenant_id, provider=run.provider, page_size=_LOOKED_AT)
    try:
        answer: Any = await ledger.page(ledger.client.findings.list_findings, request)
    except AccessDenied:
        return None, True
    found = [each for each in answer.findings if each.run_id == run.run_id]
    return found[:_SHOWN], len(found) <= _SHOWN and not answer.next_page_token


PAGES: Final = (
    Page("/t/{tenant}/runs", runs),
    Page("/t/{tenant}/runs.csv", as_csv),
    Page("/t/{tenant}/runs/new", beginning, begin),
    Page("/t/{tenant}/runs/{run}", one),
    Page("/t/{tenant}/runs/{run}/again", post=again),
)
