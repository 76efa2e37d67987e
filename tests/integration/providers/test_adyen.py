"""Own what is Adyen's alone: references, six months of listing, and what its states and types mean."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from ledger_server.domain.provider_record import ProviderRecordKind, RemoteState
from ledger_server.providers.adapter import (
    Accepted,
    Adapter,
    Declined,
    NotFound,
    ProviderCallKind,
    Unknown,
)
from tests.integration.providers.conftest import Adapters
from tests.integration.providers.test_contract import WINDOW
from tests.support.clock import START
from tests.support.fake_adyen import error as adyen_error
from tests.support.proof import PROVEN
from tests.support.providers import AdyenUnderTest, bare
from tests.support.vendor import Fault

pytestmark = pytest.mark.parametrize("provider", ["adyen"], indirect=True)

MANY = 150


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("received", RemoteState.PENDING),
        ("authorised", RemoteState.PENDING),
        ("pending", RemoteState.PENDING),
        ("booked", RemoteState.SUCCEEDED),
        ("credited", RemoteState.SUCCEEDED),
        ("refused", RemoteState.FAILED),
        ("failed", RemoteState.FAILED),
        ("returned", RemoteState.FAILED),
        ("cancelled", RemoteState.FAILED),
        ("aStateToCome", RemoteState.PENDING),
    ],
)
async def test_find_payout_in_each_state_tells_ours(
    status: str, state: RemoteState, provider: AdyenUnderTest, adapter: Adapter
) -> None:
    """Every state of a transfer has one of ours; an unheard-of one decides nothing."""
    transfer = provider.adyen.add_transfer(status=status, reason="notEnoughBalance")

    found = await adapter.find(provider.call(ProviderCallKind.CREATE_PAYOUT), transfer["id"])

    assert bare(found) == Accepted(provider_ref=transfer["id"], state=state, reason="notEnoughBalance")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("active", RemoteState.PENDING),
        ("paymentPending", RemoteState.PENDING),
        ("completed", RemoteState.PENDING),
        ("paid", RemoteState.PENDING),
        ("expired", RemoteState.FAILED),
    ],
)
async def test_find_link_in_each_state_tells_ours(
    status: str, state: RemoteState, provider: AdyenUnderTest, adapter: Adapter
) -> None:
    """A link that was used says nothing of the money; one that expired unused is over; the page stays."""
    call = provider.call(ProviderCallKind.CREATE_PAYMENT)
    accepted = await adapter.call(call, PROVEN)
    assert isinstance(accepted, Accepted)
    provider.adyen.links[0]["status"] = status

    found = await adapter.find(call, accepted.provider_ref)

    assert accepted.payment_url.startswith("https://")
    assert bare(found) == Accepted(
        provider_ref=accepted.provider_ref, state=state, payment_url=accepted.payment_url
    )


async def test_find_payout_on_later_page_is_found(provider: AdyenUnderTest, adapter: Adapter) -> None:
    """The cursor has characters that a query must escape, and is followed to the end."""
    for _ in range(MANY):
        provider.adyen.add_transfer(reference="wd_1", status="failed")
    paid = provider.adyen.add_transfer(reference="wd_1", status="booked")

    found = await adapter.find(provider.call(ProviderCallKind.CREATE_PAYOUT), "")

    assert isinstance(found, Accepted)
    assert found.provider_ref == paid["id"]


async def test_find_payout_when_second_page_fails_is_unknown(
    provider: AdyenUnderTest, adapter: Adapter
) -> None:
    """Half a listing proves no absence."""
    for _ in range(MANY):
        provider.adyen.add_transfer(reference="wd_1")
    provider.fail_next(None, Fault.SERVER_ERROR)

    found = await adapter.find(provider.call(ProviderCallKind.CREATE_PAYOUT), "")

    assert isinstance(found, Unknown)


async def test_find_payout_in_nonsense_is_unknown(provider: AdyenUnderTest, adapter: Adapter) -> None:
    """A proxy's page with status 200 lists nothing, and proves nothing."""
    provider.fail_next(Fault.NONSENSE)

    found = await adapter.find(provider.call(ProviderCallKind.CREATE_PAYOUT), "")

    assert isinstance(found, Unknown)


@pytest.mark.parametrize(("days", "outcome"), [(100, NotFound), (200, Unknown)])
async def test_find_payout_tried_long_ago_is_absent_within_six_months(
    days: int, outcome: type[object], provider: AdyenUnderTest, adapter: Adapter
) -> None:
    """What Adyen does not list any more cannot be said to be absent."""
    call = msgspec.structs.replace(
        provider.call(ProviderCallKind.CREATE_PAYOUT), first_try_time=START - timedelta(days=days)
    )

    assert isinstance(await adapter.find(call, ""), outcome)


