"""Owns the bookings of a payment: it moves money by the ledger's own commands, decided one after the other.

A payment's command may need several facts. Each fact is decided against a working set in which the facts
before it have taken effect. At the end all of them are taken back, since the caller applies facts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from ledger_server.domain.decisions.continuation import available, newest
from ledger_server.domain.decisions.ledger import decide_ledger
from ledger_server.domain.errors import AccountFrozen
from ledger_server.domain.ledger.accounts import AccountKind, AccountState, Direction, default_limits
from ledger_server.domain.ledger.holds import PAYMENT_OWNER, HoldState
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.payments.accounts import (
    check_use,
    clearing_account,
    fee_account,
    player_account,
)
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.domain.state.commands import (
    CaptureHold,
    Command,
    OpenAccount,
    PlaceHold,
    PostTransaction,
    ReleaseHold,
)
from ledger_server.domain.state.facts import Fact
from ledger_server.domain.state.working_set import WorkingSet

Payment = Deposit | Withdrawal


class Booking:
    """The facts of one payment command, as they come about."""

    def __init__(self, working_set: WorkingSet, now: datetime) -> None:
        self.working_set = working_set
        self.now = now
        self.facts: list[Fact] = []

    @property
    def next_number(self) -> int:
        """The sequence of the next fact's record."""
        return self.working_set.sequence + 1

    def add(self, fact: Fact) -> None:
        """Let a fact take effect."""
        self.working_set.apply(fact)
        self.facts.append(fact)

    def open_accounts(self, provider: str, player_id: str, currency: str, *, player: bool) -> None:
        """Open those of a payment's accounts that are missing; the player's only if asked to."""
        wanted = [
            (clearing_account(provider, currency), AccountKind.ASSET),
            (fee_account(provider, currency), AccountKind.EXPENSE),
        ]
        if player:
            wanted.append((player_account(player_id, currency), AccountKind.LIABILITY))
        for account_id, kind in wanted:
            if self.working_set.account(account_id) is None:
                self._do(
                    OpenAccount(
                        account_id=account_id,
                        kind=kind,
                        currency=currency,
                        limits=default_limits(kind),
                        metadata={},
                    )
                )

    def check_accounts(self, currency: str, *account_ids: str) -> None:
        """Refuse to move money on an account that is not what its name says; a missing account passes.

        Raises:
            CurrencyMismatch, AccountKindMismatch: the account was opened before such names were reserved.
        """
        for account_id in account_ids:
            # A wrong account is put right by continuing it; from then on its newest successor counts.
            entry = self.working_set.account(newest(self.working_set, account_id))
            if entry is not None and entry.account is not None:
                check_use(entry.account, currency)

    def check_unfrozen(self, *account_ids: str) -> None:
        """Refuse that somebody decides to have money leave an account that is frozen; a missing one passes.

        Raises:
            AccountFrozen: what providers tell of it still lands, since it has happened.
        """
        for account_id in account_ids:
            entry = self.working_set.account(newest(self.working_set, account_id))
            if entry is not None and entry.account is not None and entry.account.state is AccountState.FROZEN:
                raise AccountFrozen(account_id=entry.account.account_id)

    def hold(
        self,
        *,
        debit: str,
        credit: str,
        amount: int,
        currency: str,
        kind: TransactionType,
        of: str,
        expire_time: datetime | None = None,
    ) -> int:
        """Hold an amount, until a time if one is given; return the hold's number."""
        self.check_accounts(currency, debit, credit)
        number = self.next_number
        self._do(
            PlaceHold(
                debit_account_id=newest(self.working_set, debit),
                credit_account_id=newest(self.working_set, credit),
                amount=amount,
                currency=currency,
                expire_time=expire_time,
                type=kind,
                reference=of,
                metadata={PAYMENT_OWNER: of},
            )
        )
        return number

    def capture(self, hold: int, amount: int, *, final: bool, effective_time: datetime | None) -> int:
        """Post up to an amount out of a hold, if it is open; return how much."""
        remaining = self.held(hold)
        taken = min(amount, remaining)
        found = self.working_set.holds[hold].hold
        if taken and found is not None:
            self.check_accounts(found.currency, found.debit_account_id, found.credit_account_id)
            self._do(
                CaptureHold(
                    hold_id=self.working_set.ids.hold_id(hold),
                    number=hold,
                    amount=taken,
                    final=final,
                    reference="",
                    effective_time=effective_time,
                    metadata={},
                    outside=True,
                )
            )
        return taken

    def release(self, hold: int) -> None:
        """Undo what is still held, if anything is."""
        if self.held(hold):
            hold_id = self.working_set.ids.hold_id(hold)
            self._do(ReleaseHold(hold_id=hold_id, number=hold, outside=True))

    def held(self, hold: int) -> int:
        """Return what a hold still holds: nothing once its time has come, recorded or not."""
        found = self.working_set.holds[hold].hold
        if found is None or found.state is not HoldState.OPEN or found.due(self.now):
            return 0
        return found.remaining

    def post(
        self,
        kind: TransactionType,
        *,
        debit: str,
        credit: str,
        amount: int,
        currency: str,
        of: str,
        effective_time: datetime | None,
    ) -> None:
        """Post what has happened at the provider; a negative amount goes the other way."""
        if amount < 0:
            debit, credit, amount = credit, debit, -amount
        if amount:
            self.check_accounts(currency, debit, credit)
            postings = (
                NewPosting(debit, Direction.DEBIT, amount, currency),
                NewPosting(credit, Direction.CREDIT, amount, currency),
            )
            self._do(PostTransaction(kind, postings, of, effective_time, {}, outside=True, follow=True))

    def available(self, account_id: str) -> int:
        """Return what is available of an account, and of those that continue it, as they stand now."""
        return available(self.working_set, account_id)

    def overdrawn(self, account_id: str, before: int) -> bool:
        """Whether an account was taken below its lower limit since it had `before` available."""
        entry = self.working_set.account(newest(self.working_set, account_id))
        if entry is None or entry.account is None:
            return False
        limit = entry.account.limits.min_available
        left = self.available(account_id)
        return limit is not None and left < limit and left < before

    def _do(self, command: Command) -> None:
        self.add(decide_ledger(self.working_set, command, self.now))


@contextmanager
def booking(working_set: WorkingSet, now: datetime) -> Iterator[Booking]:
    """Begin a booking whose facts are taken back from the working set at the end."""
    working_set.begin_atomic()
    try:
        yield Booking(working_set, now)
    finally:
        working_set.undo_atomic()
