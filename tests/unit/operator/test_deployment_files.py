"""What operators start processes with is right: the units of systemd, and the image."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from ledger_server.operator.connection import Exit
from ledger_server.operator.setting_names import COMMAND_SETTINGS
from ledger_server.process.settings import Settings
from tests.support.command_lines import check_command_line
from tests.support.service import DEFTER
from tests.unit.operator.test_documentation import OPERATIONS, REPOSITORY
from webhook_edge.settings import EdgeSettings

UNITS = REPOSITORY / "deploy" / "systemd"
SCRIPTS = REPOSITORY / "deploy" / "schedulers"
CRONTAB = REPOSITORY / "deploy" / "cron" / "defter"
CONTAINERFILE = REPOSITORY / "deploy" / "Containerfile"
INSTALLED = "/opt/defter/bin/defter"
# Programs of units that are not ours, and which a machine that runs tests need not have.
FOREIGN = {"/usr/bin/barman"}
# It hands mail over, which no hardened unit can.
UNHARDENED = {"defter-failed@.service"}
# Hardening that every unit of ours has; `systemd-analyze security` knows more, where it is at hand.
HARDENED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "UMask": "0077",
}
BUILD_SECONDS = 1_800


class Unit(NamedTuple):
    """A unit's file."""

    name: str
    values: dict[str, list[str]]

    def last(self, key: str) -> str:
        """Return the value that counts of a key."""
        return self.values[key][-1]


def unit(file: Path) -> Unit:
    """Read a unit; sections do not matter here."""
    values = defaultdict[str, list[str]](list)
    for line in file.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, separator, value = line.partition("=")
            assert separator, (file.name, line)
            values[key].append(value)
    return Unit(file.name, dict(values))


SERVICES = [unit(file) for file in sorted(UNITS.glob("*.service"))]
OURS = [each for each in SERVICES if each.last("ExecStart").startswith(INSTALLED)]


def by_name(each: Unit) -> str:
    """Return what a case of a test is called."""
    return each.name


def test_units_are_found() -> None:
    """Else the tests below would hold of nothing; each timer has the service that it starts."""
    timers = {file.stem for file in UNITS.glob("*.timer")}
    services = {each.name.removesuffix(".service") for each in SERVICES}
    assert services == timers | {"defter", "defter-edge", "defter-failed@"}
    assert len(OURS) == 7


@pytest.mark.parametrize("service", SERVICES, ids=by_name)
def test_unit_starts_what_there_is(service: Unit) -> None:
    """A command of ours has the options that are said; a foreign one is known to be foreign."""
    program, *words = shlex.split(service.last("ExecStart"))
    if program.startswith(INSTALLED):
        check_started([program.removeprefix(f"{Path(INSTALLED).parent}/"), *words])
    else:
        assert program in FOREIGN


def check_started(line: list[str]) -> None:
    """Check a command line, and what our scripts start with the words that they are given."""
    program, *words = line
    match program:
        case "defter":
            check_command_line(words, DEFTER_TENANT="casino")
        case "defter-quietly":
            codes, *command = words
            assert {int(code) for code in codes.split(",")} <= set(Exit)
            check_started(command)
        case "defter-import-settlements":
            text = (SCRIPTS / program).read_text()
            [started] = re.findall(r"^ +(defter .+)$", text, re.MULTILINE)
            provider, format_, _folder = words
            if format_.startswith("$"):
                format_ = "stripe-payout-reconciliation"
            check_started(shlex.split(started.replace("$format", format_).replace("$provider", provider)))
        case _:
            assert (SCRIPTS / program).exists()


def test_units_tell_somebody_when_they_fail() -> None:
    """Each unit that a timer of ours starts; only one that has given up has failed."""
    scheduled = [each for each in OURS if (UNITS / each.name.replace(".service", ".timer")).exists()]
    assert len(scheduled) == 4
    for each in scheduled:
        assert each.last("OnFailure") == "defter-failed@%n.service"
        if "Restart" in each.values:
            seconds = {"min": 60}
            pause, limit = (
                int(each.last(key).removesuffix("min")) * seconds["min"]
                for key in ("RestartSec", "StartLimitIntervalSec")
            )
            assert pause * int(each.last("StartLimitBurst")) < limit


def crontab() -> list[list[str]]:
    """Return the words of the lines of the crontab that start something."""
    lines = [line for line in CRONTAB.read_text().splitlines() if line and not line.startswith("#")]
    return [line.split() for line in lines if not re.match(r"[A-Z_]+=", line)]


def test_crontab_starts_what_there_is() -> None:
    """Five fields of a time, a user who is not root, and a command line that can be typed."""
    lines = crontab()
    for *times, user, _ in ([*line[:6], ""] for line in lines):
        assert all(re.fullmatch(r"\*(/\d+)?|\d+", field) for field in times)
        assert user == "defter-jobs"
    for line in lines:
        assert "%" not in "".join(line)  # cron reads it as the end of a line
        check_started(line[6:])
    told = {" ".join(line[8:10]) for line in lines if line[8] == "defter"}
    assert told == {"defter reconcile", "defter verify", "defter head"}


