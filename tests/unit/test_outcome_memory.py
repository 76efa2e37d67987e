"""Own the proof that refusals leave nothing behind: raised ones refer to themselves by their traceback."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any, cast

import pytest

from ledger_server.domain.errors import IdempotencyKeyReused
from ledger_server.engine.lane.work import Outcome
from ledger_server.rpc.outcomes import settle

if TYPE_CHECKING:
    from ledger_server.rpc.serving import Context


def refuse_once() -> weakref.ref[IdempotencyKeyReused]:
    """Refuse a request as a servicer does, and return the refusal without keeping it."""
    refused = IdempotencyKeyReused(idempotency_key="key", method="PostTransaction")
    outcome = Outcome(None, refused=refused)
    with pytest.raises(IdempotencyKeyReused):
        settle(outcome, cast("Context", cast("Any", None)))
    return weakref.ref(refused)


def test_refusal_that_was_raised_is_collected() -> None:
    """Its traceback names the frame that holds the outcome that holds the refusal."""
    left = refuse_once()
    gc.collect()
    assert left() is None
