"""Ids: they tell their tenant and their sequence, and nothing else passes for one."""

import pytest

from ledger_server.domain.ids import TenantId, TenantIds, tenant_key

ALPHA = TenantIds(tenant_key(TenantId("alpha")))
BETA = TenantIds(tenant_key(TenantId("beta")))


@pytest.mark.parametrize("sequence", [1, 42, 2**63 - 1])
def test_id_reads_back_as_its_sequence(sequence: int) -> None:
    """What an id was made from can be read from it."""
    assert ALPHA.transaction_sequence(ALPHA.transaction_id(sequence)) == sequence
    assert ALPHA.hold_sequence(ALPHA.hold_id(sequence)) == sequence


def test_id_of_another_tenant_or_kind_is_none() -> None:
    """An id never works in another tenant, nor as an id of another kind."""
    assert BETA.transaction_sequence(ALPHA.transaction_id(7)) is None
    assert ALPHA.hold_sequence(ALPHA.transaction_id(7)) is None


@pytest.mark.parametrize("tail", ["", "0", "07", "+7", "-7", " 7", "7 ", "٧", "7x", str(2**63), "9" * 30])
def test_id_with_a_broken_number_is_none(tail: str) -> None:
    """Only the canonical spelling of a sequence is an id."""
    assert ALPHA.transaction_sequence(ALPHA.transaction_prefix + tail) is None
