"""Own the lives of payments whose events are shuffled: what happens, in the order in which it happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from msgspec.structs import replace

from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallKind
from ledger_server.domain.payments.commands import ReportCall
from ledger_server.domain.payments.events import EventType, ProviderEvent
from tests.simulation.payments.model import PaymentModel, deposit_model, withdrawal_model
from tests.support.payments import REF, PaymentBooks, an_event

AMOUNT: Final = 1000
FUNDS: Final = 5000
PAYOUT_REF: Final = "po-1"
REFUND_REF: Final = "re-1"
# The provider's ref of a payment that our call has created, before the player has paid.
LINK_REF: Final = "link-1"
# Events of these types echo our id of the payment, where our call has created it.
ECHOING: Final = frozenset({EventType.PAYMENT_AUTHORIZED, EventType.PAYMENT_CAPTURED})

Kind = Literal["deposit", "created", "refund", "withdrawal"]
# Stands for our id of the refund until that is known.
OUR_REFUND: Final = "ref_ours"
# The provider's answer to our call, which may be heard early or late like an event.
ANSWER: Final = "the call is answered"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that happens, an event or the answer to a call, and its meaning for the model."""

    happening: ProviderEvent | str
    meaning: str
    amount: int = 0


@dataclass(frozen=True, kw_only=True)
class Script:
    """A payment's life.

    A `created` deposit is made at the provider by our call, and its events may echo our id. Of a `refund`,
    the deposit is captured and the refund asked for before the script begins.
    """

    name: str
    steps: tuple[Step, ...]
    kind: Kind = "deposit"

    def expected(self) -> PaymentModel:
        """Return the end that the model comes to in the order of the script."""
        if self.kind == "withdrawal":
            model = withdrawal_model(AMOUNT, wallet=FUNDS)
        else:
            model = deposit_model(AMOUNT, wallet=FUNDS)
            if self.kind == "refund":
                model.take("captured", AMOUNT)
        for step in self.steps:
            model.take(step.meaning, step.amount)
        return model


def on_deposit(
    meaning: str,
    kind: EventType,
    amount: int | None,
    ref: str,
    at: int,
    *,
    moved: int = 0,
    reason: str = "",
    stage: str = "",
    payment: str = REF,
) -> Step:
    """Return an event of a deposit that names it by the provider's ref.

    Args:
        moved: the amount that moves, if the event itself tells none.
        payment: the event's payment at the provider, if the deposit has several.
    """
    event = an_event(
        kind,
        amount,
        ref=payment,
        object_ref=ref,
        at=at,
        event_id=f"{at}-{kind.name}-{payment}-{ref}",
        reason=reason,
        stage=stage,
    )
    return Step(happening=event, meaning=meaning, amount=amount or moved)


def on_payout(meaning: str, kind: EventType, amount: int | None, at: int, *, ref: str = PAYOUT_REF) -> Step:
    """Return an event of a payout; it will echo our id of it."""
    event = an_event(kind, amount, ref=ref, at=at, event_id=f"{at}-{kind.name}-{ref}")
    return Step(happening=event, meaning=meaning, amount=amount or 0)


def on_our_refund(meaning: str, kind: EventType, amount: int, ref: str, at: int) -> Step:
    """Return an event of a refund that will echo our id of it."""
    event = an_event(kind, amount, object_ref=ref, at=at, event_id=f"{at}-{kind.name}-{ref}")
    return Step(happening=replace(event, object_id=OUR_REFUND), meaning=meaning, amount=amount)


ATTEMPT = on_deposit("nothing", EventType.PAYMENT_ATTEMPT_FAILED, None, "", 1)
AUTHORIZED = on_deposit("authorized", EventType.PAYMENT_AUTHORIZED, AMOUNT, "", 2)
CAPTURED = on_deposit("captured", EventType.PAYMENT_CAPTURED, AMOUNT, "cap-1", 3)
FEE = on_deposit("fee", EventType.FEE_CHARGED, 30, "fee-1", 4)
OPENED = on_deposit("nothing", EventType.DISPUTE_OPENED, AMOUNT, "dp-1", 5, reason="fraud")
DISPUTED = on_deposit("disputed", EventType.DISPUTE_FUNDS_WITHDRAWN, 800, "dp-1", 6, stage="chargeback")

