"""A configuration changes under way: no request is lost, and a broken one changes nothing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.edge.harness import BODY, NAME, OTHER, SECRET, Edge, FakeLedger, running_edge, signed
from tests.support.clock import START, FakeClock
from tests.support.patience import HANG_SECONDS
from webhook_edge import sending
from webhook_edge.configuration import Configuration, read_configuration
from webhook_edge.metrics import Metrics
from webhook_edge.reloading import LiveConfiguration

LOOK_SECONDS = 0.005
SENDERS = 4
# Of each scheme: an event's type, and the secrets before and after a rotation.
ROTATIONS = {
    "standard": ("payment.captured", SECRET, OTHER),
    "stripe": ("payment_intent.succeeded", "whsec_one", "whsec_two"),
    "adyen": ("CAPTURE", "0A" * 32, "0B" * 32),
}


class Files:
    """The files of an endpoint whose secrets stand in files of their own."""

    def __init__(self, folder: Path, scheme: str = "standard") -> None:
        self.folder = folder
        self.scheme = scheme
        self.read_count = 0
        self.toml = folder / "endpoints.toml"
        _, old, new = ROTATIONS[scheme]
        self.write_secret("old", old)
        self.write_secret("new", new)

    def write_secret(self, name: str, value: str) -> None:
        """Replace a secret's file in one step, as those who mount secrets do."""
        self._replace(self.folder / name, value)

    def write_endpoint(self, *secrets: str, mode: str = "live") -> None:
        """Write the configuration of an endpoint with secrets of these files."""
        entries = ", ".join(f'{{ name = "{name}", file = "{name}" }}' for name in secrets)
        self._replace(
            self.toml,
            f'[endpoints.{NAME}]\nscheme = "{self.scheme}"\ntenant = "casino"\nprovider = "mock"\n'
            f'mode = "{mode}"\nsecrets = [{entries}]\n',
        )

    def read(self, now: datetime) -> Configuration:
        """Read the configuration, and count that."""
        self.read_count += 1
        return read_configuration(self.toml, {}, now)

    def write_nonsense(self) -> None:
        """Break the configuration."""
        self.toml.write_text("[endpoints")

    def _replace(self, file: Path, content: str) -> None:
        fresh = file.with_suffix(".fresh")
        fresh.write_text(content)
        fresh.replace(file)


@asynccontextmanager
async def watching_edge(
    files: Files, ledger: FakeLedger, *, look_seconds: float = LOOK_SECONDS
) -> AsyncIterator[tuple[Edge, LiveConfiguration]]:
    """Run an edge that follows the files."""
    clock, metrics = FakeClock(), Metrics()
    live = LiveConfiguration(lambda: files.read(clock()), metrics)
    async with (
        live.watched(look_seconds),
        running_edge(ledger=ledger, clock=clock, metrics=metrics, configuration=lambda: live.current) as edge,
    ):
        yield edge, live


def reads(edge: Edge, result: str) -> float:
    """Return how often the configuration was read anew."""
    value = edge.metrics.registry.get_sample_value(
        "defter_edge_configuration_reads_total", {"result": result}
    )
    return value or 0


async def until(done: Callable[[], bool]) -> None:
    """Wait until something has happened."""
    async with asyncio.timeout(HANG_SECONDS):
        while not done():  # noqa: ASYNC110  # a file changes outside of this loop
            await asyncio.sleep(0.002)


async def test_reload_under_load_loses_no_request(tmp_path: Path) -> None:
    """Twenty new configurations while deliveries keep coming: every one is answered with success."""
    files, ledger, statuses = Files(tmp_path), FakeLedger(), Counter[int]()
    files.write_endpoint("old")
    async with watching_edge(files, ledger) as (edge, live):
        going = True

        async def send() -> None:
            while going:
                statuses[(await edge.deliver()).status_code] += 1

        senders = [asyncio.create_task(send()) for _ in range(SENDERS)]
        for number in range(20):
            files.write_endpoint("old", *["new"] * (number % 2))
            await until(lambda number=number: len(live.current.files) == 2 + number % 2)  # type: ignore[misc]
        going = False
        await asyncio.gather(*senders)

    assert set(statuses) == {200}
    assert len(ledger.calls) == statuses[200]


