"""Weight rules: how much every contribution counts, from inner products of updates alone.

Every rule ends in an affine combination x⁺ = x_0 + Σ w_k (x_k - x_0), where x_k is what member k
trained, x_0 the adapter the round began with, and all x are products B·A (or whole weights), never
factors: what a rule decides does not change when B and A are scaled against each other. Distances
follow from the inner products ⟨x_i, x_j⟩.

Rules work on a few hundred numbers in float64 with additions in a fixed order (``math.fsum``) and
no function that libraries round differently, so every member computes the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import median
from typing import Any

from trainer.aggregate.kernel import Wide
from trainer.protocol import RuleSpec

WEISZFELD_TOLERANCE = 1e-12
"""Weiszfeld's iteration ends when no weight moves by more."""
SMOOTHING = 1e-6
"""Smallest distance of the geometric median, as a share of the median distance (RFA's ν)."""
STEPS_CAP = 10
"""Claimed local steps above so many medians count as that many."""
MILLI = 1000


class RuleRefused(ValueError):
    """The rule cannot work on these contributions; the message is one sentence."""


@dataclass(frozen=True)
class Update:
    """What a rule knows of one contribution: what its maker claims of it.

    ``steps`` are local optimiser steps (None: not said), ``staleness`` is how many rounds ago
    its starting point was the room's.
    """

    id: str
    samples: int
    steps: int | None = None
    staleness: int = 0


class Geometry:
    """Lengths and angles of updates. ``products`` are ⟨x_i, x_j⟩, where x_0 is the previous adapter
    and x_k the contribution of update k - 1."""

    def __init__(self, products: Wide) -> None:
        G = products
        count = len(G) - 1
        self._inner = [
            [math.fsum((G[i, j], -G[i, 0], -G[0, j], G[0, 0])) for j in range(1, count + 1)]
            for i in range(1, count + 1)
        ]

    def __len__(self) -> int:
        return len(self._inner)

    def inner(self, i: int, j: int) -> float:
        """⟨x_i - x_0, x_j - x_0⟩ of updates i and j."""
        return self._inner[i][j]

    def norm(self, i: int) -> float:
        """‖x_i - x_0‖."""
        return math.sqrt(max(0.0, self._inner[i][i]))

    def square_distance(self, i: int, j: int) -> float:
        """‖x_i - x_j‖²."""
        H = self._inner
        return max(0.0, math.fsum((H[i][i], -2.0 * H[i][j], H[j][j])))

    def towards(self, weights: Sequence[float]) -> tuple[list[float], float]:
        """⟨x_k - x_0, z⟩ of every update, and ‖z‖², with z = Σ w_k (x_k - x_0)."""
        cross = [math.fsum(w * h for w, h in zip(weights, row, strict=True)) for row in self._inner]
        square = math.fsum(w * c for w, c in zip(weights, cross, strict=True))
        return cross, max(0.0, square)

    def distances(self, weights: Sequence[float]) -> list[float]:
        """‖(x_k - x_0) - z‖ of every update with z = Σ w_k (x_k - x_0)."""
        cross, square = self.towards(weights)
        return [
            math.sqrt(max(0.0, math.fsum((self._inner[k][k], -2.0 * c, square))))
            for k, c in enumerate(cross)
        ]


@dataclass(frozen=True)
class Weighting:
    """``weights`` of the updates, in their order; what is missing to 1 stays with the previous.

    ``excluded`` says by index why an update counts nothing, ``clipped`` by which factor one was
    made shorter.
    """

    weights: tuple[float, ...]
    excluded: Mapping[int, str] = field(default_factory=dict)
    clipped: Mapping[int, float] = field(default_factory=dict)

    @property
    def previous(self) -> float:
        """The weight of the adapter the round began with."""
        return 1.0 - math.fsum(self.weights)


Rule = Callable[[Sequence[Update], Geometry, RuleSpec], Weighting]


def by_samples(samples: Sequence[int], cap_milli: int = 0) -> tuple[float, ...]:
    """p_k = n_k / Σ n, no share above ``cap_milli`` thousandths of the equal share 1/K.

    What a cap takes away goes to the others in proportion. Rational arithmetic, rounded once: the
    shares do not depend on the unit of n, and every machine gets the same. 0 sets no cap.
    """
    count = len(samples)
    shares = [Fraction(n) for n in samples]
    total = sum(shares)
    if total <= 0:
        raise RuleRefused("no contribution has a sample")
    shares = [share / total for share in shares]
    if cap_milli:
        cap = max(Fraction(cap_milli, MILLI * count), Fraction(1, count))
        shares = _capped(shares, cap)
    return tuple(float(share) for share in shares)


def _capped(shares: Sequence[Fraction], cap: Fraction) -> list[Fraction]:
    held = {k for k, share in enumerate(shares) if share > cap}
    while True:
        rest = sum((s for k, s in enumerate(shares) if k not in held), Fraction(0))
        left = 1 - cap * len(held)
        if rest == 0:
            return [
                Fraction(1, len(held)) if k in held else Fraction(0) for k in range(len(shares))
            ]
        scaled = [cap if k in held else s * left / rest for k, s in enumerate(shares)]
        over = {k for k, share in enumerate(scaled) if share > cap}
        if not over:
            return scaled
        held |= over


