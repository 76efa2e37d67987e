"""Owns the spans of a lane: how long a call's work waited, and the commit that it shared with others."""

import time

from defter_tracing import Place, Traces
from ledger_server.domain.state.facts import DepositChanged, WithdrawalChanged
from ledger_server.engine.lane.batch import Batch
from ledger_server.engine.lane.work import Work

_NS = 1_000_000_000


def record_batch(traces: Traces, tenant_id: str, batch: Batch, send_time: float) -> None:
    """Record what became of the traced works of a batch that has just been committed.

    Args:
        send_time: when the commit was sent, on the machine's monotonic clock.
    """
    now_ns = time.time_ns()
    send_ns = now_ns - max(round((time.monotonic() - send_time) * _NS), 0)
    for work in batch.works:
        if work.place is None:
            continue
        attributes: dict[str, str | int] = {
            "defter.tenant_id": tenant_id,
            "defter.requests": len(work.requests),
            "defter.records": len(work.rows),
        }
        payments = _payments(batch, work)
        if payments:
            attributes["defter.payment_id"] = ",".join(payments)
        # What was decided of a payment before, by another call, belongs to it too.
        others: list[Place] = []
        for number in payments.values():
            other = traces.remembered((tenant_id, number))
            if other is not None and other.trace_id != work.place.trace_id:
                others.append(other)
        lane = traces.record(
            "lane",
            below=work.place,
            begin_ns=work.begin_ns,
            end_ns=now_ns,
            attributes=attributes,
            beside=others,
        )
        traces.record(
            "commit",
            below=lane,
            begin_ns=max(send_ns, work.begin_ns),
            end_ns=now_ns,
            attributes={
                "db.system.name": "postgresql",
                "defter.tenant_id": tenant_id,
                "defter.batch.calls": len(batch.works),
                "defter.batch.requests": batch.request_count,
                "defter.batch.records": len(batch.rows),
            },
        )
        for row in work.rows:
            fact = row.fact
            if isinstance(fact, DepositChanged | WithdrawalChanged) and fact.owed is not None:
                traces.remember((tenant_id, _number(fact)), work.place)


def _payments(batch: Batch, work: Work) -> dict[str, int]:
    """Return the payments that a work has changed: ids with numbers."""
    found: dict[str, int] = {}
    for row in work.rows:
        fact = row.fact
        if isinstance(fact, DepositChanged):
            found[batch.ids.deposit_id(fact.deposit.number)] = fact.deposit.number
        elif isinstance(fact, WithdrawalChanged):
            found[batch.ids.withdrawal_id(fact.withdrawal.number)] = fact.withdrawal.number
    return found


def _number(fact: DepositChanged | WithdrawalChanged) -> int:
    return fact.deposit.number if isinstance(fact, DepositChanged) else fact.withdrawal.number
