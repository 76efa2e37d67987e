"""Owns the making of ids: all follow from the tenant, the epoch and the sequence of a journal record.

So an id needs no random source, no index of its own, and no look-up to find its tenant. Findings are named by
what they are about, and runs by their idempotency key, for the same reason.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, NewType

TenantId = NewType("TenantId", str)
TenantKey = NewType("TenantKey", int)
Sequence = NewType("Sequence", int)

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_MAX_SEQUENCE_DIGITS: Final = 19
_FINDING_PREFIX: Final = "fnd_"
_FINGERPRINT_BYTES: Final = 16
EPOCH_LENGTH: Final = 8
_FIRST: Final = 10_000_000_000_000_000_000  # above every sequence: no record has an epoch


class Epoch(NamedTuple):
    """An epoch, and the first record of a tenant whose id carries it."""

    from_sequence: int
    name: str


def new_epoch(random_bytes: Callable[[int], bytes]) -> str:
    """Return the name of a new epoch: 40 random bits in the alphabet of ids.

    Args:
        random_bytes: returns that many unpredictable bytes.
    """
    return "".join(_ALPHABET[byte & 31] for byte in random_bytes(EPOCH_LENGTH))


def is_epoch(name: str) -> bool:
    """Whether a text has the form of an epoch's name."""
    return len(name) == EPOCH_LENGTH and all(letter in _ALPHABET for letter in name)


def epochs_text(epochs: Iterable[Epoch]) -> str:
    """Return epochs as the tenant's row keeps them."""
    return "".join(f" {epoch.from_sequence}:{epoch.name}" for epoch in epochs)


