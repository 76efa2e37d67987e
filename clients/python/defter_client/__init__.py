"""Own the hand-written Python client of the Defter ledger."""

from defter_channel import Proof, ProofUnusable
from defter_client.client import LedgerClient
from defter_client.errors import LedgerError, ledger_error

__all__ = ["LedgerClient", "LedgerError", "Proof", "ProofUnusable", "ledger_error"]
