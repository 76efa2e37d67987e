"""Owns what the ledger's lists look like as CSV; docs/operations/csv.md tells what each column means."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from defter.ledger.v1 import account_pb2, journal_pb2
from defter.payments.v1 import payment_pb2
from defter.reconciliation.v1 import finding_pb2

from ledger_server.operator.csv_output import Number, Sheet, exact, time
from ledger_server.operator.money import Money

STATEMENT: Final = (
    "sequence",
    "leg",
    "record_time",
    "effective_time",
    "account_id",
    "phase",
    "direction",
    "amount",
    "pending_change",
    "posted_balance",
    "available_balance",
    "currency_code",
    "transaction_id",
    "type",
    "reference",
)
TRIAL_BALANCE: Final = (
    "sequence",
    "currency_code",
    "kind",
    "account_count",
    "posted_debits",
    "posted_credits",
    "pending_debits",
    "pending_credits",
)
FINDINGS: Final = (
    "finding_id",
    "class",
    "severity",
    "state",
    "version",
    "provider",
    "payment_id",
    "ledger_ref",
    "ledger_amount",
    "ledger_currency_code",
    "provider_ref",
    "provider_amount",
    "provider_currency_code",
    "description",
    "assignee",
    "resolution_reason",
    "note",
    "actor",
    "subject_time",
    "open_time",
    "update_time",
)
WITHDRAWALS: Final = (
    "withdrawal_id",
    "player_id",
    "provider",
    "provider_ref",
    "state",
    "amount",
    "paid",
    "currency_code",
    "destination",
    "reviewer",
    "reason",
    "reference",
    "request_time",
    "approve_time",
    "paid_time",
    "fail_time",
    "update_time",
)


def statement(account: account_pb2.Account, money: Money) -> Sheet:
    """Return the statement of an account: one row a line."""
    code = account.currency_code

    def rows(line: account_pb2.StatementLine) -> Iterator[Sequence[str]]:
        yield (
            Number(line.sequence),
            Number(line.leg),
            time(line.record_time),
            time(line.effective_time),
            account.account_id,
            _word(account_pb2.PostingPhase, line.phase, "POSTING_PHASE_"),
            _word(account_pb2.Direction, line.direction, "DIRECTION_"),
            exact(money, line.amount_minor, code),
            exact(money, line.pending_change_minor, code),
            exact(money, line.balance.posted_balance_minor, code),
            exact(money, line.balance.available_balance_minor, code),
            code,
            line.transaction_id,
            _word(account_pb2.TransactionType, line.type, "TRANSACTION_TYPE_"),
            line.reference,
        )

    return Sheet("lines", STATEMENT, rows)


def trial_balance(answer: journal_pb2.GetTrialBalanceResponse, money: Money) -> Iterator[Sequence[str]]:
    """Yield a row for each currency and kind of account; the sums of a currency's rows are equal."""
    for each in answer.trial_balances:
        for line in each.lines:
            sums = (
                line.posted_debits_minor,
                line.posted_credits_minor,
                line.pending_debits_minor,
                line.pending_credits_minor,
            )
            yield (
                Number(answer.sequence),
                each.currency_code,
                _word(account_pb2.AccountKind, line.kind, "ACCOUNT_KIND_"),
                Number(line.account_count),
                *(exact(money, int(minor), each.currency_code) for minor in sums),
            )


def findings(money: Money) -> Sheet:
    """Return findings: one row each."""

    def rows(found: finding_pb2.Finding) -> Iterator[Sequence[str]]:
        yield (
            found.finding_id,
            _word(finding_pb2.FindingClass, found.finding_class, "FINDING_CLASS_"),
            _word(finding_pb2.Severity, found.severity, "SEVERITY_"),
            _word(finding_pb2.FindingState, found.state, "FINDING_STATE_"),
            Number(found.version),
            found.provider,
            found.payment_id,
            *_side(found.ledger, money),
            *_side(found.at_provider, money),
            found.description,
            found.assignee,
            _word(finding_pb2.ResolutionReason, found.resolution_reason, "RESOLUTION_REASON_"),
            found.note,
            found.actor,
            time(found.subject_time),
            time(found.open_time),
            time(found.update_time),
        )

    return Sheet("findings", FINDINGS, rows)


def withdrawals(money: Money) -> Sheet:
    """Return withdrawals: one row each."""

    def rows(asked: payment_pb2.Withdrawal) -> Iterator[Sequence[str]]:
        yield (
            asked.withdrawal_id,
            asked.player_id,
            asked.provider,
            asked.provider_ref,
            _word(payment_pb2.WithdrawalState, asked.state, "WITHDRAWAL_STATE_"),
            exact(money, asked.amount_minor, asked.currency_code),
            exact(money, asked.paid_minor, asked.currency_code),
            asked.currency_code,
            asked.destination,
            asked.reviewer,
            asked.reason,
            asked.reference,
            time(asked.request_time),
            time(asked.approve_time),
            time(asked.paid_time),
            time(asked.fail_time),
            time(asked.update_time),
        )

    return Sheet("withdrawals", WITHDRAWALS, rows)


def _side(side: finding_pb2.Side, money: Money) -> tuple[str, str, str]:
    """Return ref, amount and currency of one side; no amount where it says none that is exact."""
    amount = exact(money, side.amount_minor, side.currency_code) if side.HasField("amount_minor") else ""
    return side.ref, amount, side.currency_code


def _word(values: Any, number: int, prefix: str) -> str:
    """Return the name of a code without what all of them begin with; empty for none."""
    return values.Name(number).removeprefix(prefix) if number else ""
