"""Whatever field of whatever is stored has another value, the record or the rows have another one too.

The cases are made from the types, so a field that is added is one of them before anybody thinks of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, get_args

import pytest
from defter.ledger.v1 import account_pb2, journal_pb2, posting_pb2
from defter.payments.v1 import payment_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.adjustments.adjustment import Adjustment, AdjustmentPolicy
from ledger_server.domain.errors import ReportMalformed
from ledger_server.domain.findings.discrepancy import Side
from ledger_server.domain.findings.finding import Finding
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import Account, Direction, available_balance, posted_balance
from ledger_server.domain.ledger.holds import Hold, HoldState
from ledger_server.domain.ledger.transactions import Line, Transaction, TransactionType
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventType, StoredEvent, UnreadReason
from ledger_server.domain.payments.withdrawal import Withdrawal, WithdrawalPolicy, WithdrawalState
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind
from ledger_server.domain.reconciliation.settlement import (
    NOTHING,
    SettlementBatchState,
    SettlementLine,
    Totals,
)
from ledger_server.domain.state import facts
from ledger_server.domain.state.commands import Method, NamedCaller, RequestKey
from ledger_server.domain.state.facts import FactKind
from ledger_server.engine.records.adjustments import (
    adjustment_fact,
    adjustment_message,
    adjustment_of,
    adjustment_policy_message,
    adjustment_policy_of,
)
from ledger_server.engine.records.deposits import deposit_message, deposit_of
from ledger_server.engine.records.events import (
    echoed_payment,
    event_message,
    event_of,
    event_type,
    unread_of,
)
from ledger_server.engine.records.findings import finding_message, finding_of
from ledger_server.engine.records.journal import (
    RecordEncoder,
    account_message,
    account_of_message,
    balance_message,
    hold_message,
    named_caller,
    reversible,
)
from ledger_server.engine.records.payments import PaymentFact, payment_content, payment_fact, payment_of
from ledger_server.engine.records.settlements import (
    batch_of,
    confirmed_batch,
    message_of,
    moved_batch,
    totals_of,
)
from ledger_server.engine.records.times import moment_in, timestamp
from ledger_server.engine.records.withdrawals import (
    policy_message,
    policy_of_message,
    withdrawal_message,
    withdrawal_of,
)
from ledger_server.store import lane_writes
from ledger_server.store.adjustment_rows import adjustment_policy_in, adjustment_policy_text
from ledger_server.store.lane_store import Head, account_of, counters_of, hold_of
from ledger_server.store.ledger_rows import (
    ACCOUNTS,
    HOLDS,
    POSTINGS,
    JournalRow,
    account_row,
    hold_row,
    listed,
    posting_rows,
)
from ledger_server.store.payment_rows import PAYMENT_TABLES, PaymentRows, policy_of, policy_text
from ledger_server.store.run_store import StoredRun
from ledger_server.store.settlement_store import StoredSettlementBatch
from tests.support.any_fact import FACTS, KINDS, any_fact
from tests.support.payments import NOW
from tests.support.stored import EXAMPLES, any_of, at, fields_of, others, places_of, with_other

IDS: Final = TenantIds(tenant_key(TenantId("unit")))
OTHERS: Final = TenantIds(tenant_key(TenantId("another")))
_HOLD: Final = Hold(
    number=1,
    debit_account_id="a",
    credit_account_id="b",
    currency="EUR",
    amount=1,
    captured=0,
    released=0,
    state=HoldState.OPEN,
    expire_time=None,
    type=TransactionType.BET,
    reference="",
    metadata={},
    place_time=NOW,
    end_time=None,
    limit_breached=False,
)
# What is rightly neither in a record nor in a row, by fact: a name stands for all that is within it.
NOT_WRITTEN: Final[Mapping[type[Struct], Mapping[str, str]]] = {
    facts.TransactionPosted: {
        "lines.account": "an account is named by its line, and stored by its own facts"
    },
    facts.HoldChanged: {"lines.account": "as of a transaction"},
    facts.HoldCaptured: {"lines.account": "as of a transaction"},
    facts.DepositChanged: {"discrepancies": "a finding's own fact follows"},
    facts.WithdrawalChanged: {"discrepancies": "a finding's own fact follows"},
    facts.EventRecorded: {
        "discrepancies": "a finding's own fact follows",
        "mended": "a finding's own fact follows",
        "stored.event.refund": "it is the number in `object_id`",
    },
}
NOT_TOLD: Final[Mapping[str, str]] = {
    "tenant_created.head_chain_hash": "the record can't have its own hash; a reader of the tenant adds it",
    "tenant_created.head_epoch": "it follows from the epochs of the tenant's records",
    **{
        f"{account}.limits.{name}": "only requests have it, so that no limit is not said by leaving it out"
        for account in (
            "account_limits_set.account",
            "account_continued.account",
            "account_continued.successor",
        )
        for name in ("min_unlimited", "max_unlimited")
    },
    "withdrawal_changed.approve_time": "some of all values have none; it has a test of its own below",
    "provider_event_recorded.event.payload": "the record has its digest, the row has it whole",
}
"""Fields of a record's messages that are empty, with the reason."""
TABLES: Final[Mapping[type[Struct], tuple[str, ...]]] = {
    facts.EnforcementChanged: ("tenants",),
    facts.AccountChanged: ("accounts",),
    facts.AccountContinued: ("accounts",),
    facts.TransactionPosted: ("postings",),
    facts.HoldChanged: ("holds", "postings"),
    facts.HoldCaptured: ("holds", "postings"),
    facts.RequestRejected: (),
    facts.DepositChanged: ("payments", "payment_refs", "outbox"),
    facts.WithdrawalChanged: ("payments", "payment_refs", "outbox"),
    facts.EventRecorded: ("provider_events",),
    facts.WithdrawalPolicySet: ("tenants",),
    facts.FindingChanged: ("reconciliation_findings", "finding_versions"),
    facts.EpochBegun: ("tenants",),
    facts.PlayerForgotten: ("player_keys",),
    facts.AdjustmentChanged: ("adjustments",),
    facts.AdjustmentPolicySet: ("tenants",),
}
"""What a fact changes, beside the journal."""
# Every field is tried in every example, and what has failed is named: nothing is won by making it smaller.
SETTINGS: Final = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Numbers(dict[str, int]):
    """Account numbers: every id has one of its own."""

    def __missing__(self, account_id: str) -> int:
        """Return a number that follows from the id alone."""
        return int.from_bytes(account_id.encode()[:6], "big")


