"""Own what a caller gets who names one limit alone, by every RPC that takes limits."""

from __future__ import annotations

import pytest
from defter.ledger.v1 import account_pb2

from tests.support.ledger import Ledger
from tests.support.requests import new_account, recorded_limits
from tests.support.service import Service
from tests.support.wire import refusal

Limits = account_pb2.AccountLimits
WANTED = {
    "nothing": (Limits(), recorded_limits(minimum=0)),
    "an upper limit": (Limits(max_balance_minor=100), recorded_limits(minimum=0, maximum=100)),
    "no upper limit": (Limits(max_unlimited=True), recorded_limits(minimum=0)),
    "a lower limit": (Limits(min_available_minor=-5), recorded_limits(minimum=-5)),
    "no lower limit": (Limits(min_unlimited=True), recorded_limits()),
}


async def limited_by(ledger: Ledger, rpc: str, wanted: account_pb2.AccountLimits) -> account_pb2.Account:
    """Return `ann` with these limits, given by one of the RPCs."""
    if rpc == "SetAccountLimits":
        await ledger.open("ann", bounds=Limits(min_available_minor=-100, max_balance_minor=7))
        return await ledger.set_limits("ann", wanted)
    if rpc == "OpenAccount":
        return await ledger.open("ann", bounds=wanted)
    request = account_pb2.BatchOpenAccountsRequest(
        tenant_id=ledger.tenant_id,
        mode=account_pb2.BATCH_MODE_ATOMIC,
        items=[
            account_pb2.BatchOpenAccountsItem(
                idempotency_key="batch", account=new_account("ann", bounds=wanted)
            )
        ],
    )
    return (await ledger.stubs.accounts.BatchOpenAccounts(request)).results[0].account


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("rpc", ["OpenAccount", "BatchOpenAccounts", "SetAccountLimits"])
async def test_name_some_limits_leaves_the_others_at_the_default(
    ledger: Ledger, rpc: str, wanted: str
) -> None:
    """An empty wallet bets without bound only where somebody said so, whatever else was said."""
    asked, given = WANTED[wanted]

    account = await limited_by(ledger, rpc, asked)

    assert account.limits == given
    if given.HasField("min_available_minor"):
        refused = await refusal(ledger.post("ann", "house", 6))
        assert refused.reason == "INSUFFICIENT_FUNDS"
    else:
        await ledger.post("ann", "house", 6)


@pytest.mark.parametrize(
    ("both", "field"),
    [
        (Limits(min_available_minor=0, min_unlimited=True), "min_unlimited"),
        (Limits(max_balance_minor=0, max_unlimited=True), "max_unlimited"),
    ],
)
async def test_name_a_number_and_unlimited_is_refused(
    ledger: Ledger, both: account_pb2.AccountLimits, field: str
) -> None:
    """Of two things that exclude each other neither is guessed."""
    refused = await refusal(ledger.open("ann", bounds=both))

    assert (refused.reason, refused.metadata) == ("FIELD_MALFORMED", {"field": f"account.limits.{field}"})


@pytest.mark.parametrize("field", [field.name for field in Limits.DESCRIPTOR.fields if field.has_presence])
@pytest.mark.parametrize("rpc", ["OpenAccount", "BatchOpenAccounts", "SetAccountLimits"])
async def test_name_any_limit_gives_it_and_keeps_it(
    server: Service, ledger: Ledger, rpc: str, field: str
) -> None:
    """Whatever limits the contract has: each is taken from the request, told, and there after a restart."""
    asked = Limits(min_unlimited=field != "min_available_minor")
    setattr(asked, field, 5)

    account = await limited_by(ledger, rpc, asked)
    await server.crash()
    await server.restart()
    again = await server.ledger().account("ann")

    for limits in (account.limits, again.account.limits):
        assert [(each.name, value) for each, value in limits.ListFields()] == [(field, 5)]
