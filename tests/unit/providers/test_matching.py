"""What stands under our id is ours only if everything that the provider tells of it is what we asked for."""

from __future__ import annotations

from itertools import product

import pytest
from msgspec.structs import replace

from ledger_server.domain.provider_record import RemoteState
from ledger_server.providers.adapter import Accepted, Made, NotOurs, ProviderCall, ProviderCallKind
from ledger_server.providers.matching import judged

ASKED = 1_500
# What each kind of call has beside amount, currency and id, and what differs from it.
RIGHT: dict[ProviderCallKind, dict[str, object]] = {
    ProviderCallKind.CREATE_PAYMENT: {"player_id": "42"},
    ProviderCallKind.CREATE_PAYOUT: {"destination": "iban:DE02"},
    ProviderCallKind.REFUND: {"payment_ref": "pay_1"},
}
WRONG: dict[str, tuple[object, ...]] = {
    "amount": (0, 1_499, 15, 150_000),
    "currency": ("USD", "eur"),
    "our_id": ("wd_2", ""),
    "player_id": ("43", ""),
    "destination": ("iban:DE03", ""),
    "payment_ref": ("pay_2", ""),
}


def asked(kind: ProviderCallKind) -> ProviderCall:
    """Return what was asked for."""
    return ProviderCall(
        kind=kind,
        our_id="wd_1",
        payment_ref="pay_1" if kind is ProviderCallKind.REFUND else "",
        player_id="42",
        amount=ASKED,
        currency="EUR",
        destination="iban:DE02" if kind is ProviderCallKind.CREATE_PAYOUT else "",
        idempotency_key="tx_wd_1",
    )


def right(kind: ProviderCallKind) -> dict[str, object]:
    """Return all that a provider can tell of the object that was asked for."""
    return {"amount": ASKED, "currency": "EUR", "our_id": "wd_1", **RIGHT[kind]}


def found(told: dict[str, object]) -> Accepted:
    """Return an object of which the provider tells that."""
    return Accepted(provider_ref="po_1", state=RemoteState.SUCCEEDED, made=Made(**told))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(ProviderCallKind))
def test_judge_what_was_asked_for_is_ours_however_little_is_told(kind: ProviderCallKind) -> None:
    """Every selection of the facts that a provider may tell is ours while none of them differs."""
    whole = right(kind)
    for chosen in product((True, False), repeat=len(whole)):
        told = {name: value for (name, value), keep in zip(whole.items(), chosen, strict=True) if keep}
        assert judged(asked(kind), ASKED, found(told)) == found(told)


@pytest.mark.parametrize("kind", list(ProviderCallKind))
def test_judge_what_differs_in_anything_is_not_ours(kind: ProviderCallKind) -> None:
    """One fact that differs is enough, whatever else agrees or is not told."""
    for name in right(kind):
        for wrong in WRONG[name]:
            for told in ({name: wrong}, {**right(kind), name: wrong}):
                answer = judged(asked(kind), ASKED, found(told))
                assert isinstance(answer, NotOurs)
                assert set(answer.evidence) == {name}
                assert answer.provider_ref == "po_1"


@pytest.mark.parametrize("kind", list(ProviderCallKind))
def test_judge_another_object_that_differs_is_not_ours(kind: ProviderCallKind) -> None:
    """Of several objects under our id each has to be what was asked for."""
    for name in right(kind):
        other = replace(found({**right(kind), name: WRONG[name][0]}), provider_ref="po_2")
        answer = judged(asked(kind), ASKED, replace(found(right(kind)), others=(other,)))
        assert isinstance(answer, NotOurs)
        assert answer.provider_ref == "po_2"


def test_judge_a_payout_without_destination_leaves_that_to_the_provider() -> None:
    """Where we name none, the provider's own account is where it goes."""
    call = replace(asked(ProviderCallKind.CREATE_PAYOUT), destination="")
    told = found({"destination": "ba_default"})
    assert judged(call, ASKED, told) == told
