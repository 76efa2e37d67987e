"""What operators start processes with is right: the units of systemd, and the image."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from ledger_server.operator.setting_names import COMMAND_SETTINGS
from ledger_server.process.settings import Settings
from tests.support.command_lines import check_command_line
from tests.support.service import DEFTER
from tests.unit.operator.test_documentation import OPERATIONS, REPOSITORY
from webhook_edge.settings import EdgeSettings

UNITS = REPOSITORY / "deploy" / "systemd"
CONTAINERFILE = REPOSITORY / "deploy" / "Containerfile"
INSTALLED = "/opt/defter/bin/defter"
# Programs of units that are not ours, and which a machine that runs tests need not have.
FOREIGN = {"/usr/bin/barman"}
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
    assert services == timers | {"defter", "defter-edge"}
    assert len(OURS) == 4


@pytest.mark.parametrize("service", SERVICES, ids=by_name)
def test_unit_starts_what_there_is(service: Unit) -> None:
    """A command of ours has the options that are said; a foreign one is known to be foreign."""
    program, *words = shlex.split(service.last("ExecStart"))
    if program == INSTALLED:
        check_command_line(words, DEFTER_TENANT="casino")
    else:
        assert program in FOREIGN


@pytest.mark.parametrize("service", OURS, ids=by_name)
def test_unit_is_hardened_and_nobodys_root(service: Unit) -> None:
    """No right, no home, nothing writable but its own state, no secret in the unit."""
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
        text = file.read_text().replace(INSTALLED, str(DEFTER))
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
