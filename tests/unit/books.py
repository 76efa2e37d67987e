"""Own how a unit test builds a working set and lets the pure rules work on it."""

from datetime import UTC, datetime, timedelta
from typing import Final

from ledger_server.domain.decisions.ledger import decide_ledger, expire
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import (
    Account,
    AccountKind,
    AccountState,
    Counters,
    Direction,
    Limits,
)
from ledger_server.domain.ledger.holds import Expiry
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.state.commands import Command, Enforcement, PlaceHold, PostTransaction
from ledger_server.domain.state.facts import Fact, HoldChanged
from ledger_server.domain.state.working_set import AccountEntry, WorkingSet

NOW: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER: Final = NOW + timedelta(hours=1)


class Books:
    """A working set with accounts, and the shortest way to change it."""

    def __init__(self, *, enforcement: Enforcement = Enforcement.ENFORCED) -> None:
        self.working_set = WorkingSet(
            TenantIds(tenant_key(TenantId("unit"))),
            sequence=100,
            record_time=NOW,
            enforcement=enforcement,
            create_time=NOW,
        )

    def account(
        self,
        account_id: str,
        kind: AccountKind = AccountKind.LIABILITY,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
        state: AccountState = AccountState.OPEN,
        currency: str = "EUR",
        counters: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> None:
        """Put an account into the working set."""
        account = Account(
            number=len(self.working_set.accounts) + 1,
            account_id=account_id,
            kind=kind,
            currency=currency,
            state=state,
            limits=Limits(min_available=minimum, max_balance=maximum),
            open_time=NOW,
            metadata={},
            continues="",
            continued_by="",
        )
        self.working_set.accounts[account_id] = AccountEntry(account, Counters(*counters, version=0))

    def absent(self, account_id: str) -> None:
        """Say that an account is known not to exist."""
        self.working_set.accounts[account_id] = AccountEntry(None)

    def decide(self, command: Command, now: datetime = NOW) -> Fact:
        """Decide a command and let its fact take effect."""
        fact = decide_ledger(self.working_set, command, now)
        self.working_set.apply(fact)
        return fact

    def post(self, debit: str, credit: str, amount: int, now: datetime = NOW) -> Fact:
        """Post a transaction of two legs."""
        return self.decide(transfer(debit, credit, amount), now)

    def hold(self, debit: str, credit: str, amount: int, expire_time: Expiry | None = None) -> int:
        """Place a hold and return its number."""
        fact = self.decide(
            PlaceHold(
                debit_account_id=debit,
                credit_account_id=credit,
                amount=amount,
                currency="EUR",
                expire_time=expire_time,
                type=TransactionType.WITHDRAWAL,
                reference="",
                metadata={},
            )
        )
        assert isinstance(fact, HoldChanged)
        return fact.hold.number

    def expire_due(self, now: datetime) -> None:
        """Expire every due hold, as a lane does before it touches its accounts."""
        for hold in self.working_set.due_holds(self.working_set.accounts, now):
            self.working_set.apply(expire(self.working_set, hold))

    def counters(self, account_id: str) -> tuple[int, int, int, int]:
        """Return posted debits, posted credits, pending debits and pending credits."""
        counters = self.working_set.accounts[account_id].counters
        return (
            counters.posted_debits,
            counters.posted_credits,
            counters.pending_debits,
            counters.pending_credits,
        )


def transfer(debit: str, credit: str, amount: int, currency: str = "EUR") -> PostTransaction:
    """Return a command with one debit and one credit of the same amount."""
    return PostTransaction(
        TransactionType.TRANSFER,
        (
            NewPosting(debit, Direction.DEBIT, amount, currency),
            NewPosting(credit, Direction.CREDIT, amount, currency),
        ),
        "",
        None,
        {},
    )
