"""Own the long comparison: hypothesis drives the real server and the model side by side."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from defter.ledger.v1 import account_pb2, adjustment_pb2, error_pb2, hold_pb2
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.simulation.asks import (
    Answers,
    ApproveAdjustment,
    Ask,
    CancelAdjustment,
    Capture,
    Close,
    Continue,
    CreateTenantAgain,
    Extend,
    Freeze,
    Increase,
    Open,
    OpenBatch,
    PlaceHold,
    Post,
    PostBatch,
    PostStream,
    RejectAdjustment,
    Release,
    Reply,
    RequestAdjustment,
    Reverse,
    Seen,
    SetAdjustmentPolicy,
    SetEnforcement,
    SetLimits,
    Unfreeze,
)
from tests.simulation.driving import World
from tests.simulation.strategies import (
    ACCOUNTS,
    SECOND,
    Limits,
    account_ids,
    amounts,
    bet,
    broken_leg_sets,
    currencies,
    kinds,
    leg_sets,
    lifetimes,
    lifetimes_told,
    limit_pairs,
    opened_ids,
    parts,
    people,
    picks,
    players,
    troubles,
)
from tests.support.adjusters import Adjusters
from tests.support.coherence import assert_ledger_coherent, assert_tables_coherent
from tests.support.ledger import Ledger
from tests.support.model import (
    LARGEST,
    Answer,
    LedgerModel,
    Leg,
    OpenItem,
    PostItem,
    available_balance,
    malformed,
    posted_balance,
    remaining,
)
from tests.support.randomness import SEED
from tests.support.reports import assert_transactions_agree
from tests.support.requests import microseconds_of

# As many examples as fit into half a minute; more of them would find more: DEFTER_SIMULATION_EXAMPLES=1000.
EXAMPLES = int(os.environ.get("DEFTER_SIMULATION_EXAMPLES", "25"))


def some_holds(machine: LedgerMachine) -> bool:
    """Tell whether there is a hold to work on."""
    return bool(machine.model.holds)


def some_adjustments(machine: LedgerMachine) -> bool:
    """Tell whether there is an adjustment to work on."""
    return bool(machine.model.adjustments)


def now_and_then(machine: LedgerMachine) -> bool:
    """Be true rarely, for steps that would teach nothing if they came often."""
    return len(machine.past) % 8 == 0


def beside_holds(machine: LedgerMachine) -> bool:
    """Make steps without holds rare while an example is about holds."""
    return machine.focus != "holds" or now_and_then(machine)


class LedgerMachine(RuleBasedStateMachine):
    """Asks the server and the model the same things and compares what they say."""

    def __init__(self, world: World, focus: str) -> None:
        super().__init__()
        self.focus = focus
        self.world = world
        self.run = world.run
        self.tenant_id = world.new_tenant()
        self.model = LedgerModel(now=microseconds_of(world.clock.now))
        self.ids: dict[str, str] = {}
        self.past: list[Ask] = []
        self.exact: dict[tuple[Ask, str], object] = {}
        self.keys = itertools.count(1)
        self.trouble = ""
        self.run(self.ledger.create())

    @property
    def ledger(self) -> Ledger:
        """The tenant over the channel of the server that runs now."""
        return self.world.ledger(self.tenant_id)

    def key(self) -> str:
        """Return a fresh key."""
        return f"k{next(self.keys)}"

    def item(self, legs: tuple[Leg, ...]) -> PostItem:
        """Return a keyed transaction."""
        legs = tuple(replace(leg, account=self.current(leg.account)) for leg in legs)
        return PostItem(key=self.key(), legs=legs)

    def current(self, account: str) -> str:
        """Return mostly the newest account of a line, and now and then the closed one."""
        return account if len(self.past) % 4 == 0 else self.model.newest(account)

    def pick(self, names: dict[str, Any], number: int | None) -> str:
        """Return a name, counted from the newest, or one that nobody knows."""
        kind = "hold" if names is self.model.holds else "transaction"
        kind = "adjustment" if names is self.model.adjustments else kind
        if number is None or not names:
            return f"{kind}-nobody"
        return list(names)[-1 - number % len(names)]

    # Accounts.

    @initialize()
    def open_first_accounts(self) -> None:
        """Open what most examples need, and give the players some money."""
        opened = {"house": "ASSET", "bank": "ASSET"}
        for name in ACCOUNTS:
            currency = "USD" if name == "dollars" else "EUR"
            kind = opened.get(name, "LIABILITY")
            self.ask(Open(OpenItem(key=self.key(), account=name, kind=kind, currency=currency)))
        for name in ("ann", "bob"):
            legs = (
                Leg(account="house", direction="DEBIT", amount=100, currency="EUR"),
                Leg(account=name, direction="CREDIT", amount=100, currency="EUR"),
            )
            self.ask(Post(self.item(legs)))
        for name, lifetime in (("ann", None), ("bob", 5 * SECOND), ("house", SECOND)):
            expire = None if lifetime is None else self.model.now + lifetime
            self.ask(PlaceHold(self.key(), name, "bank", 20, "EUR", expire))

    @precondition(beside_holds)
    @rule(account=opened_ids, kind=kinds, currency=currencies, limits=st.none() | limit_pairs)
    def open_account(self, account: str, kind: str, currency: str, limits: Limits | None) -> None:
        """Open one more account, or one that exists."""
        self.ask(Open(OpenItem(key=self.key(), account=account, kind=kind, currency=currency, limits=limits)))

    @precondition(beside_holds)
    @rule(
        names=st.lists(st.sampled_from(("eve", "new", "ann", "kim")), min_size=1, max_size=3),
        atomic=st.booleans(),
    )
    def open_batch(self, names: list[str], atomic: bool) -> None:
        """Open several accounts; some exist."""
        items = tuple(
            OpenItem(key=self.key(), account=name, kind="LIABILITY", currency="EUR") for name in names
        )
        self.ask(OpenBatch(items, atomic))

    @precondition(beside_holds)
    @rule(account=account_ids, limits=limit_pairs)
    def set_limits(self, account: str, limits: Limits) -> None:
        """Replace an account's limits."""
        self.ask(SetLimits(self.key(), self.current(account), limits))

    @precondition(beside_holds)
    @rule(account=account_ids, change=st.sampled_from((Freeze, Unfreeze, Unfreeze, Close)))
    def change_state(self, account: str, change: type[Freeze]) -> None:
        """Freeze, unfreeze or close."""
        self.ask(change(self.key(), self.current(account)))

    @rule(account=account_ids)
    def continue_account(self, account: str) -> None:
        """Let an account go on under its next id."""
        self.ask(Continue(self.key(), self.current(account)))

    # Transactions.

    @precondition(beside_holds)
    @rule(legs=leg_sets())
    def post(self, legs: tuple[Leg, ...]) -> None:
        """Post a transaction."""
        self.ask(Post(self.item(legs)))

    @rule(player=players, amount=st.integers(1, 90))
    def bet(self, player: str, amount: int) -> None:
        """Move money from a player to the house."""
        self.ask(Post(self.item(bet(player, amount))))

    @precondition(now_and_then)
    @rule(legs=broken_leg_sets())
    def post_broken(self, legs: tuple[Leg, ...]) -> None:
        """Ask for what can't be posted at all."""
        self.ask(Post(self.item(legs)))

    @precondition(beside_holds)
    @rule(leg_sets=st.lists(leg_sets(), min_size=1, max_size=4), atomic=st.booleans())
    def post_batch(self, leg_sets: list[tuple[Leg, ...]], atomic: bool) -> None:
        """Post several transactions in one commit."""
        self.ask(PostBatch(tuple(map(self.item, leg_sets)), atomic))

    @precondition(beside_holds)
    @rule(legs=leg_sets(), other=leg_sets(), same_body=st.booleans(), atomic=st.booleans())
    def post_batch_with_twins(
        self, legs: tuple[Leg, ...], other: tuple[Leg, ...], same_body: bool, atomic: bool
    ) -> None:
        """Use one key twice in one batch, with the same body or with another."""
        first = self.item(legs)
        second = first if same_body else PostItem(key=first.key, legs=other)
        self.ask(PostBatch((first, self.item(other), second), atomic))

    @precondition(beside_holds)
    @rule(leg_sets=st.lists(leg_sets() | broken_leg_sets(), min_size=1, max_size=4))
    def post_stream(self, leg_sets: list[tuple[Leg, ...]]) -> None:
        """Post through a stream; malformed items are refused by themselves."""
        self.ask(PostStream(tuple(map(self.item, leg_sets))))

    @precondition(beside_holds)
    @rule(number=picks, atomic=st.booleans(), legs=leg_sets())
    def post_old_item_in_batch(self, number: int | None, atomic: bool, legs: tuple[Leg, ...]) -> None:
        """Retry an item of an earlier request by another of the three RPCs."""
        asked = [item for ask in self.past for item in items_of(ask)]
        # A malformed item would fail the whole batch before anything is decided.
        earlier = [item for item in asked if not malformed(item)]
        old = earlier[-1 - (number or 0) % len(earlier)]
        self.ask(PostBatch((old, self.item(legs)), atomic))

    @rule(number=picks)
    def reverse(self, number: int | None) -> None:
        """Reverse a transaction."""
        self.ask(Reverse(self.key(), self.pick(self.model.transactions, number)))

    # Adjustments.

    @precondition(beside_holds)
    @rule(legs=leg_sets(), actor=people)
    def request_adjustment(self, legs: tuple[Leg, ...], actor: str) -> None:
        """Ask for a transaction by hand."""
        self.ask(RequestAdjustment(self.item(legs), actor))

    @precondition(now_and_then)
    @rule(legs=broken_leg_sets(), actor=people)
    def request_broken_adjustment(self, legs: tuple[Leg, ...], actor: str) -> None:
        """Ask for what can't be posted at all."""
        self.ask(RequestAdjustment(self.item(legs), actor))

    @precondition(some_adjustments)
    @rule(
        number=picks,
        person=people,
        step=st.sampled_from((ApproveAdjustment,) * 4 + (RejectAdjustment, CancelAdjustment)),
        only_requested=st.booleans(),
    )
    def review_adjustment(
        self, number: int | None, person: str, step: type[ApproveAdjustment], only_requested: bool
    ) -> None:
        """Approve, refuse or take back, as who asked or as somebody else."""
        name = self.pick(self.model.adjustments, number)
        self.ask(step(self.key(), name, person, only_requested))

    @precondition(now_and_then)
    @rule(euros_from=st.sampled_from((0, 1, 15, 40)))
    def set_adjustment_policy(self, euros_from: int) -> None:
        """Say from which amount a second person is needed."""
        self.ask(SetAdjustmentPolicy(self.key(), euros_from))

    # Holds.

    @rule(
        debit=st.sampled_from(("ann", "ann", "bob", "bob", "house", "dollars")),
        credit=st.sampled_from(("house", "house", "bank", "bank", "ann", "eve")),
        amount=amounts,
        currency=currencies,
        lifetime=lifetimes,
        told=lifetimes_told,
    )
    def place_hold(
        self, debit: str, credit: str, amount: int, currency: str, lifetime: int | None, told: str
    ) -> None:
        """Hold money, for ever or for a time."""
        expire, lives = self.told(lifetime, told)
        debit, credit = self.current(debit), self.current(credit)
        self.ask(PlaceHold(self.key(), debit, credit, amount, currency, expire, lives))

    def told(self, lifetime: int | None, told: str) -> tuple[int | None, int | None]:
        """Return a lifetime as an instant, as a length, or as both."""
        if lifetime is None:
            return None, None
        expire = self.model.now + lifetime
        return (None if told == "length" else expire), (None if told == "instant" else lifetime)

    @precondition(some_holds)
    @rule(number=picks, amount=st.none() | st.integers(1, 30), final=st.booleans())
    def capture(self, number: int | None, amount: int | None, final: bool) -> None:
        """Capture a hold in whole or in part."""
        self.ask(Capture(self.key(), self.pick(self.model.holds, number), amount, final))

    @precondition(some_holds)
    @rule(number=picks)
    def capture_too_much(self, number: int | None) -> None:
        """Capture one more than is left."""
        name = self.pick(self.model.holds, number)
        left = remaining(self.model.holds[name]) if name in self.model.holds else 0
        self.ask(Capture(self.key(), name, left + 1, final=False))

    @precondition(some_holds)
    @rule(number=picks)
    def release(self, number: int | None) -> None:
        """Release a hold."""
        self.ask(Release(self.key(), self.pick(self.model.holds, number)))

    @precondition(some_holds)
    @rule(number=picks, lifetime=lifetimes, told=lifetimes_told)
    def extend_for(self, number: int | None, lifetime: int | None, told: str) -> None:
        """Let a hold live for so long from now on."""
        expire, lives = self.told(lifetime or 30 * SECOND, told)
        self.ask(Extend(self.key(), self.pick(self.model.holds, number), expire, lives))

    @precondition(some_holds)
    @rule(number=picks, later=st.sampled_from((-SECOND, 0, 1, 5 * SECOND)), from_now=st.booleans())
    def extend(self, number: int | None, later: int, from_now: bool) -> None:
        """Move an expire time, counted from now or from where it is."""
        name = self.pick(self.model.holds, number)
        present = self.model.holds[name]["expire"] if name in self.model.holds else None
        base = self.model.now if from_now or present is None else present
        self.ask(Extend(self.key(), name, base + later))

    @precondition(some_holds)
    @rule(number=picks, additional=amounts)
    def increase(self, number: int | None, additional: int) -> None:
        """Hold more."""
        self.ask(Increase(self.key(), self.pick(self.model.holds, number), additional))

    # The tenant.

    @precondition(now_and_then)
    @rule(enforced=st.booleans(), forced=st.booleans())
    def set_enforcement(self, enforced: bool, forced: bool) -> None:
        """Switch between SHADOW and ENFORCED."""
        self.ask(SetEnforcement(self.key(), enforced, forced))

    @precondition(now_and_then)
    @rule()
    def create_tenant_again(self) -> None:
        """Create what there is already."""
        self.ask(CreateTenantAgain(self.key()))

    # Retries.

    @rule(number=st.integers(0, 30))
    def retry(self, number: int) -> None:
        """Send an earlier request again; it must be answered as it was."""
        self.ask(self.past[-1 - number % len(self.past)])

    @rule(number=st.integers(0, 30))
    def reuse_key(self, number: int) -> None:
        """Use an earlier key for another request."""
        self.ask(self.past[-1 - number % len(self.past)].altered())

    # Several at once.

    @rule(wanted=st.lists(parts, min_size=2, max_size=8), with_retry=st.booleans())
    def ask_together(self, wanted: list[tuple[Any, ...]], with_retry: bool) -> None:
        """Send several requests at once, perhaps one of them twice; the journal tells their order."""
        asks = [self.make(*part) for part in wanted]
        if with_retry:
            asks.append(asks[0])
        troubled, self.trouble = self.trouble, ""
        note(f"together{', ' + troubled if troubled else ''}:")
        head = self.run(self.ledger.head())
        replies = self.run(self.world.ask_all(self.tenant_id, self.ids, asks, troubled))
        places = self.run(self.places_after(head))

        def place(ask: Ask, reply: Reply) -> int:
            # A refused batch has the record of its refused item alone. Sent again it is decided anew up to
            # that item, so two equal ones may have been refused for two items, with a record each.
            index = None if isinstance(reply.seen, list) else reply.seen.index
            keys = ask.keys if index is None else ask.keys[index : index + 1]
            # A request without a record was never decided, so its time of arrival makes no difference.
            return min((places[key] for key in keys if key in places), default=LARGEST)

        # Of two equal requests the one that was not a replay came first.
        pairs = list(zip(asks, replies, strict=True))
        pairs.sort(key=lambda pair: (place(*pair), pair[0].keys, pair[1].replayed_count))
        for ask, reply in pairs:
            self.take(ask, reply, replay_is_known=not troubled)

    def make(self, kind: str, *wanted: Any) -> Ask:
        """Return a request of a kind with a fresh key."""
        model = self.model
        made: dict[str, Callable[..., Ask]] = {
            "bet": lambda player, amount: Post(self.item(bet(player, amount))),
            "post": lambda legs: Post(self.item(legs)),
            "batch": lambda sets, atomic: PostBatch(tuple(map(self.item, sets)), atomic),
            "place": lambda player, amount, lifetime: PlaceHold(
                self.key(),
                self.current(player),
                self.current("bank"),
                amount,
                "EUR",
                None if lifetime is None else model.now + lifetime,
            ),
            "capture": lambda number, amount, final: Capture(
                self.key(), self.pick(model.holds, number), amount, final
            ),
            "release": lambda number: Release(self.key(), self.pick(model.holds, number)),
            "increase": lambda number, amount: Increase(self.key(), self.pick(model.holds, number), amount),
            "reverse": lambda number: Reverse(self.key(), self.pick(model.transactions, number)),
            "adjust": lambda player, amount, actor: RequestAdjustment(self.item(bet(player, amount)), actor),
            "approve": lambda number, person: ApproveAdjustment(
                self.key(), self.pick(model.adjustments, number), person, only_requested=False
            ),
            "cancel": lambda number, person: CancelAdjustment(
                self.key(), self.pick(model.adjustments, number), person, only_requested=True
            ),
            "freeze": lambda account: Freeze(self.key(), self.current(account)),
            "unfreeze": lambda account: Unfreeze(self.key(), self.current(account)),
            "continue": lambda account: Continue(self.key(), self.current(account)),
            "limits": lambda account, limits: SetLimits(self.key(), self.current(account), limits),
            "open": lambda account: Open(
                OpenItem(key=self.key(), account=account, kind="LIABILITY", currency="EUR")
            ),
            "enforce": lambda enforced: SetEnforcement(self.key(), enforced),
        }
        return made[kind](*wanted)

    async def places_after(self, head: int) -> dict[str, int]:
        """Return by key the sequences of the records after a head."""
        entries = await self.ledger.entries(after_sequence=head)
        return {entry.record.request.idempotency_key: entry.sequence for entry in entries}

    # Time and trouble.

    @rule(microseconds=st.sampled_from((1, SECOND, 10 * SECOND)))
    def let_time_pass(self, microseconds: int) -> None:
        """Move the clock."""
        self.advance(microseconds)

    @precondition(lambda self: self.next_expiry() is not None)
    @rule(early=st.sampled_from((0, 0, 1)))
    def go_to_next_expiry(self, early: int) -> None:
        """Move the clock to the very instant at which a hold dies, or to one microsecond before."""
        expiry = self.next_expiry()
        assert expiry is not None
        self.advance(expiry - early - self.model.now)

    @precondition(now_and_then)
    @rule()
    def restart(self) -> None:
        """Kill the server between two requests and start another one."""
        note("the server is killed and started anew")
        self.run(self.world.restart())

    @rule()
    def use_next_server(self) -> None:
        """Let another process answer from here on; what it remembers may be long out of date."""
        note("the next server is asked from here on")
        self.world.use_next_server()

    @rule(trouble=troubles)
    def prepare_trouble(self, trouble: str) -> None:
        """Let something happen to the next request; the caller then asks until it is answered."""
        self.trouble = trouble

    # What must hold after every step.

    @invariant()
    def accounts_are_as_in_the_model(self) -> None:
        """Every account's state, limits and balances; of continued ones, what they have together."""
        listed = self.run(self.ledger.accounts())
        assert [one.account.account_id for one in listed] == sorted(self.model.accounts)
        seen = {one.account.account_id: account_seen(one) for one in listed}
        for name in seen:
            # The money of an expired hold follows as soon as a request records its end.
            ours, theirs = self.model.purse(name), [seen[each] for each in self.model.purse(name)]
            for balance, of in (("posted_balance", posted_balance), ("available_balance", available_balance)):
                together = sum(of(self.model.accounts[each]) for each in ours)
                assert sum(each[balance] for each in theirs) == together, (name, balance)
        for one in listed:
            found = self.model.accounts[one.account.account_id]
            expected = {
                "kind": found["kind"],
                "currency": found["currency"],
                "state": found["state"],
                "limits": found["limits"],
                "posted": found["posted"],
                "pending": found["pending"],
                "posted_balance": posted_balance(found),
                "available_balance": available_balance(found),
                "continues": found["continues"],
                "continued_by": found["continued_by"],
            }
            followed = (
                {"posted", "posted_balance", "available_balance"}
                if len(self.model.purse(name_of(one))) > 1
                else set()
            )
            compared = expected.keys() - followed
            shown = account_seen(one)
            assert {name: shown[name] for name in compared} == {name: expected[name] for name in compared}, (
                name_of(one)
            )

    @invariant()
    def holds_are_as_in_the_model(self) -> None:
        """Every hold, in the order in which they were placed."""
        listed = self.run(self.ledger.holds())
        assert [one.hold_id for one in listed] == [self.ids[name] for name in self.model.holds]
        for one, found in zip(listed, self.model.holds.values(), strict=True):
            assert hold_seen(one) == found

    @invariant()
    def adjustments_are_as_in_the_model(self) -> None:
        """Every adjustment, in the order in which they were asked for."""
        listed = self.run(Adjusters(self.ledger).listed())
        assert [one.adjustment_id for one in listed] == [self.ids[name] for name in self.model.adjustments]
        for one, found in zip(listed, self.model.adjustments.values(), strict=True):
            state = adjustment_pb2.AdjustmentState.Name(one.state).removeprefix("ADJUSTMENT_STATE_")
            assert state == found["state"]
            assert [one.requester, *(each.reviewer for each in one.approvals)] == found["people"]
            assert one.transaction_id == (self.ids[found["transaction"]] if found["transaction"] else "")

    def teardown(self) -> None:
        """Verify the journal, and check that it has exactly the model's decisions."""
        self.run(assert_ledger_coherent(self.ledger))
        self.run(assert_tables_coherent(self.world.service.database_url, self.tenant_id))
        self.run(assert_transactions_agree(self.world.service.database_url, self.ledger))
        entries = self.run(self.ledger.entries())
        asked = [entry.record for entry in entries if entry.record.HasField("request")]
        assert [
            (
                record.request.method,
                record.request.idempotency_key,
                reason_of(record.request_rejected),
            )
            for record in asked
        ] == [("CreateTenant", "create", ""), *self.model.decisions]

    # Asking.

    def ask(self, ask: Ask) -> None:
        """Ask the server, with trouble if some was prepared, and take what it says."""
        troubled, self.trouble = self.trouble, ""
        if troubled:
            note(f"trouble: {troubled}")
        (reply,) = self.run(self.world.ask_all(self.tenant_id, self.ids, [ask], troubled))
        self.take(ask, reply, replay_is_known=not troubled)

    def take(self, ask: Ask, reply: Reply, *, replay_is_known: bool) -> None:
        """Ask the model, compare, and remember for a retry."""
        note(f"{ask}")
        answers = ask.expect(self.model)
        note(f"    server: {reply.seen}\n    model:  {answers}")
        self.compare(answers, reply.seen, replay_is_known=replay_is_known)
        self.past.append(ask)
        # If the outcome is an earlier one, its every byte and word must be the earlier ones too.
        told = self.exact.setdefault((ask, without_replays(answers)), reply.exact)
        assert reply.exact == told, "a retry is answered with the first answer"

    def compare(self, answers: Answers, seen: Seen | list[Seen], *, replay_is_known: bool) -> None:
        """Compare both answers, and learn the ids of new things."""
        if isinstance(answers, list):
            assert isinstance(seen, list), f"the call was refused: {seen}"
            assert len(seen) == len(answers)
            pairs = list(zip(answers, seen, strict=True))
        else:
            assert isinstance(seen, Seen), f"the call was not refused: {seen}"
            pairs = [(answers, seen)]
        for answer, one in pairs:
            assert one.reason == answer.reason
            assert one.index == answer.index
            assert one.limit_breached == answer.limit_breached
            if replay_is_known:
                assert one.replayed == answer.replayed
            self.learn(answer, one)

    def learn(self, answer: Answer, seen: Seen) -> None:
        """Keep the server's ids for the model's new things."""
        for name, found in (
            (answer.transaction, seen.transaction_id),
            (answer.hold, seen.hold_id),
            (answer.adjustment, seen.adjustment_id),
        ):
            assert bool(name) == bool(found)
            if name:
                assert self.ids.setdefault(name, found) == found, "a replay names the same"

    def advance(self, microseconds: int) -> None:
        """Move both clocks."""
        self.world.clock.advance(microseconds=microseconds)
        self.model.advance(microseconds)

    def next_expiry(self) -> int | None:
        """Return the next instant at which a hold dies."""
        expiries = [
            int(hold["expire"])
            for hold in self.model.holds.values()
            if hold["state"] == "OPEN" and hold["expire"] is not None
        ]
        return min(expiries, default=None)


