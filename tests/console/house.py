"""Own a house as the console has it: a guarded ledger, people with rights and without, and a console."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any, Self

import httpx

from console.server import running
from console.settings import ConsoleSettings
from console.users import User, hashed, write
from ledger_server.identity.issuing import new_signing_key, with_public_part
from ledger_server.providers.adapter import Adapter
from tests.support.cashier import Cashier
from tests.support.certificates import AUDIENCE, ISSUER
from tests.support.fake_provider import fake_providers
from tests.support.findings import Desk
from tests.support.guarded import Guarded
from tests.support.ledger import Ledger
from tests.support.service import Service, serving

TENANT = "casino"
PASSWORD = "correct horse battery"  # of everybody here
POLICY = """
[[rule]]
name = "root"
identities = ["spiffe://d/root"]
methods = ["*"]
tenants = ["*"]
acts_for = ["*"]

[[rule]]
name = "the console follows journals"
identities = ["token:defter-console"]
methods = ["defter.ledger.v1.JournalService/WatchJournal"]
tenants = ["*"]

[[rule]]
name = "readers"
claims = { groups = ["readers", "payment-operators"] }
methods = ["defter.*/Get*", "defter.*/List*", "defter.*/Count*"]
tenants = ["casino*"]

[[rule]]
name = "payment operators"
claims = { groups = ["payment-operators"] }
methods = [
    "defter.payments.v1.WithdrawalService/ApproveWithdrawal",
    "defter.payments.v1.WithdrawalService/RejectWithdrawal",
    "defter.payments.v1.WithdrawalService/CancelWithdrawal",
    "defter.reconciliation.v1.FindingService/*",
    "defter.payments.v1.DepositService/RefundDeposit",
    "defter.payments.v1.ProviderEventService/ReplayProviderEvent",
    "defter.payments.v1.ProviderEventService/SupersedeProviderEvent",
    "defter.ledger.v1.JournalService/VerifyJournal",
]
tenants = ["casino*"]

[[rule]]
name = "settlement"
claims = { groups = ["settlement"] }
methods = [
    "defter.reconciliation.v1.ReconciliationService/RunReconciliation",
    "defter.reconciliation.v1.SettlementService/*",
]
tenants = ["casino*"]

[[rule]]
name = "player desk"
claims = { groups = ["payment-operators"] }
methods = [
    "defter.ledger.v1.AccountService/FreezeAccount",
    "defter.ledger.v1.AccountService/UnfreezeAccount",
]
tenants = ["casino*"]

[[rule]]
name = "edge"
identities = ["spiffe://d/edge"]
methods = ["defter.payments.v1.ProviderEventService/IngestProviderEvents"]
tenants = ["casino"]

[[rule]]
name = "on duty"
claims = { groups = ["on-duty"] }
methods = ["defter.payments.v1.OutboundService/*"]
tenants = ["*"]

[[rule]]
name = "adjusters"
claims = { groups = ["payment-operators"] }
methods = ["defter.ledger.v1.AdjustmentService/*"]
tenants = ["casino*"]

[[rule]]
name = "cashiers"
claims = { groups = ["payment-operators"] }
methods = [
    "defter.payments.v1.WithdrawalService/AddWithdrawalNote",
    "defter.payments.v1.WithdrawalService/ClaimWithdrawal",
    "defter.payments.v1.WithdrawalService/MarkWithdrawalPaid",
    "defter.payments.v1.WithdrawalService/SetWithdrawalPolicy",
]
tenants = ["casino*"]
"""
PEOPLE = {
    "ada": ("payment-operators", "settlement"),
    "grace": ("payment-operators",),
    "dora": ("payment-operators", "on-duty"),
    "rob": ("readers",),
    "nobody": (),
}


class House:
    """A running ledger and its console."""

    def __init__(self, address: str, ledger: Ledger, guarded: Guarded, service: Service) -> None:
        self.address = address
        self.ledger = ledger
        self.guarded = guarded
        self.folder = guarded.folder
        self.service = service
        self.cashier = Cashier(ledger)
        self.desk = Desk(ledger)
        # Of each person a browser that has signed in, for windows that go on with it.
        self.kept: dict[str, Any] = {}

    @property
    def users_file(self) -> Path:
        """The console's users."""
        return self.folder / "users.toml"

    async def take_back(self, rule: str) -> None:
        """Take a right of the policy away, at once."""
        policy = self.folder / "policy.toml"
        policy.write_text(policy.read_text().replace(rule, "defter.payments.v1.WithdrawalService/Get*"))
        assert self.service.server.identity is not None
        await self.service.server.identity.look()

    def browser(self, **headers: str) -> Browser:
        """Return somebody who has not signed in."""
        return Browser(self.address, headers)

    async def signed_in(self, name: str = "ada", **headers: str) -> Browser:
        """Return somebody who has."""
        browser = self.browser(**headers)
        answer = await browser.sign_in(name)
        assert answer.status_code == 303, answer.text
        return browser

    async def funded(self, amount_minor: int = 100_000, player: str = "ann") -> None:
        """Give a player money."""
        await self.cashier.captured(amount_minor, player_id=player)


