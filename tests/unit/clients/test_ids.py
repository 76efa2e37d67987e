"""What an id is of can be told from the id alone, for each kind of ids that the ledger makes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defter_client import IdKind, kind_of
from ledger_server.domain import ids
from ledger_server.domain.ids import Epoch, TenantId, TenantIds, finding_id, tenant_key

# How the ledger makes an id of each kind: an epoch begins with record 100.
MADE: dict[IdKind, Callable[[TenantIds, int], str]] = {
    IdKind.TRANSACTION: TenantIds.transaction_id,
    IdKind.HOLD: TenantIds.hold_id,
    IdKind.DEPOSIT: TenantIds.deposit_id,
    IdKind.WITHDRAWAL: TenantIds.withdrawal_id,
    IdKind.REFUND: TenantIds.refund_id,
    IdKind.PROVIDER_EVENT: TenantIds.event_id,
    IdKind.RUN: TenantIds.run_id,
    IdKind.ADJUSTMENT: TenantIds.adjustment_id,
    IdKind.FINDING: lambda _, number: finding_id(number.to_bytes(16)),
}
tenants = st.text(min_size=1, max_size=20).map(
    lambda name: TenantIds(tenant_key(TenantId(name)), [Epoch(100, "k3x9abcd")])
)
numbers = st.integers(1, 200) | st.integers(1, 2**63 - 1)


def test_each_kind_of_ids_that_the_ledger_makes_is_known() -> None:
    """A new prefix of `TenantIds` is a new kind here."""
    made = TenantIds(tenant_key(TenantId("casino")))
    prefixes = {getattr(made, name).partition("_")[0] for name in dir(made) if name.endswith("_prefix")}
    assert {kind.value for kind in IdKind} == {*(f"{each}_" for each in prefixes), ids._FINDING_PREFIX}
    assert set(MADE) == set(IdKind)


@given(tenants, numbers, st.sampled_from(IdKind))
def test_tell_what_any_id_is_of(tenant: TenantIds, number: int, kind: IdKind) -> None:
    """Of any tenant, with an epoch and without."""
    assert kind_of(MADE[kind](tenant, number)) is kind


@given(tenants, numbers, st.sampled_from(IdKind), st.data())
def test_tell_nothing_of_what_is_no_id(
    tenant: TenantIds, number: int, kind: IdKind, data: st.DataObject
) -> None:
    """Whatever the ledger would read as an id is told as one of that kind, also where a letter is broken."""
    text = MADE[kind](tenant, number)
    at = data.draw(st.integers(0, len(text)))
    broken = text[:at] + data.draw(st.sampled_from(["", "_", " ", "u", "A", "é", "٧", "\n"])) + text[at + 1 :]
    read = {
        IdKind.TRANSACTION: tenant.transaction_sequence,
        IdKind.HOLD: tenant.hold_sequence,
        IdKind.DEPOSIT: tenant.deposit_sequence,
        IdKind.WITHDRAWAL: tenant.withdrawal_sequence,
        IdKind.REFUND: tenant.refund_sequence,
        IdKind.PROVIDER_EVENT: tenant.event_sequence,
        IdKind.RUN: tenant.run_number,
        IdKind.ADJUSTMENT: tenant.adjustment_sequence,
        IdKind.FINDING: ids.finding_fingerprint,
    }
    for each, reader in read.items():
        assert reader(broken) is None or kind_of(broken) is each


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tx_",
        "fnd_",
        "fnd_" + "A" * 32,
        "fnd_" + "0" * 31,
        "wd_20bsq04ws1bpn_0",
        "wd_20bsq04ws1bpn_07",
        "wd_20bsq04ws1bpn_9223372036854775808",
        "wd_20bsq04ws1bpn_k3x9abc_7",
        "wd_20bsq04ws1bpn_k3x9abcd_",
        "run_20bsq04ws1bpn_k3x9abcd_7",
        " wd_20bsq04ws1bpn_7",
        "wd_20bsq04ws1bpn_7\n",
        "WD_20bsq04ws1bpn_7",
        "player:ann:real:EUR",
        "pi_3MtwBwLkdIwHu7ix28a3tqPa",
        "ann",
    ],
)
def test_other_names_are_no_ids(text: str) -> None:
    """Accounts, players, providers' own ids, and what is nearly an id."""
    assert kind_of(text) is None
