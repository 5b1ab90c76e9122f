"""Which blobs of old rounds go when, decided without I/O.

A result may be wanted long after its round (an export, a comparison, a step back), the inputs
only by whoever recomputes it. So inputs go first, the oldest before the others: after a number of
rounds in any case, earlier when the disk budget is used up. Results go only for the budget.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

SAFE_ROUNDS: Final = 2
"""The last rounds, of which nothing goes: members that slept through them ask for it."""


@dataclass(frozen=True)
class RoundBlobs:
    """What one committed round speaks of, by SHA-256. ``own`` is this node's contribution."""

    round: int
    result: str
    inputs: tuple[str, ...]
    own: str | None = None


@dataclass(frozen=True)
class Retention:
    """How long blobs are kept: inputs of the last ``rounds`` rounds, ``budget`` bytes of all."""

    rounds: int
    budget: int


class _Worth(IntEnum):
    """In the order in which blobs go when the budget is used up."""

    INPUT = 0
    OWN = 1
    RESULT = 2


def doomed(
    history: Iterable[RoundBlobs],
    sizes: Mapping[str, int],
    needed: Collection[str],
    retention: Retention,
) -> list[str]:
    """What to remove of the stored blobs (name -> bytes), first what matters least.

    ``history`` are all committed rounds; ``needed`` is what goes in no case: the initial state,
    the current one, contributions of the round under way. A blob of which nothing speaks goes.
    """
    worth: dict[str, tuple[_Worth, int]] = {}
    last = 0
    for each in history:
        last = max(last, each.round)
        for name, (kind, number) in _ranks(each):
            # A blob may be several things in several rounds: it is worth the most of them, and
            # as young as the last.
            before, newest = worth.get(name, (kind, number))
            worth[name] = max(before, kind), max(newest, number)
    gone = [name for name in sizes if name not in worth and name not in needed]
    left = sum(sizes.values()) - sum(sizes[name] for name in gone)
    candidates = sorted(
        (worth[name], name)
        for name in sizes
        if name in worth and name not in needed and worth[name][1] <= last - SAFE_ROUNDS
    )
    for (kind, number), name in candidates:
        old = kind is not _Worth.RESULT and number <= last - retention.rounds
        if old or left > retention.budget:
            gone.append(name)
            left -= sizes[name]
    return gone


def _ranks(each: RoundBlobs) -> Iterator[tuple[str, tuple[_Worth, int]]]:
    yield each.result, (_Worth.RESULT, each.round)
    for name in each.inputs:
        yield name, (_Worth.OWN if name == each.own else _Worth.INPUT, each.round)