REQUEST: Final = RequestKey(Method.OpenAccount, "key", player_id="ann")
CALLER: Final = NamedCaller("spiffe://d/console", "ann")


def encoded(fact: Any) -> tuple[bytes, bytes]:
    """Return a fact's message and its record."""
    return RecordEncoder("unit", IDS).encode(
        fact, sequence=300, record_time=NOW, request=REQUEST, digest=b"d", caller=CALLER
    )


def written(fact: Any) -> object:
    """Return everything that is stored of a fact."""
    content, record = encoded(fact)
    row = JournalRow(300, fact, REQUEST, b"d", NOW, record, b"c" * 32, content)
    return record, lane_writes._changes([row], Numbers())


def recorded(fact: Any) -> journal_pb2.JournalRecord:
    """Return a fact's record as a reader sees it."""
    return journal_pb2.JournalRecord.FromString(encoded(fact)[1])


def paths_of(message: Descriptor, of_oneof: str, path: str = "") -> Iterator[str]:
    """Yield the paths of all fields of a message and of those within it, and of one way of a choice."""
    for field in message.fields:
        if field.containing_oneof is not None and path == "" and field.name != of_oneof:
            continue
        here = f"{path}{field.name}"
        yield here
        if _is_ours(field):
            assert field.message_type is not None
            yield from paths_of(field.message_type, of_oneof, f"{here}.")


def set_in(message: Message, path: str = "") -> Iterator[str]:
    """Yield the paths of all fields that say something."""
    for field, value in message.ListFields():
        here = f"{path}{field.name}"
        yield here
        if _is_ours(field):
            for each in value if field.is_repeated else [value]:
                yield from set_in(each, f"{here}.")


def _is_ours(field: FieldDescriptor) -> bool:
    """Whether a field has a message of the contract in it."""
    inner = field.message_type
    return inner is not None and inner.file.package.startswith("defter") and not inner.GetOptions().map_entry


