"""Own the check of every request to Stripe against Stripe's own description of its API."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from ledger_server.providers.adapter import Accepted, NotFound, ProviderCall, ProviderCallKind
from ledger_server.providers.stripe import StripeAdapter
from tests.support.proof import PROVEN
from tests.support.providers import CURRENCIES, PATIENT_SECONDS
from tests.support.tools import require, stripe_mock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REFS = {
    ProviderCallKind.CREATE_PAYMENT: "pi_1",
    ProviderCallKind.CREATE_PAYOUT: "po_1",
    ProviderCallKind.REFUND: "re_1",
}
ALL_KINDS = pytest.mark.parametrize("kind", list(ProviderCallKind))


@pytest.fixture(scope="module")
def stripe_mock_address() -> Iterator[str]:
    """A running stripe-mock, which refuses what the API's description does not allow."""
    command = [str(require(stripe_mock)), "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            found = (re.search(r"for HTTP at address: (\S+)", line) for line in process.stdout)
            yield next(f"http://{match[1]}" for match in found if match)
        finally:
            process.terminate()


@pytest.fixture
async def adapter(stripe_mock_address: str) -> AsyncIterator[StripeAdapter]:
    """An adapter that talks to stripe-mock."""
    made = StripeAdapter(
        api_key="sk_test_123",
        base_address=stripe_mock_address,
        currencies=CURRENCIES,
        timeout_seconds=PATIENT_SECONDS,
        clock=lambda: NOW,
    )
    yield made
    await made.close()


def call(kind: ProviderCallKind) -> ProviderCall:
    """Return a call of a kind."""
    return ProviderCall(
        kind=kind,
        our_id="wd_1",
        player_id="42",
        amount=1500,
        currency="EUR",
        payment_ref="pi_1" if kind is ProviderCallKind.REFUND else "",
        destination="ba_1" if kind is ProviderCallKind.CREATE_PAYOUT else "",
        idempotency_key="tx_wd_1",
    )


def test_send_undescribed_field_is_refused(stripe_mock_address: str) -> None:
    """Stripe-mock does check, or the other tests would prove nothing."""
    answer = httpx.post(
        f"{stripe_mock_address}/v1/payouts",
        data={"amount": "1500", "currency": "eur", "invented": "field"},
        headers={"Authorization": "Bearer sk_test_123"},
    )

    assert answer.status_code == 400


@ALL_KINDS
async def test_create_as_described_is_accepted(kind: ProviderCallKind, adapter: StripeAdapter) -> None:
    """What the adapter sends is what Stripe describes, and Stripe's example answer is understood."""
    answer = await adapter.call(call(kind), PROVEN)

    assert isinstance(answer, Accepted), answer
    assert answer.provider_ref.startswith(REFS[kind][:3])


@ALL_KINDS
async def test_find_by_ref_as_described_is_found(kind: ProviderCallKind, adapter: StripeAdapter) -> None:
    """Retrieving is worded as Stripe describes it."""
    found = await adapter.find(call(kind), REFS[kind])

    assert isinstance(found, Accepted), found


@ALL_KINDS
async def test_find_by_our_id_as_described_ends_in_absence(
    kind: ProviderCallKind, adapter: StripeAdapter
) -> None:
    """Search and listing are worded as described; Stripe's examples do not carry our id."""
    found = await adapter.find(call(kind), "")

    assert found == NotFound()


async def test_list_records_as_described_is_understood(adapter: StripeAdapter) -> None:
    """Stripe's example of a balance transaction is read."""
    page = await adapter.list_provider_records(NOW - timedelta(days=1), NOW, "", 10)

    assert page.next_cursor == ""
    assert all(record.record_id and record.provider_ref for record in page.records)
    assert page.records
