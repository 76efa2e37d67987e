"""Own what payments do with accounts that were opened under their names before these were reserved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from defter.ledger.v1 import posting_pb2
from defter.payments.v1 import payment_pb2

from ledger_server.domain.accounts import AccountKind, Direction, Limits
from ledger_server.domain.commands import Method, OpenAccount, PostTransaction, RequestKey
from ledger_server.domain.transactions import NewPosting, TransactionType
from ledger_server.engine.work import Request
from tests.support.cashier import PLAYER, WALLET, Cashier
from tests.support.coherence import assert_ledger_coherent
from tests.support.fake_provider import PROVIDER
from tests.support.service import Service
from tests.support.wire import refusal

CLEARING = f"psp:{PROVIDER}:clearing:EUR"
ASKED: dict[str, Callable[[Cashier], Awaitable[object]]] = {
    "deposit": lambda cashier: cashier.initiate(500),
    "withdrawal": lambda cashier: cashier.request(100_000),
}
WRONG = [
    *[(WALLET, kind, "LIABILITY") for kind in AccountKind if kind is not AccountKind.LIABILITY],
    *[(CLEARING, kind, "ASSET") for kind in AccountKind if kind is not AccountKind.ASSET],
]


async def open_older(server: Service, account_id: str, kind: AccountKind, currency: str = "EUR") -> None:
    """Open an account as a server did that reserved no names: past the border."""
    command = OpenAccount(
        account_id=account_id,
        kind=kind,
        currency=currency,
        limits=Limits(min_available=None, max_balance=None),
        metadata={},
    )
    key = RequestKey(Method.OpenAccount, f"older-{account_id}", player_id="")
    [outcome] = await server.server.ledger.submit("casino", [Request(command, key, b"older")])
    assert not outcome.rejected


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(("account_id", "kind", "needed"), WRONG)
async def test_ask_with_wallet_of_another_kind_is_refused(
    server: Service, cashier: Cashier, asked: str, account_id: str, kind: AccountKind, needed: str
) -> None:
    """Whatever is asked and whichever of the two accounts is wrong: refused by name, and nothing moves."""
    await open_older(server, account_id, kind)
    if account_id != WALLET:
        await cashier.ledger.open(WALLET)

    refused = await refusal(ASKED[asked](cashier))

    assert refused.reason == "ACCOUNT_KIND_MISMATCH"
    assert refused.metadata == {"account_id": account_id, "kind": kind.name, "needed_kind": needed}
    assert await cashier.ledger.holds() == []
    assert await cashier.ledger.posted(account_id) == 0
    await assert_ledger_coherent(cashier.ledger)


@pytest.mark.parametrize("asked", ASKED)
async def test_ask_with_wallet_of_another_currency_is_refused(
    server: Service, cashier: Cashier, asked: str
) -> None:
    """The name says EUR, the account is in USD."""
    await open_older(server, WALLET, AccountKind.LIABILITY, "USD")

    refused = await refusal(ASKED[asked](cashier))

    assert refused.reason == "CURRENCY_MISMATCH"
    await assert_ledger_coherent(cashier.ledger)


async def test_open_every_reserved_name_by_payments_is_as_reserved(cashier: Cashier) -> None:
    """What payments open themselves passes the rule that callers are held to."""
    deposit = await cashier.captured(500)

    assert deposit.state == payment_pb2.DEPOSIT_STATE_CAPTURED
    kinds = {one.account.account_id: AccountKind(one.account.kind) for one in await cashier.ledger.accounts()}
    assert kinds[f"player:{PLAYER}:real:EUR"] == AccountKind.LIABILITY
    assert kinds[CLEARING] == AccountKind.ASSET
    assert kinds[f"psp:{PROVIDER}:fees:EUR"] == AccountKind.EXPENSE


async def test_reverse_older_transaction_of_an_account_against_itself_verifies(
    server: Service, cashier: Cashier
) -> None:
    """What was recorded before it was refused is decided again as it was, and can be taken back."""
    legs = tuple(NewPosting("house", direction, 7, "EUR") for direction in Direction)
    command = PostTransaction(TransactionType.TRANSFER, legs, "", None, {})
    key = RequestKey(Method.PostTransaction, "older", player_id="")
    [outcome] = await server.server.ledger.submit("casino", [Request(command, key, b"older")])
    posted = posting_pb2.Transaction.FromString(outcome.content)

    reversal = await cashier.ledger.reverse(posted.transaction_id)

    assert reversal.reverses_transaction_id == posted.transaction_id
    await open_older(server, WALLET, AccountKind.ASSET)
    assert not (await cashier.ledger.verify()).HasField("first_difference")
    await assert_ledger_coherent(cashier.ledger)
