"""Take the pictures of the console's pages for the documentation: `make screenshots`.

`defter up` is run in a folder of its own, so each run shows what its demo has done, and two withdrawals that
wait. Times and ids differ from run to run; nothing else does.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from playwright.async_api import Browser, Page, async_playwright

from console.navigation import GROUPS
from defter_channel import Proof
from defter_client import LedgerClient
from defter_client import messages as m
from tests.support.tools import REPOSITORY, chromium

FOLDER: Final = REPOSITORY / "docs" / "console"
MOST_BYTES: Final = 150_000
MOST_BYTES_IN_ALL: Final = 2_000_000
_TENANT: Final = "demo"
_PLAYER: Final = "42"
_START_SECONDS: Final = 300
_DESK: Final = {"width": 1180, "height": 760}
_TALL: Final = 1_230
_PHONE: Final = {"width": 390, "height": 844}
_LIGHT: Final[dict[str, Any]] = {"locale": "en-GB", "color_scheme": "light", "viewport": _DESK}


class Running(NamedTuple):
    """What `defter up` has told: where its console and ledger are, and how somebody signs in."""

    console: str
    ledger: str
    person: str
    password: str


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """Run `defter up` until its demo has ended, and on until the context ends."""
    program = Path(sys.executable).with_name("defter")
    log = folder / "log"
    with log.open("wb") as writing:
        process = subprocess.Popen(
            [program, "up"],
            cwd=folder,
            env={**os.environ, "DEFTER_PORT": "0", "DEFTER_DATABASE_URL": ""},
            stdout=subprocess.PIPE,
            stderr=writing,
            text=True,
        )
    try:
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if line.startswith("The provider listens on"):
                break
        else:
            raise SystemExit(f"`defter up` ended early:\n{told}{log.read_text()}")
        yield _read(told)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_START_SECONDS)


def _read(told: str) -> Running:
    console = re.search(r"^console: (\S+), sign in as (\S+) / (\S+)", told, re.MULTILINE)
    ledger = re.search(r"^ledger: gRPC on (\S+),", told, re.MULTILINE)
    if console is None or ledger is None:
        raise SystemExit(f"`defter up` has told something else than expected:\n{told}")
    return Running(console[1], ledger[1], console[2], console[3])


async def made(running: Running, certificates: Path) -> dict[str, str]:
    """Put withdrawals on show that wait, beside the demo; return paths by the name of their picture."""
    proof = Proof(
        authority_file=certificates / "authority.pem",
        certificate_file=certificates / "operator.pem",
        key_file=certificates / "operator.key",
    )
    async with LedgerClient(running.ledger, proof=proof) as client:
        waiting = ""
        for amount in (300, 500):
            answer = await client.withdrawals.request_withdrawal(
                m.RequestWithdrawalRequest(
                    tenant_id=_TENANT,
                    player_id=_PLAYER,
                    amount_minor=amount,
                    currency_code="EUR",
                    provider="mock",
                    destination="bank account ending in 4711",
                )
            )
            waiting = answer.response.withdrawal.withdrawal_id
        newest = client.postings.list_transactions(
            m.ListTransactionsRequest(tenant_id=_TENANT, newest_first=True, page_size=1)
        )
        transaction = await anext(aiter(newest))
    base = f"/t/{_TENANT}"
    return {
        "overview": base,
        **{entry.here: f"{base}/{entry.part}" for group in GROUPS for entry in group.entries},
        "withdrawal": f"{base}/withdrawals/{waiting}",
        "player": f"{base}/players/{_PLAYER}",
        "account": f"{base}/accounts/player:{_PLAYER}:real:EUR",
        "transaction": f"{base}/transactions/{transaction.transaction_id}",
        "record": f"{base}/journal/{transaction.sequence}",
    }


async def take(running: Running, paths: dict[str, str]) -> None:
    """Take each page in light, and some in dark, on a phone and in Turkish."""
    variants: list[tuple[str, str, dict[str, Any]]] = [
        *((name, name, _LIGHT) for name in paths),
        ("overview", "overview-dark", {**_LIGHT, "color_scheme": "dark"}),
        ("withdrawal", "withdrawal-phone", {**_LIGHT, "viewport": _PHONE}),
        ("transaction", "transaction-turkish", {**_LIGHT, "locale": "tr-TR"}),
    ]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        # Signed in once: tries of a name are bounded.
        state = await _signed_in(browser, running)
        for name, picture, options in variants:
            file = FOLDER / f"{picture}.png"
            await _one(browser, running, paths[name], file, {**options, "storage_state": state})
        await browser.close()


async def _signed_in(browser: Browser, running: Running) -> Any:
    context = await browser.new_context(base_url=running.console)
    page = await context.new_page()
    await page.goto("/sign-in")
    await page.fill("#name", running.person)
    await page.fill("#password", running.password)
    await page.click("main button")
    await page.wait_for_url("**/")
    state = await context.storage_state()
    await context.close()
    return state


async def _one(browser: Browser, running: Running, path: str, file: Path, options: dict[str, Any]) -> None:
    context = await browser.new_context(base_url=running.console, reduced_motion="reduce", **options)
    page = await context.new_page()
    await page.goto(path)
    await _until_whole(page)
    if file.stem.startswith("overview"):
        # It is what it is for its lower half, too; all of it would be too large a picture.
        await page.set_viewport_size({"width": _DESK["width"], "height": _TALL})
    await page.screenshot(path=file)
    await context.close()


async def _until_whole(page: Page) -> None:
    """Wait until whatever the page fetches behind itself is there, and whether it is live is said."""
    await page.locator("main progress").wait_for(state="detached")
    if await page.locator("[data-live]").count():
        text = await page.locator("[data-live]").get_attribute("data-on")
        await page.locator(".live-state", has_text=text).wait_for()


def main() -> int:
    """Take all pictures, and refuse those that are too large."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running(folder) as found:

            async def work() -> None:
                await take(found, await made(found, folder / ".defter" / "certs"))

            asyncio.run(work())
    sizes = {file.name: file.stat().st_size for file in sorted(FOLDER.glob("*.png"))}
    for picture, size in sizes.items():
        sys.stdout.write(f"{size:>8,}  docs/console/{picture}\n")
    too_large = [picture for picture, size in sizes.items() if size > MOST_BYTES]
    if too_large or sum(sizes.values()) > MOST_BYTES_IN_ALL:
        sys.stderr.write(f"too large: {', '.join(too_large) or 'all together'}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
