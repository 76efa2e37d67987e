"""Own the way to a ledger: plaintext on this machine, or TLS with the proof of who calls."""

from defter_channel.proof import Contents, Proof, ProofUnusable, open_channel

__all__ = ["Contents", "Proof", "ProofUnusable", "open_channel"]
