"""Files that can't be used leave what was read before in force, each for itself, and hold up no other."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from structlog.testing import capture_logs

from ledger_server.process import live_identity
from ledger_server.process.identity_settings import guarded
from ledger_server.process.live_identity import LiveIdentity
from ledger_server.process.settings import Settings
from tests.support.certificates import CLIENT, SERVER, Issued, TestAuthority
from tests.support.guarded import POLICY, Guarded
from tests.support.patience import HANG_SECONDS

DEEP = b"[" * 5_000
BAD: dict[str, list[bytes]] = {
    "policy.toml": [b"", b"\xff", b"a = " + DEEP, b"[[rule]]", b"x" * 2**21],
    "authority.pem": [b"", b"garbage", TestAuthority().issue(uris=["spiffe://d/x"]).pem],
    "keys.json": [
        b"",
        b"\xff",
        DEEP,
        json.dumps({"keys": [{"kty": "EC", "kid": "a", "alg": "none"}]}).encode(),
        json.dumps({"keys": [{"kty": "EC", "kid": "a", "alg": ["EC"]}]}).encode(),
    ],
    "server.pem": [b"", b"garbage", TestAuthority().issue(dns=["localhost"], usages=SERVER).pem],
}
CASES = [(name, number) for name, bad in BAD.items() for number in range(len(bad))]
NOW = datetime(2026, 11, 28, tzinfo=UTC)


def live(files: Guarded) -> LiveIdentity:
    """Return what is in force by these files."""
    wanted = guarded(Settings(**files.settings))
    assert wanted is not None
    return LiveIdentity(wanted, now=lambda: NOW)


@pytest.fixture
def files(tmp_path: Path) -> Guarded:
    """The files of a guarded server."""
    return Guarded(tmp_path)


@pytest.mark.parametrize(("name", "number"), CASES)
async def test_file_that_can_not_be_used_holds_up_no_other(files: Guarded, name: str, number: int) -> None:
    """It is told once, by its setting; all others that are replaced meanwhile count, as does its return."""
    identity = live(files)
    good = (files.folder / name).read_bytes()
    files.write(name, BAD[name][number])
    with capture_logs() as logs:
        for _ in range(3):
            await identity.look()
    told = [line["problem"] for line in logs if line["log_level"] == "error"]
    assert len(told) == 1
    assert told[0].startswith("DEFTER_")
    others = {"policy.toml", "authority.pem", "keys.json"} - {name}
    before = identity.guard.in_force
    renew(files, others)
    await identity.look()
    after = identity.guard.in_force
    changed = {
        "policy.toml": after.policy is not before.policy,
        "authority.pem": after.authority is not before.authority,
        "keys.json": after.token_keys is not before.token_keys,
    }
    assert {each for each, is_new in changed.items() if is_new} == others
    files.write(name, good)
    with capture_logs() as logs:
        await identity.look()
    assert [line["log_level"] for line in logs] == ["info"]


def renew(files: Guarded, names: set[str]) -> None:
    """Replace files by others that are good."""
    if "policy.toml" in names:
        files.write("policy.toml", f"# another\n{POLICY}".encode())
    if "authority.pem" in names:
        files.write("authority.pem", TestAuthority().root.pem)
    if "keys.json" in names:
        content = json.loads((files.folder / "keys.json").read_text())
        files.write("keys.json", json.dumps(content, indent=1).encode())


@pytest.mark.parametrize("name", BAD)
async def test_start_with_a_file_that_can_not_be_used_names_its_setting(files: Guarded, name: str) -> None:
    """Whatever the parser stumbles over."""
    good = (files.folder / name).read_bytes()
    for content in BAD[name]:
        files.write(name, content)
        with pytest.raises(ValueError, match=r"^DEFTER_[A-Z_]+: "):
            live(files)
    files.write(name, good)
    live(files)


@pytest.mark.parametrize("name", BAD)
async def test_pipe_in_place_of_a_file_holds_up_nobody(files: Guarded, name: str) -> None:
    """Who opens one waits for whoever writes, perhaps for ever."""
    identity = live(files)
    (files.folder / name).unlink()
    os.mkfifo(files.folder / name)
    with capture_logs() as logs:
        async with asyncio.timeout(HANG_SECONDS):
            await identity.look()
    assert [line["log_level"] for line in logs] == ["error"]
    with pytest.raises(ValueError, match="is no file"):
        live(files)


async def test_file_that_does_not_answer_is_told_of(files: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one of a network's file system."""
    identity = live(files)
    told = asyncio.Event()
    monkeypatch.setattr(live_identity, "_STUCK_SECONDS", 0.01)
    monkeypatch.setattr(identity, "look", asyncio.Event().wait)
    monkeypatch.setattr(live_identity.log, "error", lambda *_, **__: told.set())
    identity.start(0.001)
    async with asyncio.timeout(HANG_SECONDS):
        await told.wait()
        await identity.stop()


def pair(key: Any = None, **options: Any) -> Issued:
    """Return a server's certificate with a key."""
    return TestAuthority().issue(**{"dns": ["localhost"], "usages": SERVER, "key": key, **options})


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: pair(ec.generate_private_key(ec.SECP256R1())), ""),
        (lambda: pair(ec.generate_private_key(ec.SECP384R1())), ""),
        (lambda: pair(rsa.generate_private_key(65_537, 2_048)), ""),
        (lambda: pair(usages=None), ""),
        (lambda: pair(ed25519.Ed25519PrivateKey.generate()), "its key is neither"),
        (lambda: pair(ec.generate_private_key(ec.SECP521R1())), "its key is neither"),
        (lambda: pair(ec.generate_private_key(ec.SECP256K1())), "its key is neither"),
        (lambda: pair(rsa.generate_private_key(65_537, 1_024)), "its key is neither"),
        (lambda: pair(usages=CLIENT), "not for servers"),
        (lambda: pair(valid_until=NOW - timedelta(seconds=1)), "it counts from"),
        (lambda: pair(valid_from=NOW + timedelta(seconds=1)), "it counts from"),
    ],
)
async def test_pair_that_nobody_could_connect_by_is_not_put_in_force(
    files: Guarded, made: Callable[[], Issued], problem: str
) -> None:
    """GRPC takes each of them without a word."""
    identity = live(files)
    before = identity._pair.current
    issued = made()
    files.write("server.pem", issued.pem)
    files.write(
        "server.key",
        issued.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    with capture_logs() as logs:
        await identity.look()
    assert (identity._pair.current == before) == bool(problem)
    assert problem in str([line.get("problem", "") for line in logs])
