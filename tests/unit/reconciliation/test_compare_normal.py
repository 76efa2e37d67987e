"""What happens with real providers every day, as a table: none of it is reported."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from ledger_server.domain.payments.events import (
    EventType,
    ProviderEvent,
)
from ledger_server.domain.payments.knowledge import CallState
from ledger_server.domain.payments.withdrawal import WithdrawalState
from ledger_server.domain.provider_record import ProviderRecord
from ledger_server.domain.reconciliation.payment_comparison import Verdict
from tests.unit.reconciliation.lives import (
    PAYMENT,
    a_deposit,
    a_withdrawal,
    hour,
)
from tests.unit.reconciliation.situations import (
    CAPTURE_FAILED,
    CAPTURED,
    FAILED,
    FEE,
    JUST_NOW,
    LISTED_PARTS,
    OPENED,
    OURS,
    PAID,
    PARTS,
    PENDING,
    RECAPTURED,
    REFUND_FAILED,
    REFUND_ID,
    REFUNDED,
    REINSTATED,
    RETURNED,
    SECOND,
    UNREFERRED,
    WHOLE,
    WITHDRAWN,
    W,
    compared,
    disputed,
    gave_back,
    kept,
    paid_out,
    row,
    told,
    took,
)

NORMAL = [
    row("captured", [CAPTURED], [took()]),
    row("webhook on its way", [], [took()], now=JUST_NOW, transit=1),
    row("record on its way", [CAPTURED], [], now=JUST_NOW, transit=1),
    row("begun an hour ago", [], [], now=hour(1), transit=1),
    row(
        "begun, and failed at the provider",
        [],
        [took(state=FAILED), took(-1000, 2, state=FAILED)],
        now=hour(5),
    ),
    row("captured in parts", PARTS, LISTED_PARTS),
    row("captured in parts, the first one before the window", PARTS, LISTED_PARTS, window=(20, 40)),
    row("captured in parts, the second one after the window", PARTS, LISTED_PARTS, window=(0, 10)),
    row("whole heard, whole listed", [WHOLE], [took(ref=PAYMENT)]),
    row("whole heard, parts listed", [WHOLE], [took(600), took(400, 2, "cap-2")]),
    row(
        "whole heard, parts listed, the first one before the window",
        [msgspec.structs.replace(WHOLE, occur_time=hour(30))],
        LISTED_PARTS,
        window=(20, 40),
    ),
    row("parts heard, whole listed", PARTS, [took(600, ref=PAYMENT), took(400, 30, ref=PAYMENT)]),
    row("parts heard, listed as one", PARTS, [took(1000, 30, ref=PAYMENT)]),
    row("parts and whole heard, parts listed", [*PARTS, WHOLE], LISTED_PARTS),
    row("parts by other names", [CAPTURED], [took(ref="txn-9")]),
    row("capture failed", [CAPTURED, CAPTURE_FAILED], [took(), took(-1000, 10, state=FAILED)]),
    row(
        "capture failed and captured again",
        [CAPTURED, CAPTURE_FAILED, RECAPTURED],
        [took(), took(-1000, 10), took(1000, 20)],
    ),
    row(
        "capture failed and captured again, only the failure in the window",
        [CAPTURED, CAPTURE_FAILED, RECAPTURED],
        [took(), took(-1000, 10, state=FAILED), took(1000, 20)],
        window=(5, 15),
    ),
    row(
        "capture failed and captured again, the window begins with the failure",
        [CAPTURED, CAPTURE_FAILED, RECAPTURED],
        [took(), took(-1000, 10), took(1000, 20)],
        window=(5, 30),
    ),
    row(
        "capture failed twice, the window begins with the first failure",
        [CAPTURED, CAPTURE_FAILED, RECAPTURED, told(EventType.CAPTURE_FAILED, None, "cap-1", 30)],
        [took(), took(-1000, 10), took(1000, 20), took(-1000, 30, state=FAILED)],
        window=(5, 40),
    ),
    row("in and out unheard", [CAPTURED], [took(), gave_back(), gave_back(400, 9, state=FAILED)]),
    row(
        "going out unheard, and it came back after the window",
        [CAPTURED],
        [took(), gave_back(state=FAILED), gave_back(400, 90, state=FAILED)],
        window=(0, 24),
        transit=1,
    ),
    row("payment link of another id", [CAPTURED], [took()], start=a_deposit(ref="link-1")),
    row(
        "first attempt failed under another id",
        [CAPTURED],
        [
            took(ref="cap-0", payment_ref="pay-0", state=FAILED),
            took(-1000, 1, "cap-0", payment_ref="pay-0", state=FAILED),
            took(),
        ],
        start=a_deposit(ref=""),
    ),
    row("refunded at the provider", [CAPTURED, REFUNDED], [took(), gave_back()]),
    row("refund pending at the provider, unheard", [CAPTURED], [took(), gave_back(state=PENDING)], transit=1),
    row(
        "refund failed after success",
        [CAPTURED, REFUNDED, REFUND_FAILED],
        [took(), gave_back(state=FAILED), gave_back(400, 9, state=FAILED)],
    ),
    row(
        "refund failed after success, only the failure in the window",
        [CAPTURED, REFUNDED, REFUND_FAILED],
        [took(), gave_back(state=FAILED), gave_back(400, 9, state=FAILED)],
        window=(7, 12),
    ),
    row(
        "two equal partial refunds",
        [CAPTURED, REFUNDED, told(EventType.REFUND_SUCCEEDED, 400, "re-2", 4)],
        [took(), gave_back(ref="re-2", at=4), gave_back()],
    ),
    row(
        "our refund, its ref not known yet",
        [CAPTURED, told(EventType.REFUND_SUCCEEDED, 400, "", 3, refund=20)],
        [took(), gave_back(our_id=REFUND_ID)],
        start=OURS,
    ),
    row(
        "our refund, heard of before it was known to be ours",
        [CAPTURED, REFUNDED],
        [took(), gave_back(our_id=REFUND_ID)],
        start=OURS,
        now=hour(20),
        transit=1,
    ),
    row(
        "refund without a ref",
        [CAPTURED, told(EventType.REFUND_SUCCEEDED, 400, "", 3)],
        [took(), gave_back()],
    ),
    row("dispute opened", [CAPTURED, OPENED], [took()]),
    row("dispute lost", [CAPTURED, WITHDRAWN], [took(), disputed()]),
    row("dispute won", [CAPTURED, WITHDRAWN, REINSTATED], [took(), disputed(), disputed(800, 15)]),
    row(
        "dispute of two stages, only the second in the window",
        [CAPTURED, WITHDRAWN, REINSTATED, SECOND],
        [took(), disputed(), disputed(800, 15), disputed(-800, 25)],
        window=(20, 30),
    ),
    row(
        "dispute given back, its beginning unheard",
        [CAPTURED, REINSTATED],
        [took(), disputed(), disputed(800, 15)],
    ),
    row(
        "dispute told again a day later",
        [CAPTURED, WITHDRAWN, msgspec.structs.replace(WITHDRAWN, occur_time=hour(29))],
        [took(), disputed()],
    ),
    row("dispute's webhook on its way", [CAPTURED], [took(), disputed()], now=hour(5.5), transit=1),
    row("fee", [CAPTURED, FEE], [took(), kept()]),
    row("fee of another name", [CAPTURED, FEE], [took(), kept(ref="txn-1")]),
    row("fee without a ref", [CAPTURED, told(EventType.FEE_CHARGED, 30, "", 2)], [took(), kept()]),
    row(
        "several fees",
        [CAPTURED, FEE, told(EventType.FEE_CHARGED, 30, "fee-2", 7)],
        [took(), kept(at=7, ref="fee-2"), kept()],
    ),
    row(
        "one fee booked that is listed in two",
        [CAPTURED, FEE],
        [took(), kept(-10, 2, "a"), kept(-20, 2, "b")],
    ),
    row("fee on its way for most of a day", [CAPTURED], [took(), kept()], now=hour(20), transit=1),
    row("paid out", [PAID], [paid_out()], start=W),
    row("paid out, ref unknown", [PAID], [paid_out()], start=UNREFERRED),
    row("payout submitted and pending", [], [paid_out(state=PENDING)], start=W, now=hour(20), transit=1),
    row(
        "payout listed days before it was paid",
        [msgspec.structs.replace(PAID, occur_time=hour(70))],
        [paid_out()],
        start=W,
    ),
    row(
        "payout returned",
        [PAID, RETURNED],
        [paid_out(state=FAILED), paid_out(500, 10, state=FAILED)],
        start=W,
    ),
    row(
        "payout returned, only the return in the window",
        [PAID, RETURNED],
        [paid_out(state=FAILED), paid_out(500, 10, state=FAILED)],
        start=W,
        window=(5, 15),
    ),
    row(
        "payout returned after the window",
        [PAID],
        [paid_out(state=FAILED), paid_out(500, 30, state=FAILED)],
        start=W,
        window=(0, 10),
    ),
    row(
        "payout's return on its way",
        [PAID],
        [paid_out(state=FAILED), paid_out(500, 10, state=FAILED)],
        start=W,
        now=hour(10.5),
        transit=1,
    ),
    row(
        "payout failed and was made again under another id",
        [PAID, RETURNED, msgspec.structs.replace(PAID, occur_time=hour(20))],
        [paid_out(state=FAILED), paid_out(500, 10, state=FAILED), paid_out(-500, 20, "po-2")],
        start=W,
    ),
    row("payout not approved yet", [], [], start=a_withdrawal(review=WithdrawalState.REQUESTED)),
    row("refused by the provider", [], [], start=msgspec.structs.replace(W, call_state=CallState.REJECTED)),
    row("nothing listed of a window before it", [CAPTURED], [], window=(-20, -10)),
    row("nothing missing in an incomplete listing", [CAPTURED, FEE, REFUNDED], [], complete=False),
    row("a move at the very end of the window is the next one's", [], [took()], window=(-24, 1), now=hour(8)),
    row(
        "whole heard, listed in two by its own id, the first one before the window",
        [msgspec.structs.replace(WHOLE, occur_time=hour(30))],
        [took(600, ref=PAYMENT), took(400, 30, ref=PAYMENT)],
        window=(20, 40),
    ),
    row(
        "listed days before it was captured",
        [msgspec.structs.replace(CAPTURED, occur_time=hour(70))],
        [took(ref=PAYMENT)],
        window=(0, 10),
    ),
    row(
        "second part on its way",
        [told(EventType.PAYMENT_CAPTURED, 600, "", 1)],
        [took(600), took(400, 1.2, "cap-2")],
        now=hour(2.1),
        transit=1,
    ),
    row(
        "failure unheard, alone in the window, and captured again since",
        [CAPTURED],
        [took(), took(-1000, 10), took(1000, 20)],
        window=(5, 15),
    ),
    row("dispute opened, in and out unheard", [CAPTURED, OPENED], [took(), disputed(), disputed(800, 15)]),
    row(
        "payout paid again, its return left out of an incomplete listing",
        [PAID, RETURNED, msgspec.structs.replace(PAID, occur_time=hour(20))],
        [paid_out(), paid_out(-500, 20)],
        start=W,
        complete=False,
    ),
    row(
        "payout's return left out of an incomplete listing",
        [PAID, RETURNED],
        [paid_out()],
        start=W,
        complete=False,
    ),
]


@pytest.mark.parametrize(("events", "records", "options"), NORMAL)
def test_compare_normal_situation_reports_nothing(
    events: Sequence[ProviderEvent], records: Sequence[ProviderRecord], options: dict[str, object]
) -> None:
    """What happens every day is no finding: it matches, or it is counted as in transit."""
    expected = dict(options)
    transit = expected.pop("transit", 0)

    result = compared(events, records, **expected)  # type: ignore[arg-type]  # Rows name options.

    assert [(each.kind.name, each.description) for each in result.discrepancies] == []
    assert result.in_transit == transit
    assert set(result.verdicts.values()) <= {Verdict.IN_TRANSIT}
