"""Owns the pages of findings: the queue, and one with both sides beside each other."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import csv_lists, refusals, words
from console.catalogue import N_
from console.csv_lists import Text
from console.formats import Formats, iso
from console.forms import form_key, key_of
from console.ledger import ACKNOWLEDGE, REOPEN, REPAIR, RESOLVE
from console.pages import Page
from console.views.lists import PAGE_SIZE, Filters, csv_answer
from console.views.repairs import preview_of
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

OPEN: Final = (m.FINDING_STATE_OPEN, m.FINDING_STATE_ACKNOWLEDGED, m.FINDING_STATE_REOPENED)
ENDED: Final = (m.FINDING_STATE_RESOLVED, m.FINDING_STATE_AUTO_RESOLVED)
_ACTS: Final = {"acknowledge": ACKNOWLEDGE, "resolve": RESOLVE, "reopen": REOPEN, "repair": REPAIR}
_DONE: Final = {"acknowledge": "acknowledged", "resolve": "resolved", "reopen": "reopened"}
_NEEDS_REASON: Final = N_("Choose why it is none any more.")


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the comparison of both sides."""

    label: str
    ledger: str
    provider: str
    kind: str

    @property
    def differs(self) -> bool:
        """Whether both sides say something, and not the same."""
        return bool(self.ledger) and bool(self.provider) and self.ledger != self.provider


def _request(visit: Visit, filters: Filters) -> m.ListFindingsRequest:
    """Return what the address asks for; without a state those that are open."""
    wanted = visit.query.get("state")
    state = filters.number("state", words.FINDING_STATES)
    states = OPEN if wanted in {None, "open"} else ENDED if wanted == "ended" else (state,) if state else ()
    return m.ListFindingsRequest(
        tenant_id=visit.tenant_id,
        states=states,  # type: ignore[arg-type]  # keys of the words
        finding_class=filters.number("class", words.FINDING_CLASSES),  # type: ignore[arg-type]
        min_severity=filters.number("severity", words.SEVERITIES),  # type: ignore[arg-type]
        provider=filters.text("provider"),
        payment_id=filters.text("payment"),
        assignee=filters.text("assignee"),
        page_size=PAGE_SIZE,
        page_token=filters.page_token,
    )


async def queue(visit: Visit) -> Response:
    """Show findings, those opened last first."""
    filters = Filters(visit)
    ledger = visit.ledger
    answer = await ledger.page(ledger.client.findings.list_findings, _request(visit, filters))
    return await visit.page(
        "findings.html", rows=answer.findings, next_token=answer.next_page_token, sequence=answer.sequence
    )


async def as_csv(visit: Visit) -> Response:
    """Return all pages of the same list as a file."""
    request = _request(visit, Filters(visit))
    request.page_size, request.page_token = 1_000, ""
    ledger = visit.ledger
    formats = Formats(
        visit.language, visit.console.zone, await visit.console.currencies.of(ledger), visit.now
    )

    def amount(side: m.Side) -> str:
        return formats.plain(side.amount_minor, side.currency_code) if side.HasField("amount_minor") else ""

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        pager = ledger.client.findings.list_findings(request, metadata=ledger.metadata)
        async for each in pager:
            yield (
                each.finding_id,
                m.FindingClass.Name(each.finding_class),
                m.Severity.Name(each.severity),
                m.FindingState.Name(each.state),
                Text(each.provider),
                each.payment_id,
                each.currency_code,
                amount(each.ledger),
                amount(each.at_provider),
                Text(each.description),
                Text(each.assignee),
                iso(each.open_time),
                iso(each.update_time),
            )

    header = "finding_id,class,severity,state,provider,payment_id,currency,ledger_amount,provider_amount"
    rest = ("description", "assignee", "open_time", "update_time")
    return await csv_answer(visit, "findings", [*header.split(","), *rest], rows())


async def one(visit: Visit) -> Response:
    """Show one finding."""
    return await _shown(visit, problem="", typed={}, status=200)


async def act(visit: Visit, form: dict[str, str]) -> Response:
    """Ask the ledger for a step; then show the finding as the ledger has it."""
    name, finding_id = visit.request.path_params["act"], visit.request.path_params["finding"]
    if name not in _ACTS:
        raise HTTPException(404)
    typed = {**form, "act": name}
    reason = form.get("reason", "")
    chosen = int(reason) if reason.isascii() and reason.isdecimal() and len(reason) < 4 else 0
    if name == "resolve" and chosen not in words.RESOLUTIONS:
        return await _shown(visit, problem=visit.say(_NEEDS_REASON), typed=typed, status=422)
    try:
        word = await _step(visit, name, finding_id, form, chosen)
    except LedgerError as error:
        if isinstance(error, AccessDenied):
            visit.ledger.forget_access(visit.tenant_id)
        typed["again"] = "yes" if error.outcome_unknown or error.retryable else ""
        problem = visit.say(refusals.sentence_of(error))
        return await _shown(
            visit, problem=problem, typed=typed, status=refusals.status_of(error), code=error.reason
        )
    visit.note(word)
    return visit.redirect(visit.path("findings", finding_id))


