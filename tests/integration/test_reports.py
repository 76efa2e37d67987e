"""What the views for reports say is what the RPCs say, to the unit, whatever became of the money."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final, NamedTuple

import asyncpg
import pytest
import pytest_asyncio
from defter.ledger.v1 import account_pb2, posting_pb2
from defter.payments.v1 import payment_pb2, wallet_pb2

from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.rpc.requests import _POSTABLE_TYPES
from tests.support.cashier import CAPTURED, Cashier
from tests.support.clock import START, FakeClock
from tests.support.fake_provider import PROVIDER, fake_providers
from tests.support.ledger import LARGEST_PAGE, SHADOW, Ledger
from tests.support.postgres import Databases, run_sql
from tests.support.randomness import SEED
from tests.support.reports import DOCUMENT, ROLE, VIEWS
from tests.support.requests import CREDIT, DEBIT, leg, timestamp, transaction
from tests.support.service import Service, serving
from tests.support.wire import refusal

CURRENCIES: Final = ("EUR", "USD")
POSTED_BY_CALLERS: Final = tuple(kind.name for kind in _POSTABLE_TYPES.values())
# Random steps beside one of each kind.
STEPS: Final = 6
COLUMNS: Final = (
    "tx_id, type, direction, amount, currency, player_id, tenant_id, status, idempotency_key, provider,"
    " provider_ref, provider_event_id, created_at, account_id, sequence, leg"
)
MONEY: Final = ("posted", "available", "pending_in", "pending_out")


@pytest_asyncio.fixture(loop_scope="session")
async def reports(shared_server: Service) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection that may do what the role for reports may."""
    connection = await asyncpg.connect(shared_server.database_url)
    await connection.execute(f"SET ROLE {ROLE}")
    yield connection
    await connection.close()


class Cause(NamedTuple):
    """What a transaction came of, as the caller knows it: the key, and for a payment its id and the event."""

    key: str | None = None
    payment_id: str = ""
    event_id: str | None = None


