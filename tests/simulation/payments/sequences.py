"""Own the orders in which things may be heard: every permutation, with up to two repetitions."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, islice, product
from math import factorial
from typing import Final, NamedTuple

MOST_REPETITIONS: Final = 2


class Heard(NamedTuple):
    """One hearing: a step, and one of the step's identities (0 is the first).

    The same identity heard again is a repeated delivery; another identity is a second event with the same
    content.
    """

    step: int
    identity: int


Order = tuple[Heard, ...]


class Sequences(NamedTuple):
    """What is run, and how much there is."""

    full_count: int
    run: list[Order]


def sequences(step_count: int, *, once: frozenset[int] = frozenset(), most: int, name: str) -> Sequences:
    """Return all sequences, or a sample that is the same in every run.

    Args:
        once: steps that are never repeated.
        most: how many to run; sequences with fewer repetitions come first, if all of them fit in.
        name: the seed of the sample.
    """
    repeated = [step for step in range(step_count) if step not in once]
    counts = [_count(step_count, len(repeated), extra) for extra in range(MOST_REPETITIONS + 1)]
    run: list[Order] = []
    for extra, count in enumerate(counts):
        if len(run) + count > most:
            run += _sample(step_count, repeated, range(extra, MOST_REPETITIONS + 1), most - len(run), name)
            break
        run += _all(step_count, repeated, extra)
    # Sorted, so that neighbours share their beginnings and each beginning is run once.
    return Sequences(sum(counts), sorted(run))


def count_all(step_count: int) -> int:
    """Return how many sequences there are of steps that may all be repeated."""
    return sum(_count(step_count, step_count, extra) for extra in range(MOST_REPETITIONS + 1))


def _count(step_count: int, repeated: int, extra: int) -> int:
    """Return how many sequences there are with so many repetitions."""
    length = factorial(step_count + extra)
    if extra == 0:
        return length
    if extra == 1:
        return repeated * length // 2 * 2
    of_two = repeated * (repeated - 1) // 2 * (length // 4)
    of_one = repeated * (length // 6)
    return (of_two + of_one) * 4


def _all(step_count: int, repeated: Sequence[int], extra: int) -> Iterator[Order]:
    for more in combinations_with_replacement(repeated, extra):
        counts = [1 + more.count(step) for step in range(step_count)]
        for word in _words(counts, step_count + extra):
            for same in product((False, True), repeat=extra):
                yield _identified(word, same)


def _words(counts: list[int], length: int) -> Iterator[tuple[int, ...]]:
    """Yield every order of steps of which each comes so many times."""
    if length == 0:
        yield ()
        return
    for step, count in enumerate(counts):
        if count:
            counts[step] -= 1
            for rest in _words(counts, length - 1):
                yield (step, *rest)
            counts[step] += 1


def _sample(step_count: int, repeated: Sequence[int], extras: range, count: int, name: str) -> set[Order]:
    randomness = random.Random(name)
    found: set[Order] = set()
    while len(found) < count:
        extra = randomness.choice(extras)
        word = [*range(step_count), *(randomness.choice(repeated) for _ in range(extra))]
        randomness.shuffle(word)
        same = tuple(randomness.random() < 0.5 for _ in range(extra))
        found.add(_identified(word, same))
    return found


def _identified(word: Sequence[int], same: tuple[bool, ...]) -> Order:
    """Give every repetition an identity: the step's first one, or one of its own."""
    answers = iter(same)
    identities: dict[int, int] = {}
    heard = []
    for step in word:
        if step not in identities:
            identities[step] = 0
            heard.append(Heard(step, 0))
        elif next(answers):
            heard.append(Heard(step, 0))
        else:
            identities[step] += 1
            heard.append(Heard(step, identities[step]))
    return tuple(heard)


def first_few(found: Sequences, count: int, name: str) -> list[Order]:
    """Return some of the sequences, the same in every run."""
    randomness = random.Random(name)
    return list(islice(randomness.sample(found.run, len(found.run)), count))