async def _step(visit: Visit, name: str, finding_id: str, form: dict[str, str], reason: int) -> str:
    """Make the step; return the word for what was done."""
    ledger = visit.ledger
    findings = ledger.client.findings
    common: dict[str, Any] = {"tenant_id": visit.tenant_id, "finding_id": finding_id, "actor": ledger.person}
    if name == "repair":
        # It has no key: done twice, it changes nothing.
        repaired = await ledger.ask(findings.repair_finding, m.RepairFindingRequest(**common))
        return "repaired_before" if repaired.duplicate else "repaired"
    version = form.get("version", "")
    common |= {
        "idempotency_key": key_of(form),
        "expected_version": int(version)
        if version.isascii() and version.isdecimal() and len(version) < 19
        else 0,
        "note": form.get("note", "").strip(),
    }
    answer: Any
    match name:
        case "acknowledge":
            assignee = form.get("assignee", "").strip() or ledger.person
            request = m.AcknowledgeFindingRequest(**common, assignee=assignee)
            answer = await ledger.ask(findings.acknowledge_finding, request)
        case "reopen":
            answer = await ledger.ask(findings.reopen_finding, m.ReopenFindingRequest(**common))
        case _:
            resolving = m.ResolveFindingRequest(
                **common,
                reason=reason,  # type: ignore[arg-type]  # one of the words' keys
                correction_transaction_id=form.get("transaction", "").strip(),
                duplicate_of_finding_id=form.get("duplicate", "").strip(),
            )
            answer = await ledger.ask(findings.resolve_finding, resolving)
    return "replayed" if answer.replayed else _DONE[name]


async def _shown(
    visit: Visit, *, problem: str, typed: dict[str, str], status: int, code: str = ""
) -> Response:
    ledger, tenant_id = visit.ledger, visit.tenant_id
    finding_id = visit.request.path_params["finding"]
    answer = await ledger.ask(
        ledger.client.findings.get_finding, m.GetFindingRequest(tenant_id=tenant_id, finding_id=finding_id)
    )
    finding = answer.finding
    may = await ledger.may(tenant_id, *_ACTS.values())
    formats = Formats(
        visit.language, visit.console.zone, await visit.console.currencies.of(ledger), visit.now
    )
    return await visit.page(
        "finding.html",
        status,
        f=finding,
        history=list(reversed(answer.history)),
        last_seen_run_id=answer.last_seen_run_id,
        last_seen_time=answer.last_seen_time,
        sequence=answer.sequence,
        facts=facts_of(finding, formats, visit),
        difference=difference_of(finding, formats),
        is_open=finding.state in OPEN,
        repair=preview_of(finding) if finding.state in OPEN else None,
        may={act: may[method] for act, method in _ACTS.items()},
        keys={
            name: typed["key"]
            if typed.get("again") and typed.get("act") == name and "key" in typed
            else form_key()
            for name in _ACTS
        },
        typed=typed,
        problem=problem,
        code_told=code,
    )


def facts_of(finding: m.Finding, formats: Formats, visit: Visit) -> list[Fact]:
    """Return what both sides say, line by line."""
    ours, theirs = finding.ledger, finding.at_provider

    def amount(side: m.Side) -> str:
        return formats.amount(side.amount_minor, side.currency_code) if side.HasField("amount_minor") else ""

    def kind(side: m.Side) -> str:
        word = words.RECORD_KINDS.get(side.kind, "")
        return visit.say(word) if word else ""

    lines = (
        (N_("Amount"), amount(ours), amount(theirs), "amount"),
        (N_("Currency"), ours.currency_code, theirs.currency_code, "code"),
        (N_("State, in that side's words"), ours.state, theirs.state, "state"),
        (N_("What it is of"), kind(ours), kind(theirs), "text"),
        (N_("Type at the provider"), ours.type, theirs.type, "outside"),
        (N_("When"), formats.time(ours.time), formats.time(theirs.time), "time"),
        (N_("Id on that side"), ours.ref, theirs.ref, "id"),
    )
    return [Fact(visit.say(label), left, right, kind) for label, left, right, kind in lines if left or right]


def difference_of(finding: m.Finding, formats: Formats) -> str:
    """Return by how much the provider's amount is another one; empty where that can't be said."""
    ours, theirs = finding.ledger, finding.at_provider
    if not (ours.HasField("amount_minor") and theirs.HasField("amount_minor")):
        return ""
    if ours.currency_code != theirs.currency_code or ours.amount_minor == theirs.amount_minor:
        return ""
    return formats.amount(theirs.amount_minor - ours.amount_minor, ours.currency_code)


PAGES: Final = (
    Page("/t/{tenant}/findings", queue),
    Page("/t/{tenant}/findings.csv", as_csv),
    Page("/t/{tenant}/findings/{finding}", one),
    Page("/t/{tenant}/findings/{finding}/{act}", post=act),
)