def epochs_of(text: str) -> tuple[Epoch, ...]:
    """Return the epochs in a tenant's row."""
    pairs = (pair.partition(":") for pair in text.split())
    return tuple(Epoch(int(sequence), name) for sequence, _, name in pairs)


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
    """Makes and reads the ids of one tenant in one history.

    The id of a record carries the epoch in force at that record; records from before the first epoch have
    plain ids. An id whose epoch is not that of its record belongs to another history and names nothing in
    this one.
    """

    __slots__ = (
        "_any_history",
        "_epochs",
        "_newest",
        "_newest_from",
        "adjustment_prefix",
        "deposit_prefix",
        "event_prefix",
        "hold_prefix",
        "refund_prefix",
        "run_prefix",
        "transaction_prefix",
        "withdrawal_prefix",
    )

    def __init__(self, key: TenantKey, epochs: Iterable[Epoch] = (), *, any_history: bool = False) -> None:
        """Begin with what is known.

        Args:
            epochs: in the order of their beginnings.
            any_history: whether ids of any epoch are accepted. The border does so, since it can't tell epochs
                apart; before a decision the engine reads the id again (`naming.py`).
        """
        tag = "".join(_ALPHABET[(key >> shift) & 31] for shift in range(60, -1, -5))
        self.transaction_prefix: Final = f"tx_{tag}_"
        self.hold_prefix: Final = f"hold_{tag}_"
        self.deposit_prefix: Final = f"dep_{tag}_"
        self.withdrawal_prefix: Final = f"wd_{tag}_"
        self.refund_prefix: Final = f"ref_{tag}_"
        self.event_prefix: Final = f"evt_{tag}_"
        self.run_prefix: Final = f"run_{tag}_"
        self.adjustment_prefix: Final = f"adj_{tag}_"
        self._any_history = any_history
        self._epochs: list[Epoch] = []
        self._newest = ""
        self._newest_from = _FIRST
        for epoch in epochs:
            self.begin_epoch(epoch)

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """The epochs in the order of their beginnings."""
        return tuple(self._epochs)

    @property
    def newest_epoch(self) -> str:
        """The epoch of records to come; empty before the first one."""
        return self._newest

    def begin_epoch(self, epoch: Epoch) -> None:
        """Let the ids of this record and of all later ones carry an epoch."""
        self._epochs.append(epoch)
        self._newest = epoch.name
        self._newest_from = epoch.from_sequence

    def of_another_history(self, text: str) -> bool:
        """Whether a text is an id that this tenant has in another history, and not in this one."""
        for prefix in (
            self.deposit_prefix,
            self.withdrawal_prefix,
            self.refund_prefix,
            self.transaction_prefix,
            self.hold_prefix,
            self.event_prefix,
            self.adjustment_prefix,
        ):
            if text.startswith(prefix):
                return _parts(prefix, text) is not None and self._read(prefix, text) is None
        return False

    def _make(self, prefix: str, sequence: int) -> str:
        if sequence >= self._newest_from:
            return f"{prefix}{self._newest}_{sequence}"
        epoch = self._epoch_at(sequence)
        return f"{prefix}{epoch}_{sequence}" if epoch else f"{prefix}{sequence}"

    def _epoch_at(self, sequence: int) -> str:
        for epoch in reversed(self._epochs):
            if sequence >= epoch.from_sequence:
                return epoch.name
        return ""

    def _read(self, prefix: str, text: str) -> Sequence | None:
        parts = _parts(prefix, text)
        if parts is None:
            return None
        epoch, sequence = parts
        return sequence if self._any_history or epoch == self._epoch_at(sequence) else None

    def transaction_id(self, sequence: int) -> str:
        """Return the id of the transaction that the record of this sequence posts."""
        return self._make(self.transaction_prefix, sequence)

    def hold_id(self, sequence: int) -> str:
        """Return the id of the hold that the record of this sequence places."""
        return self._make(self.hold_prefix, sequence)

    def transaction_sequence(self, transaction_id: str) -> Sequence | None:
        """Return the sequence in a transaction id, or None when it is none of this tenant's."""
        return self._read(self.transaction_prefix, transaction_id)

    def hold_sequence(self, hold_id: str) -> Sequence | None:
        """Return the sequence in a hold id, or None when it is none of this tenant's."""
        return self._read(self.hold_prefix, hold_id)

    def deposit_id(self, sequence: int) -> str:
        """Return the id of the deposit that the record of this sequence begins."""
        return self._make(self.deposit_prefix, sequence)

    def withdrawal_id(self, sequence: int) -> str:
        """Return the id of the withdrawal that the record of this sequence asks for."""
        return self._make(self.withdrawal_prefix, sequence)

    def refund_id(self, sequence: int) -> str:
        """Return the id of the refund that the record of this sequence asks for."""
        return self._make(self.refund_prefix, sequence)

    def event_id(self, sequence: int) -> str:
        """Return the id of the provider event that the record of this sequence stores."""
        return self._make(self.event_prefix, sequence)

    def adjustment_id(self, sequence: int) -> str:
        """Return the id of the adjustment that the record of this sequence asks for."""
        return self._make(self.adjustment_prefix, sequence)

    def adjustment_sequence(self, adjustment_id: str) -> Sequence | None:
        """Return the sequence in an adjustment's id, or None when it is none of this tenant's."""
        return self._read(self.adjustment_prefix, adjustment_id)

    def run_id(self, number: int) -> str:
        """Return the id of a reconciliation run; its number follows from its idempotency key."""
        return self.run_prefix + str(number)

    def run_number(self, run_id: str) -> int | None:
        """Return the number in a run's id, or None when it is none of this tenant's."""
        return _sequence(self.run_prefix, run_id)

    def deposit_sequence(self, deposit_id: str) -> Sequence | None:
        """Return the sequence in a deposit id, or None when it is none of this tenant's."""
        return self._read(self.deposit_prefix, deposit_id)

    def withdrawal_sequence(self, withdrawal_id: str) -> Sequence | None:
        """Return the sequence in a withdrawal id, or None when it is none of this tenant's."""
        return self._read(self.withdrawal_prefix, withdrawal_id)

    def payment_number(self, our_id: str) -> Sequence | None:
        """Return the number in a deposit's or withdrawal's id, or None when it is none of this tenant's."""
        deposit = self.deposit_sequence(our_id)
        return deposit if deposit is not None else self.withdrawal_sequence(our_id)

    def refund_sequence(self, refund_id: str) -> Sequence | None:
        """Return the sequence in a refund id, or None when it is none of this tenant's."""
        return self._read(self.refund_prefix, refund_id)

    def event_sequence(self, provider_event_id: str) -> Sequence | None:
        """Return the sequence in a provider event's id, or None when it is none of this tenant's."""
        return self._read(self.event_prefix, provider_event_id)


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


def _parts(prefix: str, text: str) -> tuple[str, Sequence] | None:
    """Return the epoch and the sequence in an id; the epoch is empty in a plain one."""
    epoch, mark, _ = text.removeprefix(prefix).partition("_")
    if not mark:
        sequence = _sequence(prefix, text)
        return None if sequence is None else ("", sequence)
    if not text.startswith(prefix) or not is_epoch(epoch):
        return None
    sequence = _sequence(f"{prefix}{epoch}_", text)
    return None if sequence is None else (epoch, sequence)


def _sequence(prefix: str, text: str) -> Sequence | None:
    digits = text.removeprefix(prefix)
    canonical = digits.isascii() and digits.isdigit() and not digits.startswith("0")
    if not text.startswith(prefix) or not canonical or len(digits) > _MAX_SEQUENCE_DIGITS:
        return None
    sequence = int(digits)
    return Sequence(sequence) if sequence < 2**63 else None
