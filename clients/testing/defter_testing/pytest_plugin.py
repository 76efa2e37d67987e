"""Owns the pytest fixtures: one fake for a run, and a tenant of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from defter_testing.fake import FakeLedger


@pytest.fixture(scope="session")
def fake_ledger_server() -> Iterator[FakeLedger]:
    """One fake ledger for the whole run (of each worker)."""
    # Not before a test asks for it: whoever has the package installed need not import all of it in every run.
    from defter_testing.fake import FakeLedger  # noqa: PLC0415

    with FakeLedger() as fake:
        yield fake


@pytest.fixture
def fake_ledger(fake_ledger_server: FakeLedger) -> Iterator[FakeLedger]:
    """The fake ledger; failures and plans that a test has left over end with the test."""
    yield fake_ledger_server
    fake_ledger_server.reset()


@pytest.fixture
def fake_tenant(fake_ledger: FakeLedger) -> str:
    """A tenant that no other test has."""
    return fake_ledger.new_tenant()
