"""Personal data can be revealed until the player is forgotten, and stand nowhere in plain text."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from defter.payments.v1 import payment_pb2, player_pb2, withdrawal_pb2
from structlog.testing import capture_logs

from ledger_server.engine.records.sealing import new_key
from ledger_server.process.bootstrap import start_server
from ledger_server.process.settings import Settings
from tests.support.cashier import CAPTURED, PLAYER, Cashier
from tests.support.clock import FakeClock
from tests.support.fake_provider import PROVIDER, fake_providers
from tests.support.ledger import Ledger
from tests.support.postgres import run_sql
from tests.support.service import Service, serving
from tests.support.wire import refusal, reply

KEY = new_key()
NAME = "Zsofia Planted"
DATA = {"holder": NAME, "born": "1990-01-31", "empty": ""}


def file_of(folder: Path, *keys: tuple[str, bytes]) -> Path:
    """Write a file of keys."""
    file = folder / f"keys-{'-'.join(name for name, _ in keys)}"
    file.write_text("".join(f"{name} {base64.b64encode(key).decode()}\n" for name, key in keys))
    return file


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """A file with one key."""
    return file_of(tmp_path, ("k1", KEY))


@pytest.fixture
async def server(database_url: str, clock: FakeClock, keys_file: Path) -> AsyncIterator[Service]:
    """A server that takes personal data."""
    async with serving(
        database_url, clock=clock, providers=fake_providers(), personal_keys_file=keys_file
    ) as service:
        yield service


@pytest.fixture
async def ledger(own_ledger: Ledger) -> Ledger:
    """The tenant of that server."""
    return own_ledger


@pytest.fixture
def cashier(ledger: Ledger) -> Cashier:
    """Its payments."""
    return Cashier(ledger)


def request_of(cashier: Cashier, kind: str, *, key: str, **fields: Any) -> Any:
    """Return a request that begins a payment; `kind` is `deposits` or `withdrawals`."""
    if kind == "deposits":
        return cashier.initiate_request(500, key=key, **{"provider_ref": f"pay-{key}", **fields})
    wanted = {"player_id": PLAYER, "provider": PROVIDER, "currency_code": "EUR", "destination": "tok"}
    return withdrawal_pb2.RequestWithdrawalRequest(
        tenant_id=cashier.ledger.tenant_id, idempotency_key=key, amount_minor=300, **{**wanted, **fields}
    )


def ask(cashier: Cashier, kind: str, request: Any) -> Any:
    """Send such a request."""
    stubs: Any = getattr(cashier.stubs, kind)
    return stubs.InitiateDeposit(request) if kind == "deposits" else stubs.RequestWithdrawal(request)


def payment_of(response: Any) -> payment_pb2.Deposit | payment_pb2.Withdrawal:
    """Return the payment in a response."""
    found: payment_pb2.Deposit | payment_pb2.Withdrawal
    found = response.deposit if hasattr(response, "deposit") else response.withdrawal
    return found


def id_of(response: Any) -> str:
    """Return the payment's id."""
    payment = payment_of(response)
    return payment.deposit_id if isinstance(payment, payment_pb2.Deposit) else payment.withdrawal_id


async def reveal(cashier: Cashier, payment_id: str) -> tuple[dict[str, str], bool]:
    """Return what a payment has of a person, and whether the player is forgotten."""
    answer = await cashier.stubs.players.RevealPersonalMetadata(
        player_pb2.RevealPersonalMetadataRequest(tenant_id=cashier.ledger.tenant_id, payment_id=payment_id)
    )
    return dict(answer.personal_metadata), answer.forgotten


def forgetting(cashier: Cashier, player_id: str = PLAYER, key: str = "forget") -> Any:
    """Forget a player."""
    return cashier.stubs.players.ForgetPlayer(
        player_pb2.ForgetPlayerRequest(
            tenant_id=cashier.ledger.tenant_id, idempotency_key=key, player_id=player_id, reason="asked to"
        )
    )


async def dumped(database_url: str) -> str:
    """Return all rows of all tables as text; bytes as they are, where they are text."""
    connection = await asyncpg.connect(database_url)
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        texts = []
        for (name,) in names:
            for row in await connection.fetch(f'SELECT * FROM "{name}"'):
                texts += [
                    value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row
                ]
    finally:
        await connection.close()
    return "\n".join(texts)


each_kind = pytest.mark.parametrize("kind", ["deposits", "withdrawals"])