@pytest.mark.parametrize("scheme", ROTATIONS)
async def test_rotate_secret_under_load_refuses_nothing(tmp_path: Path, scheme: str) -> None:
    """The edge takes old, both, new; the provider changes while both count, and nobody notices."""
    type_, old, new = ROTATIONS[scheme]
    sample = sending.Sample(type=type_, event_id="evt_1")
    by_old, by_new = (sending.signed(scheme, sample, secret, START) for secret in (old, new))
    files, ledger, statuses = Files(tmp_path, scheme), FakeLedger(), Counter[int]()
    files.write_endpoint("old")
    path = f"/webhooks/{scheme}/{NAME}"
    signing = [by_old]
    async with watching_edge(files, ledger) as (edge, live):
        going = True

        async def send() -> None:
            while going:
                answer = await edge.deliver(signing[0].body, signing[0].headers, path=path)
                statuses[answer.status_code] += 1

        def names() -> list[str]:
            return [secret.name for secret in live.current.endpoints[NAME].endpoint.secrets]

        senders = [asyncio.create_task(send()) for _ in range(SENDERS)]
        files.write_endpoint("new", "old")
        await until(lambda: names() == ["new", "old"] and edge.secret_uses("old") > 20)
        signing[:] = [by_new]
        # What was signed with the old secret alone has to be through before that is retired.
        before = edge.secret_uses("new")
        await until(lambda: edge.secret_uses("new") > before + 20)
        files.write_endpoint("new")
        await until(lambda: names() == ["new"])
        after = edge.secret_uses("new")
        await until(lambda: edge.secret_uses("new") > after + 20)
        going = False
        await asyncio.gather(*senders)
        late = await edge.deliver(by_old.body, by_old.headers, path=path)

    assert set(statuses) == {200}
    assert late.status_code == 401


async def test_break_configuration_keeps_the_old_one(tmp_path: Path) -> None:
    """It is logged and counted once, and the next sound file counts again."""
    files, ledger = Files(tmp_path), FakeLedger()
    files.write_endpoint("old")
    async with watching_edge(files, ledger) as (edge, live):
        old = live.current
        with capture_logs() as logs:
            files.write_nonsense()
            await until(lambda: reads(edge, "failed") > 0)
            answer = await edge.deliver()
            # What is broken is read again at every look.
            before = files.read_count
            await until(lambda: files.read_count > before + 3)
            assert live.current is old
        files.write_endpoint("new")
        await until(lambda: reads(edge, "read") > 0)
        answers = [await edge.deliver(), await edge.deliver(headers=signed(BODY, OTHER))]

    [problem] = [line["problem"] for line in logs if line["log_level"] == "error"]
    assert "endpoints.toml" in problem
    assert answer.status_code == 200
    assert reads(edge, "failed") == 1
    assert [late.status_code for late in answers] == [401, 200]


async def test_miss_secret_file_is_mended_by_the_file_alone(tmp_path: Path) -> None:
    """The file that was not there yet is noticed although nobody could watch it."""
    files, ledger = Files(tmp_path), FakeLedger()
    files.write_endpoint("old")
    async with watching_edge(files, ledger) as (edge, _):
        files.write_endpoint("old", "next")
        await until(lambda: reads(edge, "failed") > 0)
        files.write_secret("next", OTHER)
        await until(lambda: reads(edge, "read") > 0)

        assert (await edge.deliver(headers=signed(BODY, OTHER))).status_code == 200


async def test_change_secret_file_alone_is_noticed(tmp_path: Path) -> None:
    """A secret that is rotated in place needs no change of the configuration."""
    files, ledger = Files(tmp_path), FakeLedger()
    files.write_endpoint("old")
    async with watching_edge(files, ledger) as (edge, _):
        files.write_secret("old", OTHER)
        await until(lambda: reads(edge, "read") > 0)
        answers = [await edge.deliver(), await edge.deliver(headers=signed(BODY, OTHER))]

    assert [answer.status_code for answer in answers] == [401, 200]


async def test_ask_for_reload_does_not_wait_for_a_look(tmp_path: Path) -> None:
    """The signal has its effect at once."""
    files, ledger = Files(tmp_path), FakeLedger()
    files.write_endpoint("old")
    async with watching_edge(files, ledger, look_seconds=3_600) as (edge, live):
        files.write_endpoint("old", mode="observe")
        live.reload()
        await until(lambda: reads(edge, "read") > 0)

        assert (await edge.deliver()).status_code == 200
    assert ledger.calls == []