def message_bytes(message: Message) -> bytes:
    """Return what is stored of a message."""
    return message.SerializeToString(deterministic=True)


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
def test_any_field_of_a_fact_changes_what_is_stored(kind: type[Struct]) -> None:
    """Each field of a fact is in its record or in its rows, or is named above with the reason.

    And each field that the record's messages have says something in some example, whether or not the rows say
    it too.
    """
    told: set[str] = set()

    @SETTINGS
    @given(st.data())
    def try_each(data: st.DataObject) -> None:
        fact = data.draw(any_fact(kind))
        before = written(fact)
        told.update(set_in(recorded(fact)))
        for place in places_of(fact):
            if place.name in ("kind", "lines") or any(
                place.name == name or place.name.startswith(f"{name}.") for name in NOT_WRITTEN.get(kind, ())
            ):
                continue
            changed = with_other(fact, place.path, data.draw(others(place, at(fact, place.path))))
            assert written(changed) != before, place.name
            told.update(set_in(recorded(changed)))

    try_each()
    name = KINDS[kind][0].name.lower()
    assert set(paths_of(journal_pb2.JournalRecord.DESCRIPTOR, name)) - told <= NOT_TOLD.keys()


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
@SETTINGS
@given(st.data())
def test_fact_writes_to_its_tables(kind: type[Struct], data: st.DataObject) -> None:
    """What the record tells as well would not be missed by anybody who reads records alone."""
    fact = data.draw(any_fact(kind))
    row = JournalRow(300, fact, None, None, NOW, b"r", b"c", b"content")
    changes = lane_writes._changes([row], Numbers())

    assert changes.tables.keys() | {"tenants"} == {"journal", "tenants", *TABLES[kind]}
    assert bool(changes.of_tenant) == ("tenants" in TABLES[kind])
    number = {"payments": 0, "provider_events": 0, "accounts": 0, "holds": 0, "reconciliation_findings": 0}
    for name, table in changes.tables.items():
        assert all(len(each) == len(lane_writes._TABLES[name]) for each in table), name
        if name in number:
            assert len({each[number[name]] for each in table}) == len(table), name


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
def test_what_is_not_written_is_still_a_field(kind: type[Struct]) -> None:
    """An exception for a field that is gone would excuse the next one of its name."""
    for name in NOT_WRITTEN.get(kind, ()):
        found: Any = kind
        for step in name.split("."):
            hint = fields_of(found)[step]
            found = next(iter(getattr(hint, "__args__", ())), hint)


RECORDED: Final[Mapping[type[Struct], Callable[[Any], Message]]] = {
    Account: account_message,
    Hold: lambda hold: hold_message(IDS, hold),
    Deposit: lambda deposit: deposit_message(IDS, deposit),
    Withdrawal: lambda withdrawal: withdrawal_message(IDS, withdrawal),
    StoredEvent: lambda stored: event_message(IDS, stored, NOW),
    Finding: lambda finding: finding_message(IDS, finding),
    WithdrawalPolicy: policy_message,
    Adjustment: lambda adjustment: adjustment_message(IDS, adjustment),
    AdjustmentPolicy: adjustment_policy_message,
}
NOT_RECORDED: Final = {
    (Account, "number"): "it is the sequence of the record that opened the account",
    (StoredEvent, "event.payload"): "the record has its digest, the row has it whole",
    (StoredEvent, "event.payment"): "it is the number in `payment_id`",
    (StoredEvent, "event.refund"): "it is the number in `object_id`",
}
"""What of a struct's own message is missing in it, with the reason."""


@pytest.mark.parametrize("kind", RECORDED, ids=lambda kind: kind.__name__)
@SETTINGS
@given(st.data())
def test_any_field_changes_the_record(kind: type[Struct], data: st.DataObject) -> None:
    """What is stored follows from the journal, so the journal says all of it."""
    value = data.draw(any_of(kind))
    before = message_bytes(RECORDED[kind](value))
    for place in places_of(value):
        if (kind, place.name) not in NOT_RECORDED:
            other = data.draw(others(place, at(value, place.path)))
            changed = with_other(value, place.path, other)
            assert message_bytes(RECORDED[kind](changed)) != before, place.name


@SETTINGS
@given(any_of(Withdrawal))
def test_any_withdrawal_tells_what_follows_from_its_fields(drawn: Withdrawal) -> None:
    """Callers read the sums and the state, and nobody reads them back."""
    for review in WithdrawalState:  # each of them, since one alone has a time of approval
        assert_told(replace(drawn, review=review))


def assert_told(withdrawal: Withdrawal) -> None:
    """What follows from the fields of a withdrawal is in its message."""
    message = withdrawal_message(IDS, withdrawal)

    assert (int(message.state), int(message.review_state)) == (withdrawal.state, withdrawal.review)
    assert (message.paid_minor, message.debited_minor) == (withdrawal.paid_in_all, withdrawal.debited)
    assert message.fee_minor == withdrawal.fee
    payouts = withdrawal.objects
    for field, times in (
        ("approve_time", [withdrawal.approve_time]),
        ("paid_time", [payout.paid_time for payout in payouts]),
        ("fail_time", [payout.fail_time for payout in payouts]),
    ):
        known = [time for time in times if time is not None]
        assert moment_in(message, field) == max(known, default=None), field