class Browser:
    """What a browser without scripts does: it keeps cookies, and says where its forms come from."""

    def __init__(self, address: str, headers: dict[str, str]) -> None:
        self.address = address
        self.http = httpx.AsyncClient(base_url=address, headers=headers, timeout=60)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Open a page."""
        return await self.http.get(path, headers=headers)

    async def send(
        self, path: str, form: dict[str, str], data: bytes, name: str = "report.csv"
    ) -> httpx.Response:
        """Send a form with a file as a page of the console does."""
        files = {"file": (name, data, "text/csv")}
        return await self.http.post(path, data=form, files=files, headers={"Origin": self.address})

    async def post(self, path: str, form: dict[str, str], **headers: str) -> httpx.Response:
        """Send a form as a page of the console does."""
        return await self.http.post(path, data=form, headers={"Origin": self.address, **headers})

    async def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        """Send the form for signing in."""
        return await self.post("/sign-in", {"name": name, "password": password})


def form_of(page: str, action: str) -> dict[str, str]:
    """Return the hidden fields of the form of a page whose address ends so."""
    for found in re.finditer(r'<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>', page, re.DOTALL):
        if unescape(found[1]).endswith(action):
            pairs = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', found[2])
            return {name: unescape(value) for name, value in pairs}
    raise AssertionError(f"no form for {action}")


@cache
def _kept() -> str:
    """Return one hash for everybody: each costs a tenth of a second."""
    return hashed(PASSWORD)


@asynccontextmanager
async def open_house(
    database_url: str,
    folder: Path,
    *,
    providers: Mapping[str, Adapter] | None = None,
    ledger_settings: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[House]:
    """Run a guarded ledger with one tenant, and a console of it.

    Args:
        providers: how the ledger calls its provider accounts; without them they are faked.
        ledger_settings: of the ledger; `settings` are the console's.
    """
    guarded = Guarded(folder)
    key = new_signing_key("console")
    guarded.write("signing.key", key)
    guarded.write("keys.json", with_public_part(None, key))
    guarded.write("policy.toml", POLICY.encode())
    users = folder / "users.toml"
    write(users, [User(name=name, groups=groups, password=_kept()) for name, groups in PEOPLE.items()])
    known = {**guarded.settings, **(ledger_settings or {})}
    async with serving(database_url, providers=providers or fake_providers(), **known) as service:
        guarded.service = service
        channel = guarded.channel_of("spiffe://d/root")
        ledger = Ledger(channel, TENANT)
        await ledger.create()
        await ledger.open_house()
        chosen: dict[str, Any] = {"users_file": users, "bulk_most_minor": {"EUR": 1_000}, **settings}
        console = ConsoleSettings(
            ledger_target=f"localhost:{service.server.token_port}",
            ledger_authority_file=folder / "authority.pem",
            signing_key_file=folder / "signing.key",
            token_issuer=ISSUER,
            token_audience=AUDIENCE,
            port=0,
            **{name: value for name, value in chosen.items() if value is not None},
        )
        try:
            async with running(console) as address:
                yield House(address, ledger, guarded, service)
        finally:
            await channel.close()
