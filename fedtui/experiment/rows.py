"""Measured values as rows, and what is computed from them: means, spreads, paired ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Row:
    """One value of one seed.

    ``arm`` is what was measured (base, room, own, alone, centralised, …), ``who`` a participant or
    "", ``round`` 0 where there is none; ``low`` and ``high`` bound the value where known.
    """

    seed: int
    arm: str
    who: str
    round: int
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0


@dataclass(frozen=True)
class Spread:
    """A mean over seeds; ``deviation`` is the sample's standard deviation, 0 for one seed."""

    mean: float
    deviation: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + (f" ± {self.deviation:.4f}" if self.n > 1 else "")


def spread(values: Sequence[float]) -> Spread:
    """Raises :class:`ValueError` for no values."""
    if not values:
        raise ValueError("there is nothing to average")
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), deviation, len(values))


def paired_ratio(
    one: Mapping[str, float], other: Mapping[str, float], seed: int = 0
) -> tuple[float, float, float]:
    """Mean of ``one`` over mean of ``other`` on the same pictures, with a bootstrap interval.

    The pictures are resampled together, because a hard picture is hard for both.
    """
    names = sorted(one.keys() & other.keys())
    pairs = [(one[name], other[name]) for name in names]
    draw = Random(seed)

    def ratio(some: Sequence[tuple[float, float]]) -> float:
        return sum(a for a, _ in some) / sum(b for _, b in some)

    again = sorted(
        ratio([pairs[int(draw.random() * len(pairs))] for _ in pairs]) for _ in range(RESAMPLES)
    )
    tail = int(RESAMPLES * (1.0 - CONFIDENCE) / 2.0)
    return ratio(pairs), again[tail], again[-1 - tail]


def select(
    rows: Sequence[Row],
    *,
    metric: str,
    arm: str | None = None,
    who: str | None = None,
    round_number: int | None = None,
) -> list[Row]:
    """The rows of a metric, narrowed down."""
    return [
        row
        for row in rows
        if row.metric == metric
        and arm in (None, row.arm)
        and who in (None, row.who)
        and round_number in (None, row.round)
    ]


def by_round(
    rows: Sequence[Row], metric: str, arm: str, who: str | None = None
) -> dict[float, Spread]:
    """An arm's values of a metric by round, each over seeds."""
    found: dict[float, list[float]] = {}
    for row in select(rows, metric=metric, arm=arm, who=who):
        found.setdefault(row.round, []).append(row.value)
    return {number: spread(values) for number, values in found.items()}
