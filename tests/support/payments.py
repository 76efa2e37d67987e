"""Own the payments of one tenant without a database: short commands, and checks after every one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from ledger_server.domain.decisions.decide import decide
from ledger_server.domain.decisions.ledger import decide_ledger
from ledger_server.domain.decisions.payments.decide import decide_payment
from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import (
    Account,
    AccountKind,
    AccountState,
    Counters,
    Direction,
    Limits,
)
from ledger_server.domain.ledger.holds import Hold, HoldState
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.payments.calls import (
    CallAccepted,
    CallBegun,
    CallKind,
    CallNews,
    CallRejected,
    OwedCall,
)
from ledger_server.domain.payments.commands import (
    ANY,
    AddWithdrawalNote,
    ApproveWithdrawal,
    CancelWithdrawal,
    ClaimWithdrawal,
    IngestEvent,
    InitiateDeposit,
    MarkWithdrawalPaid,
    PaymentCommand,
    RefundDeposit,
    RejectWithdrawal,
    ReplayEvent,
    ReportCall,
    RequestWithdrawal,
    Seen,
    SetWithdrawalPolicy,
)
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventType, ProviderEvent, StoredEvent
from ledger_server.domain.payments.knowledge import RefundState
from ledger_server.domain.payments.withdrawal import Withdrawal, WithdrawalPolicy
from ledger_server.domain.state.commands import Enforcement, PostTransaction
from ledger_server.domain.state.facts import (
    DepositChanged,
    EventRecorded,
    Fact,
    FindingChanged,
    HoldCaptured,
    HoldChanged,
    TransactionPosted,
    WithdrawalChanged,
)
from ledger_server.domain.state.working_set import (
    AccountEntry,
    EventEntry,
    FindingEntry,
    HoldEntry,
    PaymentEntry,
    RefEntry,
    WorkingSet,
)
from ledger_server.engine.lane.loading_payments import named_by_event, payments_named

NOW: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)
PROVIDER: Final = "mock"
PLAYER: Final = "ann"
REF: Final = "pay-1"
WALLET: Final = "player:ann:real:EUR"
CLEARING: Final = "psp:mock:clearing:EUR"
FEES: Final = "psp:mock:fees:EUR"
HOUSE: Final = "house"


class Balances(NamedTuple):
    """The balances of the player's and then of the provider's accounts, minor units.

    `incoming` is pending money in, which the player can't spend; pending money out shows in `available`.
    """

    posted: int = 0
    available: int = 0
    incoming: int = 0
    clearing: int = 0
    fees: int = 0


def minute(number: int) -> datetime:
    """Return a time at the provider, in minutes after the ledger's own."""
    return NOW + timedelta(minutes=number)


def an_event(
    kind: EventType,
    amount: int | None = None,
    *,
    event_id: str = "",
    ref: str = REF,
    object_ref: str = "",
    payment: int | None = None,
    refund: int | None = None,
    provider: str = PROVIDER,
    currency: str = "EUR",
    problem: str = "",
    at: int = 0,
    final: bool = False,
    stage: str = "",
    reason: str = "",
) -> ProviderEvent:
    """Return an event; `at` is the minute in which it happened, `ref` the provider's id of the payment."""
    return ProviderEvent(
        provider=provider,
        event_id=event_id or f"{kind.name}-{object_ref}-{at}",
        type=kind,
        provider_type=kind.name.lower(),
        payment_ref=ref,
        payment_id="",
        payment=payment,
        object_ref=object_ref,
        object_id="",
        refund=refund,
        provider_amount=amount,
        amount=amount,
        problem=problem,
        currency=currency,
        occur_time=minute(at),
        final=final,
        stage=stage,
        reason=reason,
        payload=b"{}",
        unread=None,
        delivery="",
    )


class Snapshot(NamedTuple):
    """Everything that decisions depend on, and what they have noted; all of it immutable."""

    sequence: int
    policy: WithdrawalPolicy
    accounts: dict[str, tuple[Account | None, Counters]]
    holds: dict[int, Hold | None]
    payments: dict[int, Deposit | Withdrawal | None]
    refs: dict[tuple[str, str], int | None]
    events: dict[int, StoredEvent | None]
    findings: dict[tuple[str, int | None], Discrepancy]
    ended: frozenset[int]