def items_of(ask: Ask) -> tuple[PostItem, ...]:
    """Return the transactions that a request asks for."""
    if isinstance(ask, Post):
        return (ask.item,)
    return ask.items if isinstance(ask, PostBatch | PostStream) else ()


def without_replays(answers: Answers) -> str:
    """Return what was decided, whether now or by an earlier request."""
    several = answers if isinstance(answers, list) else [answers]
    return str([replace(one, replayed=False) for one in several])


def reason_of(rejection: Any) -> str:
    """Return the reason of a refusal, or nothing."""
    reason = error_pb2.ErrorReason.Name(rejection.reason).removeprefix("ERROR_REASON_")
    return "" if reason == "UNSPECIFIED" else reason


def account_seen(listed: account_pb2.ListAccountsResponse.Item) -> dict[str, Any]:
    """Return an account in the model's terms."""
    account, balance = listed.account, listed.balance
    bounds = account.limits
    return {
        "kind": account_pb2.AccountKind.Name(account.kind).removeprefix("ACCOUNT_KIND_"),
        "currency": account.currency_code,
        "state": account_pb2.AccountState.Name(account.state).removeprefix("ACCOUNT_STATE_"),
        "limits": (
            bounds.min_available_minor if bounds.HasField("min_available_minor") else None,
            bounds.max_balance_minor if bounds.HasField("max_balance_minor") else None,
        ),
        "posted": {"DEBIT": balance.posted_debits_minor, "CREDIT": balance.posted_credits_minor},
        "pending": {
            "DEBIT": balance.pending_debits_minor,
            "CREDIT": balance.pending_credits_minor,
        },
        "posted_balance": balance.posted_balance_minor,
        "available_balance": balance.available_balance_minor,
        "continues": account.continues_account_id,
        "continued_by": account.continued_by_account_id,
    }