def _equal(count: int) -> tuple[float, ...]:
    return (float(Fraction(1, count)),) * count


def n_k(updates: Sequence[Update], geometry: Geometry, spec: RuleSpec) -> Weighting:
    """FedAvg's weights with a cap: numbers of pictures are what members say of themselves."""
    del geometry
    return Weighting(by_samples([u.samples for u in updates], spec.cap_milli))


def uniform(updates: Sequence[Update], geometry: Geometry, spec: RuleSpec) -> Weighting:
    """Every member counts the same."""
    del geometry, spec
    return Weighting(_equal(len(updates)))


def clip(updates: Sequence[Update], geometry: Geometry, spec: RuleSpec) -> Weighting:
    """n_k with every update's norm at most ``clip_milli`` thousandths of the median norm."""
    shares = by_samples([u.samples for u in updates], spec.cap_milli)
    norms = [geometry.norm(k) for k in range(len(updates))]
    bound = spec.clip_milli / MILLI * median(norms)
    factors = [bound / norm if norm > bound else 1.0 for norm in norms]
    clipped = {k: factor for k, factor in enumerate(factors) if factor < 1.0}
    return Weighting(
        tuple(share * factor for share, factor in zip(shares, factors, strict=True)),
        clipped=clipped,
    )


def multi_krum(updates: Sequence[Update], geometry: Geometry, spec: RuleSpec) -> Weighting:
    """The plain mean of the n - f updates that lie closest to n - f - 2 others each.

    Blanchard et al., NeurIPS 2017. Raises :class:`RuleRefused` unless n ≥ 2f + 3.
    """
    count, liars = len(updates), spec.byzantine
    if count < 2 * liars + 3:
        raise RuleRefused(
            f"multi_krum needs {2 * liars + 3} contributions to tolerate {liars}; there are {count}"
        )
    scores = []
    for i in range(count):
        others = sorted(geometry.square_distance(i, j) for j in range(count) if j != i)
        scores.append(math.fsum(others[: count - liars - 2]))
    best = sorted(range(count), key=lambda i: (scores[i], updates[i].id))[: count - liars]
    share = float(Fraction(1, len(best)))
    excluded = {
        i: "farther from the others than the rest (multi_krum)"
        for i in range(count)
        if i not in best
    }
    return Weighting(tuple(share if i in best else 0.0 for i in range(count)), excluded)


def rfa(updates: Sequence[Update], geometry: Geometry, spec: RuleSpec) -> Weighting:
    """The geometric median z = argmin Σ ‖x_k - z‖ by Weiszfeld's iteration.

    w_k ∝ 1 / max(ν, ‖x_k - z‖); Pillutla et al., arXiv 1912.13445. Members count the same,
    because a liar could say any number of samples. Fewer than half may lie.
    """
    count = len(updates)
    weights = list(_equal(count))
    floor = SMOOTHING * median(geometry.distances(weights))
    for _ in range(spec.weiszfeld_steps):
        distances = [max(floor, distance) for distance in geometry.distances(weights)]
        if min(distances) == 0.0:
            break  # all updates are the same
        raw = [1.0 / distance for distance in distances]
        total = math.fsum(raw)
        moved = [value / total for value in raw]
        change = max(abs(a - b) for a, b in zip(moved, weights, strict=True))
        weights = moved
        if change <= WEISZFELD_TOLERANCE:
            break
    return Weighting(tuple(weights))


def centered_clip(updates: Sequence[Update], geometry: Geometry, spec: RuleSpec) -> Weighting:
    """v ← v + 1/n Σ (x_k - v) min(1, τ / ‖x_k - v‖), as often as ``clipping_steps``.

    Karimireddy et al., ICML 2021; τ is ``clip_milli`` thousandths of the median norm of updates.
    """
    count = len(updates)
    radius = spec.clip_milli / MILLI * median(geometry.norm(k) for k in range(count))
    weights = [0.0] * count
    factors = [1.0] * count
    for _ in range(spec.clipping_steps):
        factors = [
            radius / distance if distance > radius else 1.0
            for distance in geometry.distances(weights)
        ]
        stay = 1.0 - math.fsum(factors) / count
        weights = [stay * w + f / count for w, f in zip(weights, factors, strict=True)]
    clipped = {k: factor for k, factor in enumerate(factors) if factor < 1.0}
    return Weighting(tuple(weights), clipped=clipped)