def test_crontab_sets_what_commands_read() -> None:
    """A variable that is misspelt would send a command elsewhere."""
    names = re.findall(r"^(DEFTER_\w+)=", CRONTAB.read_text(), re.MULTILINE)
    assert names
    assert set(names) <= COMMAND_SETTINGS


@pytest.mark.parametrize("script", sorted(SCRIPTS.iterdir()), ids=lambda script: script.name)
def test_script_is_read_by_a_shell(script: Path) -> None:
    """And can be started as it is."""
    assert script.stat().st_mode & 0o111
    assert script.read_text().startswith("#!/bin/sh\n")
    assert not subprocess.run(["sh", "-n", script], check=False).returncode


@pytest.mark.parametrize(
    ("codes", "code", "where"),
    [
        ([], 0, {}),
        ([0], 0, {"0": "done"}),
        ([0, 1], 1, {"0": "done", "1": "done"}),
        ([1, 4], 4, {"1": "done", "4": "inbox"}),
        ([1, 2, 4], 2, {"1": "done", "2": "refused", "4": "inbox"}),
        ([130], 4, {"130": "inbox"}),
    ],
)
def test_inbox_is_emptied_of_what_was_read(
    tmp_path: Path, codes: list[int], code: int, where: dict[str, str]
) -> None:
    """A report stays until a server has answered; a program that ends as the report is called stands in."""
    program = tmp_path / "bin" / "defter"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nexit "$(basename "$3")"\n')
    program.chmod(0o755)
    inbox = tmp_path / "reports of casino" / "inbox"
    inbox.mkdir(parents=True)
    for each in codes:
        (inbox / str(each)).touch()
    words = [
        str(SCRIPTS / "defter-import-settlements"),
        "stripe-eu",
        "stripe-balance-change",
        str(inbox.parent),
    ]
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(words, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert ran.returncode == code
    assert {file.name: file.parent.name for file in inbox.parent.glob("*/*")} == where
    assert ran.stderr.count("exit code") == sum(each != 0 for each in codes)


@pytest.mark.parametrize(
    ("codes", "command", "code", "printed"),
    [
        ("0", "echo fine", 0, ""),
        ("0,1", "echo found; exit 1", 0, ""),
        ("0", "echo found; exit 1", 1, "found\nexit code 1: sh -c echo found; exit 1\n"),
        ("0,1", "echo lost >&2; exit 11", 11, "lost\nexit code 11: sh -c echo lost >&2; exit 11\n"),
    ],
)
def test_quietly_prints_what_was_not_expected(codes: str, command: str, code: int, printed: str) -> None:
    """Cron mails that, and nothing else."""
    words = [str(SCRIPTS / "defter-quietly"), codes, "sh", "-c", command]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, printed, "")


@pytest.mark.parametrize("service", OURS, ids=by_name)
def test_unit_is_hardened_and_nobodys_root(service: Unit) -> None:
    """No right, no home, nothing writable but its own state, no secret in the unit."""
    if service.name not in UNHARDENED:
        assert {key: service.last(key) for key in HARDENED} == HARDENED
    assert service.last("User").startswith("defter")
    for setting in service.values.get("Environment", []):
        assert not re.search(r"PASSWORD|SECRET|://", setting), setting


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("defter.service", Settings.model_fields["drain_seconds"].default),
        ("defter-edge.service", EdgeSettings.model_fields["drain_seconds"].default),
    ],
)
def test_unit_waits_longer_than_a_drain(name: str, setting: float) -> None:
    """Who kills a process before its time to drain is over takes answers away from callers."""
    assert int(unit(UNITS / name).last("TimeoutStopSec")) >= setting + 10


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, or skip the test where it is not at hand."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here: it comes with systemd, which only Linux has")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


@pytest.fixture
def installed_units(tmp_path: Path) -> list[Path]:
    """The units as they are where Defter is installed: systemd looks whether each program is there."""
    for file in UNITS.iterdir():
        text = file.read_text()
        for script in SCRIPTS.iterdir():
            text = text.replace(f"{Path(INSTALLED).parent}/{script.name} ", f"{script} ")
        text = text.replace(INSTALLED, str(DEFTER))
        for program in FOREIGN:
            text = text.replace(program, "/bin/true")
        (tmp_path / file.name.replace("@.", "@casino-mock.")).write_text(text)
    return sorted(tmp_path.iterdir())


def test_units_are_accepted_by_systemd(installed_units: list[Path]) -> None:
    """`systemd-analyze verify` finds nothing to say."""
    ran = analyze("verify", "--man=no", *map(str, installed_units))
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


@pytest.mark.parametrize(
    "fault", ["TimeoutStopSec=soon", "ProtectSystem=perhaps", "ExecStart=/nowhere/defter"]
)
def test_units_with_a_fault_are_not_accepted(installed_units: list[Path], fault: str) -> None:
    """So the test above can fail."""
    [file] = [each for each in installed_units if each.name == "defter.service"]
    key = fault.partition("=")[0]
    file.write_text(re.sub(rf"^{key}=.*$", fault, file.read_text(), flags=re.MULTILINE))
    ran = analyze("verify", "--man=no", str(file))
    assert ran.returncode or ran.stdout + ran.stderr