@each_kind
async def test_forget_player_leaves_money_and_proof(cashier: Cashier, kind: str) -> None:
    """What was told is read until then; the journal has the same bytes before and after, and verifies."""
    await cashier.captured(1000)
    request = request_of(cashier, kind, key="one", personal_metadata=DATA)
    begun = await ask(cashier, kind, request)
    other = await ask(
        cashier,
        "deposits",
        request_of(cashier, "deposits", key="other", player_id="bob", personal_metadata=DATA),
    )
    plain = await ask(cashier, kind, request_of(cashier, kind, key="plain"))
    assert await reveal(cashier, id_of(begun)) == (DATA, False)
    assert await reveal(cashier, id_of(plain)) == ({}, False)
    entries = await cashier.ledger.entries()

    first, again = await reply(forgetting(cashier)), await reply(forgetting(cashier))

    assert (first.response, first.replayed, again.replayed) == (again.response, False, True)
    assert first.response.forgotten.player_id == PLAYER
    assert await reveal(cashier, id_of(begun)) == ({}, True)
    assert await reveal(cashier, id_of(other)) == (DATA, False)
    assert (await cashier.ledger.entries())[: len(entries)] == entries
    assert not (await cashier.ledger.verify()).HasField("first_difference")
    # A retry is answered as it was, a new request is refused for good, and one without such data is taken.
    retried = await reply(ask(cashier, kind, request))
    assert (retried.response, retried.replayed) == (begun, True)
    refused = [
        await refusal(ask(cashier, kind, request_of(cashier, kind, key="two", personal_metadata=DATA)))
        for _ in range(2)
    ]
    assert [(each.reason, each.replayed) for each in refused] == [
        ("PLAYER_FORGOTTEN", False),
        ("PLAYER_FORGOTTEN", True),
    ]
    await ask(cashier, kind, request_of(cashier, kind, key="three"))


@each_kind
@pytest.mark.parametrize("changed", [{**DATA, "holder": "Mallory"}, {"holder": NAME}])
async def test_key_with_other_personal_data_is_reused(
    cashier: Cashier, kind: str, changed: dict[str, str]
) -> None:
    """A retry has the same data, in whatever order; other ones are another request."""
    await cashier.captured(1000)
    begun = await ask(cashier, kind, request_of(cashier, kind, key="one", personal_metadata=DATA))

    same = await reply(
        ask(
            cashier,
            kind,
            request_of(cashier, kind, key="one", personal_metadata=dict(reversed(DATA.items()))),
        )
    )
    other = await refusal(ask(cashier, kind, request_of(cashier, kind, key="one", personal_metadata=changed)))

    assert (same.response, same.replayed) == (begun, True)
    assert (other.reason, other.replayed) == ("IDEMPOTENCY_KEY_REUSED", False)


@each_kind
async def test_plain_text_stands_nowhere(cashier: Cashier, kind: str, database_url: str) -> None:
    """Neither in a row, nor in a log line, nor in what is answered, taken or refused."""
    await cashier.captured(1000)
    with capture_logs() as lines:
        begun = await ask(cashier, kind, request_of(cashier, kind, key="one", personal_metadata=DATA))
        too_much = {f"{NAME} {number}": NAME * 40 for number in range(30)}
        refused = [
            await refusal(ask(cashier, kind, request_of(cashier, kind, key=key, **fields)))
            for key, fields in (
                ("one", {"personal_metadata": {"holder": f"{NAME} II"}}),
                ("far", {"personal_metadata": too_much}),
                ("own", {"personal_metadata": {f"defter_{NAME}": NAME}}),
                ("nul", {"personal_metadata": {"holder": f"{NAME}\x00"}}),
                ("bad", {"personal_metadata": DATA, "currency_code": "EURO"}),
            )
        ]

    assert [each.reason for each in refused] == [
        "IDEMPOTENCY_KEY_REUSED",
        "FIELD_TOO_LONG",
        "FIELD_MALFORMED",
        "FIELD_MALFORMED",
        "CURRENCY_UNKNOWN",
    ]
    assert begun.SerializeToString()
    for text in (await dumped(database_url), str(lines), str(refused), repr(begun)):
        assert NAME not in text
        assert DATA["born"] not in text
    listed = str([entry.record for entry in await cashier.ledger.entries()])
    assert NAME not in listed