class PaymentBooks:
    """One tenant's payments under the pure rules; everything that is not in memory is known not to exist."""

    def __init__(self, *, enforcement: Enforcement = Enforcement.ENFORCED) -> None:
        self.working_set = WorkingSet(
            TenantIds(tenant_key(TenantId("unit"))),
            sequence=100,
            record_time=NOW,
            enforcement=enforcement,
            create_time=NOW,
        )
        self.working_set.payments = defaultdict(lambda: PaymentEntry(None))
        self.working_set.refs = defaultdict(lambda: RefEntry(None))
        self.working_set.events = defaultdict(lambda: EventEntry(None))
        self.working_set.findings = defaultdict(lambda: FindingEntry(None))
        self.now = NOW
        self.owed: list[OwedCall] = []
        # By class and payment, which identify a finding.
        self.findings: dict[tuple[str, int | None], Discrepancy] = {}
        self.ended: frozenset[int] = frozenset()

    # Commands.

    def do(self, command: PaymentCommand) -> tuple[Fact, ...]:
        """Decide a command, let its facts take effect and check what must hold after every command."""
        facts = decide_payment(self.working_set, command, self.now)
        self._check_decision(command, facts)
        for fact in facts:
            self.working_set.apply(fact)
            self._note(fact)
        self.check()
        return facts

    def _check_decision(self, command: PaymentCommand, facts: Sequence[Fact]) -> None:
        """The one door decides the same, answers with the last fact, and has only consequences behind it."""
        decision = decide(self.working_set, command, self.now)
        assert decision.fault is None
        assert decision.facts[: len(facts)] == tuple(facts)
        assert decision.answer == (len(facts) - 1 if facts else None)
        behind = decision.facts[len(facts) :]
        assert all(isinstance(fact, FindingChanged | TransactionPosted) for fact in behind)
        told = {each.fingerprint for fact in facts for each in getattr(fact, "discrepancies", ())}
        opened = {fact.finding.fingerprint for fact in behind if isinstance(fact, FindingChanged)}
        mended = {each for fact in facts for each in getattr(fact, "mended", ())}
        assert opened <= told | mended
        self._check_named(command, facts)

    def _check_named(self, command: PaymentCommand, facts: Sequence[Fact]) -> None:
        """A finding is loaded with its payment, or named; one that is not would be opened a second time."""
        named = payments_named(self.working_set.ids, command)
        found = {*named.findings}
        for number in named.events:
            found.update(named_by_event(self.working_set, number).findings)
        seen = [each for fact in facts for each in getattr(fact, "discrepancies", ())]
        assert {each.fingerprint for each in seen if each.payment is None} <= found
        assert {each for fact in facts for each in getattr(fact, "mended", ())} <= found

    def initiate(
        self,
        amount: int = 1000,
        *,
        ref: str = REF,
        player: str = PLAYER,
        currency: str = "EUR",
        provider: str = PROVIDER,
    ) -> int:
        """Begin a deposit and return its number."""
        command = InitiateDeposit(
            player_id=player,
            provider=provider,
            amount=amount,
            currency=currency,
            provider_ref=ref,
            reference="",
            metadata={},
        )
        fact = self.do(command)[-1]
        assert isinstance(fact, DepositChanged)
        return fact.deposit.number

    def fund(self, amount: int, *, player: str = PLAYER) -> int:
        """Give a player money by a captured deposit of its own; return the deposit's number."""
        number = self.initiate(amount, ref=f"fund-{self.working_set.sequence}", player=player)
        self.ingest(an_event(EventType.PAYMENT_CAPTURED, payment=number, ref="", at=-60, event_id="fund"))
        return number

    def request(self, amount: int = 400, *, player: str = PLAYER, currency: str = "EUR") -> int:
        """Ask for a withdrawal and return its number."""
        command = RequestWithdrawal(
            player_id=player,
            provider=PROVIDER,
            amount=amount,
            currency=currency,
            destination="iban",
            reference="",
            metadata={},
        )
        fact = self.do(command)[-1]
        assert isinstance(fact, WithdrawalChanged)
        return fact.withdrawal.number

    def approve(self, number: int, reviewer: str = "rita", identity: str = "", *, seen: Seen = ANY) -> None:
        """Approve a withdrawal; with an identity, the reviewer is proved."""
        withdrawal_id = self.working_set.ids.withdrawal_id(number)
        self.do(
            ApproveWithdrawal(
                withdrawal_id=withdrawal_id,
                number=number,
                reviewer=reviewer,
                note="ok",
                identity=identity,
                seen=seen,
            )
        )

    def reject(self, number: int, *, seen: Seen = ANY) -> None:
        """Reject a withdrawal."""
        withdrawal_id = self.working_set.ids.withdrawal_id(number)
        self.do(
            RejectWithdrawal(
                withdrawal_id=withdrawal_id, number=number, reviewer="rita", reason="no", seen=seen
            )
        )

    def claim(
        self,
        number: int,
        reviewer: str = "rita",
        *,
        seconds: int | None = 900,
        take_over: bool = False,
        identity: str = "",
    ) -> None:
        """Say who works on a withdrawal; for no seconds at all, that nobody does."""
        self.do(
            ClaimWithdrawal(
                withdrawal_id=self.working_set.ids.withdrawal_id(number),
                number=number,
                reviewer=reviewer,
                identity=identity,
                claim_for=None if seconds is None else timedelta(seconds=seconds),
                take_over=take_over,
            )
        )

    def add_note(self, number: int, text: str, reviewer: str = "rita", *, identity: str = "") -> None:
        """Add a note to a withdrawal."""
        self.do(
            AddWithdrawalNote(
                withdrawal_id=self.working_set.ids.withdrawal_id(number),
                number=number,
                reviewer=reviewer,
                identity=identity,
                text=text,
            )
        )

    def cancel(self, number: int) -> None:
        """Cancel a withdrawal for the player."""
        withdrawal_id = self.working_set.ids.withdrawal_id(number)
        self.do(CancelWithdrawal(withdrawal_id=withdrawal_id, number=number, reason="changed my mind"))

    def mark_paid(self, number: int, ref: str = "") -> None:
        """Record by hand that a withdrawal was paid."""
        withdrawal_id = self.working_set.ids.withdrawal_id(number)
        self.do(
            MarkWithdrawalPaid(withdrawal_id=withdrawal_id, number=number, provider_ref=ref, reviewer="rita")
        )

    def set_policy(
        self, *, player_may_cancel: bool = False, second_review_from: Mapping[str, int] | None = None
    ) -> None:
        """Set what the tenant demands of withdrawals."""
        policy = WithdrawalPolicy(
            player_may_cancel=player_may_cancel, second_review_from=second_review_from or {}
        )
        self.do(SetWithdrawalPolicy(policy=policy))

    def ask_refund(self, deposit: int, amount: int) -> int:
        """Ask for a refund and return its number."""
        deposit_id = self.working_set.ids.deposit_id(deposit)
        self.do(RefundDeposit(deposit_id=deposit_id, number=deposit, amount=amount))
        return self.owed[-1].subject

    def ingest(self, event: ProviderEvent) -> StoredEvent:
        """Take in an event and return it as it was stored."""
        fact = self.do(IngestEvent(event=event))[-1]
        assert isinstance(fact, EventRecorded)
        return fact.stored

    def ingest_all(self, events: Iterable[ProviderEvent]) -> list[StoredEvent]:
        """Take in events in order."""
        return [self.ingest(event) for event in events]

    def replay(self, number: int) -> StoredEvent:
        """Apply a stored event again, by its number, and return it as it stands now."""
        event_id = self.working_set.ids.event_id(number)
        self.do(ReplayEvent(provider_event_id=event_id, number=number))
        stored = self.working_set.events[number].stored
        assert stored is not None
        return stored

    def report(
        self,
        kind: CallKind,
        payment: int,
        *news: CallNews,
        subject: int | None = None,
    ) -> None:
        """Report what became of an owed call."""
        for one in news:
            subject_number = payment if subject is None else subject
            self.do(ReportCall(kind=kind, payment=payment, subject=subject_number, news=one))

    def accepted(self, kind: CallKind, payment: int, ref: str, *, subject: int | None = None) -> None:
        """Report that a call was begun and that the provider has taken it on."""
        self.report(kind, payment, CallBegun(), CallAccepted(provider_ref=ref), subject=subject)

    def rejected(self, kind: CallKind, payment: int, *, subject: int | None = None) -> None:
        """Report that a call was begun and that the provider has refused it."""
        self.report(kind, payment, CallBegun(), CallRejected(reason="declined"), subject=subject)

    # What stands.

    def deposit(self, number: int) -> Deposit:
        """Return a deposit."""
        payment = self.working_set.payments[number].payment
        assert isinstance(payment, Deposit)
        return payment

    def withdrawal(self, number: int) -> Withdrawal:
        """Return a withdrawal."""
        payment = self.working_set.payments[number].payment
        assert isinstance(payment, Withdrawal)
        return payment

    def hold(self, number: int | None) -> Hold:
        """Return a hold."""
        assert number is not None
        hold = self.working_set.holds[number].hold
        assert hold is not None
        return hold

    def counters(self, account_id: str) -> Counters:
        """Return an account's counters; of one that does not exist, zeros."""
        entry = self.working_set.accounts.get(account_id)
        return (
            Counters(posted_debits=0, posted_credits=0, pending_debits=0, pending_credits=0, version=0)
            if entry is None
            else entry.counters
        )

    def balances(self, player: str = PLAYER) -> Balances:
        """Return what the accounts of a player and of the provider hold in EUR."""
        wallet = self.counters(f"player:{player}:real:EUR")
        clearing, fees = self.counters(CLEARING), self.counters(FEES)
        posted = wallet.posted_credits - wallet.posted_debits
        return Balances(
            posted=posted,
            available=posted - wallet.pending_debits,
            incoming=wallet.pending_credits,
            clearing=clearing.posted_debits - clearing.posted_credits,
            fees=fees.posted_debits - fees.posted_credits,
        )

    def finding_names(self) -> list[str]:
        """Return the classes of all findings, each as often as it stands on different payments."""
        return sorted(name for name, _ in self.findings)

    def post(self, debit: str, credit: str, amount: int) -> None:
        """Post a transaction in EUR that is no payment."""
        postings = (
            NewPosting(debit, Direction.DEBIT, amount, "EUR"),
            NewPosting(credit, Direction.CREDIT, amount, "EUR"),
        )
        command = PostTransaction(TransactionType.TRANSFER, postings, "", None, {})
        self.working_set.apply(decide_ledger(self.working_set, command, self.now))
        self.check()

    def spend(self, amount: int) -> None:
        """Let the player lose money to the house."""
        self.post(WALLET, HOUSE, amount)

    def open_house(self) -> None:
        """Open an asset account for postings that are no payments."""
        account = Account(
            number=1,
            account_id=HOUSE,
            kind=AccountKind.ASSET,
            currency="EUR",
            state=AccountState.OPEN,
            limits=Limits(min_available=None, max_balance=None),
            open_time=NOW,
            metadata={},
            continues="",
            continued_by="",
        )
        self.working_set.accounts[HOUSE] = AccountEntry(account)

    # Going back.

    def snapshot(self) -> Snapshot:
        """Return everything as it stands."""
        known = self.working_set
        return Snapshot(
            known.sequence,
            known.policy,
            {key: (entry.account, entry.counters) for key, entry in known.accounts.items()},
            {key: entry.hold for key, entry in known.holds.items()},
            {key: entry.payment for key, entry in known.payments.items()},
            {key: entry.number for key, entry in known.refs.items()},
            {key: entry.stored for key, entry in known.events.items()},
            dict(self.findings),
            self.ended,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to how everything stood."""
        known = self.working_set
        known.sequence = snapshot.sequence
        known.policy = snapshot.policy
        known.accounts = {key: AccountEntry(*value) for key, value in snapshot.accounts.items()}
        known.holds = {key: HoldEntry(hold) for key, hold in snapshot.holds.items()}
        known.payments.clear()
        known.payments.update((key, PaymentEntry(payment)) for key, payment in snapshot.payments.items())
        known.refs.clear()
        known.refs.update((key, RefEntry(number)) for key, number in snapshot.refs.items())
        known.events.clear()
        known.events.update((key, EventEntry(stored)) for key, stored in snapshot.events.items())
        self.findings = dict(snapshot.findings)
        self.ended = snapshot.ended

    # Checks.

    def check(self) -> None:
        """Check that the books balance, and that pending money equals the open holds, by owner."""
        posted: dict[str, int] = defaultdict(int)
        pending: dict[tuple[str, bool], int] = defaultdict(int)
        for entry in self.working_set.holds.values():
            hold = entry.hold
            if hold is not None and hold.state is HoldState.OPEN:
                assert hold.remaining > 0
                pending[hold.debit_account_id, False] += hold.remaining
                pending[hold.credit_account_id, True] += hold.remaining
        for name, account in self.working_set.accounts.items():
            if account.account is None:
                continue
            counters = account.counters
            posted[account.account.currency] += counters.posted_debits - counters.posted_credits
            assert counters.pending_debits == pending[name, False], name
            assert counters.pending_credits == pending[name, True], name
        assert not any(posted.values()), "debits equal credits in every currency"
        for number in list(self.working_set.payments):
            self._check_holds(number)

    def _check_holds(self, number: int) -> None:
        payment = self.working_set.payments[number].payment
        if payment is None:
            return
        if self.hold(payment.hold).state is not HoldState.EXPIRED:
            assert self._held(payment.hold) == payment.pending, "what is expected is what is held"
        if isinstance(payment, Deposit):
            for refund in payment.refunds:
                if refund.hold is not None:
                    expected = refund.amount if refund.state is RefundState.PENDING else 0
                    assert self._held(refund.hold) == expected, "a refund under way is held"

    def _held(self, number: int) -> int:
        hold = self.hold(number)
        return hold.remaining if hold.state is HoldState.OPEN else 0

    def _note(self, fact: Fact) -> None:
        if isinstance(fact, HoldChanged | HoldCaptured):
            assert fact.hold.number not in self.ended, "a hold ends once"
            if fact.hold.state is not HoldState.OPEN:
                self.ended |= {fact.hold.number}
        elif isinstance(fact, DepositChanged | WithdrawalChanged | EventRecorded):
            for found in fact.discrepancies:
                self.findings[found.kind.name, found.payment] = found
            if not isinstance(fact, EventRecorded) and fact.owed is not None:
                self.owed.append(fact.owed)