def test_units_are_hardly_exposed(installed_units: list[Path]) -> None:
    """`systemd-analyze security` rates each of ours 2.0 at most, of 10."""
    for file in installed_units:
        if str(DEFTER) in file.read_text():
            ran = analyze("security", "--offline=true", "--threshold=20", "--no-pager", str(file))
            if "nrecognized option" in ran.stderr:
                pytest.skip("this systemd-analyze rates no unit that is not loaded: it is older than 250")
            assert ran.returncode == 0, ran.stdout


class Instruction(NamedTuple):
    """A line of the image's file."""

    word: str
    rest: str


def instructions() -> list[Instruction]:
    """Read the image's file."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    return [Instruction(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_image_is_written_in_words_that_there_are() -> None:
    """Each stage is pinned, entry point and command are lists, and the last user is not root."""
    read = instructions()
    known = {"FROM", "RUN", "COPY", "WORKDIR", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert {each.word for each in read} <= known
    images = [each.rest.split()[0] for each in read if each.word == "FROM"]
    assert all(re.fullmatch(r"[a-z]+:\d[\w.-]+", image) for image in images), images
    [user] = [each.rest for each in read if each.word == "USER"]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    last = read[max(place for place, each in enumerate(read) if each.word == "FROM") :]
    words = {each.word: each.rest for each in last}
    assert json.loads(words["ENTRYPOINT"]) == ["defter"]
    check_command_line(json.loads(words["CMD"]))


def test_image_takes_what_there_is_and_no_secret() -> None:
    """What is copied is in the checkout and not left out; versions come with hashes from the lock."""
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    copied = [
        path
        for each in instructions()
        if each.word == "COPY" and not each.rest.startswith("--from")
        for path in each.rest.split()[:-1]
    ]
    assert "ledger_server" in copied
    for path in copied:
        assert (REPOSITORY / path).exists(), path
        assert f"!{path}" in ignored, path
    assert "*" in ignored
    assert "--require-hashes -r requirements.lock" in CONTAINERFILE.read_text()
    assert "--no-index" in CONTAINERFILE.read_text()
    for each in instructions():
        if each.word in {"ENV", "ARG"}:
            assert not re.search(r"PASSWORD|SECRET|TOKEN|KEY|://", each.rest), each


def test_image_has_the_python_that_is_wanted() -> None:
    """All stages have the same one, so that what is built runs."""
    versions = set(re.findall(r"^FROM python:([\d.]+)", CONTAINERFILE.read_text(), re.MULTILINE))
    [version] = versions
    wanted = re.search(r'requires-python = ">=([\d.]+)"', (REPOSITORY / "pyproject.toml").read_text())
    assert wanted is not None
    assert tuple(map(int, version.split("."))) >= tuple(map(int, wanted[1].split(".")))


def test_image_can_be_built(tmp_path: Path) -> None:
    """Where an engine is at hand, it is built, and tells its version as the user that it names."""
    engine = next((path for name in ("podman", "docker") if (path := shutil.which(name))), None)
    if engine is None:
        pytest.skip("no engine: neither podman nor docker is here")
    if subprocess.run([engine, "info"], capture_output=True, check=False).returncode:
        pytest.skip(f"no engine: {engine} is here, and `{engine} info` fails")
    tag = "defter-built-by-a-test"
    build = [engine, "build", "-f", str(CONTAINERFILE), "-t", tag, str(REPOSITORY)]
    built = subprocess.run(build, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    assert built.returncode == 0, built.stderr[-4_000:]
    run = [engine, "run", "--rm", "--read-only", "--network=none", tag, "--version"]
    ran = subprocess.run(run, capture_output=True, text=True, check=True, timeout=BUILD_SECONDS)
    assert ran.stdout.startswith("defter ")


def test_settings_of_deployment_are_taken() -> None:
    """The files of the environment on the page make a server's and an edge's settings."""
    text = (OPERATIONS / "deployment.md").read_text()
    files = {
        name: dict(line.split("=", 1) for line in lines.splitlines())
        for name, lines in re.findall(
            r"^```ini\n# (/etc/defter/\w+\.env)[^\n]*\n([^`]*)^```", text, re.MULTILINE
        )
    }
    known = [{f"DEFTER_{name.upper()}" for name in Settings.model_fields}]
    known += [{f"DEFTER_EDGE_{name.upper()}" for name in EdgeSettings.model_fields}]
    known += [set(COMMAND_SETTINGS)]
    for name, wanted in zip(("server", "edge", "jobs"), known, strict=True):
        said = files[f"/etc/defter/{name}.env"]
        assert said.keys() <= wanted
    server = {
        name.removeprefix("DEFTER_").lower(): value for name, value in files["/etc/defter/server.env"].items()
    }
    read = Settings.model_validate(server)
    assert read.database_url is not None
    assert urlsplit(read.database_url).password is None
