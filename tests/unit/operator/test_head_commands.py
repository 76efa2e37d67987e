"""What `defter head` says without a server: each fault by its own code, and nothing is written."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ledger_server.operator import head, head_files
from ledger_server.operator.connection import Exit, Stopped
from ledger_server.operator.head_form import PublishedHead
from ledger_server.operator.program import app
from signed_notes.notes import SignerKey

KEY = SignerKey.new("ledger.example/defter")
HEAD = PublishedHead(
    key_name="ledger.example/defter",
    tenant_id="casino",
    sequence=7,
    chain_hash=bytes(32),
    epoch="",
    time=datetime(2030, 1, 1, tzinfo=UTC),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keys and files, from where commands are typed."""
    whole = str(KEY.sign(HEAD.text))
    for name, content in {
        "key": f"{KEY.private_text()}\n",
        "public": f"{KEY.verifier}\n",
        "stranger": f"{SignerKey.new('ledger.example/defter').verifier}\n",
        "heads": whole,
        "other-form": whole.replace("chain 1", "chain 2"),
        "forged": whole.replace("\n7\n", "\n8\n"),
        "broken-off": whole + whole[:100],
        "empty": "",
    }.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "no-text").write_bytes(b"\xff")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("check --key public --file other-form", 6, "other-form: line 1: not a head"),
        ("check --key public --file forged", 6, "forged: line 1 (tenant casino, record 8): the signature"),
        ("check --key public --file broken-off", 6, "broken-off: line 9: "),
        ("check --key public --file no-text", 6, "no-text: line 1: not UTF-8"),
        ("check --key public --file empty", 6, "empty: there is no head in it"),
        ("check --key stranger --file heads", 7, "heads: line 1 (tenant casino, record 7): signed by"),
        ("check --key key --file heads", 2, "key: an Ed25519 key is"),
        ("check --key no-text --file heads", 2, "no-text: not UTF-8"),
        ("check --key none --file heads", 2, "none: No such file"),
        ("check --key public --file none", 2, "none: No such file"),
        ("check --key public --file heads --tenant nobody", 2, "heads: there is no head of nobody in it"),
        ("publish --key key --file heads", 2, "say which tenants: --tenant or --all"),
        ("publish --key key --file heads --all --tenant casino", 2, "say which tenants: --tenant or --all"),
        ("publish --key key --file heads --all --command cat", 2, "say --file or --command, not both"),
        ("publish --key key --all --command ''", 2, "--command: it is empty"),
        ('publish --key key --all --command "\'"', 2, "--command: No closing quotation"),
        ("publish --key public --all --file heads", 2, "public: a private key begins with"),
        ("publish --key key --all --file other-form", 6, "other-form: line 1: not a head"),
        ("publish --key key --all --file broken-off", 6, "broken-off: line 9: "),
        ("publish --key key --all --file none/heads", 2, "none/heads.lock: No such file"),
        ("key new --name 'a b'", 2, "--name: a key's name"),
        ("key none/new --name a", 2, "none/new: No such file"),
    ],
)
def test_command_that_can_not_be_carried_out_says_why(folder: Path, line: str, code: int, told: str) -> None:
    """No file has changed afterwards."""
    before = {file: file.read_bytes() for file in folder.iterdir()}

    ran = CliRunner().invoke(app, f"head {line}")

    assert ran.exit_code == code, ran.output
    assert ran.stderr.startswith(told), ran.stderr
    assert KEY.private_text() not in ran.output
    after = {file: file.read_bytes() for file in folder.iterdir() if file.suffix != ".lock"}
    assert after == before


async def test_command_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler comes again; what became of the heads is left open."""
    monkeypatch.setattr(head, "_COMMAND_SECONDS", 0.01)

    with pytest.raises(Stopped, match="sleep was ended after 0 s: it may have kept the heads") as stopped:
        await head._hand_to(["sleep", "1000"], b"")

    assert stopped.value.code is Exit.INTERRUPTED


def test_file_is_replaced_whole_and_keeps_its_mode_and_its_link(folder: Path) -> None:
    """Whatever a publisher that died has left beside it."""
    file = folder / "heads"
    file.chmod(0o640)
    (folder / "heads.new").write_text("what a publisher left that died")
    link = folder / "link"
    link.symlink_to(file)

    head_files.replace(link, b"other content")

    assert file.read_bytes() == b"other content"
    assert file.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert not (folder / "heads.new").exists()


@pytest.mark.parametrize("fails", ["fsync", "fchmod"])
def test_file_that_can_not_be_replaced_is_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """A full disk: what was published before is not lost by it."""
    before = (folder / "heads").read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, fails, full)
    with pytest.raises(Stopped, match="heads: No space left on device"):
        head_files.replace(folder / "heads", b"other content")

    assert (folder / "heads").read_bytes() == before


def test_file_on_which_another_publisher_is_at_work_is_left_to_it(folder: Path) -> None:
    """It is asked for again later; the lock ends with whoever has it."""
    publish = "head publish --key key --all --file heads --server 127.0.0.1:1"
    with head_files.alone_with(folder / "heads"):
        ran = CliRunner().invoke(app, publish)

    assert ran.exit_code == 5, ran.output
    assert ran.stderr.startswith("heads: another `defter head publish` is at work on it")
    with head_files.alone_with(folder / "heads"):
        pass


@pytest.mark.parametrize("there", ["secret", "public"])
def test_pair_of_which_one_is_there_is_not_written(folder: Path, there: str) -> None:
    """Both or neither."""
    (folder / there).write_text("before")

    with pytest.raises(Stopped, match=f"{there}: File exists"):
        head_files.write_pair((folder / "secret", b"s"), (folder / "public", b"p"))

    assert (folder / there).read_text() == "before"
    assert (folder / "secret").exists() == (there == "secret")