@SETTINGS
@given(any_of(Deposit))
def test_any_deposit_tells_what_follows_from_its_fields(deposit: Deposit) -> None:
    """The same."""
    message = deposit_message(IDS, deposit)

    assert int(message.state) == deposit.state
    assert (message.captured_minor, message.refunded_minor) == (deposit.captured, deposit.refunded)
    assert (message.disputed_minor, message.fee_minor) == (deposit.disputed, deposit.fee)
    assert [int(each.state) for each in message.refunds] == [each.state for each in deposit.refunds]


def _balance_after(line: Line) -> account_pb2.AccountBalance:
    after, kind = line.after, line.account.kind
    return account_pb2.AccountBalance(
        posted_debits_minor=after.posted_debits,
        posted_credits_minor=after.posted_credits,
        pending_debits_minor=after.pending_debits,
        pending_credits_minor=after.pending_credits,
        posted_balance_minor=posted_balance(kind, after),
        available_balance_minor=available_balance(kind, after),
        version=after.version,
    )


LEFT_OUT: Final[Mapping[str, object]] = {
    "reference": "",
    "metadata": {},
    "reverses": None,
    "hold": None,
    "limit_breached": False,
    "outside": False,
    "adjustment": None,
}


@SETTINGS
@given(any_of(Transaction), st.lists(any_of(Line), min_size=1, max_size=3).map(tuple))
@pytest.mark.parametrize("present", [None, *LEFT_OUT])
def test_any_transaction_is_told_by_the_names_of_its_fields(
    present: str | None, transaction: Transaction, lines: tuple[Line, ...]
) -> None:
    """Whatever else it has or has not, and as a reversal needs it."""
    left_out = {name: value for name, value in LEFT_OUT.items() if present not in (None, name)}
    flags = {name: True for name, value in LEFT_OUT.items() if value is False and name not in left_out}
    transaction = replace(transaction, **left_out, **flags)
    reverses, hold = transaction.reverses, transaction.hold
    fact = facts.TransactionPosted(FactKind.TRANSACTION_POSTED, transaction, lines)
    content, record = encoded(fact)

    assert posting_pb2.Transaction.FromString(content) == posting_pb2.Transaction(
        transaction_id=IDS.transaction_id(300),
        sequence=300,
        type=int(transaction.type),  # type: ignore[arg-type]
        postings=[
            posting_pb2.Posting(
                account_id=line.account.account_id,
                direction=int(line.direction),  # type: ignore[arg-type]
                amount_minor=line.amount,
                currency_code=line.account.currency,
                balance=_balance_after(line),
            )
            for line in lines
        ],
        effective_time=timestamp(transaction.effective_time),
        record_time=timestamp(NOW),
        reference=transaction.reference,
        metadata=transaction.metadata,
        reverses_transaction_id="" if reverses is None else IDS.transaction_id(reverses),
        hold_id="" if hold is None else IDS.hold_id(hold),
        limit_breached=transaction.limit_breached,
        adjustment_id=IDS.adjustment_id(transaction.adjustment) if transaction.adjustment is not None else "",
        outside=transaction.outside,
    )
    entry = reversible(record, 7)
    assert entry.legs is not None
    assert [(leg.account_id, leg.direction, leg.amount, leg.currency) for leg in entry.legs] == [
        (line.account.account_id, line.direction, line.amount, line.account.currency) for line in lines
    ]
    assert (entry.is_reversal, entry.reversed_by) == (reverses is not None, 7)
    assert entry.owner == (transaction.reference if transaction.outside else "")


@SETTINGS
@given(any_of(Transaction), any_of(Line))
def test_only_a_continuation_carries_an_account_on(transaction: Transaction, line: Line) -> None:
    """A reversal is refused by it, so each type is asked, and not some that are drawn."""
    for each in TransactionType:
        posted = replace(transaction, type=each)
        _, record = encoded(facts.TransactionPosted(FactKind.TRANSACTION_POSTED, posted, (line,)))

        assert reversible(record, None).carries == (each is TransactionType.CONTINUATION)


@SETTINGS
@given(any_fact(facts.HoldChanged), any_fact(facts.HoldCaptured))
def test_any_hold_tells_the_balances_after_it(
    changed: facts.HoldChanged, captured: facts.HoldCaptured
) -> None:
    """Both accounts' balances are told, and a capture can be reversed as any transaction."""
    message = recorded(changed).hold_placed
    debit, credit = changed.lines
    assert balance_message(debit.account.kind, debit.after) == _balance_after(debit)
    assert (message.debit_balance, message.credit_balance) == (_balance_after(debit), _balance_after(credit))

    entry, other = (reversible(encoded(each)[1], None) for each in (captured, changed))
    assert entry.legs is not None
    assert [leg.account_id for leg in entry.legs] == [line.account.account_id for line in captured.lines]
    assert other.legs is None


