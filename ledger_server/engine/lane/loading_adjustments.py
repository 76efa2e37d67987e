"""Owns the loading of adjustments into a working set."""

from collections.abc import Iterable

from defter.ledger.v1 import adjustment_pb2

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.state.working_set import AdjustmentEntry, WorkingSet
from ledger_server.engine.records.adjustments import adjustment_of
from ledger_server.store import adjustment_store
from ledger_server.store.database import AnyConnection


async def load_adjustments(
    connection: AnyConnection, key: TenantKey, working_set: WorkingSet, numbers: Iterable[int]
) -> None:
    """Read adjustments; one that does not exist leaves an empty entry, and one that is loaded stays."""
    wanted = sorted(numbers)
    found = await adjustment_store.load_adjustments(connection, key, wanted)
    for number in wanted:
        body = found.get(number)
        adjustment = None
        if body is not None:
            adjustment = adjustment_of(working_set.ids, adjustment_pb2.Adjustment.FromString(body))
        entry = working_set.adjustments.setdefault(number, AdjustmentEntry(adjustment))
        entry.stamp = working_set.stamp