@each_kind
async def test_without_keys_personal_data_are_refused(database_url: str, clock: FakeClock, kind: str) -> None:
    """By a reason of its own, and nothing is recorded; the same request is taken once there are keys."""
    async with serving(database_url, clock=clock, providers=fake_providers()) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        cashier = Cashier(ledger)
        await cashier.captured(1000)
        before = len(await ledger.entries())

        refused = await refusal(
            ask(cashier, kind, request_of(cashier, kind, key="one", personal_metadata=DATA))
        )

        assert (refused.reason, refused.metadata) == ("PERSONAL_KEYS_MISSING", {"key_name": ""})
        assert len(await ledger.entries()) == before
        await ask(cashier, kind, request_of(cashier, kind, key="one"))


@each_kind
async def test_server_without_the_key_leaves_a_retry_open(
    server: Service, cashier: Cashier, clock: FakeClock, kind: str
) -> None:
    """A caller that took it for final would ask for a second payment under another key."""
    await cashier.captured(1000)
    request = request_of(cashier, kind, key="one", personal_metadata=DATA)
    begun = await ask(cashier, kind, request)
    async with serving(server.database_url, clock=clock, providers=fake_providers()) as keyless:
        refused = await refusal(ask(Cashier(keyless.ledger(cashier.ledger.tenant_id)), kind, request))

    assert (refused.reason, refused.code) == ("PERSONAL_KEYS_MISSING", grpc.StatusCode.UNAVAILABLE)
    assert payment_of(await ask(cashier, kind, request)) == payment_of(begun)


@each_kind
async def test_retry_without_the_data_is_another_request(cashier: Cashier, kind: str) -> None:
    """Either way round, as with other data."""
    await cashier.captured(1000)
    for key, first, second in (("one", DATA, {}), ("two", {}, DATA)):
        await ask(cashier, kind, request_of(cashier, kind, key=key, personal_metadata=first))
        refused = await refusal(
            ask(cashier, kind, request_of(cashier, kind, key=key, personal_metadata=second))
        )
        assert refused.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_start_without_a_key_that_is_in_use_is_refused(
    server: Service, cashier: Cashier, clock: FakeClock, tmp_path: Path
) -> None:
    """Also with a single line: what a server of the step before has made since is not lost in silence."""
    await ask(cashier, "deposits", request_of(cashier, "deposits", key="one", personal_metadata=DATA))
    file = file_of(tmp_path, ("k2", new_key()))

    with pytest.raises(ValueError, match=r"DEFTER_PERSONAL_KEYS_FILE: .*k1"):
        async with serving(
            server.database_url, clock=clock, providers=fake_providers(), personal_keys_file=file
        ):
            pass


async def test_two_processes_make_one_key(
    server: Service, cashier: Cashier, clock: FakeClock, keys_file: Path
) -> None:
    """Whoever is faster; what either has encrypted can be read by both."""
    async with serving(
        server.database_url, clock=clock, providers=fake_providers(), personal_keys_file=keys_file
    ) as second:
        other = Cashier(second.ledger(cashier.ledger.tenant_id), first=100)
        begun = await asyncio.gather(
            *(
                _begin(each, request_of(each, "deposits", key=f"{number}", personal_metadata=DATA))
                for number in range(8)
                for each in ((cashier, other)[number % 2],)
            )
        )
        for each in (cashier, other):
            assert [await reveal(each, id_of(one)) for one in begun] == [(DATA, False)] * 8


async def _begin(cashier: Cashier, request: Any) -> Any:
    return await ask(cashier, "deposits", request)


async def test_keys_are_renewed_by_the_first_one(
    server: Service, cashier: Cashier, clock: FakeClock, tmp_path: Path
) -> None:
    """After a start with both, the old key is not needed; a server with the old one alone says so."""
    begun = await ask(cashier, "deposits", request_of(cashier, "deposits", key="one", personal_metadata=DATA))
    await ask(
        cashier,
        "deposits",
        request_of(cashier, "deposits", key="two", player_id="bob", personal_metadata=DATA),
    )
    await forgetting(cashier, "bob")
    new = new_key()
    for file in (file_of(tmp_path, ("k2", new), ("k1", KEY)), file_of(tmp_path, ("k2", new))):
        async with serving(
            server.database_url, clock=clock, providers=fake_providers(), personal_keys_file=file
        ) as later:
            assert await reveal(Cashier(later.ledger(cashier.ledger.tenant_id)), id_of(begun)) == (
                DATA,
                False,
            )
    request = player_pb2.RevealPersonalMetadataRequest(
        tenant_id=cashier.ledger.tenant_id, payment_id=id_of(begun)
    )

    refused = await refusal(cashier.stubs.players.RevealPersonalMetadata(request))

    assert (refused.reason, refused.metadata) == ("PERSONAL_KEYS_MISSING", {"key_name": "k2"})


