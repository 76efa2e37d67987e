"""Owns the judgement whether an object at a provider is what we asked for: by its content, not by its id.

An id can be given out twice: by an older backup, a copy of the database, or another user of the same account.
An object that differs in anything that we asked for is not ours, whatever id it has.
"""

from collections.abc import Mapping

from ledger_server.providers.adapter import Accepted, NotOurs, ProviderCall, ProviderCallKind


def judged(call: ProviderCall, provider_amount: int, answer: Accepted) -> Accepted | NotOurs:
    """Return the answer if its object, and every other one under our id, is what was asked for, else NotOurs.

    Args:
        provider_amount: what was asked for, in the provider's minor units.
    """
    for found in (answer, *answer.others):
        evidence = differences(call, provider_amount, found)
        if evidence:
            what = ", ".join(f"{name}: {words}" for name, words in sorted(evidence.items()))
            return NotOurs(
                provider_ref=found.provider_ref,
                reason=f"what stands at the provider under our id is not what we asked for: {what}",
                evidence=evidence,
            )
    return answer


def differences(call: ProviderCall, provider_amount: int, answer: Accepted) -> Mapping[str, str]:
    """Return what differs from what was asked for, as far as the provider tells; empty if nothing does."""
    made = answer.made
    pairs: list[tuple[str, object, object]] = [
        ("amount", provider_amount, made.amount),
        ("currency", call.currency, made.currency),
        ("our_id", call.our_id, made.our_id),
    ]
    match call.kind:
        case ProviderCallKind.CREATE_PAYMENT:
            pairs.append(("player_id", call.player_id, made.player_id))
        case ProviderCallKind.CREATE_PAYOUT:
            # If we name no destination, the provider takes the account's own, which is not known here.
            pairs.append(("destination", call.destination, made.destination if call.destination else None))
        case ProviderCallKind.REFUND:
            pairs.append(("payment_ref", call.payment_ref, made.payment_ref))
    return {
        name: f"asked for {asked}, found {found}"
        for name, asked, found in pairs
        if found is not None and found != asked
    }
