"""Own what a page tells before a repair: by the kind and the sign of the provider's record, or nothing."""

from __future__ import annotations

import pytest

from console.views.repairs import preview_of
from defter_client import messages as m

MOVED: dict[tuple[int, int], str] = {
    (m.RECORD_KIND_PAYMENT, 1): "the player's payment was taken in",
    (m.RECORD_KIND_PAYMENT, -1): "the player's payment was lost again",
    (m.RECORD_KIND_PAYOUT, 1): "the payout to the player has failed",
    (m.RECORD_KIND_PAYOUT, -1): "the payout to the player was made",
    (m.RECORD_KIND_REFUND, 1): "the refund to the player has failed",
    (m.RECORD_KIND_REFUND, -1): "the refund to the player was made",
}


def finding(kind: int, amount_minor: int | None, payment_id: str = "dep_1_1") -> m.Finding:
    """Return a finding about a record of the provider."""
    side = m.Side(kind=kind, amount_minor=amount_minor, currency_code="EUR")  # type: ignore[arg-type]
    return m.Finding(payment_id=payment_id, at_provider=side)


@pytest.mark.parametrize("kind", [kind for kind in m.RecordKind.values() if kind])
@pytest.mark.parametrize("sign", [1, -1])
def test_each_kind_and_direction_is_told_or_left_out(kind: int, sign: int) -> None:
    """Disputes and fees are booked by their webhooks alone, so no repair of them is offered."""
    found = preview_of(finding(kind, 450 * sign))
    if (kind, sign) not in MOVED:
        assert found is None
        return
    assert found is not None
    assert found.news == MOVED[kind, sign]
    assert [(leg.is_debit, leg.amount_minor) for leg in found.legs] == [(sign > 0, 450), (sign < 0, 450)]


@pytest.mark.parametrize(
    ("amount_minor", "payment_id"),
    [(None, "dep_1_1"), (0, "dep_1_1"), (450, "")],
    ids=["none", "0", "nobody's"],
)
def test_record_without_an_amount_or_a_payment_of_ours_offers_nothing(
    amount_minor: int | None, payment_id: str
) -> None:
    """The ledger would refuse it."""
    assert preview_of(finding(m.RECORD_KIND_PAYMENT, amount_minor, payment_id)) is None
