"""Distances between two sets of pictures, from their features alone.

Arrays are (n, d) float64. The kernel distance (KID, Bińkowski et al., arXiv 1801.01401) is unbiased
at any size; the Fréchet distance (FID is its name with Inception's features, Heusel et al.,
arXiv 1706.08500) is not: two samples of 200 from the *same* pictures are far apart. Precision,
recall, density and coverage are those of Kynkäänniemi et al., arXiv 1904.06991, and Naeem et al.,
arXiv 2002.09797.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNBIASED_FROM = 2048
"""Pictures a side below which a Fréchet distance is mostly bias."""
NEIGHBOURS = 5
CONFIDENCE = 0.95

Features = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A value and its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Manifold:
    """Shares in 0..1, but density, which may exceed 1.

    ``precision`` of the pictures lie among the references, ``recall`` of the references among the
    pictures; ``coverage`` of the references have a picture nearby.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def kernel_distance(pictures: Features, reference: Features, resamples: int, seed: int) -> Interval:
    """KID: the squared maximum mean discrepancy under the cubic polynomial kernel, unbiased.

    The interval resamples both sides. A picture drawn twice is never compared with itself, so that
    resampling adds no bias. Raises :class:`ValueError` below two pictures a side.
    """
    if min(len(pictures), len(reference)) < 2:
        raise ValueError("a kernel distance needs two pictures a side")
    within_p, within_r = _kernel(pictures, pictures), _kernel(reference, reference)
    across = _kernel(pictures, reference)
    np.fill_diagonal(within_p, 0.0)
    np.fill_diagonal(within_r, 0.0)
    ones_p, ones_r = np.ones(len(pictures)), np.ones(len(reference))
    value = _discrepancy(within_p, within_r, across, ones_p, ones_r)
    draw = np.random.default_rng(seed)
    again = [
        _discrepancy(within_p, within_r, across, _counts(draw, ones_p), _counts(draw, ones_r))
        for _ in range(resamples)
    ]
    low, high = interval(np.array(again)) if again else (value, value)
    return Interval(value, low, high)


def frechet_distance(pictures: Features, reference: Features) -> float:
    """‖μ₁-μ₂‖² + tr(Σ₁ + Σ₂ - 2(Σ₁Σ₂)^½), by the eigenvalues of Σ₁Σ₂.

    Raises :class:`ValueError` below two pictures a side.
    """
    if min(len(pictures), len(reference)) < 2:
        raise ValueError("a Fréchet distance needs two pictures a side")
    gap = pictures.mean(axis=0) - reference.mean(axis=0)
    one, other = np.cov(pictures, rowvar=False), np.cov(reference, rowvar=False)
    roots = np.sqrt(np.clip(np.linalg.eigvals(one @ other).real, 0.0, None)).sum()
    return float(gap @ gap + np.trace(one) + np.trace(other) - 2.0 * roots)


def manifold(pictures: Features, reference: Features, neighbours: int = NEIGHBOURS) -> Manifold:
    """Overlap of the two sets, each a union of balls that reach the ``neighbours``-th neighbour.

    Raises :class:`ValueError` when a side has not more pictures than that.
    """
    if min(len(pictures), len(reference)) <= neighbours:
        raise ValueError(f"{neighbours} neighbours need more than {neighbours} pictures a side")
    across = _distances(reference, pictures)
    reach_r = np.sort(_distances(reference, reference), axis=1)[:, neighbours]
    reach_p = np.sort(_distances(pictures, pictures), axis=1)[:, neighbours]
    inside = across < reach_r[:, None]
    return Manifold(
        precision=float(inside.any(axis=0).mean()),
        recall=float((across < reach_p[None, :]).any(axis=1).mean()),
        density=float(inside.sum(axis=0).mean() / neighbours),
        coverage=float((across.min(axis=1) < reach_r).mean()),
    )


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of resampled values."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(values, (tail, 1.0 - tail))
    return float(low), float(high)


def _kernel(one: Features, other: Features) -> Features:
    result: Features = (one @ other.T / one.shape[1] + 1.0) ** 3
    return result


def _counts(draw: np.random.Generator, ones: Features) -> Features:
    """How often each picture is in one resample."""
    drawn = draw.integers(0, len(ones), len(ones))
    return np.bincount(drawn, minlength=len(ones)).astype(np.float64)


def _discrepancy(
    within_p: Features, within_r: Features, across: Features, p: Features, r: Features
) -> float:
    """The U-statistic of pictures that count ``p`` and ``r`` times, pairs of one picture apart."""
    pairs_p, pairs_r = p.sum() ** 2 - (p * p).sum(), r.sum() ** 2 - (r * r).sum()
    return float(
        p @ within_p @ p / pairs_p
        + r @ within_r @ r / pairs_r
        - 2.0 * (p @ across @ r) / (p.sum() * r.sum())
    )


def _distances(one: Features, other: Features) -> Features:
    squares = (one * one).sum(axis=1)[:, None] + (other * other).sum(axis=1)[None, :]
    result: Features = np.sqrt(np.clip(squares - 2.0 * one @ other.T, 0.0, None))
    return result
