"""Owns `defter adjustments`: transactions that people ask for by hand, and that others approve."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final

import typer
from defter.ledger.v1 import account_pb2, posting_pb2
from defter.ledger.v1 import adjustment_pb2 as pb
from rich.console import Console

from defter_client import Answer, LedgerClient
from ledger_server.operator import words
from ledger_server.operator.connection import (
    SERVER,
    Actor,
    Exit,
    Json,
    Server,
    Stopped,
    Tenant,
    actor_or_user,
    carry_out,
    open_ledger,
)
from ledger_server.operator.lists import Limit, Shape, show_list
from ledger_server.operator.money import Money, kept_money, known_money
from ledger_server.operator.screen import console, print_facts, print_json, print_line, print_table, when

app = typer.Typer(no_args_is_help=True, help="Move money by hand, with a second person.")

_STATES: Final = words.one_of(pb.AdjustmentState.DESCRIPTOR, "ADJUSTMENT_STATE_")
_Id = Annotated[str, typer.Argument(metavar="ADJUSTMENT", help="the adjustment's id, adj_…")]
_Changed = pb.ApproveAdjustmentResponse | pb.RejectAdjustmentResponse | pb.CancelAdjustmentResponse
_Send = Callable[[LedgerClient, str], Awaitable[Answer[_Changed]]]


@app.callback()
def group() -> None:
    """Move money by hand, with a second person."""


@app.command("request")
def request_adjustment(
    *,
    tenant: Tenant,
    key: Annotated[
        str,
        typer.Option(help="such as the number of the case: the same key is the same adjustment, for ever"),
    ],
    debit: Annotated[str, typer.Option(help="the account that is debited")],
    credit: Annotated[str, typer.Option(help="the account that is credited")],
    amount: Annotated[str, typer.Option(help="in major units, such as 25 or 25.50")],
    currency: Annotated[str, typer.Option(help="such as EUR")],
    reason: Annotated[str, typer.Option(help="why; it is kept for ever, so name no player")],
    description: Annotated[str, typer.Option(help="what those who approve should know besides")] = "",
    reference: Annotated[str, typer.Option(help="a reference of yours")] = "",
    actor: Actor = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Ask for money to be moved; below the tenant's amount it is moved at once, else it waits."""

    async def work() -> int:
        says = actor_or_user(actor)
        async with open_ledger(server) as ledger:
            money = await kept_money(ledger)
            minor = _minor(money, amount, currency)
            answer = await ledger.adjustments.request_adjustment(
                pb.RequestAdjustmentRequest(
                    tenant_id=tenant,
                    idempotency_key=key,
                    postings=[
                        _leg(debit, account_pb2.DIRECTION_DEBIT, minor, currency),
                        _leg(credit, account_pb2.DIRECTION_CREDIT, minor, currency),
                    ],
                    reason=reason,
                    description=description,
                    reference=reference,
                    actor=says,
                )
            )
        return _print_after(answer.response.adjustment, json=json)

    carry_out(work())


