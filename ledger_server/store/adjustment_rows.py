"""Owns the rows of adjustments' facts: each adjustment as it stands, and the tenant's policy."""

import json
from collections.abc import Mapping
from typing import Any, Final

from ledger_server.domain.adjustments.adjustment import NO_ADJUSTMENT_POLICY, Adjustment, AdjustmentPolicy

# The columns behind `tenant_key` with their types, in the order of the row below.
ADJUSTMENT_TABLES: Final = {
    "adjustments": {
        "adjustment_number": "bigint",
        "state": "smallint",
        "requester": "text",
        "request_time": "timestamptz",
        "update_time": "timestamptz",
        "changed_by": "bigint",
        "body": "bytea",
    },
}
# The columns that a later fact may change.
ADJUSTMENT_UPSERTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "adjustments": ("adjustment_number", ("state", "update_time", "changed_by", "body")),
}


class AdjustmentRows:
    """The rows of one commit, the newest of each adjustment."""

    def __init__(self) -> None:
        self._adjustments: dict[int, tuple[Any, ...]] = {}

    @property
    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """The rows by table."""
        return {"adjustments": list(self._adjustments.values())}

    def add(self, adjustment: Adjustment, sequence: int, content: bytes) -> None:
        """Add what an adjustment writes; `content` is its message, which is kept as the body of its row."""
        self._adjustments[adjustment.number] = adjustment_row(adjustment, sequence, content)


def adjustment_row(adjustment: Adjustment, sequence: int, content: bytes) -> tuple[Any, ...]:
    """Return the row of an adjustment as the record of that sequence leaves it."""
    return (
        adjustment.number,
        adjustment.state,
        adjustment.requester,
        adjustment.request_time,
        adjustment.update_time,
        sequence,
        content,
    )


def adjustment_policy_text(policy: AdjustmentPolicy) -> str:
    """Return a policy as it is stored."""
    return json.dumps({"second_review_from": dict(policy.second_review_from)})


def adjustment_policy_in(text: str | None) -> AdjustmentPolicy:
    """Return the stored policy; the default if none was ever set."""
    if text is None:
        return NO_ADJUSTMENT_POLICY
    return AdjustmentPolicy(second_review_from=json.loads(text)["second_review_from"])
