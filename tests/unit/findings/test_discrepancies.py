"""What makes a discrepancy the same one again, and how urgent it is."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ledger_server.domain.findings.discrepancy import RULES, Discrepancy, FindingClass, Severity
from ledger_server.domain.ids import finding_fingerprint, finding_id
from ledger_server.domain.provider_record import ProviderRecordKind
from tests.support.findings import OURS, THEIRS, a_discrepancy, hours

OF_PROVIDER = {
    FindingClass.MISSING_IN_LEDGER,
    FindingClass.DUPLICATE_AT_PROVIDER,
    FindingClass.ORPHAN_REFUND,
    FindingClass.SETTLEMENT_TOTAL_MISMATCH,
    FindingClass.UNKNOWN_RECORD_TYPE,
    FindingClass.UNKNOWN_HISTORY,
    FindingClass.UNREAD_EVENT,
}
OTHER_LEDGER = replace(OURS, ref="dep_x_8")
OTHER_REMOTE = replace(THEIRS, ref="pi_8")


def same(one: Discrepancy, other: Discrepancy) -> bool:
    """Return whether both are about the same."""
    return one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    "facts",
    [
        {"payment": 7},
        {"payment": 7, "withdrawal": True},
        {"description": "other words"},
        {"evidence": {}},
        {"subject_time": hours(5)},
        {"ledger": replace(OURS, amount=1, state="FAILED", time=None, type="x", currency="USD")},
        {"remote": replace(THEIRS, amount=None, state="failed", time=None, type="x", currency="USD")},
    ],
    ids="-".join,
)
@pytest.mark.parametrize("kind", FindingClass)
def test_see_other_facts_is_the_same_discrepancy(kind: FindingClass, facts: dict[str, Any]) -> None:
    """Facts change while one thing stays that thing."""
    assert same(a_discrepancy(kind), a_discrepancy(kind, **facts))


@pytest.mark.parametrize("facts", [{"provider": "other"}, {"currency": "USD"}], ids="-".join)
@pytest.mark.parametrize("kind", FindingClass)
def test_see_at_other_place_is_another_discrepancy(kind: FindingClass, facts: dict[str, Any]) -> None:
    """Provider accounts and currencies are apart."""
    assert not same(a_discrepancy(kind), a_discrepancy(kind, **facts))


@pytest.mark.parametrize("kind", FindingClass)
def test_see_other_subject_is_another_discrepancy(kind: FindingClass) -> None:
    """What the class is about decides: our line, or the provider's object where only that is sure."""
    of_provider = kind in OF_PROVIDER

    assert same(a_discrepancy(kind), a_discrepancy(kind, ledger=OTHER_LEDGER)) == of_provider
    assert same(a_discrepancy(kind), a_discrepancy(kind, remote=OTHER_REMOTE)) != of_provider


@pytest.mark.parametrize("kind", sorted(set(FindingClass) - OF_PROVIDER))
def test_learn_ref_of_provider_later_is_the_same_discrepancy(kind: FindingClass) -> None:
    """Our line is known by our id from the first day, with or without the provider's."""
    assert same(a_discrepancy(kind, remote=None), a_discrepancy(kind))


@pytest.mark.parametrize("kind", sorted(OF_PROVIDER))
def test_learn_payment_of_object_later_is_the_same_discrepancy(kind: FindingClass) -> None:
    """The provider's object stays that object when the ledger has something to say of it."""
    assert same(a_discrepancy(kind, ledger=None), a_discrepancy(kind))


def test_see_one_ref_as_another_kind_is_another_discrepancy() -> None:
    """Providers count payments and refunds apart; one id may be of both."""
    refund = replace(THEIRS, kind=ProviderRecordKind.REFUND)

    assert not same(
        a_discrepancy(FindingClass.ORPHAN_REFUND), a_discrepancy(FindingClass.ORPHAN_REFUND, remote=refund)
    )


def test_see_other_class_is_another_discrepancy() -> None:
    """Several things may be wrong with one payment."""
    assert len({a_discrepancy(kind).fingerprint for kind in FindingClass}) == len(FindingClass)


def test_read_id_of_finding_is_its_fingerprint() -> None:
    """An id is there and back the same, and nothing else is one."""
    fingerprint = a_discrepancy().fingerprint
    name = finding_id(fingerprint)

    assert finding_fingerprint(name) == fingerprint
    for wrong in ("", name[:-1], name + "0", name.upper(), name.replace("fnd_", "dep_"), "fnd_" + "g" * 32):
        assert finding_fingerprint(wrong) is None


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        (FindingClass.MISSING_IN_LEDGER, Severity.HIGH),
        (FindingClass.MISSING_AT_PROVIDER, Severity.HIGH),
        (FindingClass.AMOUNT_MISMATCH, Severity.HIGH),
        (FindingClass.CURRENCY_MISMATCH, Severity.CRITICAL),
        (FindingClass.STATUS_MISMATCH, Severity.HIGH),
        (FindingClass.DUPLICATE_IN_LEDGER, Severity.CRITICAL),
        (FindingClass.DUPLICATE_AT_PROVIDER, Severity.CRITICAL),
        (FindingClass.STALE_PENDING, Severity.MEDIUM),
        (FindingClass.ORPHAN_REFUND, Severity.HIGH),
        (FindingClass.FEE_MISMATCH, Severity.LOW),
        (FindingClass.SETTLEMENT_TOTAL_MISMATCH, Severity.HIGH),
        (FindingClass.UNKNOWN_RECORD_TYPE, Severity.MEDIUM),
        (FindingClass.WALLET_OVERDRAWN, Severity.HIGH),
        (FindingClass.UNKNOWN_HISTORY, Severity.CRITICAL),
        (FindingClass.UNREAD_EVENT, Severity.HIGH),
        (FindingClass.BALANCE_DRIFT, Severity.HIGH),
    ],
)
def test_weigh_discrepancy_by_its_class(kind: FindingClass, severity: Severity) -> None:
    """Each class has a severity of its own, also when a withdrawal is concerned."""
    assert a_discrepancy(kind).severity is severity
    if kind is not FindingClass.MISSING_AT_PROVIDER:
        assert a_discrepancy(kind, withdrawal=True).severity is severity


def test_weigh_withdrawal_that_the_provider_does_not_have_is_critical() -> None:
    """A player waits for money that may be lost."""
    assert a_discrepancy(FindingClass.MISSING_AT_PROVIDER, withdrawal=True).severity is Severity.CRITICAL


@pytest.mark.parametrize("kind", ProviderRecordKind)
def test_weigh_movement_that_the_ledger_does_not_have_by_whose_it_is(kind: ProviderRecordKind) -> None:
    """What no player is part of is less urgent."""
    own = {ProviderRecordKind.FEE, ProviderRecordKind.OTHER, ProviderRecordKind.SETTLEMENT}
    missing = a_discrepancy(FindingClass.MISSING_IN_LEDGER, ledger=None, remote=replace(THEIRS, kind=kind))

    assert missing.severity is (Severity.MEDIUM if kind in own else Severity.HIGH)


def test_read_rules_has_every_class() -> None:
    """No class is without a rule, and these are about the provider's objects."""
    assert set(RULES) == set(FindingClass)
    assert {kind for kind, rule in RULES.items() if rule.of_provider} == OF_PROVIDER
