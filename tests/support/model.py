"""Own the reference ledger: what the server should answer, in plain dicts and whole numbers.

It shares no code with the server and takes every shortcut that a single caller in one thread
allows: no lanes, no database, and a hold expires the moment the clock moves past it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

Account = dict[str, Any]
Hold = dict[str, Any]
Transaction = dict[str, Any]
# (account id, direction, change of posted money, change of pending money)
Change = tuple[str, str, int, int]
# A limit as a caller asks for it: a number, UNLIMITED, or None for the default of the account's kind.
Wanted = tuple[int | str | None, int | str | None]

UNLIMITED = "unlimited"

LARGEST = 2**63 - 1
GROWS_BY_DEBIT = {"ASSET", "EXPENSE"}
OPPOSITE = {"DEBIT": "CREDIT", "CREDIT": "DEBIT"}
# Refusals that leave no record: the key stays unused.
UNDECIDED = {
    "AMOUNT_TOO_LARGE",
    "AMOUNT_NOT_POSITIVE",
    "UNBALANCED_TRANSACTION",
    "SAME_ACCOUNT",
    "LIMITS_CONTRADICT",
    "ACCOUNT_NAME_RESERVED",
    "IDEMPOTENCY_KEY_REUSED",
}


def in_words(told: Any) -> str:
    """Return the fields of a dataclass that differ from their defaults."""
    differing = {
        one.name: getattr(told, one.name) for one in fields(told) if getattr(told, one.name) != one.default
    }
    reason = differing.pop("reason", "done")
    return " ".join([reason, *(f"{name}={value}" for name, value in differing.items())])


@dataclass(frozen=True, kw_only=True, repr=False)
class Answer:
    """The answer to one request.

    `reason` is empty for a success. `transaction`, `hold` and `adjustment` are the model's own names of the
    results; the caller of the model knows the server's ids for them.
    """

    reason: str = ""
    replayed: bool = False
    transaction: str = ""
    hold: str = ""
    adjustment: str = ""
    limit_breached: bool = False
    index: int | None = None

    def __repr__(self) -> str:
        """Return what differs from a plain success, for reading."""
        return in_words(self)


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One posting that is asked for."""

    account: str
    direction: str
    amount: int
    currency: str


@dataclass(frozen=True, kw_only=True)
class PostItem:
    """One keyed transaction that is asked for."""

    key: str
    legs: tuple[Leg, ...]
    type: str = "TRANSFER"
    reference: str = ""

    @property
    def body(self) -> Hashable:
        """Return everything in which two requests must agree to be the same request."""
        return (self.legs, self.type, self.reference)


@dataclass(frozen=True, kw_only=True)
class OpenItem:
    """One keyed account that is asked for; `limits` is None for the defaults."""

    key: str
    account: str
    kind: str
    currency: str
    limits: Wanted | None = None

    @property
    def body(self) -> Hashable:
        """Return everything in which two requests must agree to be the same request."""
        return (self.account, self.kind, self.currency, self.limits)


def normal_side(account: Account) -> str:
    """Return the side on which the account grows."""
    return "DEBIT" if account["kind"] in GROWS_BY_DEBIT else "CREDIT"


def posted_balance(account: Account) -> int:
    """Return posted money on the normal side."""
    side = normal_side(account)
    return int(account["posted"][side] - account["posted"][OPPOSITE[side]])


def available_balance(account: Account) -> int:
    """Return what may be spent."""
    return posted_balance(account) - int(account["pending"][OPPOSITE[normal_side(account)]])


def expected_balance(account: Account) -> int:
    """Return posted money plus pending money in, which the upper limit looks at."""
    return posted_balance(account) + int(account["pending"][normal_side(account)])


def stands_below(account: Account) -> bool:
    """Whether less is available than the lower limit allows; closed accounts are done with."""
    limit = account["limits"][0]
    return account["state"] != "CLOSED" and limit is not None and available_balance(account) < limit


