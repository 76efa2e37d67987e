"""Every command and every fact is known wherever one has to be: a new one turns red until it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, get_args

import pytest
from defter.ledger.v1 import journal_pb2
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import REGISTRY

from ledger_server.domain.adjustments.commands import AdjustmentCommand, SetAdjustmentPolicy
from ledger_server.domain.decisions import decide as decisions
from ledger_server.domain.decisions import ledger as ledger_decisions
from ledger_server.domain.decisions.payments import decide as payment_decide
from ledger_server.domain.decisions.replay import Inconsistent, Replay, _check_form
from ledger_server.domain.errors import Refused
from ledger_server.domain.findings.commands import AnyFindingCommand
from ledger_server.domain.ids import Epoch, TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import ZERO
from ledger_server.domain.ledger.transactions import Line, TransactionType
from ledger_server.domain.payments import commands as payment_commands
from ledger_server.domain.payments.commands import PaymentCommand
from ledger_server.domain.state import commands, facts
from ledger_server.domain.state.commands import Command, Enforcement
from ledger_server.domain.state.facts import Fact, FactKind
from ledger_server.domain.state.working_set import AccountEntry, WorkingSet
from ledger_server.engine import metrics
from ledger_server.engine.lane.loading import wanted
from ledger_server.engine.lane.naming import named_here
from ledger_server.engine.lane.work import Request
from ledger_server.engine.records.journal import RecordEncoder, reversible, transaction_of
from ledger_server.engine.records.limit_surveys import WITHOUT_ACCOUNTS, changed_accounts
from ledger_server.engine.verification.reenact import reenact
from ledger_server.rpc.requests import _POSTABLE_TYPES
from ledger_server.store import lane_writes
from ledger_server.store.adjustment_rows import ADJUSTMENT_TABLES, ADJUSTMENT_UPSERTS
from ledger_server.store.finding_rows import FINDING_TABLES, FINDING_UPSERTS
from ledger_server.store.ledger_rows import JOURNAL, LEDGER_TABLES, LEDGER_UPSERTS, JournalRow, journal_rows
from ledger_server.store.payment_rows import PAYMENT_TABLES, PAYMENT_UPSERTS
from ledger_server.store.tables import TABLES
from tests.support.any_fact import COMMANDS, FACTS, KINDS, any_fact
from tests.support.payments import NOW
from tests.support.stored import EXAMPLES, any_of, fields_of
from tests.unit.test_every_field import Numbers

KEY: Final = tenant_key(TenantId("unit"))
SETTINGS: Final = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
each_command = pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
each_fact = pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)

# What names nothing that has to be loaded before it is decided.
NAMES_NOTHING: Final = {
    commands.CreateTenant,
    commands.ForgetPlayer,
    payment_commands.SetWithdrawalPolicy,
    SetAdjustmentPolicy,
}
# A number of ours that is not the number in an id that the caller has named.
NOT_BY_ID: Final = {"run", "amount", "max_pending", "mends", "adjustment"}
# What a row keeps for ever; whatever else is in it may change, and is written again when it does.
FIXED: Final[Mapping[str, set[str]]] = {
    "accounts": {"account_id", "kind", "currency_code", "open_time", "metadata", "continues"},
    "holds": {
        "debit_account_number",
        "credit_account_number",
        "currency_code",
        "transaction_type",
        "reference",
        "metadata",
        "place_time",
    },
    "payments": {"kind", "player_id", "provider", "currency_code", "amount", "create_time"},
    "payment_refs": {"payment_number"},
    "provider_events": {
        "provider",
        "event_id",
        "type",
        "payment_ref",
        "echoed_number",
        "receive_time",
        "payload",
    },
    "player_keys": set(),
    "adjustments": {"requester", "request_time"},
    "reconciliation_findings": {"class", "provider", "open_time"},
}


def working_set(enforcement: Enforcement = Enforcement.ENFORCED) -> WorkingSet:
    """Return the state of a tenant of which nothing is loaded."""
    return WorkingSet(TenantIds(KEY), sequence=299, record_time=NOW, enforcement=enforcement, create_time=NOW)


def lines_of(fact: Struct) -> Iterator[Line]:
    """Yield the statement lines of a fact, whatever the field is called."""
    for name in type(fact).__struct_fields__:
        value = getattr(fact, name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Line):
                yield item


def test_each_command_has_one_decider() -> None:
    """What nobody decides would be answered as a fault of the server."""
    ledger = set(ledger_decisions._DECIDERS)
    payments = set(payment_decide._DECIDERS)
    findings = set(get_args(AnyFindingCommand))
    adjustments = set(get_args(AdjustmentCommand))

    assert payments == set(get_args(PaymentCommand))
    # The lane records what is due on touched accounts before it decides anything.
    assert ledger | payments | findings | adjustments | {commands.ExpireHolds} == set(get_args(Command))
    kinds = (ledger, payments, findings, adjustments)
    assert sum(map(len, kinds)) + 1 == len(get_args(Command))


@each_command
@SETTINGS
@given(st.data())
def test_each_command_names_what_it_needs(kind: type[Struct], data: st.DataObject) -> None:
    """A command that was decided before what it names is loaded would find nothing there."""
    command = data.draw(any_of(kind))
    ids = TenantIds(KEY)

    [asked] = named_here(ids, [Request(command)])
    assert type(asked.command) is kind
    assert bool(wanted(working_set(), [command], NOW)) or kind in NAMES_NOTHING or unnamed(command)


def unnamed(command: Any) -> bool:
    """Return whether an event, a finding's step or a switch names something only by chance."""
    if isinstance(command, payment_commands.IngestEvent):
        return command.event.payment is None and not command.event.payment_ref
    if isinstance(command, commands.SetBalanceEnforcement):
        return command.enforcement is Enforcement.SHADOW
    return getattr(command, "fingerprint", b"") is None