@pytest.mark.parametrize(
    ("altered", "subject"),
    [
        ("UPDATE player_keys SET forgotten_by = NULL, key_name = 'k1', sealed_key = 'x'", "sealed_key"),
        ("UPDATE player_keys SET forgotten_by = forgotten_by + 1", "forgotten_by"),
        ("DELETE FROM player_keys", f"player_keys {PLAYER}"),
        (
            "INSERT INTO player_keys SELECT tenant_key, 'eve', NULL, NULL, 5 FROM tenants",
            "forgotten_by",
        ),
    ],
)
async def test_verify_names_a_key_that_came_back(
    cashier: Cashier, database_url: str, altered: str, subject: str
) -> None:
    """After a restore of the keys alone; to forget the player again mends it."""
    await ask(cashier, "deposits", request_of(cashier, "deposits", key="one", personal_metadata=DATA))
    await forgetting(cashier)
    run_sql(database_url, altered)

    difference = (await cashier.ledger.verify()).first_difference
    assert difference.subject.endswith(subject)
    if "eve" not in altered:
        await forgetting(cashier, key="again")
        assert not (await cashier.ledger.verify()).HasField("first_difference")


async def test_forget_player_whom_nobody_knows_keeps_keys_from_being_made(cashier: Cashier) -> None:
    """An order to forget may come before the first payment, or after a restore that lost it."""
    await forgetting(cashier, "new")

    request = request_of(cashier, "deposits", key="one", player_id="new", personal_metadata=DATA)
    assert (await refusal(ask(cashier, "deposits", request))).reason == "PLAYER_FORGOTTEN"
    assert not (await cashier.ledger.verify()).HasField("first_difference")


@pytest.mark.parametrize("payment_id", ["dep_nothing", "wd_nothing", "hold_1"])
async def test_reveal_of_no_payment_is_refused(cashier: Cashier, payment_id: str) -> None:
    """Whatever the id looks like."""
    request = player_pb2.RevealPersonalMetadataRequest(
        tenant_id=cashier.ledger.tenant_id, payment_id=payment_id
    )

    assert (
        await refusal(cashier.stubs.players.RevealPersonalMetadata(request))
    ).reason == "DEPOSIT_NOT_FOUND"


async def test_forget_while_keys_are_made_prevails(
    server: Service, cashier: Cashier, clock: FakeClock, keys_file: Path
) -> None:
    """On two processes at once, in whatever order: then nobody can read any of it, and the journal agrees."""
    async with serving(
        server.database_url, clock=clock, providers=fake_providers(), personal_keys_file=keys_file
    ) as second:
        other = Cashier(second.ledger(cashier.ledger.tenant_id), first=100)
        players = [f"p{number}" for number in range(6)]
        asked = [
            _begin_or_not(
                cashier,
                request_of(cashier, "deposits", key=name, player_id=name, personal_metadata=DATA),
            )
            for name in players
        ]
        begun, _ = await asyncio.gather(
            asyncio.gather(*asked), asyncio.gather(*(_forgotten(other, name) for name in players))
        )

    for payment_id in begun:
        if payment_id is not None:
            assert await reveal(cashier, payment_id) == ({}, True)
    assert not (await cashier.ledger.verify()).HasField("first_difference")


async def _begin_or_not(cashier: Cashier, request: Any) -> str | None:
    try:
        return id_of(await ask(cashier, "deposits", request))
    except grpc.aio.AioRpcError as error:
        if "forgotten" not in (error.details() or ""):
            raise
        return None


async def _forgotten(cashier: Cashier, name: str) -> None:
    await forgetting(cashier, name, key=name)


async def test_payload_that_was_emptied_still_verifies(cashier: Cashier, database_url: str) -> None:
    """A webhook may have personal data: the journal has a digest of its body alone."""
    deposit = await cashier.initiate(500)
    await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 500, payload=NAME.encode()))
    assert NAME in await dumped(database_url)

    run_sql(database_url, "UPDATE provider_events SET payload = ''")

    assert NAME not in await dumped(database_url)
    assert not (await cashier.ledger.verify()).HasField("first_difference")


@pytest.mark.parametrize("text", [None, "", "k1 short\n"])
async def test_start_with_another_file_names_the_setting(tmp_path: Path, text: str | None) -> None:
    """It is missing, empty or something else; the database is not even asked."""
    file = tmp_path / "keys"
    if text is not None:
        file.write_text(text)
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:9/none", personal_keys_file=file)

    with pytest.raises(ValueError, match=r"^DEFTER_PERSONAL_KEYS_FILE: "):
        await start_server(settings)