def fednova(updates: Sequence[Update], geometry: Geometry, spec: RuleSpec) -> Weighting:
    """w_k = τ p_k / a_k with a_k local steps and τ = Σ p_k a_k: many steps are no extra say.

    Wang et al., arXiv 2007.07481. Who does not say its steps counts nothing. Steps are claims, and
    a huge one would enlarge every weight: none counts for more than ``STEPS_CAP`` medians. Raises
    :class:`RuleRefused` when nobody says its steps.
    """
    del geometry
    told = {k: u.steps for k, u in enumerate(updates) if u.steps}
    if not told:
        raise RuleRefused("fednova needs the numbers of local steps, and nobody says them")
    excluded = {
        k: "it does not say its number of local steps (fednova)"
        for k in range(len(updates))
        if k not in told
    }
    most = STEPS_CAP * median(told.values())
    steps = [min(float(a), most) for a in told.values()]
    shares = by_samples([updates[k].samples for k in told], spec.cap_milli)
    if len(set(steps)) > 1:
        effective = math.fsum(p * a for p, a in zip(shares, steps, strict=True))
        shares = tuple(effective * p / a for p, a in zip(shares, steps, strict=True))
    weights = dict(zip(told, shares, strict=True))
    return Weighting(tuple(weights.get(k, 0.0) for k in range(len(updates))), excluded)


def fedbuff(updates: Sequence[Update], geometry: Geometry, spec: RuleSpec) -> Weighting:
    """w_k ∝ p_k / √(1 + τ_k) for updates τ_k rounds old, at most ``max_staleness``.

    Nguyen et al., arXiv 2106.06639. Raises :class:`RuleRefused` when every update is too old.
    """
    del geometry
    excluded = {
        k: f"{u.staleness} rounds old; at most {spec.max_staleness} may enter"
        for k, u in enumerate(updates)
        if u.staleness > spec.max_staleness
    }
    fresh = [u for k, u in enumerate(updates) if k not in excluded]
    if not fresh:
        raise RuleRefused("every contribution is too old")
    shares = iter(by_samples([u.samples for u in fresh], spec.cap_milli))
    raw = [
        0.0 if k in excluded else next(shares) / math.sqrt(1 + u.staleness)
        for k, u in enumerate(updates)
    ]
    if all(u.staleness == 0 for u in fresh):
        return Weighting(tuple(raw), excluded)
    total = math.fsum(raw)
    return Weighting(tuple(value / total for value in raw), excluded)


def threshold(updates: Sequence[Update], geometry: Geometry, spec: RuleSpec) -> Weighting:
    """n_k without the members whose update agrees too little with that of the others.

    Phoenix (arXiv 2306.04098) disconnects members that perform badly; what it measures cannot be
    recomputed by others. The quality here can: q_k is the cosine between update k and the sum of
    all other members' updates. Below ``threshold_milli`` thousandths the update counts nothing.
    """
    count = len(updates)
    if count < 3:
        return n_k(updates, geometry, spec)  # of two, neither is the odd one
    limit = spec.threshold_milli / MILLI
    excluded = {}
    for k in range(count):
        quality = _agreement(k, geometry, count)
        if quality < limit:
            excluded[k] = f"agrees {quality:.2f} with the others, below {limit:.2f} (threshold)"
    kept = [k for k in range(count) if k not in excluded]
    if not kept:
        raise RuleRefused("no contribution agrees with the others")
    shares = dict(
        zip(kept, by_samples([updates[k].samples for k in kept], spec.cap_milli), strict=True)
    )
    return Weighting(tuple(shares.get(k, 0.0) for k in range(count)), excluded)


def _agreement(k: int, geometry: Geometry, count: int) -> float:
    others = [j for j in range(count) if j != k]
    inner = math.fsum(geometry.inner(k, j) for j in others)
    square = math.fsum(geometry.inner(i, j) for i in others for j in others)
    length = geometry.norm(k) * math.sqrt(max(0.0, square))
    return inner / length if length > 0.0 else 0.0


RULES: Mapping[str, Rule] = {
    "n_k": n_k,
    "uniform": uniform,
    "clip": clip,
    "multi_krum": multi_krum,
    "rfa": rfa,
    "centered_clip": centered_clip,
    "fednova": fednova,
    "fedbuff": fedbuff,
    "threshold": threshold,
}
"""All rules by the name a room's plan uses; the first one is the default."""


def impossible(spec: RuleSpec) -> str:
    """Why these settings cannot be used, as a sentence; empty when they can."""
    limits: tuple[tuple[str, Any, int, int], ...] = (
        ("cap_milli", spec.cap_milli, 0, 1_000_000),
        ("clip_milli", spec.clip_milli, 1, 1_000_000),
        ("byzantine", spec.byzantine, 0, 63),
        ("threshold_milli", spec.threshold_milli, -1_000, 1_000),
        ("max_staleness", spec.max_staleness, 0, 1_000),
        ("ema_milli", spec.ema_milli, 0, 999),
        ("outer_rate_milli", spec.outer_rate_milli, 1, 10_000),
        ("outer_momentum_milli", spec.outer_momentum_milli, 0, 999),
        ("weiszfeld_steps", spec.weiszfeld_steps, 1, 10_000),
        ("clipping_steps", spec.clipping_steps, 1, 100),
    )
    if spec.name not in RULES:
        return f"There is no rule {spec.name!r}; choose one of {', '.join(sorted(RULES))}."
    for name, value, low, high in limits:
        if not low <= value <= high:
            return f"{name} is {value}; {low} to {high} are possible."
    return ""