SCRIPTS: Final = (
    Script(
        name="authorized, captured, fee, refunded",
        steps=(
            ATTEMPT,
            AUTHORIZED,
            CAPTURED,
            FEE,
            on_deposit("nothing", EventType.REFUND_PENDING, 400, REFUND_REF, 5),
            on_deposit("refunded", EventType.REFUND_SUCCEEDED, 400, REFUND_REF, 6),
        ),
    ),
    Script(
        name="captured, dispute lost",
        steps=(
            CAPTURED,
            OPENED,
            DISPUTED,
            on_deposit("fee", EventType.FEE_CHARGED, 15, "fee-dp-1", 7),
            on_deposit("nothing", EventType.DISPUTE_LOST, None, "dp-1", 8),
        ),
    ),
    Script(
        name="captured, dispute won",
        steps=(
            CAPTURED,
            OPENED,
            DISPUTED,
            on_deposit("nothing", EventType.DISPUTE_WON, None, "dp-1", 8),
            on_deposit("reinstated", EventType.DISPUTE_FUNDS_REINSTATED, 800, "dp-1", 9, stage="chargeback"),
        ),
    ),
    Script(
        name="dispute of two stages",
        steps=(
            CAPTURED,
            DISPUTED,
            on_deposit("reinstated", EventType.DISPUTE_FUNDS_REINSTATED, 800, "dp-1", 9, stage="chargeback"),
            on_deposit("disputed", EventType.DISPUTE_FUNDS_WITHDRAWN, 700, "dp-1", 10, stage="second"),
        ),
    ),
    Script(
        name="capture failed and captured again",
        steps=(
            AUTHORIZED,
            CAPTURED,
            on_deposit("capture failed", EventType.CAPTURE_FAILED, AMOUNT, "cap-1", 10),
            on_deposit("recaptured", EventType.PAYMENT_CAPTURED, AMOUNT, "cap-1", 20),
        ),
    ),
    Script(
        name="parts captured, one failed and captured again",
        steps=(
            on_deposit("captured", EventType.PAYMENT_CAPTURED, 600, "cap-1", 3),
            on_deposit("capture failed", EventType.CAPTURE_FAILED, 600, "cap-1", 10),
            on_deposit("recaptured", EventType.PAYMENT_CAPTURED, 600, "cap-1", 20),
            on_deposit("captured", EventType.PAYMENT_CAPTURED, 300, "cap-2", 30),
        ),
    ),
    Script(
        name="captured in parts, told as a whole too",
        steps=(
            AUTHORIZED,
            on_deposit("captured", EventType.PAYMENT_CAPTURED, 600, "cap-1", 3),
            on_deposit("captured", EventType.PAYMENT_CAPTURED, 400, "cap-2", 4),
            on_deposit("nothing", EventType.PAYMENT_CAPTURED, AMOUNT, "", 5),
        ),
    ),
    Script(
        name="failed late, after capture",
        steps=(
            AUTHORIZED,
            CAPTURED,
            FEE,
            on_deposit("failed", EventType.PAYMENT_FAILED, None, "", 9, reason="expired"),
        ),
    ),
    Script(
        name="captured after cancel",
        steps=(
            AUTHORIZED,
            on_deposit("failed", EventType.PAYMENT_FAILED, None, "", 2, reason="cancelled"),
            CAPTURED,
        ),
    ),
    Script(
        name="refund made at the provider came back",
        steps=(
            CAPTURED,
            on_deposit("refunded", EventType.REFUND_SUCCEEDED, 400, "", 5),
            on_deposit("nothing", EventType.REFUND_PENDING, 400, "", 4),
            on_deposit("refunded", EventType.REFUND_SUCCEEDED, 600, "re-2", 6),
            on_deposit("refund came back", EventType.REFUND_FAILED, None, "re-2", 9, moved=600),
        ),
    ),
    Script(
        name="created by our call, captured, fee, refunded",
        kind="created",
        steps=(
            Step(happening=ANSWER, meaning="nothing"),
            AUTHORIZED,
            CAPTURED,
            FEE,
            on_deposit("refunded", EventType.REFUND_SUCCEEDED, 400, REFUND_REF, 6),
        ),
    ),
    Script(
        name="refund asked from inside came back",
        kind="refund",
        steps=(
            Step(happening=ANSWER, meaning="nothing"),
            on_deposit("nothing", EventType.REFUND_PENDING, 400, REFUND_REF, 5),
            on_deposit("refunded", EventType.REFUND_SUCCEEDED, 400, REFUND_REF, 6),
            on_deposit("refund came back", EventType.REFUND_FAILED, None, REFUND_REF, 9, moved=400),
        ),
    ),
    Script(
        name="refund asked from inside, of another amount",
        kind="refund",
        steps=(
            Step(happening=ANSWER, meaning="nothing"),
            on_deposit("nothing", EventType.REFUND_PENDING, 350, REFUND_REF, 5),
            on_deposit("refunded otherwise", EventType.REFUND_SUCCEEDED, 350, REFUND_REF, 6),
            on_deposit("refund came back", EventType.REFUND_FAILED, None, REFUND_REF, 9, moved=350),
            on_deposit("refunded", EventType.REFUND_SUCCEEDED, 400, "re-2", 12),
        ),
    ),
    Script(
        name="payout paid, then returned",
        kind="withdrawal",
        steps=(
            Step(happening=ANSWER, meaning="nothing"),
            on_payout("nothing", EventType.PAYOUT_SUBMITTED, None, 2),
            on_payout("paid", EventType.PAYOUT_PAID, AMOUNT, 5),
            on_payout("fee", EventType.FEE_CHARGED, 7, 6),
            on_payout("returned", EventType.PAYOUT_FAILED, AMOUNT, 9),
        ),
    ),
    Script(
        name="gift card and card, the gift card refunded",
        kind="created",
        steps=(
            Step(happening=ANSWER, meaning="nothing"),
            on_deposit("captured", EventType.PAYMENT_CAPTURED, 300, "", 3, payment="gift-1"),
            on_deposit("captured", EventType.PAYMENT_CAPTURED, 700, "", 4, payment="card-1"),
            on_deposit("refunded", EventType.REFUND_SUCCEEDED, 300, REFUND_REF, 6, payment="gift-1"),
        ),
    ),
    Script(
        name="paid twice, one capture failed",
        kind="created",
        steps=(
            Step(happening=ANSWER, meaning="nothing"),
            on_deposit("captured", EventType.PAYMENT_CAPTURED, AMOUNT, "", 3, payment="pay-a"),
            on_deposit("captured again", EventType.PAYMENT_CAPTURED, AMOUNT, "", 4, payment="pay-b"),
            on_deposit("nothing", EventType.PAYMENT_CAPTURED, AMOUNT, "", 5, payment="pay-a"),
            on_deposit(
                "one capture failed", EventType.CAPTURE_FAILED, None, "", 6, payment="pay-a", moved=AMOUNT
            ),
        ),
    ),
    Script(
        name="one payment cancelled, another captured",
        kind="created",
        steps=(
            Step(happening=ANSWER, meaning="nothing"),
            on_deposit("nothing", EventType.PAYMENT_AUTHORIZED, AMOUNT, "", 1, payment="pay-a"),
            on_deposit("nothing", EventType.PAYMENT_FAILED, None, "", 2, payment="pay-a", reason="expired"),
            on_deposit("captured", EventType.PAYMENT_CAPTURED, AMOUNT, "cap-b", 3, payment="pay-b"),
        ),
    ),
    Script(
        name="a part captured, the rest cancelled",
        steps=(
            AUTHORIZED,
            on_deposit("captured", EventType.PAYMENT_CAPTURED, 600, "cap-1", 3),
            on_deposit("rest cancelled", EventType.PAYMENT_FAILED, None, "", 9),
        ),
    ),
    Script(
        name="fees, refunds and disputes without names",
        steps=(
            CAPTURED,
            on_deposit("fee", EventType.FEE_CHARGED, 10, "", 4),
            on_deposit("fee", EventType.FEE_CHARGED, 20, "", 5),
            on_deposit("refunded", EventType.REFUND_SUCCEEDED, 100, "", 6),
            on_deposit("refunded", EventType.REFUND_SUCCEEDED, 200, "", 7),
            on_deposit("disputed", EventType.DISPUTE_FUNDS_WITHDRAWN, 50, "", 8),
            on_deposit("disputed", EventType.DISPUTE_FUNDS_WITHDRAWN, 50, "", 9),
        ),
    ),
    Script(
        name="two refunds for one of ours, one came back",
        kind="refund",
        steps=(
            Step(happening=ANSWER, meaning="nothing"),
            on_our_refund("refunded", EventType.REFUND_SUCCEEDED, 400, REFUND_REF, 5),
            on_our_refund("refunded again", EventType.REFUND_SUCCEEDED, 400, "re-0", 6),
            on_our_refund("refund came back", EventType.REFUND_FAILED, 400, REFUND_REF, 9),
        ),
    ),
    Script(
        name="two payouts paid, ours returned",
        kind="withdrawal",
        steps=(
            Step(happening=ANSWER, meaning="nothing"),
            on_payout("paid", EventType.PAYOUT_PAID, AMOUNT, 5),
            on_payout("paid again", EventType.PAYOUT_PAID, AMOUNT, 6, ref="po-0"),
            on_payout("one returned", EventType.PAYOUT_FAILED, AMOUNT, 9),
        ),
    ),
    Script(
        name="another payout failed, ours paid",
        kind="withdrawal",
        steps=(
            Step(happening=ANSWER, meaning="nothing"),
            on_payout("nothing", EventType.PAYOUT_FAILED, AMOUNT, 9, ref="po-2"),
            on_payout("paid again", EventType.PAYOUT_PAID, AMOUNT, 5),
        ),
    ),
)


