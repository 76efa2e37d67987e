"""Own the request bytes: serialised before the window, so that inside it only the key is put in.

A message is serialised once with a placeholder of the width of a real key and cut there. Inside a
window a request is the first half, the next key, the second half: well under a microsecond.
"""

import itertools
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from defter.ledger.v1.account_pb2 import (
    ACCOUNT_KIND_ASSET,
    ACCOUNT_KIND_LIABILITY,
    BATCH_MODE_INDEPENDENT,
    DIRECTION_CREDIT,
    DIRECTION_DEBIT,
    TRANSACTION_TYPE_OPENING_BALANCE,
    TRANSACTION_TYPE_TRANSFER,
    AccountKind,
    BatchGetBalancesRequest,
    BatchOpenAccountsItem,
    BatchOpenAccountsRequest,
    GetBalanceRequest,
    ListPostingsRequest,
    NewAccount,
    TransactionType,
)
from defter.ledger.v1.hold_pb2 import CaptureHoldRequest, PlaceHoldRequest
from defter.ledger.v1.posting_pb2 import (
    BatchPostTransactionsRequest,
    NewPosting,
    NewTransaction,
    PostTransactionItem,
    PostTransactionRequest,
    StreamTransactionsRequest,
)
from google.protobuf.timestamp_pb2 import Timestamp

TENANT_ID = "bench"
CURRENCY_CODE = "EUR"
ACCOUNT_COUNT = 1_000
HOT_ACCOUNT_ID = "player:hot:real:EUR"
# Unlimited, so that it can fund the players.
HOUSE_ACCOUNT_ID = "bank:bench"
AMOUNT_MINOR = 100
# Enough for every transfer of the longest run to come from one account.
OPENING_MINOR = 10_000_000_000_000
BATCH_SIZE = 1_000
BALANCES_PER_CALL = 100
# Prepared pairs of accounts; a multiple of the accounts keeps them close to uniform.
PAIR_COUNT = 20_000

KEY_WIDTH = 24
_PLACEHOLDER = "#" * KEY_WIDTH

Payload = Callable[[], bytes]


def account_id(number: int) -> str:
    """Return the id of one player's account."""
    return f"player:{number}:real:{CURRENCY_CODE}"