def name_of(listed: account_pb2.ListAccountsResponse.Item) -> str:
    """Return an account's id."""
    return str(listed.account.account_id)


def hold_seen(hold: hold_pb2.Hold) -> dict[str, Any]:
    """Return a hold in the model's terms."""
    return {
        "debit": hold.debit_account_id,
        "credit": hold.credit_account_id,
        "currency": hold.currency_code,
        "amount": hold.amount_minor,
        "captured": hold.captured_minor,
        "released": hold.released_minor,
        "state": hold_pb2.HoldState.Name(hold.state).removeprefix("HOLD_STATE_"),
        "expire": hold.expire_time.ToMicroseconds() if hold.HasField("expire_time") else None,
        "end": hold.end_time.ToMicroseconds() if hold.HasField("end_time") else None,
        "limit_breached": hold.limit_breached,
    }


@pytest.mark.parametrize(
    ("focus", "narrow", "server_count"),
    [("everything", False, 1), ("everything", True, 2), ("holds", True, 2)],
)
def test_run_any_sequence_of_requests_answers_as_the_model(
    database_url: str, focus: str, narrow: bool, server_count: int
) -> None:
    """Whatever is asked in whatever order, with crashes in between, the server is right."""
    with World(database_url, narrow=narrow, server_count=server_count) as world:

        @seed(f"{SEED}-{focus}-{narrow}")
        def make() -> RuleBasedStateMachine:
            return LedgerMachine(world, focus)

        run_state_machine_as_test(
            # Any function that returns a machine will do, seeded or not.
            cast("type[RuleBasedStateMachine]", make),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=50,
                deadline=None,
                print_blob=True,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            ),
        )
