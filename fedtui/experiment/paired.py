"""What changes from one setting to another when both are run with the same seeds.

Seeds differ more from one another than most settings do: another seed is another first model,
another split of the pictures and other noise. Two settings are therefore compared seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fedtui.experiment.rows import Row, Spread, select, spread

MIN_SEEDS = 3
"""Fewer say nothing about chance."""
ROUNDING = 1e-12
"""Differences below this part of the values are those of another order of summing."""
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""97.5 % quantiles of Student's t for 1 to 30 degrees of freedom; more take the last."""


class Verdict(StrEnum):
    """Whether a change of a known direction was seen."""

    HOLDS = "holds"
    OPPOSITE = "the opposite holds"
    OPEN = "cannot be told apart"
    SAME = "no difference in any seed"
    FEW = "too few seeds to tell"


@dataclass(frozen=True)
class Change:
    """From ``before`` to ``after``, each over seeds; ``difference`` is after minus before of the
    same seed, ``low`` and ``high`` the 95 % interval of its mean (Student's t).

    ``up`` and ``down`` count the seeds in which the value rose and fell.
    """

    before: Spread
    after: Spread
    difference: Spread
    low: float
    high: float
    up: int
    down: int

    def verdict(self, wanted_up: bool) -> Verdict:
        """Whether it rose (or fell, where that is wanted) by more than chance explains."""
        if not self.up and not self.down:
            return Verdict.SAME
        if self.difference.n < MIN_SEEDS:
            return Verdict.FEW
        if self.low <= 0.0 <= self.high:
            return Verdict.OPEN
        return Verdict.HOLDS if (self.low > 0.0) == wanted_up else Verdict.OPPOSITE

    def as_wanted(self, wanted_up: bool) -> str:
        """``4 of 5`` seeds."""
        return f"{self.up if wanted_up else self.down} of {self.difference.n}"


def change(before: Mapping[int, float], after: Mapping[int, float]) -> Change | None:
    """The change of the seeds (keys) that both have; None when there is none."""
    seeds = sorted(before.keys() & after.keys())
    if not seeds:
        return None
    gaps = [_gap(before[seed], after[seed]) for seed in seeds]
    difference = spread(gaps)
    low, high = mean_interval(difference)
    return Change(
        before=spread([before[seed] for seed in seeds]),
        after=spread([after[seed] for seed in seeds]),
        difference=difference,
        low=low,
        high=high,
        up=sum(gap > 0 for gap in gaps),
        down=sum(gap < 0 for gap in gaps),
    )


def mean_interval(values: Spread) -> tuple[float, float]:
    """The 95 % interval of the mean that values over seeds were drawn from (Student's t); the mean
    itself for one seed, of which nothing is known."""
    if values.n < 2:
        return values.mean, values.mean
    quantile = T_975[min(values.n - 1, len(T_975)) - 1]
    reach = quantile * values.deviation / math.sqrt(values.n)
    return values.mean - reach, values.mean + reach


def by_seed(rows: Sequence[Row], *, metric: str, arm: str, round_number: int) -> dict[int, float]:
    """An arm's value of a metric after a round, by seed."""
    found = select(rows, metric=metric, arm=arm, round_number=round_number)
    return {row.seed: row.value for row in found}


def _gap(before: float, after: float) -> float:
    gap = after - before
    return 0.0 if abs(gap) <= ROUNDING * max(abs(before), abs(after)) else gap
