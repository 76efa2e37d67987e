"""A whole server killed in the middle of a call to a provider: the next one finds out and pays once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from defter.payments.v1 import payment_pb2, withdrawal_pb2, withdrawal_pb2_grpc

from mock_psp.server import MockPsp
from tests.integration.dispatch.engine_cashier import OPENING, PLAYER, TENANT, EngineCashier
from tests.support.patience import HANG_SECONDS
from tests.support.service import ServerProcess
from tests.support.wire import open_channel

CONFIGURATION = """
[providers.mock]
adapter = "mock"
tenants = ["casino"]
base_address = "{url}"
api_key_env = "MOCK_KEY"
"""


@pytest.mark.parametrize("pause", ["delay_execution_seconds", "delay_seconds"])
async def test_kill_the_server_during_a_payout_pays_once(
    cashier: EngineCashier, psp: MockPsp, tmp_path: Path, pause: str
) -> None:
    """Killed before or after the provider has executed: one execution, one debit, no hold left."""
    setattr(psp.knobs, pause, 0.4)
    first, second = (server(cashier, psp, tmp_path, name) for name in ("first", "second"))
    try:
        await first.start()
        withdrawal_id = await approved(first)
        await called(psp)
        first.kill()
        setattr(psp.knobs, pause, 0.0)
        await second.start()
        number = cashier.ids.withdrawal_sequence(withdrawal_id)
        assert number is not None
        paid = payment_pb2.WITHDRAWAL_STATE_PAID
        assert await cashier.withdrawal_until(number, paid) == "WITHDRAWAL_STATE_PAID"
    finally:
        for process in (first, second):
            if process.is_alive:
                process.kill()
    assert psp.state.executions[withdrawal_id] == 1
    assert await cashier.player_money() == (OPENING - 2_500, 0)
    await cashier.assert_sound()


def server(cashier: EngineCashier, psp: MockPsp, folder: Path, name: str) -> ServerProcess:
    """Prepare a server process that knows the provider and looks for owed calls often."""
    configuration = folder / "providers.toml"
    configuration.write_text(CONFIGURATION.format(url=psp.url))
    return ServerProcess(
        cashier.database_url,
        log_file=folder / f"{name}.log",
        environment={
            "DEFTER_PROVIDERS_FILE": str(configuration),
            "MOCK_KEY": "secret",
            "DEFTER_PROVIDER_CALL_SECONDS": "1",
            "DEFTER_PROVIDER_POLL_SECONDS": "0.2",
            "DEFTER_DISPATCH_SWEEP_SECONDS": "0.2",
        },
    )


async def approved(process: ServerProcess) -> str:
    """Ask a server for a withdrawal and let it pass; return its id."""
    async with open_channel(process.port) as channel:
        withdrawals = withdrawal_pb2_grpc.WithdrawalServiceStub(channel)
        asked = await withdrawals.RequestWithdrawal(
            withdrawal_pb2.RequestWithdrawalRequest(
                tenant_id=TENANT,
                idempotency_key="ask",
                player_id=PLAYER,
                provider="mock",
                amount_minor=2_500,
                currency_code="EUR",
                destination="iban:DE02",
            )
        )
        withdrawal_id: str = asked.withdrawal.withdrawal_id
        await withdrawals.ApproveWithdrawal(
            withdrawal_pb2.ApproveWithdrawalRequest(
                tenant_id=TENANT, idempotency_key="approve", withdrawal_id=withdrawal_id, reviewer="ada"
            )
        )
    return withdrawal_id


async def called(psp: MockPsp) -> None:
    """Wait until the provider was called."""
    async with asyncio.timeout(HANG_SECONDS):
        while not psp.state.calls:  # noqa: ASYNC110  # another process calls
            await asyncio.sleep(0.01)
