"""Own the way to a ledger: plaintext on this machine, or TLS with the proof of who calls."""

from defter_channel.opening import open_blocking_channel, open_channel
from defter_channel.proof import Proof, ProofUnusable

__all__ = ["Proof", "ProofUnusable", "open_blocking_channel", "open_channel"]
