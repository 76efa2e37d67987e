"""The mock provider as a program of its own."""

import asyncio
import base64
import signal
import sys

import httpx
import pytest

from tests.integration.mock_psp.receiver import receiving
from tests.integration.mock_psp.waiting import until

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


async def program(*arguments: str) -> asyncio.subprocess.Process:
    """Start the program."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mock_psp",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def url_of(process: asyncio.subprocess.Process) -> str:
    """Return the address that a program says it listens on."""
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    assert line.startswith("mock psp: http://")
    return line.split()[-1]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_run_program_pays_tells_and_stops_on_request(stop: signal.Signals) -> None:
    """Started from a shell it does its work by itself, and ends in peace."""
    async with receiving() as receiver:
        process = await program(
            "--webhook-url", receiver.url, "--webhook-secret", SECRET, "--settle-seconds", "0", "--token", "t"
        )
        async with httpx.AsyncClient(base_url=await url_of(process), trust_env=False) as caller:
            created = await caller.post(
                "/v1/payouts",
                json={"reference": "wd_1", "amount_minor": 5, "currency": "EUR", "destination": "iban"},
                headers={"Idempotency-Key": "k", "Authorization": "Bearer t"},
            )
            await until(lambda: len(receiver.received) == 2)
        process.send_signal(stop)

        assert (created.status_code, await asyncio.wait_for(process.wait(), 60)) == (201, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--webhook-url", "http://127.0.0.1:9/"], "secret"),
        (["--webhook-url", "http://127.0.0.1:9/", "--webhook-secret", "whsec_x"], "whsec_"),
        (["--settle-seconds", "-1"], "settle_seconds"),
        (["--host", "256.0.0.1"], "can't start"),
    ],
)
async def test_run_program_wrongly_says_why(arguments: list[str], said: str) -> None:
    """A mistake on the command line is one line, not a traceback."""
    process = await program(*arguments)

    _, errors = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 1
    assert said in errors.decode()
    assert len(errors.decode().splitlines()) == 1