@each_command
@SETTINGS
@given(st.data())
def test_each_id_is_read_again_in_this_history(kind: type[Struct], data: st.DataObject) -> None:
    """The number in an id of another history is none here: nothing is done to what has that number now."""
    numbers = [
        name for name, hint in fields_of(kind).items() if hint == (int | None) and name not in NOT_BY_ID
    ]
    command = data.draw(any_of(kind))
    other = TenantIds(KEY, [Epoch(1, "k3x9")])

    [asked] = named_here(other, [Request(command)])

    # None of the drawn texts is an id of this tenant.
    assert [getattr(asked.command, name) for name in numbers] == [None for _ in numbers]


@each_fact
@SETTINGS
@given(st.data())
def test_each_fact_takes_effect(kind: type[Struct], data: st.DataObject) -> None:
    """The next decision knows of whatever was decided; a refusal, and a player forgotten, change no rule."""
    fact = data.draw(any_fact(kind))
    wanted_already = getattr(fact, "enforcement", None) is Enforcement.ENFORCED
    state = working_set(Enforcement.SHADOW if wanted_already else Enforcement.ENFORCED)
    for account_id in account_ids(fact):
        state.accounts[account_id] = AccountEntry(None, ZERO)
    before = snapshot(state)

    state.apply(fact)

    assert state.sequence == 300
    assert (snapshot(state) != before) == (kind not in {facts.RequestRejected, facts.PlayerForgotten})


def account_ids(fact: Any) -> Iterator[str]:
    """Yield the accounts that must be loaded for a fact."""
    for line in lines_of(fact):
        yield line.account.account_id
    if hasattr(fact, "hold"):
        yield from (fact.hold.debit_account_id, fact.hold.credit_account_id)


def snapshot(state: WorkingSet) -> object:
    """Return everything that a working set knows, but for its sequence and its stamps."""
    tables: list[dict[Any, Any]] = [
        state.accounts,
        state.holds,
        state.transactions,
        state.payments,
        state.refs,
        state.events,
        state.findings,
        state.adjustments,
    ]
    known = [
        (key, name, getattr(entry, name))
        for table in tables
        for key, entry in table.items()
        for name in entry.__slots__
        if name != "stamp"
    ]
    return known, state.enforcement, state.policy, state.adjustment_policy, state.ids.epochs


@SETTINGS
@given(any_fact(facts.AccountChanged))
def test_nothing_follows_from_a_changed_account(fact: Fact) -> None:
    """So `decide` does not look for it."""
    state = WorkingSet(
        TenantIds(KEY), sequence=299, record_time=NOW, enforcement=Enforcement.ENFORCED, create_time=NOW
    )

    assert decisions._consequences(state, (fact,), NOW) == ()


@each_fact
@SETTINGS
@given(st.data())
def test_each_fact_writes_rows(kind: type[Struct], data: st.DataObject) -> None:
    """What a process knows, the next one reads; a refusal is a record and nothing else."""
    fact = data.draw(any_fact(kind))
    row = JournalRow(300, fact, None, None, NOW, b"r", b"c", b"m")

    changes = lane_writes._changes([row], Numbers())

    beside = changes.tables.keys() - {"journal"}
    assert bool(beside or changes.of_tenant) == (kind is not facts.RequestRejected)
    assert len(changes.tables.get("postings", [])) == len(list(lines_of(fact)))
    for name, rows in changes.tables.items():
        assert {len(values) for values in rows} == {len(lane_writes._TABLES[name])}


@each_fact
@SETTINGS
@given(st.data())
def test_each_fact_with_a_transaction_is_listed(kind: type[Struct], data: st.DataObject) -> None:
    """Whatever posts is found by its type, reference and time, told by lists, and can be reversed."""
    fact = data.draw(any_fact(kind))
    posts = "transaction" in kind.__struct_fields__
    _, record = RecordEncoder("unit", TenantIds(KEY)).encode(
        fact, sequence=300, record_time=NOW, request=None, digest=None, caller=None
    )
    [row] = journal_rows([JournalRow(300, fact, None, None, NOW, record, b"c", b"")])

    assert (transaction_of(journal_pb2.JournalRecord.FromString(record)) is not None) == posts
    assert (row[list(JOURNAL).index("transaction_type")] is not None) == posts
    assert (reversible(record, None).legs is not None) == posts


