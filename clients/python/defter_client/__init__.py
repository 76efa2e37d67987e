"""Own the hand-written Python client of the Defter ledger."""

from defter_channel import Proof, ProofUnusable
from defter_client._async.client import LedgerClient
from defter_client._async.lists import Pager
from defter_client._async.watching import Watch
from defter_client._blocking.client import BlockingLedgerClient
from defter_client.answer import Answer
from defter_client.checkpoint import Checkpoint, JournalBroken
from defter_client.errors import AccessDenied, Fault, InvalidRequest, LedgerError, Refused, RetryLater
from defter_client.failures import error_of, ledger_error
from defter_client.ids import IdKind, kind_of
from defter_client.keys import new_key
from defter_client.money import STANDARD, AmountNotExact, Currencies, CurrencyNotKnown, Money

__all__ = [
    "STANDARD",
    "AccessDenied",
    "AmountNotExact",
    "Answer",
    "BlockingLedgerClient",
    "Checkpoint",
    "Currencies",
    "CurrencyNotKnown",
    "Fault",
    "IdKind",
    "InvalidRequest",
    "JournalBroken",
    "LedgerClient",
    "LedgerError",
    "Money",
    "Pager",
    "Proof",
    "ProofUnusable",
    "Refused",
    "RetryLater",
    "Watch",
    "error_of",
    "kind_of",
    "ledger_error",
    "new_key",
]
