"""A Defter ledger for tests of others: the server's own rules and RPCs, in the memory of the test."""

from defter_testing.failures import Failure
from defter_testing.fake import FakeLedger, ManualClock
from defter_testing.provider import BuiltInProvider, Fate

__all__ = ["BuiltInProvider", "Failure", "FakeLedger", "Fate", "ManualClock"]
