"""Own the adjustments of one tenant as a test talks to them: short calls over real gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from defter.ledger.v1 import adjustment_pb2 as pb
from defter.ledger.v1 import posting_pb2

from tests.support.ledger import Ledger
from tests.support.requests import CREDIT, DEBIT, leg

REQUESTED = pb.ADJUSTMENT_STATE_REQUESTED
POSTED = pb.ADJUSTMENT_STATE_POSTED
REJECTED = pb.ADJUSTMENT_STATE_REJECTED
CANCELLED = pb.ADJUSTMENT_STATE_CANCELLED


class Adjusters:
    """People who ask for adjustments and approve them; each change gets a fresh key unless one is given."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.stub = ledger.stubs.adjustments

    def asked(
        self,
        debit: str = "house",
        credit: str = "ann",
        amount_minor: int = 100,
        *,
        key: str | None = None,
        **fields: Any,
    ) -> pb.RequestAdjustmentRequest:
        """Return what ada asks for: two legs, unless others are given."""
        wanted: dict[str, Any] = {
            "postings": [leg(debit, DEBIT, amount_minor), leg(credit, CREDIT, amount_minor)],
            "reason": "goodwill",
            "actor": "ada",
        }
        return pb.RequestAdjustmentRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            **{**wanted, **fields},
        )

    async def request(
        self, debit: str = "house", credit: str = "ann", amount_minor: int = 100, **fields: Any
    ) -> pb.Adjustment:
        """Ask for an adjustment."""
        request = self.asked(debit, credit, amount_minor, **fields)
        return (await self.stub.RequestAdjustment(request)).adjustment

    async def request_legs(self, legs: Sequence[posting_pb2.NewPosting], **fields: Any) -> pb.Adjustment:
        """Ask for an adjustment of these legs."""
        return (await self.stub.RequestAdjustment(self.asked(postings=legs, **fields))).adjustment

    async def approve(
        self, adjustment_id: str, reviewer: str = "grace", *, key: str | None = None, **fields: Any
    ) -> pb.Adjustment:
        """Approve one."""
        request = pb.ApproveAdjustmentRequest(**self._step(adjustment_id, key), reviewer=reviewer, **fields)
        return (await self.stub.ApproveAdjustment(request)).adjustment

    async def reject(
        self, adjustment_id: str, reviewer: str = "grace", *, key: str | None = None, **fields: Any
    ) -> pb.Adjustment:
        """Refuse one."""
        wanted = {"reason": "no", **fields}
        request = pb.RejectAdjustmentRequest(**self._step(adjustment_id, key), reviewer=reviewer, **wanted)
        return (await self.stub.RejectAdjustment(request)).adjustment

    async def cancel(
        self, adjustment_id: str, actor: str = "ada", *, key: str | None = None, **fields: Any
    ) -> pb.Adjustment:
        """Take one back."""
        request = pb.CancelAdjustmentRequest(**self._step(adjustment_id, key), actor=actor, **fields)
        return (await self.stub.CancelAdjustment(request)).adjustment

    async def get(self, adjustment_id: str) -> pb.Adjustment:
        """Return one."""
        request = pb.GetAdjustmentRequest(tenant_id=self.ledger.tenant_id, adjustment_id=adjustment_id)
        return (await self.stub.GetAdjustment(request)).adjustment

    async def listed(self, *, page_size: int = 1_000, **filters: Any) -> list[pb.Adjustment]:
        """Return all that the filters let pass, page by page."""
        request = pb.ListAdjustmentsRequest(tenant_id=self.ledger.tenant_id, page_size=page_size, **filters)
        found: list[pb.Adjustment] = []
        while True:
            page = await self.stub.ListAdjustments(request)
            found += page.adjustments
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def set_policy(self, amounts: Mapping[str, int], *, key: str | None = None) -> pb.AdjustmentPolicy:
        """Say from which amounts a second person is needed."""
        request = pb.SetAdjustmentPolicyRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            policy=pb.AdjustmentPolicy(second_review_from_minor=amounts),
        )
        return (await self.stub.SetAdjustmentPolicy(request)).policy

    async def policy(self) -> pb.AdjustmentPolicy:
        """Return from which amounts a second person is needed."""
        request = pb.GetAdjustmentPolicyRequest(tenant_id=self.ledger.tenant_id)
        return (await self.stub.GetAdjustmentPolicy(request)).policy

    def _step(self, adjustment_id: str, key: str | None) -> dict[str, Any]:
        return {
            "tenant_id": self.ledger.tenant_id,
            "idempotency_key": key or self.ledger.new_key(),
            "adjustment_id": adjustment_id,
        }