@SETTINGS
@given(st.data())
@pytest.mark.parametrize(
    "kind",
    [facts.DepositChanged, facts.WithdrawalChanged, facts.EventRecorded, facts.WithdrawalPolicySet],
)
def test_any_fact_of_payments_is_read_back(kind: type[Struct], data: st.DataObject) -> None:
    """A replay has what was decided, but for the calls and findings, which are not in the record."""
    fact = data.draw(any_fact(kind))
    if isinstance(fact, facts.EventRecorded):
        echoed = _as_echoed(fact.stored)
        fact = replace(fact, stored=replace(echoed, event=replace(echoed.event, payload=b"")), mended=())
    left_out = {name: None if name == "owed" else () for name in ("owed", "discrepancies")}
    fact = replace(fact, **{name: left_out[name] for name in left_out if name in fields_of(kind)})

    assert payment_fact(IDS, fact.kind.name.lower(), recorded(fact)) == fact


def test_fact_of_others_is_no_fact_of_payments() -> None:
    """Whoever asks for it has forgotten a kind."""
    with pytest.raises(ValueError, match="hold_placed"):
        payment_fact(IDS, "hold_placed", journal_pb2.JournalRecord())


@pytest.mark.parametrize(
    "kind", sorted(set(FACTS) - set(get_args(PaymentFact)), key=repr), ids=lambda kind: kind.__name__
)
@SETTINGS
@given(st.data())
def test_fact_of_others_is_not_stored_as_one_of_payments(kind: type[Struct], data: st.DataObject) -> None:
    """A fact that nobody has given a place fails there, and leaves no empty record or row."""
    fact = data.draw(any_fact(kind))

    with pytest.raises(AssertionError):
        payment_content(IDS, fact, NOW)
    with pytest.raises(AssertionError):
        PaymentRows().add(fact, 300, NOW, b"content")


def _as_echoed(stored: StoredEvent) -> StoredEvent:
    """Return an event whose numbers are those of the ids that the provider echoed."""
    event = stored.event
    echoed = replace(
        event, payment=echoed_payment(IDS, event.payment_id), refund=IDS.refund_sequence(event.object_id)
    )
    return replace(stored, event=echoed)


@pytest.mark.parametrize("made", [IDS.deposit_id, IDS.withdrawal_id], ids=["deposit", "withdrawal"])
@SETTINGS
@given(any_of(StoredEvent), st.integers(1, 2**31), st.integers(1, 2**31))
def test_ids_that_a_provider_echoes_are_read_as_numbers(
    made: Callable[[int], str], stored: StoredEvent, payment: int, refund: int
) -> None:
    """An event finds its payment and its refund by them; ids of another tenant are none."""
    echoed = replace(stored.event, payment_id=made(payment), object_id=IDS.refund_id(refund))
    told = _read(event_message(IDS, replace(stored, event=echoed), NOW))
    ours = event_of(IDS, told, b"").event

    assert (ours.payment, ours.refund) == (payment, refund)
    assert echoed_payment(OTHERS, echoed.payment_id) is None
    assert echoed_payment(IDS, IDS.refund_id(refund)) is None
    assert OTHERS.refund_sequence(echoed.object_id) is None


@pytest.mark.parametrize("number", range(-1, 100))
def test_number_that_a_newer_edge_knows_is_read_as_the_unknown_one(number: int) -> None:
    """Of types and of reasons: the event is kept, and not refused."""
    told = payment_pb2.ProviderEvent(
        type=number,  # type: ignore[arg-type]
        unread_reason=number,  # type: ignore[arg-type]
    )
    unread = unread_of(told)

    assert event_type(told.type) is (EventType(number) if number in set(EventType) else EventType.UNKNOWN)
    if number == 0:
        assert unread is None
    else:
        assert unread is not None
        known = number in set(UnreadReason)
        assert unread.reason is (UnreadReason(number) if known else UnreadReason.OTHER)


def _read(message: Message) -> Any:
    return type(message).FromString(message_bytes(message))