@dataclass
class LedgerModel:
    """The ledger of one tenant. Times are whole microseconds."""

    now: int
    enforced: bool = True
    accounts: dict[str, Account] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    transactions: dict[str, Transaction] = field(default_factory=dict)
    adjustments: dict[str, dict[str, Any]] = field(default_factory=dict)
    # From which debits of a currency a second person is needed; none is named: always.
    reviewed_from: dict[str, int] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], tuple[Hashable, Answer]] = field(default_factory=dict)
    # Every decision in order: (method, key, reason or "").
    decisions: list[tuple[str, str, str]] = field(default_factory=list)

    # Time and switches.

    def advance(self, microseconds: int) -> None:
        """Let time pass; holds expire at their instant."""
        self.now += microseconds
        for hold in self.holds.values():
            if hold["state"] == "OPEN" and hold["expire"] is not None and hold["expire"] <= self.now:
                self._end(hold, "EXPIRED", hold["expire"])

    def set_enforcement(self, key: str, *, enforced: bool, forced: bool = False) -> Answer:
        """Switch between SHADOW and ENFORCED."""

        def decide() -> Answer:
            begins = enforced and not self.enforced and not forced
            if begins and any(map(stands_below, self.accounts.values())):
                return Answer(reason="ACCOUNTS_BELOW_LIMIT")
            self.enforced = enforced
            return Answer()

        return self._keyed("SetBalanceEnforcement", key, (enforced, forced), decide)

    def create_tenant_again(self, key: str, *, enforced: bool) -> Answer:
        """Ask for the tenant that exists already."""
        return self._keyed("CreateTenant", key, enforced, lambda: Answer(reason="TENANT_ALREADY_EXISTS"))

    # Accounts.

    def open_account(self, item: OpenItem) -> Answer:
        """Open an account."""
        given = granted(item.limits or (None, None), item.kind)
        if contradict(given):
            return Answer(reason="LIMITS_CONTRADICT")
        if misnamed(item):
            return Answer(reason="ACCOUNT_NAME_RESERVED")

        def decide() -> Answer:
            if item.account in self.accounts:
                return Answer(reason="ACCOUNT_ALREADY_EXISTS")
            self.accounts[item.account] = {
                "kind": item.kind,
                "currency": item.currency,
                "state": "OPEN",
                "limits": given,
                "posted": {"DEBIT": 0, "CREDIT": 0},
                "pending": {"DEBIT": 0, "CREDIT": 0},
                "continues": "",
                "continued_by": "",
            }
            return Answer()

        return self._keyed("OpenAccount", item.key, item.body, decide)

    def set_limits(self, key: str, account: str, limits: Wanted) -> Answer:
        """Replace both limits; what is not given is the kind's default, whatever it was before."""
        low, high = limits
        if isinstance(low, int) and isinstance(high, int) and low > high:
            return Answer(reason="LIMITS_CONTRADICT")

        def decide() -> Answer:
            if account not in self.accounts:
                return Answer(reason="ACCOUNT_NOT_FOUND")
            if self.accounts[account]["state"] == "CLOSED":
                return Answer(reason="ACCOUNT_CLOSED")
            given = granted(limits, self.accounts[account]["kind"])
            if contradict(given):
                return Answer(reason="LIMITS_CONTRADICT_DEFAULT")
            self.accounts[account]["limits"] = given
            return Answer()

        return self._keyed("SetAccountLimits", key, (account, limits), decide)

    def change_state(self, method: str, key: str, account: str) -> Answer:
        """Freeze, unfreeze or close; `method` is the RPC's name."""
        froms, to = {
            "FreezeAccount": ({"OPEN"}, "FROZEN"),
            "UnfreezeAccount": ({"FROZEN"}, "OPEN"),
            "CloseAccount": ({"OPEN", "FROZEN"}, "CLOSED"),
        }[method]

        def decide() -> Answer:
            if account not in self.accounts:
                return Answer(reason="ACCOUNT_NOT_FOUND")
            found = self.accounts[account]
            if found["state"] not in froms:
                return Answer(reason="ILLEGAL_TRANSITION")
            if to == "CLOSED" and any(
                posted_balance(self.accounts[name]) != 0 or any(self.accounts[name]["pending"].values())
                for name in self.purse(account)
            ):
                return Answer(reason="ACCOUNT_NOT_EMPTY")
            found["state"] = to
            return Answer()

        return self._keyed(method, key, account, decide)

    def continue_account(self, key: str, account: str) -> Answer:
        """Close an account, open the next one, and move what may be spent."""

        def decide() -> Answer:
            if account not in self.accounts:
                return Answer(reason="ACCOUNT_NOT_FOUND")
            old = self.accounts[account]
            if old["state"] == "CLOSED":
                return Answer(reason="ACCOUNT_CLOSED")
            first, _, number = account.partition("@")
            name = f"{first}@{int(number or 1) + 1}"
            if name in self.accounts:
                return Answer(reason="ACCOUNT_ALREADY_EXISTS")
            self.accounts[name] = {
                **copy.deepcopy(old),
                "posted": {"DEBIT": 0, "CREDIT": 0},
                "pending": {"DEBIT": 0, "CREDIT": 0},
                "continues": account,
            }
            old["state"] = "CLOSED"
            old["continued_by"] = name
            self._take_along(account)
            return Answer()

        return self._keyed("ContinueAccount", key, account, decide)

    def newest(self, account: str) -> str:
        """Return the newest account of a line."""
        while account in self.accounts and self.accounts[account]["continued_by"]:
            account = self.accounts[account]["continued_by"]
        return account

    def purse(self, account: str) -> list[str]:
        """Return the newest account of a line and all before it."""
        names = [self.newest(account)]
        while before := self.accounts[names[-1]]["continues"]:
            names.append(before)
        return names

    def _take_along(self, account: str) -> None:
        """Move the spendable money of a continued account, as far as the counters have room."""
        old = self.accounts[account]
        if not old["continued_by"]:
            return
        new = self.accounts[self.newest(account)]
        spendable = available_balance(old)
        shrinks = OPPOSITE[normal_side(old)]
        side = shrinks if spendable > 0 else OPPOSITE[shrinks]
        rooms = [
            LARGEST - one["posted"][way] - one["pending"][way]
            for one, way in ((old, side), (new, OPPOSITE[side]))
        ]
        moved = min(abs(spendable), *rooms)
        old["posted"][side] += moved
        new["posted"][OPPOSITE[side]] += moved

    # Transactions.

    def post(self, item: PostItem) -> Answer:
        """Post one transaction."""
        if refusal := malformed(item):
            return Answer(reason=refusal)
        return self._keyed("PostTransaction", item.key, item.body, lambda: self._post(item))

    def post_independently(self, items: Sequence[PostItem]) -> list[Answer]:
        """Post each item by itself."""
        return [self.post(item) for item in items]

    def post_atomically(self, items: Sequence[PostItem]) -> list[Answer] | Answer:
        """Post all items or none; one Answer with `index` when an item is refused."""
        return self._all_or_none([partial(self.post, item) for item in items])

    def open_atomically(self, items: Sequence[OpenItem]) -> list[Answer] | Answer:
        """Open all accounts or none; one Answer with `index` when an item is refused."""
        return self._all_or_none([partial(self.open_account, item) for item in items])

    def reverse(self, key: str, name: str, reference: str = "") -> Answer:
        """Post the mirror of a transaction."""

        def decide() -> Answer:
            found = self.transactions.get(name)
            if found is None:
                return Answer(reason="TRANSACTION_NOT_FOUND")
            if found["reversed_by"]:
                return Answer(reason="ALREADY_REVERSED")
            if found["type"] == "REVERSAL":
                return Answer(reason="REVERSAL_NOT_REVERSIBLE")
            mirror = [
                replace(leg, account=self.newest(leg.account), direction=OPPOSITE[leg.direction])
                for leg in found["legs"]
            ]
            item = PostItem(key=key, legs=tuple(mirror), type="REVERSAL", reference=reference)
            answer = self._post(item)
            if not answer.reason:
                found["reversed_by"] = answer.transaction
            return answer

        return self._keyed("ReverseTransaction", key, (name, reference), decide)

    # Adjustments.

    def set_adjustment_policy(self, key: str, amounts: dict[str, int]) -> Answer:
        """Say from which debits a second person is needed."""

        def decide() -> Answer:
            self.reviewed_from = dict(amounts)
            return Answer()

        return self._keyed("SetAdjustmentPolicy", key, tuple(sorted(amounts.items())), decide)

    def request_adjustment(self, item: PostItem, actor: str) -> Answer:
        """Ask for a transaction, which is posted at once where one person is enough."""
        if refusal := malformed(item):
            return Answer(reason=refusal)
        moved = {
            currency: sum(
                leg.amount for leg in item.legs if (leg.currency, leg.direction) == (currency, "DEBIT")
            )
            for currency in {leg.currency for leg in item.legs}
        }
        if max(moved.values()) > LARGEST:
            return Answer(reason="AMOUNT_TOO_LARGE")

        def decide() -> Answer:
            accounts = [self.accounts.get(leg.account) for leg in item.legs]
            if None in accounts:
                return Answer(reason="ACCOUNT_NOT_FOUND")
            for leg in item.legs:
                if self.accounts[leg.account]["currency"] != leg.currency:
                    return Answer(reason="CURRENCY_MISMATCH")
            if any(self.accounts[leg.account]["state"] == "CLOSED" for leg in item.legs):
                return Answer(reason="ACCOUNT_CLOSED")
            name = f"adjustment#{len(self.adjustments) + 1}"
            asked = {"item": item, "state": "REQUESTED", "people": [actor], "transaction": ""}
            if any(total >= self.reviewed_from.get(code, 0) for code, total in moved.items()):
                self.adjustments[name] = asked
                return Answer(adjustment=name)
            return self._post_adjustment(name, asked)

        return self._keyed("RequestAdjustment", item.key, (item.body, actor), decide)

    def approve_adjustment(self, key: str, name: str, reviewer: str, *, only_requested: bool) -> Answer:
        """Let a transaction be posted that another person has asked for."""

        def decide() -> Answer:
            found = self.adjustments.get(name)
            if refusal := _why_no_step(found, only_requested=only_requested):
                return Answer(reason=refusal)
            assert found is not None
            if reviewer in found["people"]:
                return Answer(reason="SECOND_PERSON_REQUIRED")
            return self._post_adjustment(name, {**found, "people": [*found["people"], reviewer]})

        return self._keyed("ApproveAdjustment", key, (name, reviewer, only_requested), decide)

    def reject_adjustment(self, key: str, name: str, reviewer: str, *, only_requested: bool) -> Answer:
        """Refuse it."""

        def decide() -> Answer:
            found = self.adjustments.get(name)
            if refusal := _why_no_step(found, only_requested=only_requested):
                return Answer(reason=refusal)
            assert found is not None
            found["state"] = "REJECTED"
            return Answer(adjustment=name)

        return self._keyed("RejectAdjustment", key, (name, reviewer, only_requested), decide)

    def cancel_adjustment(self, key: str, name: str, actor: str, *, only_requested: bool) -> Answer:
        """Take it back."""

        def decide() -> Answer:
            found = self.adjustments.get(name)
            if refusal := _why_no_step(found, only_requested=only_requested):
                return Answer(reason=refusal)
            assert found is not None
            if found["people"][0] != actor:
                return Answer(reason="REQUESTER_REQUIRED")
            found["state"] = "CANCELLED"
            return Answer(adjustment=name)

        return self._keyed("CancelAdjustment", key, (name, actor, only_requested), decide)

    def _post_adjustment(self, name: str, asked: dict[str, Any]) -> Answer:
        posted = self._post(replace(asked["item"], type="ADJUSTMENT"))
        if posted.reason:
            return posted
        self.adjustments[name] = {**asked, "state": "POSTED", "transaction": posted.transaction}
        # Whether a limit was broken is told of the transaction alone.
        return replace(posted, adjustment=name, limit_breached=False)

    # Holds.

    def place_hold(
        self,
        key: str,
        *,
        debit: str,
        credit: str,
        amount: int,
        currency: str,
        expire: int | None,
        lives: int | None = None,
    ) -> Answer:
        """Reserve money; `expire` is the instant of its death, or it dies when it has lived for `lives`."""
        if amount < 1:
            return Answer(reason="AMOUNT_NOT_POSITIVE")
        if debit == credit:
            return Answer(reason="SAME_ACCOUNT")
        if refusal := why_no_lifetime(expire, lives):
            return Answer(reason=refusal)

        def decide() -> Answer:
            if debit not in self.accounts or credit not in self.accounts:
                return Answer(reason="ACCOUNT_NOT_FOUND")
            death = expire if lives is None else self.now + lives
            if death is not None and death <= self.now:
                return Answer(reason="EXPIRE_TIME_NOT_LATER")
            if any(self.accounts[name]["currency"] != currency for name in (debit, credit)):
                return Answer(reason="CURRENCY_MISMATCH")
            refusal, breached = self._apply(pending_change(debit, credit, amount))
            if refusal:
                return Answer(reason=refusal)
            name = f"hold#{len(self.holds) + 1}"
            self.holds[name] = {
                "debit": debit,
                "credit": credit,
                "currency": currency,
                "amount": amount,
                "captured": 0,
                "released": 0,
                "state": "OPEN",
                "expire": death,
                "end": None,
                "limit_breached": breached,
            }
            return Answer(hold=name, limit_breached=breached)

        return self._keyed("PlaceHold", key, (debit, credit, amount, currency, expire, lives), decide)

    def capture_hold(self, key: str, name: str, amount: int | None, *, final: bool) -> Answer:
        """Post what is held, or a part; `final` releases the rest."""
        if amount is not None and amount < 1:
            return Answer(reason="AMOUNT_NOT_POSITIVE")

        def decide() -> Answer:
            if refusal := self._why_ended(name):
                return Answer(reason=refusal)
            hold = self.holds[name]
            left = remaining(hold)
            taken = left if amount is None else amount
            if taken > left:
                return Answer(reason="CAPTURE_EXCEEDS_HOLD")
            sides = ((hold["debit"], "DEBIT"), (hold["credit"], "CREDIT"))
            for account, direction in sides:
                found = self.accounts[self.newest(account)]
                if found["state"] == "FROZEN" and direction != normal_side(found):
                    return Answer(reason="ACCOUNT_FROZEN")
            for account, direction in sides:
                self.accounts[account]["posted"][direction] += taken
                self.accounts[account]["pending"][direction] -= taken
            hold["captured"] += taken
            if final or remaining(hold) == 0:
                self._end(hold, "CAPTURED", self.now)
            else:
                for account, _ in sides:
                    self._take_along(account)
            legs = tuple(
                Leg(account=account, direction=direction, amount=taken, currency=hold["currency"])
                for account, direction in sides
            )
            transaction = self._file(legs, "BET")
            return Answer(hold=name, transaction=transaction, limit_breached=hold["limit_breached"])

        return self._keyed("CaptureHold", key, (name, amount, final), decide)

    def release_hold(self, key: str, name: str) -> Answer:
        """Undo what is still held."""

        def decide() -> Answer:
            if refusal := self._why_ended(name):
                return Answer(reason=refusal)
            hold = self.holds[name]
            self._end(hold, "RELEASED", self.now)
            return Answer(hold=name, limit_breached=hold["limit_breached"])

        return self._keyed("ReleaseHold", key, name, decide)

    def extend_hold(self, key: str, name: str, expire: int | None, lives: int | None = None) -> Answer:
        """Move the instant of death to a later one, or to when the hold has lived for `lives` from now on."""
        if refusal := why_no_lifetime(expire, lives):
            return Answer(reason=refusal)

        def decide() -> Answer:
            if refusal := self._why_ended(name):
                return Answer(reason=refusal)
            hold = self.holds[name]
            death = self.now + lives if lives is not None else expire
            if death is None or hold["expire"] is None or death <= max(self.now, hold["expire"]):
                return Answer(reason="EXPIRE_TIME_NOT_LATER")
            hold["expire"] = death
            return Answer(hold=name, limit_breached=hold["limit_breached"])

        return self._keyed("ExtendHold", key, (name, expire, lives), decide)

    def increase_hold(self, key: str, name: str, additional: int) -> Answer:
        """Hold more."""
        if additional < 1:
            return Answer(reason="AMOUNT_NOT_POSITIVE")

        def decide() -> Answer:
            if refusal := self._why_ended(name):
                return Answer(reason=refusal)
            hold = self.holds[name]
            refusal, breached = self._apply(pending_change(hold["debit"], hold["credit"], additional))
            if refusal:
                return Answer(reason=refusal)
            hold["amount"] += additional
            hold["limit_breached"] = hold["limit_breached"] or breached
            return Answer(hold=name, limit_breached=hold["limit_breached"])

        return self._keyed("IncreaseHold", key, (name, additional), decide)

    # The rules that these share.

    def _keyed(self, method: str, key: str, body: Hashable, decide: Callable[[], Answer]) -> Answer:
        if (method, key) in self.outcomes:
            first_body, first_answer = self.outcomes[method, key]
            if first_body != body:
                return Answer(reason="IDEMPOTENCY_KEY_REUSED")
            return replace(first_answer, replayed=True)
        answer = decide()
        self._remember(method, key, body, answer)
        return answer

    def _remember(self, method: str, key: str, body: Hashable, answer: Answer) -> None:
        self.outcomes[method, key] = (body, answer)
        self.decisions.append((method, key, answer.reason))

    def _all_or_none(self, steps: Sequence[Callable[[], Answer]]) -> list[Answer] | Answer:
        before = copy.deepcopy(self.__dict__)
        known = set(self.outcomes)
        answers: list[Answer] = []
        for index, step in enumerate(steps):
            answer = step()
            if not answer.reason:
                answers.append(answer)
                continue
            fresh = [entry for entry in self.outcomes.items() if entry[0] not in known]
            self.__dict__.update(before)
            if answer.reason not in UNDECIDED and not answer.replayed:
                # The newest outcome is the refusal, the only one that outlives the batch.
                (method, key), (body, refusal) = fresh[-1]
                self._remember(method, key, body, refusal)
            return replace(answer, index=index)
        return answers

    def _post(self, item: PostItem) -> Answer:
        for leg in item.legs:
            if leg.account not in self.accounts:
                return Answer(reason="ACCOUNT_NOT_FOUND")
        for leg in item.legs:
            if self.accounts[leg.account]["currency"] != leg.currency:
                return Answer(reason="CURRENCY_MISMATCH")
        changes = [(leg.account, leg.direction, leg.amount, 0) for leg in item.legs]
        refusal, breached = self._apply(changes)
        if refusal:
            return Answer(reason=refusal)
        name = self._file(item.legs, item.type)
        return Answer(transaction=name, limit_breached=breached)

    def _file(self, legs: tuple[Leg, ...], type_: str) -> str:
        name = f"transaction#{len(self.transactions) + 1}"
        self.transactions[name] = {"legs": legs, "type": type_, "reversed_by": ""}
        return name

    def _apply(self, changes: Sequence[Change]) -> tuple[str, bool]:
        """Change the counters unless a rule forbids it; return the broken rule, and whether a limit broke."""
        names = list(dict.fromkeys(change[0] for change in changes))
        before = {name: self.accounts[name] for name in names}
        after = copy.deepcopy(before)
        for name, direction, posted, pending in changes:
            after[name]["posted"][direction] += posted
            after[name]["pending"][direction] += pending
        if any(account["state"] == "CLOSED" for account in before.values()):
            return "ACCOUNT_CLOSED", False
        if any(
            before[name]["state"] == "FROZEN" and direction != normal_side(before[name])
            for name, direction, _, _ in changes
        ):
            return "ACCOUNT_FROZEN", False
        lowered = [n for n in names if available_balance(after[n]) < available_balance(before[n])]
        raised = [n for n in names if expected_balance(after[n]) > expected_balance(before[n])]
        for account in after.values():
            for side in OPPOSITE:
                if account["posted"][side] + account["pending"][side] > LARGEST:
                    return "AMOUNT_OVERFLOW", False
        below = any(
            before[name]["limits"][0] is not None
            and available_balance(after[name]) < before[name]["limits"][0]
            for name in lowered
        )
        above = any(
            before[name]["limits"][1] is not None
            and expected_balance(after[name]) > before[name]["limits"][1]
            for name in raised
        )
        if self.enforced and below:
            return "INSUFFICIENT_FUNDS", False
        if self.enforced and above:
            return "BALANCE_LIMIT_EXCEEDED", False
        self.accounts.update(after)
        return "", below or above

    def _why_ended(self, name: str) -> str:
        if name not in self.holds:
            return "HOLD_NOT_FOUND"
        return {
            "OPEN": "",
            "CAPTURED": "HOLD_ALREADY_CAPTURED",
            "RELEASED": "HOLD_ALREADY_RELEASED",
            "EXPIRED": "HOLD_EXPIRED",
        }[self.holds[name]["state"]]

    def _end(self, hold: Hold, state: str, at: int) -> None:
        rest = remaining(hold)
        self.accounts[hold["debit"]]["pending"]["DEBIT"] -= rest
        self.accounts[hold["credit"]]["pending"]["CREDIT"] -= rest
        hold["released"] += rest
        hold["state"] = state
        hold["end"] = at
        for account in (hold["debit"], hold["credit"]):
            self._take_along(account)