class Story:
    """What callers and providers do to one tenant, and what each transaction came of."""

    def __init__(self, ledger: Ledger, seed: str) -> None:
        self.ledger = ledger
        self.cashier = Cashier(ledger)
        self.random = random.Random(seed)
        self.causes: dict[int, Cause] = {}
        self.wallets = {currency: f"player:ann:real:{currency}" for currency in CURRENCIES}
        self.reversible: list[str] = []
        self.types = list(POSTED_BY_CALLERS)
        self.fates = {name: self.random.sample(range(4), 4) for name in ("hold", "withdrawal")}

    async def open(self) -> None:
        """Open the accounts; wallets of an ENFORCED tenant begin with plenty, others are overdrawn soon."""
        funded = (await self.ledger.tenant()).balance_enforcement != SHADOW
        for currency in CURRENCIES:
            await self.ledger.open_house(f"vault:{currency}", currency_code=currency)
            for account_id in (f"player:ann:real:{currency}", f"player:bob:bonus:{currency}"):
                await self.ledger.open(account_id, currency_code=currency)
                if funded:
                    key = self.ledger.new_key()
                    await self._submit("TRANSFER", f"vault:{currency}", account_id, 10**6, currency, key)
                    await self._note(Cause(key))
        # Of players whose accounts are frozen, or closed, with money on them and without.
        for account_id in ("player:gus:real:EUR", "player:gus:bonus:EUR"):
            await self.ledger.open(account_id)
        key = self.ledger.new_key()
        await self._submit("TRANSFER", "vault:EUR", "player:gus:real:EUR", 9, "EUR", key)
        await self._note(Cause(key))
        await self.ledger.freeze("player:gus:real:EUR")
        await self.ledger.close("player:gus:bonus:EUR")
        # Not of a wallet: another part, and no player.
        for account_id in ("player:ann:locked:EUR", "player:eve"):
            await self.ledger.open(account_id)
            key = self.ledger.new_key()
            await self._submit("TRANSFER", "vault:EUR", account_id, 7, "EUR", key)
            await self._note(Cause(key))

    async def run(self) -> None:
        """Take each kind of step once, and some again, in any order."""
        kinds = (
            *(self.post,) * len(POSTED_BY_CALLERS),
            *(self.hold, self.withdraw) * 4,
            *(self.reverse, self.deposit, self.overtaken_deposit, self.mended_deposit),
            *(self.refund, self.go_on, self.share, self.fail),
        )
        key = self.ledger.new_key()
        await self._submit("BET", self.wallets["EUR"], "vault:EUR", 50, "EUR", key)
        await self._note(Cause(key))
        await self.go_on()  # while there certainly is something to move
        await self.deposit()
        order = [*kinds, *self.random.choices(kinds, k=STEPS)]
        self.random.shuffle(order)
        for step in order:
            await step()

    async def post(self) -> None:
        """Post a transaction of two legs, or of three."""
        kind = self.types.pop() if self.types else self.random.choice(POSTED_BY_CALLERS)
        currency = self.random.choice(CURRENCIES)
        key, amount = self.ledger.new_key(), self.random.randint(2, 500)
        debit, credit = self.random.sample([self.wallets[currency], f"vault:{currency}"], 2)
        self.reversible.append(await self._submit(kind, debit, credit, amount, currency, key))
        await self._note(Cause(key))

    async def share(self) -> None:
        """Post one transaction on the accounts of two players, in two currencies."""
        key, amount = self.ledger.new_key(), self.random.randint(2, 50)
        legs = [leg(self.wallets["EUR"], DEBIT, amount), leg("player:bob:bonus:EUR", CREDIT, amount - 1)]
        legs += [leg("vault:EUR", CREDIT, 1), leg("vault:USD", DEBIT, amount, "USD")]
        legs += [leg(f"player:{each}:USD", CREDIT, amount // 2, "USD") for each in ("ann:real", "bob:bonus")]
        if amount % 2:
            legs.append(leg("player:bob:bonus:USD", CREDIT, 1, "USD"))
        self.reversible.append((await self.ledger.submit(transaction(*legs), key=key)).transaction_id)
        await self._note(Cause(key))

    async def fail(self) -> None:
        """Ask for what is refused, which is recorded and posts nothing."""
        account_id = "player:gus:bonus:EUR"
        legs = (leg(self.wallets["EUR"], DEBIT, 2), leg("vault:EUR", CREDIT, 1), leg(account_id, CREDIT, 1))
        refused = await refusal(self.ledger.submit(transaction(*legs), key=self.ledger.new_key()))
        assert refused.reason == "ACCOUNT_CLOSED"

    async def reverse(self) -> None:
        """Reverse one."""
        if not self.reversible:
            await self.post()
        key = self.ledger.new_key()
        await self.ledger.reverse(self.reversible.pop(), key=key)
        await self._note(Cause(key))

    async def hold(self) -> None:
        """Place a hold, which stays, is captured in part, is released, or will be due."""
        fate, amount = self._fate("hold"), self.random.randint(5, 50)
        if fate == 3:
            # On an account that does not go on: else its end would move money on, whenever that is.
            soon = timestamp(START + timedelta(seconds=5))
            await self.ledger.place_hold("player:bob:bonus:EUR", "vault:EUR", amount, expire_time=soon)
            return
        hold = await self.ledger.place_hold(self.wallets["EUR"], "vault:EUR", amount)
        if fate == 1:
            key = self.ledger.new_key()
            await self.ledger.capture(hold.hold_id, 4, final=self.random.random() < 0.5, key=key)
            await self._note(Cause(key))
        elif fate == 2:
            await self.ledger.release(hold.hold_id)

    async def deposit(self) -> None:
        """Deposit: captured, charged a fee and disputed."""
        currency = self.random.choice(CURRENCIES)
        key, amount = self.ledger.new_key(), self.random.randint(300, 900)
        deposit = await self.cashier.initiate(amount, key=key, currency_code=currency)
        for kind, part in (
            (CAPTURED, amount),
            (payment_pb2.PROVIDER_EVENT_TYPE_FEE_CHARGED, 3),
            (payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN, 100),
        ):
            await self._ingest(kind, key, deposit.deposit_id, part, currency)

    async def overtaken_deposit(self) -> None:
        """Have the capture told of before the deposit."""
        key, ref = self.ledger.new_key(), f"early-{self.ledger.new_key()}"
        told = self.cashier.event(CAPTURED, amount_minor=80, payment_ref=ref)
        [parked] = await self.cashier.ingest(told)
        deposit = await self.cashier.initiate(80, key=key, provider_ref=ref)
        await self.cashier.replay(parked.event.provider_event_id)
        # If the server had tried the event again by itself, ours was one try more, after which nothing tells.
        booked = (await self.transactions())[-1].sequence
        behind = await self.ledger.entries(after_sequence=booked)
        tries = sum(each.record.WhichOneof("fact") == "provider_event_recorded" for each in behind)
        event_id = parked.event.provider_event_id if tries == 1 else None
        await self._note(Cause(key, deposit.deposit_id, event_id))

    async def mended_deposit(self) -> None:
        """Have the capture told of wrongly, and then as it is, which supersedes what was told."""
        key = self.ledger.new_key()
        deposit = await self.cashier.initiate(70, key=key)
        names = {"event_id": f"mended-{key}", "object_ref": f"object-{key}"}
        wrong = self.cashier.event(CAPTURED, deposit.deposit_id, 70, **names, currency_code="USD")
        await self.cashier.ingest(wrong)
        await self._ingest(CAPTURED, key, deposit.deposit_id, 70, "EUR", **names)

    async def refund(self) -> None:
        """Deposit, and have a part refunded."""
        key, currency = self.ledger.new_key(), self.random.choice(CURRENCIES)
        deposit = await self.cashier.initiate(90, key=key, currency_code=currency)
        await self._ingest(CAPTURED, key, deposit.deposit_id, 90, currency)
        asked = await self.cashier.refund(deposit.deposit_id, 10)
        await self.cashier.until_called()
        kind = payment_pb2.PROVIDER_EVENT_TYPE_REFUND_SUCCEEDED
        names = {"object_id": asked.refunds[0].refund_id, "object_ref": ""}
        await self._ingest(kind, key, deposit.deposit_id, 10, currency, **names)

    async def withdraw(self) -> None:
        """Ask for a withdrawal, which stays, is rejected, is paid by hand, or is paid by the provider."""
        key, fate = self.ledger.new_key(), self._fate("withdrawal")
        withdrawal_id = (await self.cashier.request(100, key=key)).withdrawal_id
        if fate == 1:
            await self.cashier.reject(withdrawal_id)
        elif fate == 2:
            await self.cashier.approve(withdrawal_id)
            await self.cashier.until_called()
            await self.cashier.mark_paid(withdrawal_id)
            await self._note(Cause(key, withdrawal_id))
            # An event that brings no news right behind it has moved nothing.
            submitted = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_SUBMITTED
            await self._ingest(submitted, key, withdrawal_id, 100, "EUR", object_ref="")
        elif fate == 3:
            await self.cashier.approve(withdrawal_id)
            await self.cashier.until_called()
            kind = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID
            await self._ingest(kind, key, withdrawal_id, 100, "EUR", object_ref="")

    async def go_on(self) -> None:
        """Continue the player's account."""
        went_on = await self.ledger.continue_account(self.wallets["EUR"])
        self.wallets["EUR"] = went_on.successor.account_id
        await self._note(Cause())

    async def transactions(self) -> list[posting_pb2.Transaction]:
        """Return all transactions as `ListTransactions` has them."""
        request = posting_pb2.ListTransactionsRequest(tenant_id=self.ledger.tenant_id, page_size=LARGEST_PAGE)
        page = await self.ledger.stubs.postings.ListTransactions(request)
        assert not page.next_page_token
        return list(page.transactions)

    def _fate(self, name: str) -> int:
        """Return what becomes of the next hold or withdrawal: each of the four once, then any."""
        return self.fates[name].pop() if self.fates[name] else self.random.randrange(4)

    async def _submit(self, kind: str, debit: str, credit: str, amount: int, currency: str, key: str) -> str:
        legs = [leg(debit, DEBIT, amount, currency)]
        if amount % 2:
            legs += [leg(credit, CREDIT, 1, currency), leg(credit, CREDIT, amount - 1, currency)]
        else:
            legs.append(leg(credit, CREDIT, amount, currency))
        type_ = account_pb2.TransactionType.Value(f"TRANSACTION_TYPE_{kind}")
        # A caller's reference that looks like a payment of the ledger's is no more than a reference.
        wanted = transaction(*legs, type_=type_, reference="dep_0_99999999999999999999")
        return (await self.ledger.submit(wanted, key=key)).transaction_id

    async def _ingest(
        self,
        kind: payment_pb2.ProviderEventType.ValueType,
        key: str,
        payment_id: str,
        amount: int,
        currency: str,
        **fields: Any,
    ) -> None:
        fields.setdefault("object_ref", f"object-{self.ledger.new_key()}")
        event = self.cashier.event(kind, payment_id, amount, currency_code=currency, **fields)
        [told] = await self.cashier.ingest(event)
        assert told.event.state == payment_pb2.PROVIDER_EVENT_STATE_APPLIED, told
        await self._note(Cause(key, payment_id, told.event.provider_event_id))

    async def _note(self, cause: Cause) -> None:
        """Note what the transactions came of that nobody has seen yet."""
        for found in await self.transactions():
            of_itself = found.type == account_pb2.TRANSACTION_TYPE_CONTINUATION
            self.causes.setdefault(found.sequence, Cause() if of_itself else cause)

    async def expected(self) -> list[tuple[Any, ...]]:
        """Return the rows that the RPCs make of the tenant."""
        await self._note(Cause("nobody knows"))
        refs: dict[str, str] = {"": ""}
        rows = []
        for found in await self.transactions():
            got = await self.ledger.transaction(found.transaction_id)
            cause = self.causes[found.sequence]
            if cause.payment_id not in refs:
                refs[cause.payment_id] = await self._ref(cause.payment_id)
            for place, posting in enumerate(found.postings):
                rows.append(
                    (
                        found.transaction_id,
                        account_pb2.TransactionType.Name(found.type).removeprefix("TRANSACTION_TYPE_"),
                        account_pb2.Direction.Name(posting.direction).removeprefix("DIRECTION_"),
                        posting.amount_minor,
                        posting.currency_code,
                        player_of(posting.account_id),
                        self.ledger.tenant_id,
                        "REVERSED" if got.reversed_by_transaction_id else "POSTED",
                        cause.key,
                        PROVIDER if cause.payment_id else None,
                        refs[cause.payment_id] or None,
                        cause.event_id,
                        microsecond(found),
                        posting.account_id,
                        found.sequence,
                        place,
                    )
                )
        return rows

    async def _ref(self, payment_id: str) -> str:
        if payment_id.startswith("wd_"):
            return (await self.cashier.withdrawal(payment_id)).provider_ref
        deposit = await self.cashier.deposit(payment_id)
        return deposit.payment_ref or deposit.provider_ref


def player_of(account_id: str) -> str | None:
    """Return the player in the name of an account, if there is one."""
    words = account_id.split(":")
    return words[1] if words[0] == "player" and len(words) > 2 else None


def microsecond(found: posting_pb2.Transaction) -> Any:
    """Return when a transaction was recorded, as PostgreSQL tells it."""
    return found.record_time.ToDatetime(tzinfo=START.tzinfo)


def wallet_rows(tenant_id: str, wallet: wallet_pb2.Wallet) -> list[tuple[Any, ...]]:
    """Return the rows that `GetWallet` makes."""
    return [
        (
            tenant_id,
            wallet.player_id,
            balance.currency_code,
            *(getattr(part, f"{what}_minor") for part in (balance.real, balance.bonus) for what in MONEY),
        )
        for balance in wallet.balances
    ]


@pytest.mark.parametrize("number", range(2))
async def test_views_say_what_the_rpcs_say(
    number: int,
    ledger: Ledger,
    clock: FakeClock,
    shared_server: Service,
    reports: asyncpg.Connection[asyncpg.Record],
) -> None:
    """Each leg, key, provider and event, and each wallet, of a strict tenant and of a lenient one."""
    lenient = await shared_server.new_ledger(f"{ledger.tenant_id}-shadow", balance_enforcement=SHADOW)
    stories = [Story(each, f"{SEED} {number} {each.tenant_id}") for each in (ledger, lenient)]
    for story in stories:
        await story.open()
        await story.run()
        await story.cashier.until_called()
    clock.advance(seconds=5)
    for story in stories:
        # A record of now, on none of the accounts whose holds are due.
        await story.ledger.open("late")

    for story in stories:
        tenant_id = story.ledger.tenant_id
        expected = await story.expected()
        rows = await reports.fetch(
            f"SELECT {COLUMNS} FROM ledger_transactions WHERE tenant_id = $1 ORDER BY sequence, leg",
            tenant_id,
        )
        assert [tuple(row) for row in rows] == expected
        assert {row["type"] for row in rows} == {each.name for each in TransactionType}
        assert "REVERSED" in {row["status"] for row in rows}
        for item in await story.ledger.accounts():
            account_id = item.account.account_id
            lines = [line for line in await story.ledger.statement(account_id) if line.amount_minor]
            assert [
                (row["tx_id"], row["amount"], row["leg"]) for row in rows if row["account_id"] == account_id
            ] == [(line.transaction_id, line.amount_minor, line.leg) for line in lines]

        wallets = []
        for player_id in ("ann", "bob", "gus"):
            wallets += wallet_rows(tenant_id, await story.cashier.wallet(player_id))
            own = await reports.fetch(
                f"SELECT {COLUMNS} FROM ledger_transactions"
                " WHERE tenant_id = $1 AND player_id = $2 ORDER BY sequence, leg",
                tenant_id,
                player_id,
            )
            assert [tuple(row) for row in own] == [row for row in expected if row[5] == player_id]
        found = await reports.fetch(
            "SELECT * FROM wallet_balances WHERE tenant_id = $1 ORDER BY player_id, currency", tenant_id
        )
        assert [tuple(row) for row in found] == wallets
        assert list(found[0].keys())[3:] == [f"{part}_{what}" for part in ("real", "bonus") for what in MONEY]


async def test_ids_carry_the_epoch_in_which_they_were_made(databases: Databases) -> None:
    """In a database whose history has a name, as every one has outside of tests."""
    with databases.fresh() as url:
        run_sql(url, "UPDATE history SET epoch = NULL")
        async with serving(url, providers=fake_providers()) as service:
            story = Story(await service.new_ledger(), str(SEED))
            await story.open()
            await story.refund()
            expected = await story.expected()
            connection = await asyncpg.connect(url)
            rows = await connection.fetch(f"SELECT {COLUMNS} FROM ledger_transactions ORDER BY sequence, leg")
            await connection.close()

    assert [tuple(row) for row in rows] == expected
    assert {row["tx_id"].count("_") for row in rows} == {3}


async def test_queries_of_the_documentation_run(
    ledger: Ledger, reports: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Each of them finds something in a ledger in which something happened."""
    story = Story(ledger, str(SEED))
    await story.open()
    await story.deposit()
    queries = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(queries) >= 3

    for query in queries:
        rows = await reports.fetch(query.replace("'casino'", f"'{ledger.tenant_id}'"))
        assert rows, query


@pytest.mark.usefixtures("ledger")
async def test_documentation_names_each_column(reports: asyncpg.Connection[asyncpg.Record]) -> None:
    """A column is told of, or it is not there."""
    for view in VIEWS:
        _, _, below = DOCUMENT.read_text().partition(f"## `{view}`\n")
        told = re.findall(r"^\| `(\w+)` \|", below.partition("\n## ")[0], re.MULTILINE)
        statement = await reports.prepare(f"SELECT * FROM {view}")
        assert told == [each.name for each in statement.get_attributes()]