READ_BACK: Final[Mapping[type[Struct], Callable[[Any], object]]] = {
    Account: lambda account: account_of_message(_read(account_message(account)), account.number),
    Deposit: lambda deposit: deposit_of(IDS, _read(deposit_message(IDS, deposit))),
    Withdrawal: lambda withdrawal: withdrawal_of(IDS, _read(withdrawal_message(IDS, withdrawal))),
    StoredEvent: lambda stored: event_of(IDS, _read(event_message(IDS, stored, NOW)), stored.event.payload),
    Finding: lambda finding: finding_of(IDS, _read(finding_message(IDS, finding))),
    WithdrawalPolicy: lambda policy: policy_of_message(_read(policy_message(policy))),
    Adjustment: lambda adjustment: adjustment_of(IDS, _read(adjustment_message(IDS, adjustment))),
    AdjustmentPolicy: lambda policy: adjustment_policy_of(_read(adjustment_policy_message(policy))),
}


@pytest.mark.parametrize("kind", READ_BACK, ids=lambda kind: kind.__name__)
@SETTINGS
@given(st.data())
def test_any_value_is_read_back_from_its_record(kind: type[Struct], data: st.DataObject) -> None:
    """A reader that forgets a field, or takes another one for it, is found."""
    value = data.draw(any_of(kind))
    if isinstance(value, StoredEvent):
        value = _as_echoed(value)

    assert READ_BACK[kind](value) == value


@SETTINGS
@given(any_of(Finding), st.sampled_from(ProviderRecordKind))
def test_side_that_says_nothing_is_still_a_side(finding: Finding, kind: ProviderRecordKind) -> None:
    """Something of that kind is there, which is more than if there is none."""
    bare = Side(ref="", kind=kind, amount=None, currency="", state="", time=None, type="")
    for ledger, remote in ((bare, None), (None, bare), (bare, bare), (None, None)):
        seen = replace(finding.seen, ledger=ledger, remote=remote)
        said = finding_of(IDS, _read(finding_message(IDS, replace(finding, seen=seen)))).seen

        assert (said.ledger, said.remote) == (ledger, remote)


@pytest.mark.parametrize("kind", [Deposit, Withdrawal, StoredEvent, Adjustment])
@SETTINGS
@given(st.data())
def test_record_of_another_tenant_is_refused(kind: type[Struct], data: st.DataObject) -> None:
    """Its number would be that of something of ours."""
    value = data.draw(any_of(kind))
    message = _read(RECORDED[kind](value))
    read: Mapping[type[Struct], Callable[[], object]] = {
        Deposit: lambda: deposit_of(OTHERS, message),
        Withdrawal: lambda: withdrawal_of(OTHERS, message),
        StoredEvent: lambda: event_of(OTHERS, message, b""),
        Adjustment: lambda: adjustment_of(OTHERS, message),
    }

    with pytest.raises(ValueError, match="none of this tenant's ids"):
        read[kind]()


@pytest.mark.parametrize("kind", [facts.DepositChanged, facts.WithdrawalChanged])
@SETTINGS
@given(st.data())
def test_any_payment_is_read_back_from_its_row(kind: type[Struct], data: st.DataObject) -> None:
    """Its kind stands in a column, and not in the bytes: a deposit's would be read as a withdrawal's."""
    fact = data.draw(any_fact(kind))
    rows = PaymentRows()
    rows.add(fact, 300, NOW, encoded(fact)[0])
    [values] = rows.tables["payments"]
    row = dict(zip(PAYMENT_TABLES["payments"], values, strict=True))

    payment = fact.deposit if isinstance(fact, facts.DepositChanged) else fact.withdrawal
    assert payment_of(IDS, row["kind"], row["body"]) == payment


@SETTINGS
@given(any_of(Hold))
def test_any_hold_is_told_by_the_names_of_its_fields(hold: Hold) -> None:
    """What is left of a hold follows from its sums, and hides none of them."""
    message = hold_message(IDS, hold)

    sums = (message.amount_minor, message.captured_minor, message.released_minor, message.remaining_minor)
    assert sums == (hold.amount, hold.captured, hold.released, hold.remaining)
    assert message.hold_id == IDS.hold_id(hold.number)


@SETTINGS
@given(any_of(AdjustmentPolicy))
def test_any_policy_for_adjustments_is_read_back_from_its_column(policy: AdjustmentPolicy) -> None:
    """The tenant's row keeps it to the letter."""
    assert adjustment_policy_in(adjustment_policy_text(policy)) == policy


@pytest.mark.parametrize("kind", [facts.AdjustmentChanged, facts.AdjustmentPolicySet])
@SETTINGS
@given(st.data())
def test_any_fact_of_adjustments_is_read_back(kind: type[Struct], data: st.DataObject) -> None:
    """A replay has what was decided, whole."""
    fact = data.draw(any_fact(kind))

    assert adjustment_fact(IDS, recorded(fact)) == fact