@pytest.mark.parametrize("kind", FactKind, ids=lambda kind: kind.name)
@SETTINGS
@given(st.data())
def test_each_account_that_a_record_changes_is_surveyed(kind: FactKind, data: st.DataObject) -> None:
    """A survey that passed one over would switch a tenant to ENFORCED with an account below its limit."""
    [struct] = [each for each in FACTS if kind in KINDS[each]]
    fact = replace(data.draw(any_fact(struct)), kind=kind)
    _, record = RecordEncoder("unit", TenantIds(KEY)).encode(
        fact, sequence=300, record_time=NOW, request=None, digest=None, caller=None
    )

    changed = set(changed_accounts(journal_pb2.JournalRecord.FromString(record)))

    assert changed >= set(surveyed(fact))
    assert bool(changed) == (kind.name.lower() not in WITHOUT_ACCOUNTS)


def surveyed(fact: Any) -> Iterator[str]:
    """Yield the accounts whose counters, limits or state a fact changes."""
    if isinstance(fact, facts.HoldChanged):  # the lines of an invented one are of accounts of their own
        yield from (fact.hold.debit_account_id, fact.hold.credit_account_id)
    else:
        yield from (line.account.account_id for line in lines_of(fact))
    yield from (getattr(fact, name).account_id for name in ("account", "successor") if hasattr(fact, name))


@pytest.mark.parametrize("kind", FactKind)
def test_each_kind_of_record_is_decided_again(kind: FactKind) -> None:
    """A verification that meets an empty record of whatever kind names what is wrong with it."""
    record = journal_pb2.JournalRecord()
    message: Message = getattr(record, kind.name.lower())
    message.SetInParent()
    replay = Replay(TenantIds(KEY))
    if kind is not FactKind.TENANT_CREATED:
        replay.begin(Enforcement.ENFORCED, NOW)
    try:
        fact = reenact(replay, TenantIds(KEY), record, NOW + timedelta(seconds=1), None)
    except (Refused, Inconsistent, ValueError):
        return

    assert fact.kind is kind


@each_fact
@SETTINGS
@given(st.data())
def test_each_fact_is_counted(kind: type[Struct], data: st.DataObject) -> None:
    """Records are counted by what they say."""
    fact: Fact = data.draw(any_fact(kind))
    labels = {"kind": KINDS[kind][0].name.lower()}
    before = REGISTRY.get_sample_value("defter_journal_records_total", labels) or 0

    metrics.count_batch(1, [fact])

    assert REGISTRY.get_sample_value("defter_journal_records_total", labels) == before + 1


@pytest.mark.parametrize("table", FIXED)
def test_each_column_is_fixed_or_written_again(table: str) -> None:
    """A column that changes and is not written again is read as it was, after the next restart."""
    columns = {**LEDGER_TABLES, **PAYMENT_TABLES, **FINDING_TABLES, **ADJUSTMENT_TABLES}[table]
    upserts = {**LEDGER_UPSERTS, **PAYMENT_UPSERTS, **FINDING_UPSERTS, **ADJUSTMENT_UPSERTS}
    identity, changing = upserts[table]

    assert not set(changing) & FIXED[table]
    assert {*identity.split(", "), *changing, *FIXED[table]} == set(columns)


@pytest.mark.parametrize("table", lane_writes._TABLES)
def test_each_column_of_a_table_is_written(table: str) -> None:
    """A lane writes all columns of its tables; of owed calls, what follows is the dispatcher's."""
    later = {"first_try_time", "last_error", "rest_count", "absent_time", "stop_reason", "maybe_made"}
    there = set(TABLES.tables[table].columns.keys()) - {"tenant_key"}

    assert there - set(lane_writes._TABLES[table]) == (later if table == "outbox" else set())
    assert set(lane_writes._TABLES[table]) <= there


# What callers may post and hold for. Other types have a form of their own, which the ledger alone gives them.
OF_CALLERS: Final = {
    "ADJUSTMENT",
    "BET",
    "BONUS",
    "DEPOSIT",
    "DISPUTE",
    "FEE",
    "OPENING_BALANCE",
    "REFUND",
    "TRANSFER",
    "WIN",
    "WITHDRAWAL",
}


@pytest.mark.parametrize("kind", TransactionType, ids=lambda kind: kind.name)
def test_each_type_is_of_callers_or_of_the_ledger(kind: TransactionType) -> None:
    """A type that the ledger alone makes is refused at the border, and as a hold by the replay too."""
    assert (int(kind) in _POSTABLE_TYPES) == (kind.name in OF_CALLERS)
    held = commands.PlaceHold(
        debit_account_id="a",
        credit_account_id="b",
        amount=1,
        currency="EUR",
        expire_time=None,
        type=kind,
        reference="",
        metadata={},
    )
    if kind.name in OF_CALLERS:
        _check_form(held)
    else:
        with pytest.raises(Inconsistent):
            _check_form(held)


def test_each_table_that_is_written_again_is_looked_at_here() -> None:
    """A table that gets an upsert says which of its columns are fixed."""
    assert set(FIXED) == set(lane_writes._UPSERTS)
