"""Owns how ids are made: all follow from the tenant and the sequence of a journal record.

An id therefore needs no random source, no index of its own and no look-up to tell its tenant. Findings are
named by what they are about, and runs by their idempotency key, for the same reason.
"""

import hashlib
from typing import Final, NewType

TenantId = NewType("TenantId", str)
TenantKey = NewType("TenantKey", int)
Sequence = NewType("Sequence", int)

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_MAX_SEQUENCE_DIGITS: Final = 19
_FINDING_PREFIX: Final = "fnd_"
_FINGERPRINT_BYTES: Final = 16


def run_number(idempotency_key: str) -> int:
    """Return the number of the run that a key asks for: a hash, so the same key is the same run anywhere."""
    return (int.from_bytes(hashlib.sha256(idempotency_key.encode()).digest()[:8], "big") >> 1) or 1


def tenant_key(tenant_id: TenantId) -> TenantKey:
    """Return the 63-bit key that stands for a tenant in every table.

    It is a hash, so no table has to be asked for it and no counter is shared between tenants. Creating
    a tenant whose key is taken by another name is refused, which 5,000 tenants meet with odds of 1 in 10^12.
    """
    digest = hashlib.sha256(tenant_id.encode()).digest()
    return TenantKey(int.from_bytes(digest[:8], "big") >> 1)


class TenantIds:
    """Makes and reads the ids of one tenant."""

    __slots__ = (
        "deposit_prefix",
        "event_prefix",
        "hold_prefix",
        "refund_prefix",
        "run_prefix",
        "transaction_prefix",
        "withdrawal_prefix",
    )

    def __init__(self, key: TenantKey) -> None:
        tag = "".join(_ALPHABET[(key >> shift) & 31] for shift in range(60, -1, -5))
        self.transaction_prefix: Final = f"tx_{tag}_"
        self.hold_prefix: Final = f"hold_{tag}_"
        self.deposit_prefix: Final = f"dep_{tag}_"
        self.withdrawal_prefix: Final = f"wd_{tag}_"
        self.refund_prefix: Final = f"ref_{tag}_"
        self.event_prefix: Final = f"evt_{tag}_"
        self.run_prefix: Final = f"run_{tag}_"

    def transaction_id(self, sequence: int) -> str:
        """Return the id of the transaction that the record of this sequence posts."""
        return self.transaction_prefix + str(sequence)

    def hold_id(self, sequence: int) -> str:
        """Return the id of the hold that the record of this sequence places."""
        return self.hold_prefix + str(sequence)

    def transaction_sequence(self, transaction_id: str) -> Sequence | None:
        """Return the sequence in a transaction id, or None when it is none of this tenant's."""
        return _sequence(self.transaction_prefix, transaction_id)

    def hold_sequence(self, hold_id: str) -> Sequence | None:
        """Return the sequence in a hold id, or None when it is none of this tenant's."""
        return _sequence(self.hold_prefix, hold_id)

    def deposit_id(self, sequence: int) -> str:
        """Return the id of the deposit that the record of this sequence begins."""
        return self.deposit_prefix + str(sequence)

    def withdrawal_id(self, sequence: int) -> str:
        """Return the id of the withdrawal that the record of this sequence asks for."""
        return self.withdrawal_prefix + str(sequence)

    def refund_id(self, sequence: int) -> str:
        """Return the id of the refund that the record of this sequence asks for."""
        return self.refund_prefix + str(sequence)

    def event_id(self, sequence: int) -> str:
        """Return the id of the provider event that the record of this sequence stores."""
        return self.event_prefix + str(sequence)

    def run_id(self, number: int) -> str:
        """Return the id of a reconciliation run; its number follows from its idempotency key."""
        return self.run_prefix + str(number)

    def run_number(self, run_id: str) -> int | None:
        """Return the number in a run's id, or None when it is none of this tenant's."""
        return _sequence(self.run_prefix, run_id)

    def deposit_sequence(self, deposit_id: str) -> Sequence | None:
        """Return the sequence in a deposit id, or None when it is none of this tenant's."""
        return _sequence(self.deposit_prefix, deposit_id)

    def withdrawal_sequence(self, withdrawal_id: str) -> Sequence | None:
        """Return the sequence in a withdrawal id, or None when it is none of this tenant's."""
        return _sequence(self.withdrawal_prefix, withdrawal_id)

    def payment_number(self, our_id: str) -> Sequence | None:
        """Return the number in a deposit's or withdrawal's id, or None when it is none of this tenant's."""
        deposit = self.deposit_sequence(our_id)
        return deposit if deposit is not None else self.withdrawal_sequence(our_id)

    def refund_sequence(self, refund_id: str) -> Sequence | None:
        """Return the sequence in a refund id, or None when it is none of this tenant's."""
        return _sequence(self.refund_prefix, refund_id)

    def event_sequence(self, provider_event_id: str) -> Sequence | None:
        """Return the sequence in a provider event's id, or None when it is none of this tenant's."""
        return _sequence(self.event_prefix, provider_event_id)


def finding_id(fingerprint: bytes) -> str:
    """Return the id of a finding: it is what the finding is about."""
    return _FINDING_PREFIX + fingerprint.hex()


def finding_fingerprint(text: str) -> bytes | None:
    """Return the fingerprint in a finding's id, or None when it is none."""
    digits = text.removeprefix(_FINDING_PREFIX)
    if not text.startswith(_FINDING_PREFIX) or len(digits) != 2 * _FINGERPRINT_BYTES:
        return None
    try:
        fingerprint = bytes.fromhex(digits)
    except ValueError:
        return None
    return fingerprint if fingerprint.hex() == digits else None


def _sequence(prefix: str, text: str) -> Sequence | None:
    digits = text.removeprefix(prefix)
    canonical = digits.isascii() and digits.isdigit() and not digits.startswith("0")
    if not text.startswith(prefix) or not canonical or len(digits) > _MAX_SEQUENCE_DIGITS:
        return None
    sequence = int(digits)
    return Sequence(sequence) if sequence < 2**63 else None