def fund(books: PaymentBooks) -> None:
    """Give the player enough that no order of events overdraws the wallet.

    Whether a wallet was ever overdrawn may depend on the order of events.
    """
    books.fund(FUNDS)


def begin(books: PaymentBooks, script: Script) -> int:
    """Do the steps before a script's events; return the number of its payment."""
    fund(books)
    if script.kind == "withdrawal":
        number = books.request(AMOUNT)
        books.approve(number)
        books.report(CallKind.CREATE_PAYOUT, number, CallBegun())
        return number
    if script.kind == "created":
        number = books.initiate(AMOUNT, ref="")
        books.report(CallKind.CREATE_PAYMENT, number, CallBegun())
        return number
    number = books.initiate(AMOUNT)
    if script.kind == "refund":
        assert isinstance(CAPTURED.happening, ProviderEvent)
        books.ingest(CAPTURED.happening)
        asked = books.ask_refund(number, 400)
        books.report(CallKind.REFUND, number, CallBegun(), subject=asked)
    return number


def answer(script: Script, payment: int, subject: int) -> ReportCall:
    """Return what the dispatcher tells when the provider has taken the call on."""
    if script.kind == "withdrawal":
        news = CallAccepted(provider_ref=PAYOUT_REF)
        return ReportCall(kind=CallKind.CREATE_PAYOUT, payment=payment, subject=payment, news=news)
    if script.kind == "created":
        news = CallAccepted(provider_ref=LINK_REF)
        return ReportCall(kind=CallKind.CREATE_PAYMENT, payment=payment, subject=payment, news=news)
    news = CallAccepted(provider_ref=REFUND_REF)
    return ReportCall(kind=CallKind.REFUND, payment=payment, subject=subject, news=news)
