"""Own the strategies of the simulation: amounts, accounts, legs, and their weights."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support.model import LARGEST, UNLIMITED, Leg, Wanted

Limits = Wanted

SECOND = 1_000_000

ACCOUNTS = ("house", "bank", "ann", "bob", "cid", "dollars")
small = st.integers(1, 60)
huge = st.sampled_from((1000, LARGEST // 2, LARGEST - 1, LARGEST))
# Repetition is weight: usual requests must be frequent, or hardly any request would ever succeed.
amounts = st.one_of(small, small, small, small, small, huge)
account_ids = st.sampled_from((*ACCOUNTS, "ann", "bob", "eve"))
# A wallet's name is reserved for one kind and one currency.
opened_ids = account_ids | st.just("player:kim:real:EUR")
players = st.sampled_from(("ann", "bob", "cid"))
currencies = st.sampled_from(("EUR",) * 10 + ("USD",))
limit_pairs: st.SearchStrategy[Limits] = st.tuples(
    st.none() | st.just(UNLIMITED) | st.integers(-50, 50),
    st.none() | st.just(UNLIMITED) | st.integers(-20, 200),
)
kinds = st.sampled_from(("ASSET", "LIABILITY", "EQUITY", "REVENUE", "EXPENSE"))
# An index counted from the newest; None stands for an unknown name.
picks = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 5, None))
lifetimes = st.sampled_from((None, SECOND, 5 * SECOND, 60 * SECOND, 1, 0, -SECOND))
lifetimes_told = st.sampled_from(("instant",) * 4 + ("length",) * 4 + ("both",))
troubles = st.sampled_from(("crash before commit", "crash after commit", "connections cut", "deadline"))


@st.composite
def leg_sets(draw: st.DrawFn) -> tuple[Leg, ...]:
    """Balanced legs, each account on one side: mostly two, sometimes more, sometimes in two currencies."""
    legs: list[Leg] = []
    sides: dict[str, str] = {}
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        amount = draw(amounts)
        currency = draw(currencies)
        for direction in ("DEBIT", "CREDIT"):
            names = account_ids if currency == "EUR" else st.just("dollars") | account_ids
            free = [name for name in (*ACCOUNTS, "eve") if sides.get(name, direction) == direction]
            name = draw(names)
            name = name if name in free else draw(st.sampled_from(free))
            sides[name] = direction
            legs.append(Leg(account=name, direction=direction, amount=amount, currency=currency))
    return tuple(draw(st.permutations(legs))) if len(legs) > 2 else tuple(legs)


@st.composite
def broken_leg_sets(draw: st.DrawFn) -> tuple[Leg, ...]:
    """Legs that can't be asked for: unbalanced, against themselves, or of an amount that is not positive."""
    first, *others = draw(leg_sets())
    if draw(st.booleans()):
        side = "CREDIT" if first.direction == "DEBIT" else "DEBIT"
        mirror = Leg(account=first.account, direction=side, amount=first.amount, currency=first.currency)
        return (first, *others, first, mirror)
    amount = draw(st.sampled_from((0, -1, first.amount - 1)))
    broken = Leg(
        account=first.account,
        direction=first.direction,
        amount=amount,
        currency=first.currency,
    )
    return (broken, *others)


def bet(player: str, amount: int) -> tuple[Leg, ...]:
    """Return what breaks limits most often: a move from a player to the house."""
    return (
        Leg(account=player, direction="DEBIT", amount=amount, currency="EUR"),
        Leg(account="house", direction="CREDIT", amount=amount, currency="EUR"),
    )


people = st.sampled_from(("ada", "grace"))

# Requests that are sent together, before they have a key: a word for the kind, and its parts.
parts = st.one_of(
    st.tuples(st.just("bet"), players, small),
    st.tuples(st.just("post"), leg_sets()),
    st.tuples(st.just("batch"), st.lists(leg_sets(), min_size=1, max_size=3), st.booleans()),
    st.tuples(st.just("place"), players, small, lifetimes),
    st.tuples(st.just("capture"), picks, st.none() | small, st.booleans()),
    st.tuples(st.just("release"), picks),
    st.tuples(st.just("increase"), picks, small),
    st.tuples(st.just("reverse"), picks),
    st.tuples(st.just("adjust"), players, small, people),
    st.tuples(st.just("approve"), picks, people),
    st.tuples(st.just("cancel"), picks, people),
    st.tuples(st.just("freeze"), players),
    st.tuples(st.just("unfreeze"), players),
    st.tuples(st.just("continue"), players),
    st.tuples(st.just("limits"), players, limit_pairs),
    st.tuples(st.just("open"), st.sampled_from(("eve", "kim", "ann"))),
    st.tuples(st.just("enforce"), st.booleans()),
)
