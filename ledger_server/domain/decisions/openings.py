"""Owns opening balances: what one line of an import means for a player, given what was posted for it before.

The outcomes of a player's opening balance in a currency have the keys `EUR:0`, `EUR:1` and so on, in the
scope of the RPC and the player. Whoever posts has read how many there are and takes the next key, so of
several imports at once one decides, and the others are told. The import is no part of the key: two imports of
one player meet.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from ledger_server.domain.errors import (
    AccountClosed,
    AccountFrozen,
    OpeningBalanceChanged,
    OpeningBalanceOfOtherImport,
)
from ledger_server.domain.ledger.accounts import (
    Account,
    AccountKind,
    AccountState,
    Counters,
    Direction,
    check_funds,
    check_maximum,
    check_overflow,
    default_limits,
)
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.payments.accounts import bonus_account, check_use, opening_account, player_account
from ledger_server.domain.state.commands import (
    Enforcement,
    Method,
    OpenAccount,
    PostTransaction,
    RequestKey,
)

_METHOD: Final = Method.ImportOpeningBalances


class OpeningLine(Struct, frozen=True, gc=False):
    """What a player has in a currency, real and bonus money in minor units, each ≥ 0."""

    number: int
    player_id: str
    currency: str
    real: int
    bonus: int


class PostedOpening(Struct, frozen=True, gc=False):
    """What was posted for a player's opening balance in a currency so far.

    Attributes:
        outcomes: how many requests were decided for it, refusals among them: the number of the next key.
        real, bonus: minor units, without what was reversed.
        owner: the import of what was not reversed; empty if there is nothing.
        imports: all imports that have posted something, reversed or not.
    """

    outcomes: int
    real: int
    bonus: int
    owner: str
    imports: frozenset[str]


NOTHING_POSTED: Final = PostedOpening(0, 0, 0, "", frozenset())


class Opening(Struct, frozen=True, kw_only=True):
    """An import, as far as its lines' meaning depends on it."""

    import_id: str
    as_of: datetime | None
    force: bool
    enforcement: Enforcement


class Wallet(Struct, frozen=True, gc=False):
    """An account with its counters."""

    account: Account
    counters: Counters


class OpeningStep(Struct, frozen=True, gc=False):
    """What is to be done for one line.

    Attributes:
        opens: the wallets to open.
        number: of the key under which the change is posted.
        real, bonus: the change, minor units; nothing is posted if both are 0.
        corrects: whether something was posted before that the change corrects.
    """

    opens: tuple[str, ...]
    number: int
    real: int
    bonus: int
    corrects: bool


def wallets_of(line: OpeningLine) -> tuple[str, str]:
    """Return the accounts of a line's real and bonus money."""
    return player_account(line.player_id, line.currency), bonus_account(line.player_id, line.currency)


def step_of(
    line: OpeningLine, posted: PostedOpening, wallets: Mapping[str, Wallet], opening: Opening
) -> OpeningStep:
    """Return what is to be done for a line.

    The wallet of real money is opened for every line, so where it is missing nothing was ever posted.

    Args:
        wallets: those that exist, with all that continue them.
    Raises:
        Refused: nothing may be done for it.
    """
    if posted.owner and posted.owner != opening.import_id:
        raise OpeningBalanceOfOtherImport(player_id=line.player_id, import_id=posted.owner)
    real, bonus = line.real - posted.real, line.bonus - posted.bonus
    known = opening.import_id in posted.imports
    if (real or bonus) and known and not opening.force:
        raise OpeningBalanceChanged(
            player_id=line.player_id, real_minor=posted.real, bonus_minor=posted.bonus
        )
    opens = []
    for account_id, change, always in zip(wallets_of(line), (real, bonus), (True, False), strict=True):
        if account_id not in wallets:
            if change or always:
                opens.append(account_id)
        elif change:
            check_change(newest_wallet(wallets, account_id), line.currency, change, opening.enforcement)
    return OpeningStep(tuple(opens), posted.outcomes, real, bonus, known)


def check_change(wallet: Wallet, currency: str, change: int, enforcement: Enforcement) -> None:
    """Refuse to change a balance where a transaction that does it would be refused.

    A refusal would be recorded and would use up a key, so it is told before.

    Args:
        change: minor units; positive on the credit side.
    Raises:
        Refused: the rule that the transaction would break.
    """
    account = wallet.account
    check_use(account, currency)
    direction = Direction.CREDIT if change > 0 else Direction.DEBIT
    if account.state is AccountState.CLOSED:
        raise AccountClosed(account_id=account.account_id)
    if account.state is AccountState.FROZEN and direction is not account.raised_by:
        raise AccountFrozen(account_id=account.account_id)
    after = wallet.counters.changed(direction, abs(change), 0)
    check_overflow(account, after)
    if enforcement is Enforcement.ENFORCED:
        check_funds(account, wallet.counters, after)
        check_maximum(account, wallet.counters, after)


def newest_wallet(wallets: Mapping[str, Wallet], account_id: str) -> Wallet:
    """Return an account, or the one that continues it in the end."""
    found = wallets[account_id]
    while found.account.continued_by:
        found = wallets[found.account.continued_by]
    return found


def open_command(account_id: str, kind: AccountKind, currency: str) -> OpenAccount:
    """Return the command that opens an account of the import."""
    return OpenAccount(
        account_id=account_id, kind=kind, currency=currency, limits=default_limits(kind), metadata={}
    )


def open_key(account_id: str) -> RequestKey:
    """Return the key under which an account of an import is opened."""
    return RequestKey(_METHOD, f"open:{account_id}", player_id="")


def outcome_key(player_id: str, currency: str, number: int) -> RequestKey:
    """Return the key of one outcome of a player's opening balance."""
    return RequestKey(_METHOD, f"{currency}:{number}", player_id)


def post_command(line: OpeningLine, step: OpeningStep, opening: Opening) -> PostTransaction:
    """Return the command that posts the change of a step, which is not zero."""
    real, bonus = wallets_of(line)
    legs = (
        (real, step.real),
        (bonus, step.bonus),
        (opening_account(line.currency), -(step.real + step.bonus)),
    )
    postings = tuple(
        NewPosting(
            account_id, Direction.CREDIT if change > 0 else Direction.DEBIT, abs(change), line.currency
        )
        for account_id, change in legs
        if change
    )
    return PostTransaction(
        TransactionType.OPENING_BALANCE,
        postings,
        opening.import_id,
        opening.as_of,
        {"line": str(line.number)},
        follow=True,
    )


def digest_of(line: OpeningLine, step: OpeningStep, opening: Opening) -> bytes:
    """Return the digest of a request: what is posted, by which import, as of when.

    The line's number is no part of it: the same balances in another order are the same request.
    """
    as_of = "" if opening.as_of is None else opening.as_of.isoformat()
    said = f"{opening.import_id}\n{as_of}\n{line.player_id}\n{line.currency}\n{step.real}\n{step.bonus}"
    return hashlib.sha256(said.encode()).digest()[:16]