@app.command("approve")
def approve(
    adjustment: _Id,
    *,
    tenant: Tenant,
    note: Annotated[str, typer.Option(help="kept for ever, so name no player")] = "",
    actor: Actor = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Let an adjustment be posted that somebody else has asked for.

    The accounts decide as they are now; where they refuse, it waits on.
    """

    def send(ledger: LedgerClient, says: str) -> Awaitable[Answer[_Changed]]:
        return ledger.adjustments.approve_adjustment(
            pb.ApproveAdjustmentRequest(
                tenant_id=tenant,
                adjustment_id=adjustment,
                reviewer=says,
                note=note,
                expected_state=pb.ADJUSTMENT_STATE_REQUESTED,
            )
        )

    def done(known: pb.Adjustment, says: str) -> bool:
        return any(each.reviewer == says for each in known.approvals)

    carry_out(_change(server, tenant, adjustment, actor=actor, send=send, done=done, json=json))


@app.command("reject")
def reject(
    adjustment: _Id,
    *,
    tenant: Tenant,
    reason: Annotated[str, typer.Option(help="why; it is kept for ever, so name no player")],
    actor: Actor = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Refuse an adjustment; nothing is posted."""

    def send(ledger: LedgerClient, says: str) -> Awaitable[Answer[_Changed]]:
        return ledger.adjustments.reject_adjustment(
            pb.RejectAdjustmentRequest(
                tenant_id=tenant,
                adjustment_id=adjustment,
                reviewer=says,
                reason=reason,
                expected_state=pb.ADJUSTMENT_STATE_REQUESTED,
            )
        )

    def done(known: pb.Adjustment, says: str) -> bool:
        return (known.rejected_by, known.end_reason) == (says, reason)

    carry_out(_change(server, tenant, adjustment, actor=actor, send=send, done=done, json=json))


@app.command("cancel")
def cancel(
    adjustment: _Id,
    *,
    tenant: Tenant,
    reason: Annotated[str, typer.Option(help="why; it is kept for ever, so name no player")] = "",
    actor: Actor = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Take back what you have asked for; nothing is posted."""

    def send(ledger: LedgerClient, says: str) -> Awaitable[Answer[_Changed]]:
        return ledger.adjustments.cancel_adjustment(
            pb.CancelAdjustmentRequest(
                tenant_id=tenant,
                adjustment_id=adjustment,
                actor=says,
                reason=reason,
                expected_state=pb.ADJUSTMENT_STATE_REQUESTED,
            )
        )

    def done(known: pb.Adjustment, says: str) -> bool:
        ended = known.state == pb.ADJUSTMENT_STATE_CANCELLED
        return ended and (known.requester, known.end_reason) == (says, reason)

    carry_out(_change(server, tenant, adjustment, actor=actor, send=send, done=done, json=json))


@app.command("list")
def list_adjustments(
    *,
    tenant: Tenant,
    state: Annotated[
        int,
        typer.Option(parser=_STATES, show_default=False, metavar="STATE", help="only those that stand there"),
    ] = 0,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="else the oldest first")] = False,
    limit: Limit = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """List adjustments in the order in which they were asked for."""
    request = pb.ListAdjustmentsRequest(
        tenant_id=tenant,
        states=[pb.AdjustmentState.ValueType(state)] if state else [],
        newest_first=newest_first,
    )

    async def work() -> int:
        async with open_ledger(server) as ledger:
            shape = _shape(await known_money(ledger))
            await show_list(ledger.adjustments.list_adjustments, request, shape, json=json, limit=limit)
        return Exit.DONE

    carry_out(work())


@app.command("show")
def show(adjustment: _Id, *, tenant: Tenant, json: Json = False, server: Server = SERVER) -> None:
    """Show an adjustment: what it moves, who asked and why, and who has approved."""

    async def work() -> int:
        async with open_ledger(server) as ledger:
            known = await _read(ledger, tenant, adjustment)
            money = await known_money(ledger)
        if json:
            print_json(console(), known)
        else:
            _print(console(), known, money)
        return Exit.DONE

    carry_out(work())


@app.command("policy")
def policy(
    *,
    tenant: Tenant,
    amounts: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="CURRENCY=AMOUNT",
            help="from this amount (major units) on a second person is needed; replaces all that is set",
        ),
    ] = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Show, or set, from which amounts a second person is needed; of other currencies always."""

    async def work() -> int:
        async with open_ledger(server) as ledger:
            money = await kept_money(ledger)
            if amounts:
                wanted = pb.AdjustmentPolicy(second_review_from_minor=_amounts(money, amounts))
                request = pb.SetAdjustmentPolicyRequest(tenant_id=tenant, policy=wanted)
                found = (await ledger.adjustments.set_adjustment_policy(request)).response.policy
            else:
                asked = pb.GetAdjustmentPolicyRequest(tenant_id=tenant)
                found = (await ledger.adjustments.get_adjustment_policy(asked)).policy
        out = console()
        if json:
            print_json(out, found)
            return Exit.DONE
        for code, minor in sorted(found.second_review_from_minor.items()):
            print_line(out, f"from {money.show(minor, code)} on a second person is needed")
        others = "of any other currency" if found.second_review_from_minor else "of any currency"
        print_line(out, f"{others} a second person is always needed")
        return Exit.DONE

    carry_out(work())


async def _change(
    server: str,
    tenant: str,
    adjustment_id: str,
    *,
    actor: str | None,
    send: _Send,
    done: Callable[[pb.Adjustment, str], bool],
    json: bool,
) -> int:
    """Take a step; the same command line, sent again because its answer was lost, finds its own step."""
    says = actor_or_user(actor)
    async with open_ledger(server) as ledger:
        known = await _read(ledger, tenant, adjustment_id)
        if not done(known, says):
            known = (await send(ledger, says)).response.adjustment
    return _print_after(known, json=json)


async def _read(ledger: LedgerClient, tenant: str, adjustment_id: str) -> pb.Adjustment:
    request = pb.GetAdjustmentRequest(tenant_id=tenant, adjustment_id=adjustment_id)
    return (await ledger.adjustments.get_adjustment(request)).adjustment


def _print_after(adjustment: pb.Adjustment, *, json: bool) -> int:
    if json:
        print_json(console(), adjustment)
        return Exit.DONE
    further = {
        pb.ADJUSTMENT_STATE_REQUESTED: ": another person has to approve it",
        pb.ADJUSTMENT_STATE_POSTED: f" by {adjustment.transaction_id}",
    }
    told = f"{adjustment.adjustment_id} is {_state(adjustment)}{further.get(adjustment.state, '')}"
    print_line(console(), told)
    return Exit.DONE


def _print(out: Console, adjustment: pb.Adjustment, money: Money) -> None:
    facts = [
        ("state", _state(adjustment)),
        ("asked for", f"{when(adjustment.request_time)} UTC by {adjustment.requester}"),
        ("reason", adjustment.reason),
        ("description", adjustment.description),
        ("reference", adjustment.reference),
        *(
            ("approved", f"{when(each.approve_time)} UTC by {each.reviewer} {each.note}".rstrip())
            for each in adjustment.approvals
        ),
        ("rejected by", adjustment.rejected_by),
        ("ended because", adjustment.end_reason),
        ("transaction", adjustment.transaction_id),
    ]
    print_line(out, adjustment.adjustment_id)
    print_facts(out, [fact for fact in facts if fact[1]], indent=2)
    rows = [
        (
            account_pb2.Direction.Name(leg.direction).removeprefix("DIRECTION_"),
            leg.account_id,
            money.show(leg.amount_minor, leg.currency_code),
        )
        for leg in adjustment.postings
    ]
    print_table(out, ("side", "account", "amount"), rows, right=("amount",))


def _shape(money: Money) -> Shape:
    def row(asked: pb.Adjustment) -> Sequence[str]:
        return (
            asked.adjustment_id,
            _state(asked),
            ", ".join(money.show(each.amount_minor, each.currency_code) for each in asked.totals),
            asked.requester,
            when(asked.request_time),
            asked.reason,
        )

    columns = ("adjustment", "state", "amount", "asked by", "asked for", "reason")
    return Shape(
        "adjustments", ("adjustment", "adjustments"), columns, row, right=("amount",), whole=("adjustment",)
    )


def _state(adjustment: pb.Adjustment) -> str:
    return pb.AdjustmentState.Name(adjustment.state).removeprefix("ADJUSTMENT_STATE_")


def _leg(
    account_id: str, direction: account_pb2.Direction.ValueType, amount_minor: int, currency: str
) -> posting_pb2.NewPosting:
    return posting_pb2.NewPosting(
        account_id=account_id, direction=direction, amount_minor=amount_minor, currency_code=currency
    )


def _amounts(money: Money, told: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in told:
        currency, mark, amount = each.partition("=")
        if not mark or currency in found:
            raise Stopped(f"--set {each}: say each currency once, like EUR=100")
        found[currency] = _minor(money, amount, currency)
    return found


def _minor(money: Money, amount: str, currency: str) -> int:
    try:
        return money.minor(amount, currency)
    except ValueError as wrong:
        raise Stopped(str(wrong)) from None