class Keys:
    """Make idempotency keys that no other run and no other operation of this run uses."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        """Return the next key."""
        return f"{self._prefix}{next(self._numbers):016x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payloads:
    """The requests of all lines against one ledger."""

    keys: Keys
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def prepare(cls, seed: int = 1) -> "Payloads":
        """Draw pairs of different accounts, uniformly, the same ones on every run."""
        chance = random.Random(seed)
        numbers = range(1, ACCOUNT_COUNT + 1)
        drawn = (chance.sample(numbers, 2) for _ in range(PAIR_COUNT))
        return cls(keys=Keys(), pairs=tuple((account_id(a), account_id(b)) for a, b in drawn))

    def hot_pairs(self) -> tuple[tuple[str, str], ...]:
        """Return pairs that all credit one account."""
        return tuple((debit, HOT_ACCOUNT_ID) for debit, _ in self.pairs)

    def unary(self, *, hot: bool = False) -> Payload:
        """Return a source of PostTransactionRequest."""
        return self._source(
            [
                _cut(
                    PostTransactionRequest(
                        tenant_id=TENANT_ID,
                        idempotency_key=_PLACEHOLDER,
                        transaction=transfer(*pair),
                    ).SerializeToString()
                )
                for pair in (self.hot_pairs() if hot else self.pairs)
            ]
        )

    def stream(self) -> Payload:
        """Return a source of StreamTransactionsRequest with one item each."""
        return self._source(
            [
                _cut(StreamTransactionsRequest(tenant_id=TENANT_ID, items=[_item(pair)]).SerializeToString())
                for pair in self.pairs
            ]
        )

    def batch(self, size: int = BATCH_SIZE) -> Payload:
        """Return a source of BatchPostTransactionsRequest with independent items."""
        # Serialised messages of one type may be joined end to end: repeated fields then add up.
        head = BatchPostTransactionsRequest(
            tenant_id=TENANT_ID, mode=BATCH_MODE_INDEPENDENT
        ).SerializeToString()
        item = self._source(
            [
                _cut(BatchPostTransactionsRequest(items=[_item(pair)]).SerializeToString())
                for pair in self.pairs
            ]
        )
        return lambda: b"".join([head, *(item() for _ in range(size))])

    def balance(self, time: Timestamp | None = None) -> Payload:
        """Return a source of GetBalanceRequest, now or at a time."""
        return itertools.cycle(
            [
                GetBalanceRequest(tenant_id=TENANT_ID, account_id=debit, time=time).SerializeToString()
                for debit, _ in self.pairs
            ]
        ).__next__

    def statement(self, start_time: Timestamp) -> Payload:
        """Return a source of ListPostingsRequest for a page of the default size."""
        return itertools.cycle(
            [
                ListPostingsRequest(
                    tenant_id=TENANT_ID, account_id=debit, start_time=start_time
                ).SerializeToString()
                for debit, _ in self.pairs
            ]
        ).__next__

    def balances(self) -> Payload:
        """Return a source of BatchGetBalancesRequest."""
        ids = [debit for debit, _ in self.pairs]
        return itertools.cycle(
            [
                BatchGetBalancesRequest(
                    tenant_id=TENANT_ID, account_ids=ids[start : start + BALANCES_PER_CALL]
                ).SerializeToString()
                for start in range(0, len(ids), BALANCES_PER_CALL)
            ]
        ).__next__

    def place_hold(self) -> Payload:
        """Return a source of PlaceHoldRequest."""
        return self._source(
            [
                _cut(
                    PlaceHoldRequest(
                        tenant_id=TENANT_ID,
                        idempotency_key=_PLACEHOLDER,
                        debit_account_id=debit,
                        credit_account_id=credit,
                        amount_minor=AMOUNT_MINOR,
                        currency_code=CURRENCY_CODE,
                        type=TRANSACTION_TYPE_TRANSFER,
                    ).SerializeToString()
                )
                for debit, credit in self.pairs
            ]
        )

    def capture_hold(self, hold_id: str) -> bytes:
        """Return a CaptureHoldRequest for all of one hold; its id is only known in the window."""
        return CaptureHoldRequest(
            tenant_id=TENANT_ID, idempotency_key=self.keys(), hold_id=hold_id
        ).SerializeToString()

    def _source(self, halves: list[tuple[bytes, bytes]]) -> Payload:
        following = itertools.cycle(halves).__next__
        keys = self.keys

        def payload() -> bytes:
            before, after = following()
            return before + keys().encode() + after

        return payload


def transfer(
    debit: str,
    credit: str,
    amount_minor: int = AMOUNT_MINOR,
    kind: TransactionType.ValueType = TRANSACTION_TYPE_TRANSFER,
) -> NewTransaction:
    """Return a transaction of two legs."""
    return NewTransaction(
        type=kind,
        postings=[
            NewPosting(
                account_id=account,
                direction=direction,
                amount_minor=amount_minor,
                currency_code=CURRENCY_CODE,
            )
            for account, direction in ((debit, DIRECTION_DEBIT), (credit, DIRECTION_CREDIT))
        ],
    )


def open_accounts(keys: Keys) -> list[BatchOpenAccountsRequest]:
    """Return the requests that open the house's and all players' accounts."""
    players = [HOT_ACCOUNT_ID, *(account_id(number + 1) for number in range(ACCOUNT_COUNT))]
    accounts = [
        _account(HOUSE_ACCOUNT_ID, ACCOUNT_KIND_ASSET),
        *(_account(player, ACCOUNT_KIND_LIABILITY) for player in players),
    ]
    return [
        BatchOpenAccountsRequest(
            tenant_id=TENANT_ID,
            mode=BATCH_MODE_INDEPENDENT,
            items=[
                BatchOpenAccountsItem(idempotency_key=keys(), account=account)
                for account in accounts[start : start + BATCH_SIZE]
            ],
        )
        for start in range(0, len(accounts), BATCH_SIZE)
    ]


def fund_accounts(keys: Keys) -> BatchPostTransactionsRequest:
    """Return the request that gives every player but the hot one an opening balance."""
    return BatchPostTransactionsRequest(
        tenant_id=TENANT_ID,
        mode=BATCH_MODE_INDEPENDENT,
        items=[
            PostTransactionItem(
                idempotency_key=keys(),
                transaction=transfer(
                    HOUSE_ACCOUNT_ID,
                    account_id(number + 1),
                    OPENING_MINOR,
                    TRANSACTION_TYPE_OPENING_BALANCE,
                ),
            )
            for number in range(ACCOUNT_COUNT)
        ],
    )


def _account(name: str, kind: AccountKind.ValueType) -> NewAccount:
    # A player has the default limit of 0, so that every posting is checked; the house has none.
    return NewAccount(account_id=name, kind=kind, currency_code=CURRENCY_CODE)


def _item(pair: tuple[str, str]) -> PostTransactionItem:
    return PostTransactionItem(idempotency_key=_PLACEHOLDER, transaction=transfer(*pair))


def _cut(message: bytes) -> tuple[bytes, bytes]:
    before, after = message.split(_PLACEHOLDER.encode())
    return before, after
