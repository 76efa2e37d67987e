"""Owns the commands on adjustments: one per keyed RPC."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from ledger_server.domain.adjustments.adjustment import AdjustmentPolicy, AdjustmentState
from ledger_server.domain.ledger.transactions import NewPosting


class RequestAdjustment(Struct, frozen=True, kw_only=True):
    """Ask for a transaction, whose postings are balanced already.

    `identity` proved who `actor` is, and is empty where nothing did.
    """

    postings: tuple[NewPosting, ...]
    reason: str
    description: str
    reference: str
    effective_time: datetime | None
    metadata: Mapping[str, str]
    actor: str
    identity: str


class AdjustmentStep(Struct, frozen=True, kw_only=True):
    """What all steps share; `number` is None for an id that can't be this tenant's.

    `expected` is the state in which it was seen; None: any.
    """

    adjustment_id: str
    number: int | None
    expected: AdjustmentState | None


class ApproveAdjustment(AdjustmentStep, frozen=True, kw_only=True):
    """Let an adjustment be posted; `identity` proved who the reviewer is, and is empty where nothing did."""

    reviewer: str
    note: str
    identity: str


class RejectAdjustment(AdjustmentStep, frozen=True, kw_only=True):
    """Refuse an adjustment."""

    reviewer: str
    reason: str


class CancelAdjustment(AdjustmentStep, frozen=True, kw_only=True):
    """Take an adjustment back, as who asked for it."""

    actor: str
    reason: str


class SetAdjustmentPolicy(Struct, frozen=True, kw_only=True):
    """Replace from which amounts the tenant wants a second person."""

    policy: AdjustmentPolicy


AdjustmentCommand = (
    RequestAdjustment | ApproveAdjustment | RejectAdjustment | CancelAdjustment | SetAdjustmentPolicy
)
