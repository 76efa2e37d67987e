"""Owns the knobs: faults and delays of the provider, switched on by tests and demos."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from mock_psp.errors import InvalidRequest

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=86_400)]

Counted = Literal[
    "error_500",
    "error_500_after_execute",
    "late_failure",
    "lose_webhooks",
    "rate_limit",
    "reject",
    "timeout_after_execute",
    "timeout_before_execute",
]
"""Knobs that apply to the next so many calls, events or objects."""


class Knobs(Struct, kw_only=True, forbid_unknown_fields=True):
    """How the provider behaves; everything is harmless unless it is turned.

    Faults (time-outs, 500, 429 and delays) hit what `faults_hit` names. A count is used up by one for each
    call, event or object that it hits.

    Attributes:
        auto_complete: payments are authorized, captured and charged a fee, refunds and payouts done, by
            themselves `settle_seconds` after they were asked for. One with manual capture is authorized.
        fee_minor: what is charged on each capture that comes by itself; 0 charges nothing.
        enforce_balance: refuse payouts beyond what was taken in so far, with `insufficient_balance`.
        idempotency_seconds: for how long an idempotency key is kept.
        delay_seconds: pause after executing and before answering; the key is in use meanwhile.
        delay_execution_seconds: pause before executing; a caller that gave up finds nothing yet.
        timeout_before_execute: calls that hang for `hang_seconds` and lose their connection; nothing is done.
        timeout_after_execute: the same for calls that were executed; their answer is kept under their key.
        error_500: calls that fail with 500 before anything is done or kept.
        error_500_after_execute: calls that are executed and answered 500, now and at every replay.
        rate_limit: calls that are answered 429 with Retry-After `retry_after_seconds`.
        reject: writes that are refused with 402 and `reject_code`; the refusal is kept under the key.
        duplicate_webhooks: how many times each event is delivered, all at once.
        reorder_webhooks: events are gathered for a moment and delivered in another order.
        lose_webhooks: events that are never sent, unless they are sent again on request.
        late_webhooks_seconds: pause before the first delivery of an event.
        wrong_amount: added to the amounts that events tell, not to those that calls are answered.
        wrong_currency: told by events instead of the true one; empty tells the truth.
        late_failure: captures that fail, and payouts that come back, `settle_seconds` after they were done
            by themselves.
        moving_pages: the list of records is paged by position, and repeats rows as if others came in.
        shuffle_pages: the rows of a page of records come in disorder; the same disorder if the page is read
            again.
        clock_skew_seconds: how far ahead the provider's clock is, in its times and signatures.
    """

    auto_complete: bool = True
    settle_seconds: Seconds = 0.2
    fee_minor: Count = 0
    enforce_balance: bool = False
    idempotency_seconds: Annotated[float, Meta(ge=0)] = 86_400.0
    faults_hit: Literal["writes", "reads", "all"] = "writes"
    delay_seconds: Seconds = 0.0
    delay_execution_seconds: Seconds = 0.0
    timeout_before_execute: Count = 0
    timeout_after_execute: Count = 0
    hang_seconds: Seconds = 0.0
    error_500: Count = 0
    error_500_after_execute: Count = 0
    rate_limit: Count = 0
    retry_after_seconds: Count = 1
    reject: Count = 0
    reject_code: Annotated[str, Meta(min_length=1, max_length=64)] = "insufficient_balance"
    duplicate_webhooks: Annotated[int, Meta(ge=1, le=100)] = 1
    reorder_webhooks: bool = False
    lose_webhooks: Count = 0
    late_webhooks_seconds: Seconds = 0.0
    wrong_amount: int = 0
    wrong_currency: Annotated[str, Meta(pattern="^([A-Z0-9]{3,10})?$")] = ""
    late_failure: Count = 0
    moving_pages: bool = False
    shuffle_pages: bool = False
    clock_skew_seconds: Annotated[float, Meta(ge=-86_400, le=86_400)] = 0.0

    def take(self, name: Counted) -> bool:
        """Return whether a knob applies to the next one, and count it down."""
        left: int = getattr(self, name)
        if left:
            setattr(self, name, left - 1)
        return left > 0

    def patch(self, changes: Mapping[str, object]) -> None:
        """Turn some knobs, or none of them.

        Raises:
            InvalidRequest: a knob does not exist, or cannot be turned that far.
        """
        try:
            turned = msgspec.convert({**msgspec.structs.asdict(self), **changes}, Knobs)
        except msgspec.ValidationError as error:
            raise InvalidRequest("invalid_knob", str(error)) from None
        for name in Knobs.__struct_fields__:
            setattr(self, name, getattr(turned, name))
