"""Own the rounds of games: what a bet, a win and a rollback do to the ledger, in any order and any number.

A round has one bet, and one win at most. The ledger decides a key once and for ever, so each key of a round
holds what a message has moved, or the tombstone that a rollback has put there before it, and never both.
Nothing is kept here: a process may die between any two calls, and the same message, sent again, goes on from
what the ledger holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from defter_client import Answer, BlockingLedgerClient, Refused, error_of
from defter_client import messages as m
from defter_client.reasons import AccountNotFound, AlreadyReversed, IdempotencyKeyReused, OutcomeNotFound

CURRENCY: Final = "EUR"
GAMES: Final = f"house:games:{CURRENCY}"
UNCLAIMED: Final = f"house:unclaimed:{CURRENCY}"
"""Where a win goes that the player's wallet can't take any more."""
NOBODY: Final = f"PLAYER:nobody:real:{CURRENCY}"
"""An account that nobody can open: it reads like a wallet and is spelt otherwise (ACCOUNT_NAME_RESERVED)."""


class State(StrEnum):
    """What became of a message."""

    DONE = "DONE"
    """It has taken effect, now or when it came first."""
    REFUSED = "REFUSED"
    """The ledger does not allow it; that is final for this bet."""
    ROLLED_BACK = "ROLLED_BACK"
    """The round is void, for ever: nothing of it was moved, or all of it was taken back."""
    CONTRADICTION = "CONTRADICTION"
    """The same message came before with another amount or player; that one counts."""
    NOT_YET = "NOT_YET"
    """It can't be decided now: send it again."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered to a message; `reason` is one of the ledger's, where it has given one."""

    state: State
    reason: str = ""


class Rounds:
    """Carries out the messages of one supplier of games.

    Each method may raise a `LedgerError`: then the message has to come again.
    """

    def __init__(self, ledger: BlockingLedgerClient, supplier: str) -> None:
        self._ledger = ledger
        self._supplier = supplier

    def bet(self, bet_id: str, player_id: str, amount_minor: int) -> Reply:
        """Take the stake from the player's wallet."""
        stake = _movement(m.TRANSACTION_TYPE_BET, bet_id, wallet(player_id), GAMES, amount_minor)
        return self._move(self._key("bet", bet_id), stake)

    def win(self, bet_id: str, amount_minor: int) -> Reply:
        """Pay what the bet has won to whoever has placed it; 0 moves nothing."""
        stake = self._decided(self._key("bet", bet_id))
        if stake is None:
            return Reply(State.NOT_YET, "OUTCOME_NOT_FOUND")
        if isinstance(stake, m.Rejection):
            return _refused(stake)
        if amount_minor == 0:
            return self._standing(stake)
        reply = Reply(State.REFUSED)
        for name, account in (("win", stake.postings[0].account_id), ("unclaimed", UNCLAIMED)):
            won = _movement(m.TRANSACTION_TYPE_WIN, bet_id, GAMES, account, amount_minor)
            reply = self._move(self._key(name, bet_id), won)
            if reply.state is not State.REFUSED:
                break
        return reply

    def rollback(self, bet_id: str) -> Reply:
        """Make the round void, whether its bet has come or not.

        What was won is taken back before the stake is given back, so that nobody ends up with both.
        """
        for name in ("win", "unclaimed", "bet"):
            if in_the_way := self._void(self._key(name, bet_id)):
                return Reply(State.NOT_YET, in_the_way)
        return Reply(State.ROLLED_BACK)

    def _move(self, key: str, transaction: m.NewTransaction) -> Reply:
        """Post a transaction under its key, or say what the key was decided by."""
        try:
            answer = self._post(key, transaction)
        except IdempotencyKeyReused as error:
            decided = self._decided(key)
            if isinstance(decided, m.Rejection) and _is_tombstone(decided):
                return Reply(State.ROLLED_BACK)
            return Reply(State.CONTRADICTION, error.reason)
        except Refused as error:
            # Not every refusal is a decision: only what is recorded is final for the key.
            decided = self._decided(key)
            return (
                _refused(decided) if isinstance(decided, m.Rejection) else Reply(State.NOT_YET, error.reason)
            )
        posted = answer.response.transaction
        return self._standing(posted) if answer.replayed else Reply(State.DONE)

    def _void(self, key: str) -> str:
        """Make sure that a key moves nothing, or no more; return the reason if that can't be now."""
        try:
            self._post(key, _TOMBSTONE)
        except AccountNotFound:
            return ""  # nothing has come under this key, and nothing will
        except IdempotencyKeyReused:
            pass
        moved = self._decided(key)
        if isinstance(moved, m.Transaction) and not self._is_reversed(moved):
            request = m.ReverseTransactionRequest(transaction_id=moved.transaction_id)
            try:
                # Any key will do: a transaction is reversed once, whoever asks for it.
                self._ledger.postings.reverse_transaction(request)
            except AlreadyReversed:
                pass
            except Refused as error:
                return error.reason
        return ""

    def _standing(self, transaction: m.Transaction) -> Reply:
        return Reply(State.ROLLED_BACK if self._is_reversed(transaction) else State.DONE)

    def _is_reversed(self, transaction: m.Transaction) -> bool:
        request = m.GetTransactionRequest(transaction_id=transaction.transaction_id)
        return bool(self._ledger.postings.get_transaction(request).reversed_by_transaction_id)

    def _decided(self, key: str) -> m.Transaction | m.Rejection | None:
        """Return what the ledger holds under a key, for ever; None: nothing as yet."""
        request = m.GetOutcomeRequest(method="PostTransaction", idempotency_key=key)
        try:
            record = self._ledger.journal.get_outcome(request).entry.record
        except OutcomeNotFound:
            return None
        return record.request_rejected if record.HasField("request_rejected") else record.transaction_posted

    def _post(self, key: str, transaction: m.NewTransaction) -> Answer[m.PostTransactionResponse]:
        request = m.PostTransactionRequest(transaction=transaction)
        return self._ledger.postings.post_transaction(request, key=key)

    def _key(self, name: str, bet_id: str) -> str:
        return f"{self._supplier}:{name}:{bet_id}"


def wallet(player_id: str) -> str:
    """Return the account with a player's money."""
    return f"player:{player_id}:real:{CURRENCY}"


def _movement(
    kind: m.TransactionType.ValueType, bet_id: str, debited: str, credited: str, amount_minor: int
) -> m.NewTransaction:
    """Return a transaction that says the same whenever the message comes: no time, nothing random."""
    sides = ((debited, m.DIRECTION_DEBIT), (credited, m.DIRECTION_CREDIT))
    postings = [
        m.NewPosting(account_id=account, direction=side, amount_minor=amount_minor, currency_code=CURRENCY)
        for account, side in sides
    ]
    return m.NewTransaction(type=kind, reference=bet_id, postings=postings)


_TOMBSTONE: Final = _movement(m.TRANSACTION_TYPE_BET, "", NOBODY, GAMES, 1)
"""A transaction that is always refused, and takes the place of the one that must not come any more."""


def _is_tombstone(rejection: m.Rejection) -> bool:
    return rejection.metadata.get("account_id") == NOBODY


def _refused(rejection: m.Rejection) -> Reply:
    if _is_tombstone(rejection):
        return Reply(State.ROLLED_BACK)
    return Reply(State.REFUSED, error_of(rejection).reason)
