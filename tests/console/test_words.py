"""Own the words: each code of the contract has one, each text its Turkish, and htmx is what it was."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from console import words
from console.catalogue import language_of, texts
from console.formats import Formats, iso, typed_time
from console.search import path_of
from defter_client import STANDARD
from defter_client import messages as m
from tools.console_texts import found_texts

CONSOLE = Path(words.__file__).parent
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_each_text_is_there_in_turkish_and_no_other_is() -> None:
    """What is added without a translation, and what is left behind."""
    found, known = found_texts(), texts("tr").known
    assert sorted(found.keys() - known.keys()) == []
    assert sorted(known.keys() - found.keys()) == []
    assert [text for text, translated in known.items() if not translated.strip()] == []


def test_translations_have_the_same_end_and_no_markup() -> None:
    """A colon asks for something behind it; nothing is spliced into a sentence."""
    for text, translated in texts("tr").known.items():
        if text.endswith("."):
            assert translated.endswith("."), text
        assert not re.search(r"[<>]|%\(", text + translated), text


@pytest.mark.parametrize(
    ("known", "enum", "left_out"),
    [
        (words.WITHDRAWAL_STATES, m.WithdrawalState, {0}),
        (words.DEPOSIT_STATES, m.DepositState, {0}),
        (words.CALL_STATES, m.CallState, set()),
        (words.HOLD_STATES, m.HoldState, {0}),
        (words.ACCOUNT_KINDS, m.AccountKind, {0}),
        (words.ACCOUNT_STATES, m.AccountState, {0}),
        (words.DIRECTIONS, m.Direction, {0}),
        (words.POSTING_PHASES, m.PostingPhase, {0}),
        (words.TRANSACTION_TYPES, m.TransactionType, {0}),
        (words.RUN_STATES, m.RunState, {0}),
        (words.ENFORCEMENTS, m.BalanceEnforcement, {0}),
        (words.ADJUSTMENT_STATES, m.AdjustmentState, {0}),
        (words.STATEMENT_TYPES, m.TransactionType, {0}),
        (words.STATEMENT_PHASES, m.PostingPhase, {0, m.POSTING_PHASE_POSTED, m.POSTING_PHASE_CAPTURED}),
        (words.FINDING_STATES, m.FindingState, {0}),
        (words.FINDING_CLASSES, m.FindingClass, {0}),
        (words.SEVERITIES, m.Severity, {0}),
        (words.RESOLUTIONS, m.ResolutionReason, {0}),
        (words.RECORD_KINDS, m.RecordKind, set()),
        (words.REFUND_STATES, m.RefundState, {0}),
        (words.DISPUTE_STATES, m.DisputeState, {0}),
        (words.EVENT_STATES, m.ProviderEventState, {0}),
        (words.EVENT_FATES, m.ProviderEventState, {0}),
        (words.EVENT_TYPES, m.ProviderEventType, set()),
        (words.UNREAD_REASONS, m.UnreadReason, {0}),
        (words.BATCH_STATES, m.SettlementBatchState, {0}),
        (words.REPORT_FORMATS, m.ReportFormat, {0}),
        (words.RUN_STAGES, m.RunStage, {0}),
    ],
)
def test_each_code_has_a_word(known: dict[int, str], enum: Any, left_out: set[int]) -> None:
    """Who adds a value to the contract is told here."""
    assert set(known) == set(enum.values()) - left_out


def test_each_fact_of_the_journal_has_a_word() -> None:
    """Who adds a fact to the contract is told here."""
    fact = m.JournalRecord.DESCRIPTOR.oneofs_by_name["fact"]
    assert set(words.FACTS) == {field.name for field in fact.fields}


@pytest.mark.parametrize(
    ("language", "minor", "currency", "written"),
    [
        ("en", 123_456_789, "EUR", "1,234,567.89"),
        ("tr", 123_456_789, "EUR", "1.234.567,89"),
        ("tr", -5, "TRY", "−0,05"),
        ("en", 2**63 - 1, "JPY", "9,223,372,036,854,775,807"),
        ("en", 1, "ETH", "0.000000001"),
        ("en", 7, "XXQ", "7 /"),
    ],
)
def test_amounts_are_written_exactly_and_by_language(
    language: Any, minor: int, currency: str, written: str
) -> None:
    """Nothing is rounded, and an unknown currency is told in minor units."""
    formats = Formats(language, ZoneInfo("UTC"), STANDARD, NOW)
    assert formats.amount(minor, currency) == written


def test_times_are_of_one_zone_and_typed_times_too() -> None:
    """A day in Istanbul begins at nine in the evening before."""
    zone = ZoneInfo("Europe/Istanbul")
    typed = typed_time("2026-03-02T00:00", zone)
    assert typed is not None
    assert iso(typed) == "2026-03-01T21:00:00Z"
    assert Formats("tr", zone, STANDARD, NOW).time(typed) == "2 Mar 2026 00:00:00"
    assert Formats("tr", zone, STANDARD, NOW).zone() == "Europe/Istanbul (UTC+03:00)"
    assert Formats("en", zone, STANDARD, NOW).time(Timestamp()) == ""


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        (None, "tr-TR,tr;q=0.9,en;q=0.8", "tr"),
        (None, "de,en", "en"),
        (None, "", "en"),
        ("tr", "en", "tr"),
        ("<b>", "tr", "tr"),
    ],
)
def test_language_is_what_was_chosen_or_what_the_browser_wants(
    chosen: str | None, accepted: str, language: str
) -> None:
    """Else English."""
    assert language_of(chosen, accepted) == language


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("wd_1_2", "/t/a%2Fb/withdrawals/wd_1_2"),
        (" fnd_ab ", "/t/a%2Fb/findings/fnd_ab"),
        ("dep_1_2", "/t/a%2Fb/deposits/dep_1_2"),
        ("evt_1", "/t/a%2Fb/events/evt_1"),
        ("hold_1", "/t/a%2Fb/records/hold_1"),
        ("run_1", "/t/a%2Fb/runs/run_1"),
        ("tx_1", "/t/a%2Fb/transactions/tx_1"),
        ("player:42:real:EUR", None),
        ("42", None),
        ("dep_1/..", None),
        ("../x", None),
        ("", None),
        ("İ", None),
    ],
)
def test_id_leads_to_its_page_by_its_beginning(text: str, path: str | None) -> None:
    """What has no known beginning is looked up."""
    assert path_of("a/b", text) == path


def test_htmx_is_the_file_that_was_looked_at() -> None:
    """It came from npm's package of this version, and its licence is beside it."""
    script = CONSOLE / "static" / "vendor" / "htmx-4.0.1.min.js"
    digest = hashlib.sha256(script.read_bytes()).hexdigest()
    assert digest == "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"
    assert "Zero-Clause BSD" in script.with_name("htmx-4.0.1.LICENSE").read_text()


def test_no_page_has_a_script_or_a_style_of_its_own() -> None:
    """The policy would not let them run, and a reader would look for them elsewhere."""
    for file in (CONSOLE / "templates").glob("*.html"):
        page = file.read_text()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|https?://", page), file.name
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page)), file.name
        assert "|safe" not in page, file.name
