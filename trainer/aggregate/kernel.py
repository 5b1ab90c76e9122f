"""Exact arithmetic of combination: the same result bytes on every machine.

What makes it so: numpy ufuncs only (no BLAS, no ``np.sum``, whose order of additions depends on
the machine); float64 multiply and add as two operations (no fused multiply-add); contributions in
the order of their ids; subnormal numbers taken for zero, because some libraries switch them off
for the whole process. Where a matrix product is needed, :mod:`trainer.aggregate.products` makes
one whose bytes do not depend on the order of additions either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 2
"""Raised whenever the bytes of a result could change for the same inputs."""

SMALLEST_NORMAL = 2.0**-126
"""Of float32; what lies below counts as zero."""

SUM_TOLERANCE = 1e-9
"""How far weights may be from summing to one; rules compute them in float64."""

Wide = NDArray[np.float64]
Narrow = NDArray[np.float32]


def tree_sum(values: NDArray[Any]) -> float:
    """The sum of float64 values by adding halves, whose order depends on the length alone."""
    return float(tree_sums(values.reshape(1, -1))[0])


def tree_sums(values: NDArray[Any]) -> Wide:
    """Sums along the last axis, each as :func:`tree_sum` adds."""
    x = values
    while x.shape[-1] > 1:
        if x.shape[-1] % 2:
            x = np.concatenate([x, np.zeros((*x.shape[:-1], 1))], axis=-1)
        half = x.shape[-1] // 2
        x = x[..., :half] + x[..., half:]
    return x[..., 0] if x.shape[-1] else np.zeros(x.shape[:-1])


def widen(values: NDArray[Any]) -> Wide:
    """float32 as float64, subnormals and negative zeros as zero."""
    wide = values.astype(np.float64)
    wide[np.abs(wide) < SMALLEST_NORMAL] = 0.0
    return wide


def narrow(values: Wide) -> Narrow:
    """float64 as float32, round to nearest even, subnormals and negative zeros as zero."""
    return np.where(np.abs(values) < SMALLEST_NORMAL, 0.0, values).astype(np.float32)


@dataclass(frozen=True)
class Pair:
    """One layer's update B·A: ``A`` (r, m), ``B`` (d, r), float64, any scale folded into B.

    A convolution's A is flattened to m = in·k·k.
    """

    A: Wide
    B: Wide

    @property
    def rank(self) -> int:
        return int(self.A.shape[0])

    def padded(self, rank: int) -> Pair:
        """The same product with zero rows and columns up to ``rank``."""
        more = rank - self.rank
        if more == 0:
            return self
        return Pair(np.pad(self.A, ((0, more), (0, 0))), np.pad(self.B, ((0, 0), (0, more))))


@dataclass(frozen=True)
class Combined:
    """Σ w_k B_k A_k = B·A + L·R: the means ``A`` (r, m), ``B`` (d, r), and the residual's factors
    ``L`` (d, q), ``R`` (q, m) with q = (n - 1)·r for n terms of weight other than zero."""

    A: Wide
    B: Wide
    L: Wide
    R: Wide


def combine(factors: Sequence[Pair], weights: Sequence[float]) -> Combined:
    """The exact affine combination Σ w_k B_k A_k of low-rank products, without any decomposition.

    With Ā = Σ w_k A_k, B̄ = Σ w_k B_k and Σ w_k = 1:

        Σ w_k B_k A_k - B̄ Ā = Σ_k w_k (B_k - B̄)(A_k - Ā) = Σ_{k<n} w_k (B_k - B̄)(A_k - A_n)

    The second step holds because Σ w_k (B_k - B̄) = 0. So the residual that FedEx-LoRA (arXiv
    2410.09432) adds has rank (n - 1)·r, and its factors are two concatenations. Weights may be
    negative; terms of weight zero count as absent; smaller ranks are padded with zeros.

    Raises:
        ValueError: no term, another number of weights, or weights that do not sum to one.
    """
    if len(factors) != len(weights):
        raise ValueError("every term needs one weight")
    terms = [(pair, w) for pair, w in zip(factors, weights, strict=True) if w != 0.0]
    if not terms or abs(math.fsum(w for _, w in terms) - 1.0) > SUM_TOLERANCE:
        raise ValueError("the weights of a combination must sum to one")
    rank = max(pair.rank for pair, _ in terms)
    pairs = [pair.padded(rank) for pair, _ in terms]
    A = mean([pair.A for pair in pairs], [w for _, w in terms])
    B = mean([pair.B for pair in pairs], [w for _, w in terms])
    rest = [
        (weight * (pair.B - B), pair.A - pairs[-1].A)
        for pair, (_, weight) in zip(pairs[:-1], terms[:-1], strict=True)
    ]
    L = np.concatenate([np.zeros((B.shape[0], 0)), *(left for left, _ in rest)], axis=1)
    R = np.concatenate([np.zeros((0, A.shape[1])), *(right for _, right in rest)], axis=0)
    return Combined(A, B, L, R)


def stack(factors: Sequence[Pair], weights: Sequence[float]) -> tuple[Wide, Wide]:
    """Σ w_k B_k A_k as L·R with L = [B_1 | B_2 | …], R = [w_1 A_1; w_2 A_2; …].

    FLoRA (arXiv 2409.05976): the weight goes on one factor only. Terms of weight zero are left
    out. Raises ValueError when no term is left.
    """
    terms = [(pair, w) for pair, w in zip(factors, weights, strict=True) if w != 0.0]
    if not terms:
        raise ValueError("nothing is left to combine")
    left = np.concatenate([pair.B for pair, _ in terms], axis=1)
    right = np.concatenate([weight * pair.A for pair, weight in terms], axis=0)
    return left, right


def mean(values: Sequence[Wide], weights: Sequence[float]) -> Wide:
    """Σ w_k x_k, in this order."""
    total: Wide = np.zeros(values[0].shape, np.float64)
    for value, weight in zip(values, weights, strict=True):
        product = value * np.float64(weight)
        total = total + product
    return total