@pytest.mark.parametrize(
    ("status", "code", "transient", "outcome"),
    [
        (422, "14_034", "", Declined),
        (400, "702", "", Declined),
        (422, "704", "", Unknown),
        (409, "704", "", Unknown),
        (503, "703", "", Unknown),
        (422, "14_034", "true", Unknown),
        (422, "14_034", "false", Declined),
        (401, "000", "", Unknown),
        (403, "901", "", Unknown),
        (404, "30_112", "", Unknown),
        (429, "30_001", "", Unknown),
        (500, "905", "", Unknown),
    ],
)
async def test_call_answered_with_error_has_outcome(
    status: int,
    code: str,
    transient: str,
    outcome: type[object],
    provider: AdyenUnderTest,
    adapter: Adapter,
) -> None:
    """Only errors of the request are refusals, and not even those where Adyen calls them transient."""
    headers = {"transient_error": transient} if transient else {}
    provider.adyen.faults.append(adyen_error(status, code, "So it is.", **headers))

    answer = await adapter.call(provider.call(ProviderCallKind.CREATE_PAYOUT), PROVEN)

    assert isinstance(answer, outcome)
    if isinstance(answer, Declined):
        assert answer == Declined(code=code, message="So it is.")


async def test_pay_out_refused_at_once_is_accepted_and_failed(
    provider: AdyenUnderTest, adapter: Adapter
) -> None:
    """A transfer that exists and was refused is known by its id, and has failed."""
    call = provider.call(ProviderCallKind.CREATE_PAYOUT)
    await adapter.call(call, PROVEN)
    provider.adyen.transfers[0] |= {"status": "refused", "reason": "counterpartyAccountClosed"}

    found = await adapter.find(call, "")

    assert isinstance(found, Accepted)
    assert (found.state, found.reason) == (RemoteState.FAILED, "counterpartyAccountClosed")


async def test_refund_id_with_path_in_it_reaches_nothing_else(
    provider: AdyenUnderTest, adapter: Adapter
) -> None:
    """An id is escaped, so that it cannot name another path."""
    provider.payment_ref = "../paymentLinks?x="

    answer = await adapter.call(provider.call(ProviderCallKind.REFUND), PROVEN)

    assert isinstance(answer, Unknown)
    assert provider.adyen.links == []


async def test_find_at_wrong_address_is_unknown(provider: AdyenUnderTest, adapters: Adapters) -> None:
    """A 404 without Adyen's code says that our configuration is wrong."""
    adapter = adapters.make(address=f"{provider.address}/elsewhere")

    found = await adapter.find(provider.call(ProviderCallKind.CREATE_PAYOUT), "1W1UG35U8A9J0001")

    assert isinstance(found, Unknown)


@pytest.mark.parametrize(
    ("type_", "direction", "reference", "kind", "amount"),
    [
        ("bankTransfer", "outgoing", "wd_1", ProviderRecordKind.PAYOUT, -100),
        ("bankTransfer", "outgoing", "3JWT2", ProviderRecordKind.SETTLEMENT, -100),
        ("bankTransfer", "incoming", "3JWT2", ProviderRecordKind.OTHER, 100),
        ("cardTransfer", "outgoing", "wd_1", ProviderRecordKind.PAYOUT, -100),
        ("cardTransfer", "outgoing", "3JWT2", ProviderRecordKind.PAYOUT, -100),
        ("capture", "incoming", "dep_1", ProviderRecordKind.PAYMENT, 100),
        ("captureReversal", "outgoing", "dep_1", ProviderRecordKind.PAYMENT, -100),
        ("refund", "outgoing", "ref_1", ProviderRecordKind.REFUND, -100),
        ("refundReversal", "incoming", "ref_1", ProviderRecordKind.REFUND, 100),
        ("chargeback", "outgoing", "dep_1", ProviderRecordKind.DISPUTE, -100),
        ("chargebackReversal", "incoming", "dep_1", ProviderRecordKind.DISPUTE, 100),
        ("fee", "outgoing", "3JWT2", ProviderRecordKind.FEE, -100),
        ("miscCost", "outgoing", "3JWT2", ProviderRecordKind.FEE, -100),
        ("manualCorrection", "incoming", "3JWT2", ProviderRecordKind.OTHER, 100),
        ("internalTransfer", "outgoing", "3JWT2", ProviderRecordKind.OTHER, -100),
        ("aTypeToCome", "incoming", "3JWT2", ProviderRecordKind.UNKNOWN, 100),
        ("", "incoming", "3JWT2", ProviderRecordKind.UNKNOWN, 100),
    ],
)
async def test_list_transfer_becomes_record(
    type_: str,
    direction: str,
    reference: str,
    kind: ProviderRecordKind,
    amount: int,
    provider: AdyenUnderTest,
    adapter: Adapter,
) -> None:
    """Types become kinds, the direction the sign; a reference that Adyen made up is no id of ours."""
    transfer = provider.adyen.add_transfer(type=type_, direction=direction, reference=reference)

    (record,) = (await adapter.list_provider_records(*WINDOW, "", 10)).records

    assert (record.kind, record.amount) == (kind, amount)
    assert record.our_id == (reference if "_" in reference else "")
    assert (record.record_id, record.provider_ref) == (transfer["id"], transfer["id"])
    assert record.provider_type == (type_ or "bank")


async def test_list_payout_that_came_back_is_one_failed_record(
    provider: AdyenUnderTest, adapter: Adapter
) -> None:
    """Adyen lists no second transfer for money that came back: the state says that it is here again."""
    provider.adyen.add_transfer(status="returned", reference="wd_1")

    (record,) = (await adapter.list_provider_records(*WINDOW, "", 10)).records

    assert (record.kind, record.amount, record.state) == (ProviderRecordKind.PAYOUT, -100, RemoteState.FAILED)