@SETTINGS
@given(any_of(Adjustment))
def test_any_adjustment_tells_what_it_moves(adjustment: Adjustment) -> None:
    """The totals are the sums of the debits, in the order of the currencies."""
    sums: dict[str, int] = {}
    for posting in adjustment.postings:
        if posting.direction is Direction.DEBIT:
            sums[posting.currency] = sums.get(posting.currency, 0) + posting.amount

    told = [(each.currency_code, each.amount_minor) for each in adjustment_message(IDS, adjustment).totals]
    assert told == sorted(sums.items())


@SETTINGS
@given(any_of(WithdrawalPolicy))
def test_any_policy_is_read_back_from_its_column(policy: WithdrawalPolicy) -> None:
    """The tenant's row keeps it to the letter."""
    assert policy_of(policy_text(policy)) == policy


@SETTINGS
@given(st.data(), any_of(Account), any_of(Hold))
def test_any_field_changes_the_row(data: st.DataObject, account: Account, hold: Hold) -> None:
    """What a lane reads again after a restart is all of what it knew."""
    rows: list[tuple[Any, Callable[[Any], object]]] = [
        (account, account_row),
        (hold, lambda each: hold_row(each, Numbers())),
    ]
    for value, row in rows:
        for place in places_of(value):
            other = data.draw(others(place, at(value, place.path)))
            assert row(with_other(value, place.path, other)) != row(value), place.name


@SETTINGS
@given(st.data(), any_of(Totals))
def test_any_field_of_totals_is_added_up(data: st.DataObject, totals: Totals) -> None:
    """Nothing and something is something, in every field, whichever comes first."""
    assert NOTHING.plus(totals) == totals == totals.plus(NOTHING)
    for place in places_of(totals):
        other = data.draw(others(place, at(totals, place.path)))
        assert NOTHING.plus(with_other(totals, place.path, other)) != totals, place.name


@SETTINGS
@given(any_of(Account), any_of(Hold))
def test_any_row_is_read_back(account: Account, hold: Hold) -> None:
    """The columns that are written are those that are read, each for its own field."""
    stored: Any = dict(zip(ACCOUNTS, account_row(account), strict=True))
    assert account_of(stored) == account

    numbers = Numbers()
    stored = dict(zip(HOLDS, hold_row(hold, numbers), strict=True))
    for side, account_id in (("debit", hold.debit_account_id), ("credit", hold.credit_account_id)):
        assert stored[f"{side}_account_number"] == numbers[account_id]
        stored[f"{side}_account_id"] = account_id
    assert hold_of(stored) == hold


@pytest.mark.parametrize("table", lane_writes._TABLES)
def test_columns_are_listed_for_sql_in_their_order(table: str) -> None:
    """Each of them, with the table's name in front where a query reads several tables."""
    columns = lane_writes._TABLES[table]

    assert listed(columns).split(", ") == list(columns)
    assert listed(columns, "t").split(", ") == [f"t.{name}" for name in columns]


@SETTINGS
@given(any_of(Line))
def test_any_line_is_read_back(line: Line) -> None:
    """The counters after a line are the account's counters when it is loaded again."""
    fact = facts.HoldChanged(FactKind.HOLD_PLACED, _HOLD, (line, line))
    row = JournalRow(300, fact, None, None, NOW, b"r", b"c", b"")
    first, second = posting_rows([row])
    stored: Any = dict(zip(POSTINGS, first, strict=True))

    assert counters_of(stored) == line.after
    assert stored["account_number"] == line.account.number
    assert (stored["phase"], stored["direction"]) == (line.phase, line.direction)
    assert (stored["amount"], stored["pending_change"]) == (line.amount, line.pending_change)
    assert (stored["sequence"], stored["leg"], second[2]) == (300, 0, 1)


@SETTINGS
@given(any_of(Totals), st.integers(1, 100), st.text(min_size=1, max_size=5))
def test_any_totals_are_read_back_from_their_batch(totals: Totals, moved: int, transaction_id: str) -> None:
    """A settlement batch keeps what its lines add up to, before and after it was moved to the bank."""
    batch = batch_of("mock", ("batch", "EUR"), totals, None, now=NOW)
    later = moved_batch(batch, moved, transaction_id)
    again = batch_of("mock", ("batch", "EUR"), totals, later, now=NOW + timedelta(days=1))

    assert totals_of(batch) == totals_of(later) == totals_of(again) == totals
    assert (batch.batch_id, batch.currency, batch.open_time) == ("batch", "EUR", NOW)
    assert (again.open_time, again.moved, again.version) == (NOW, moved, 3)
    told, message = message_of(batch), message_of(again)
    assert (message.batch_id, message.provider, message.currency_code) == ("batch", "mock", "EUR")
    assert message.transaction_id == transaction_id
    assert (message.computed_minor, message.difference_minor) == (totals.computed, totals.difference)
    assert (int(told.state), int(message.state)) == (batch.state, again.state)
    assert int(message_of(later).state) == later.state


