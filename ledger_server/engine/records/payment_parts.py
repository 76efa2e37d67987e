"""Owns the bytes of the parts that deposits, withdrawals and events share: fees and ids."""

from defter.payments.v1 import payment_pb2 as pb

from ledger_server.domain.payments.knowledge import Fee
from ledger_server.engine.records.times import moment_in, put


def fee_messages(fees: tuple[Fee, ...]) -> list[pb.Fee]:
    """Return fees as callers see them."""
    messages = []
    for fee in fees:
        message = pb.Fee(provider_ref=fee.provider_ref, amount_minor=fee.amount)
        put(message.charge_time, fee.charge_time)
        messages.append(message)
    return messages


def fees_of(message: pb.Deposit | pb.Withdrawal) -> tuple[Fee, ...]:
    """Return the fees in a payment's message."""
    return tuple(
        Fee(
            provider_ref=fee.provider_ref,
            amount=fee.amount_minor,
            charge_time=moment_in(fee, "charge_time"),
        )
        for fee in message.fees
    )


def number_of(sequence: int | None, text: str) -> int:
    """Return the number in an id; ValueError if `text` is not an id of this tenant."""
    if sequence is None:
        raise ValueError(f"{text!r} is none of this tenant's ids")
    return sequence
