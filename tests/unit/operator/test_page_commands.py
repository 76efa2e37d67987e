"""What operators' pages tell to type can be typed, and Turkish pages tell the same as English ones."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.command_lines import check_command_line
from tests.support.monitoring import alerts
from tests.support.pages import (
    ELSEWHERE,
    INCIDENTS,
    OPERATIONS,
    OURS,
    PAGES,
    SHELL,
    TURKISH,
    calls,
    commands,
)

HEADINGS: Final = [
    "How you notice",
    "What is at risk",
    "First five minutes",
    "Decide",
    "It is over when",
    "Afterwards",
]
TURKISH_HEADINGS: Final = [
    "Nasıl anlaşılır",
    "Neler risk altında",
    "İlk beş dakika",
    "Kararlar",
    "Ne zaman biter",
    "Sonrasında",
]
TRANSLATED: Final = {
    "tr/hizli-baslangic.md": "quick-start.md",
    "tr/calisma-kilavuzu.md": "runbook.md",
    "tr/olaylar/saglayici-calismiyor.md": "incidents/provider-down.md",
    "tr/olaylar/defter-calismiyor.md": "incidents/ledger-down.md",
    "tr/olaylar/veritabani-dolu.md": "incidents/database-full.md",
    "tr/olaylar/serit-tikali.md": "incidents/lane-backed-up.md",
    "tr/olaylar/bulgu-yagmuru.md": "incidents/finding-storm.md",
    "tr/olaylar/kayip-webhook.md": "incidents/lost-webhook.md",
    "tr/olaylar/kurcalama-suphesi.md": "incidents/suspected-tampering.md",
    "tr/olaylar/yedege-gecis.md": "incidents/failover.md",
    "tr/olaylar/geri-yukleme.md": "incidents/restore.md",
}


def by_name(page: Path) -> str:
    """Return what a case of a test is called."""
    return str(page.relative_to(OPERATIONS))


def headings(page: Path) -> list[str]:
    """Return the headings below the title."""
    return re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def named_alerts(page: Path) -> set[str]:
    """Return the alerts that a page names."""
    return set(re.findall(r"`(Defter[A-Z]\w+)`", page.read_text(encoding="utf-8")))


def inline_commands(page: Path) -> set[str]:
    """Return the commands of ours within sentences and tables."""
    text = page.read_text(encoding="utf-8")
    return {" ".join(found.split()) for found in re.findall(r"`(defter [^`]*)`", text)}


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_command_on_a_page_can_be_typed(page: Path) -> None:
    """Each program is known, each command of ours has such options, and a shell reads the line."""
    told = list(commands(page))
    assert told or inline_commands(page)
    for line in told:
        for program, words in calls(line):
            if program in OURS:
                check_command_line(words, DEFTER_TENANT="casino")
            else:
                assert program in {*ELSEWHERE, *SHELL}, f"{page.name}: {line}"
    ran = subprocess.run(["bash", "-n"], input="\n".join(told), text=True, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_commands_are_told_apart() -> None:
    """A command line is taken apart as a shell does it, so that no command hides behind another one."""
    line = "X=1 umask 077 && sed 's/a;b/c/' one > two | defter findings list --limit 5; defter verify --all"
    assert [each.program for each in calls(line)] == ["umask", "sed", "defter", "defter"]
    assert [each.words for each in calls(line)][1] == ("s/a;b/c/", "one")
    hidden = 'TOKEN=$(defter token issue ada | head) curl -H "authorization: $(defter verify)" there'
    assert [each.program for each in calls(hidden)] == ["defter", "head", "defter", "curl"]
    for wrong in (
        "verify --nothing",
        "findings shwo",
        "findings show",
        "outbound stop",
        "findings list --limit 0",
    ):
        with pytest.raises(AssertionError):
            check_command_line(wrong.split(), DEFTER_TENANT="casino")


def test_every_reason_not_to_run_a_program_is_needed() -> None:
    """A program that no page names any more needs no reason."""
    named = {call.program for page in PAGES for line in commands(page) for call in calls(line)}
    assert ELSEWHERE.keys() <= named
    assert all(ELSEWHERE.values())


@pytest.mark.parametrize("page", INCIDENTS, ids=by_name)
def test_incident_is_told_in_the_order_in_which_it_is_lived(page: Path) -> None:
    """Whoever is woken up finds each thing where it is on every page, and what woke them."""
    assert headings(page) == HEADINGS
    text = page.read_text(encoding="utf-8")
    first = text.partition("## First five minutes\n")[2].partition("\n## ")[0]
    assert "```console\n" in first
    assert named_alerts(page)


def test_alerts_on_pages_exist() -> None:
    """A page is found by the alert that sends somebody there."""
    there = {str(alert["alert"]) for alert in alerts()}
    for page in sorted(OPERATIONS.rglob("*.md")):
        assert named_alerts(page) <= there, page


@pytest.mark.parametrize("page", TURKISH, ids=by_name)
def test_turkish_page_tells_the_same_commands(page: Path) -> None:
    """What is typed does not depend on the language of whoever types it."""
    english = OPERATIONS / TRANSLATED[by_name(page)]
    assert list(commands(page)) == list(commands(english))
    assert inline_commands(page) == inline_commands(english)
    assert named_alerts(page) == named_alerts(english)
    if english in INCIDENTS:
        assert headings(page) == TURKISH_HEADINGS


def test_pages_that_operators_read_at_night_are_there_in_turkish() -> None:
    """Quick start, daily verbs and every incident."""
    assert {by_name(page) for page in TURKISH} == TRANSLATED.keys()
    assert {by_name(page) for page in INCIDENTS} <= set(TRANSLATED.values())