@SETTINGS
@given(any_of(Totals), any_of(NamedCaller))
def test_who_confirmed_a_batch_of_nothing_stays(totals: Totals, caller: NamedCaller) -> None:
    """Later reports leave it as it is; no record of a transaction says it."""
    batch = batch_of("mock", ("batch", "EUR"), totals, None, now=NOW)
    later = batch_of("mock", ("batch", "EUR"), totals, confirmed_batch(batch, caller), now=NOW)

    assert named_caller(message_of(later).confirm_caller) == caller
    assert not message_of(confirmed_batch(batch, None)).HasField("confirm_caller")


def test_state_of_a_batch_is_told_before_and_after_it_was_moved() -> None:
    """A batch that adds up is confirmed by moving what it was paid."""
    totals = replace(NOTHING, gross=100, paid_out=100, line_count=1, paid_out_time=NOW)
    batch = batch_of("mock", ("batch", "EUR"), totals, None, now=NOW)
    told = [message_of(each).state for each in (batch, moved_batch(batch, 100, "t"))]

    assert [int(state) for state in told] == [SettlementBatchState.BALANCED, SettlementBatchState.CONFIRMED]


_HALF: Final = 2**62


@pytest.mark.parametrize(
    "sums",
    [
        pytest.param({"gross": 2 * _HALF, "fee": _HALF, "refund": _HALF}, id="gross"),
        pytest.param({"fee": 2 * _HALF, "gross": _HALF, "correction": _HALF}, id="fee"),
        pytest.param({"refund": 2 * _HALF, "gross": _HALF, "correction": _HALF}, id="refund"),
        pytest.param({"chargeback": 2 * _HALF, "gross": _HALF, "correction": _HALF}, id="chargeback"),
        pytest.param({"correction": 2 * _HALF, "fee": _HALF, "refund": _HALF}, id="correction"),
        pytest.param({"gross": _HALF, "correction": _HALF}, id="computed"),
        pytest.param({"gross": _HALF, "paid_out": 2 * _HALF}, id="paid out"),
        pytest.param({"fee": _HALF, "paid_out": _HALF}, id="difference"),
    ],
)
def test_batch_of_more_than_the_ledger_counts_is_refused(sums: dict[str, int]) -> None:
    """Whichever of its sums is too large, and if it is that one alone."""
    totals = replace(NOTHING, **sums, line_count=1, paid_out_time=NOW)

    with pytest.raises(ReportMalformed):
        batch_of("mock", ("batch", "EUR"), totals, None, now=NOW)


def stored_structs() -> Iterator[type[Struct]]:
    """Yield everything that facts are made of, and what else is stored."""
    seen: set[type] = set()
    waiting: list[Any] = [
        *FACTS,
        Head,
        JournalRow,
        RequestKey,
        ProviderRecord,
        SettlementLine,
        Totals,
    ]
    while waiting:
        kind = waiting.pop()
        waiting += getattr(kind, "__args__", ())
        if isinstance(kind, type) and issubclass(kind, Struct) and kind not in seen:
            seen.add(kind)
            waiting += fields_of(kind).values()
            yield kind


@pytest.mark.parametrize("kind", sorted(stored_structs(), key=repr))
def test_stored_struct_has_no_defaults(kind: type[Struct]) -> None:
    """A field that may be left out is left out by the reader that was forgotten."""
    assert kind.__struct_defaults__ == ()


@pytest.mark.parametrize("kind", [StoredRun, StoredSettlementBatch])
def test_stored_row_has_no_defaults(kind: Any) -> None:
    """The same of what is read as a tuple."""
    assert kind._field_defaults == {}


def test_kinds_of_facts_are_those_of_the_journal() -> None:
    """Every kind is of one fact, and has a field of its number in the contract."""
    kinds = [kind for each in FACTS for kind in KINDS[each]]
    fields = journal_pb2.JournalRecord.DESCRIPTOR.oneofs_by_name["fact"].fields

    assert sorted(kinds) == sorted(FactKind)
    assert {field.number: field.name for field in fields} == {
        int(kind): kind.name.lower() for kind in FactKind
    }
