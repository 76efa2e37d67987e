"""Test that the ids of two histories never meet beyond the record at which they part."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.ids import Epoch, TenantId, TenantIds, epochs_of, epochs_text, is_epoch, tenant_key

KEY = tenant_key(TenantId("casino"))
NAMES = ["0000000a", "k3x9abcd", "zzzzzzzz", "12345678"]
KINDS = ["deposit", "withdrawal", "refund", "transaction", "hold", "event"]
# Where epochs begin, in order; each takes the next name.
BEGINNINGS = st.lists(st.integers(1, 60), max_size=3, unique=True).map(sorted)


def made(ids: TenantIds, kind: str) -> Callable[[int], str]:
    """Return what makes ids of a kind."""
    make: Callable[[int], str] = getattr(ids, f"{kind}_id")
    return make


def named(beginnings: list[int], names: list[str] = NAMES) -> tuple[Epoch, ...]:
    """Return epochs that begin there."""
    return tuple(Epoch(start, name) for start, name in zip(beginnings, names, strict=False))


@pytest.mark.parametrize("kind", KINDS)
@given(beginnings=BEGINNINGS, fork=st.integers(1, 60), lost=st.booleans())
def test_part_at_a_record_leaves_no_id_in_common(
    kind: str, beginnings: list[int], fork: int, *, lost: bool
) -> None:
    """Whatever either history writes behind the copy, neither reads the other's ids, and old ones stay."""
    shared = named([start for start in beginnings if start < fork])
    restored = TenantIds(KEY, (*shared, Epoch(fork, "rest0red")))
    # The other went on in its epoch, or has begun one of its own as well.
    other = TenantIds(KEY, shared if lost else (*shared, Epoch(fork, "c0pyc0py")))
    read, read_other = getattr(restored, f"{kind}_sequence"), getattr(other, f"{kind}_sequence")
    before = [made(restored, kind)(number) for number in range(1, fork)]
    assert before == [made(other, kind)(number) for number in range(1, fork)]
    assert [read(text) for text in before] == list(range(1, fork))
    after = [made(restored, kind)(number) for number in range(fork, fork + 20)]
    others = [made(other, kind)(number) for number in range(fork, fork + 20)]
    assert set(after).isdisjoint(others)
    assert {read(text) for text in others} | {read_other(text) for text in after} == {None}
    assert all(restored.of_another_history(text) for text in others)
    assert not any(restored.of_another_history(text) for text in [*before, *after])
    # A provider takes keys of up to 64 characters.
    assert all(len(f"tx_{text}") <= 64 for text in after)


@given(beginnings=BEGINNINGS)
def test_write_epochs_reads_them_again(beginnings: list[int]) -> None:
    """What a tenant's row keeps says what was kept."""
    epochs = named(beginnings)
    assert epochs_of(epochs_text(epochs)) == epochs


@pytest.mark.parametrize("name", ["", "k3x9abc", "k3x9abcde", "k3x9abci", "K3X9ABCD", "k3x9 bcd"])
def test_read_what_is_no_epoch_finds_none(name: str) -> None:
    """An epoch has eight characters of the alphabet of ids."""
    assert not is_epoch(name)
    assert (
        TenantIds(KEY, [Epoch(1, "k3x9abcd")]).deposit_sequence(f"{TenantIds(KEY).deposit_prefix}{name}_7")
        is None
    )