def why_no_lifetime(expire: int | None, lives: int | None) -> str:
    """Return why a hold can't be asked to end then: a death by both, or a life of no length."""
    if lives is None:
        return ""
    if expire is not None:
        return "EXPIRE_TIME_GIVEN_TWICE"
    return "TIME_TO_LIVE_NOT_POSITIVE" if lives < 1 else ""


def remaining(hold: Hold) -> int:
    """Return what is still held."""
    return int(hold["amount"] - hold["captured"] - hold["released"])


def pending_change(debit: str, credit: str, amount: int) -> list[Change]:
    """Return the changes that a hold of that amount makes on its two accounts."""
    return [(debit, "DEBIT", 0, amount), (credit, "CREDIT", 0, amount)]


def contradict(limits: tuple[int | None, int | None]) -> bool:
    """Tell whether the lower limit lies above the upper one."""
    low, high = limits
    return low is not None and high is not None and low > high


def granted(wanted: Wanted, kind: str) -> tuple[int | None, int | None]:
    """Return the limits that an account gets; None is no limit from here on."""
    low, high = wanted
    if low is None and kind == "LIABILITY":
        low = 0
    return (low if isinstance(low, int) else None, high if isinstance(high, int) else None)


def misnamed(item: OpenItem) -> bool:
    """Tell whether a wallet's name is given to another kind of account, the only misuse that occurs here."""
    parts = item.account.split(":")
    if len(parts) != 4 or parts[0] != "player":
        return False
    return item.kind != "LIABILITY" or item.currency != parts[3]


def _why_no_step(adjustment: dict[str, Any] | None, *, only_requested: bool) -> str:
    """Return why no step may be taken on an adjustment, or nothing."""
    if adjustment is None:
        return "ADJUSTMENT_NOT_FOUND"
    if adjustment["state"] == "REQUESTED":
        return ""
    return "ADJUSTMENT_STATE_MISMATCH" if only_requested else "ILLEGAL_TRANSITION"


def malformed(item: PostItem) -> str:
    """Return the reason why a transaction is malformed, or nothing."""
    if any(leg.amount < 1 for leg in item.legs):
        return "AMOUNT_NOT_POSITIVE"
    for currency in {leg.currency for leg in item.legs}:
        of_currency = [leg for leg in item.legs if leg.currency == currency]
        sums = [sum(leg.amount for leg in of_currency if leg.direction == side) for side in OPPOSITE]
        if sums[0] != sums[1]:
            return "UNBALANCED_TRANSACTION"
    debited, credited = (
        {leg.account for leg in item.legs if leg.direction == side} for side in ("DEBIT", "CREDIT")
    )
    return "SAME_ACCOUNT" if debited & credited else ""
