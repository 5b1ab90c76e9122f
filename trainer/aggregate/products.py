"""Matrix products with the same bytes on every machine, at the speed of the machine's BLAS.

A BLAS adds in an order of its own and with fused operations, so its float64 results differ between
machines. Sums of integers below 2^53 do not: they are exact in any order. Both factors are cut
into two slices of integers so short that no sum of products can reach 2^53; the products of the
slices are exact, and they are put together in a fixed order (Ozaki et al., Numerical Algorithms
59, 2012). About 40 bits of each row's largest value survive; float32 has 24.

An elementwise product would be as reproducible and fifty times slower: the inner products of 20
contributions of rank 16 at Stable Diffusion's sizes are 10^11 operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.aggregate.kernel import Pair, Wide, tree_sums

MANTISSA = 53
LONGEST_SUM = 1 << 13
"""Terms of one exact sum; 20 bits are left for each slice. Longer sums are cut into pieces."""


@dataclass(frozen=True)
class _Sliced:
    """Rows of X as integers: X ≈ (high + low · 2^-bits) · scale, rowwise."""

    high: Wide
    low: Wide
    scale: Wide


def product(X: Wide, Y: Wide) -> Wide:
    """X·Y of (p, n) and (n, q), the same bytes everywhere; error about 2^-40 max|x| max|y| √n."""
    total: Wide = np.zeros((X.shape[0], Y.shape[1]))
    for first in range(0, X.shape[1], LONGEST_SUM):
        last = first + LONGEST_SUM
        left, right = X[:, first:last], np.ascontiguousarray(Y[first:last].T)
        bits = _bits(left.shape[1])
        x, y = _sliced(left, bits), _sliced(right, bits)
        cross = x.high @ y.low.T + x.low @ y.high.T
        parts = (x.high @ y.high.T, cross, x.low @ y.low.T)
        total = total + _scaled(parts, x.scale, y.scale, bits)
    return total


def gram(X: Wide) -> Wide:
    """X·Xᵀ of (p, n), as :func:`product` would give it, for half the work."""
    total: Wide = np.zeros((X.shape[0], X.shape[0]))
    for first in range(0, X.shape[1], LONGEST_SUM):
        part = X[:, first : first + LONGEST_SUM]
        bits = _bits(part.shape[1])
        x = _sliced(part, bits)
        half = x.high @ x.low.T
        parts = (x.high @ x.high.T, half + half.T, x.low @ x.low.T)
        total = total + _scaled(parts, x.scale, x.scale, bits)
    return total


def inner_products(pairs: Sequence[Pair]) -> Wide:
    """⟨B_i A_i, B_j A_j⟩ for all i and j, without forming any product of size d × m.

    ⟨B_i A_i, B_j A_j⟩ = Σ (B_iᵀB_j) ∘ (A_i A_jᵀ), blocks of r × r. Mixed ranks are padded.
    """
    count, rank = len(pairs), max(pair.rank for pair in pairs)
    padded = [pair.padded(rank) for pair in pairs]
    left = gram(np.concatenate([pair.B.T for pair in padded], axis=0))
    right = gram(np.concatenate([pair.A for pair in padded], axis=0))
    blocks = (left * right).reshape(count, rank, count, rank).transpose(0, 2, 1, 3)
    return tree_sums(blocks.reshape(count, count, rank * rank))


def _bits(terms: int) -> int:
    """The length of a slice such that ``terms`` products of two of them sum below 2^53."""
    return (MANTISSA - 1 - max(0, (terms - 1).bit_length())) // 2


def _sliced(X: Wide, bits: int) -> _Sliced:
    largest = np.abs(X).max(axis=1, initial=0.0)
    _, exponents = np.frexp(largest)
    up, scale = np.ldexp(1.0, bits - exponents), np.ldexp(1.0, exponents - bits)
    shifted = X * up[:, None]
    high = np.rint(shifted)
    low = np.rint((shifted - high) * 2.0**bits)
    return _Sliced(high, low, scale)


def _scaled(parts: tuple[Wide, Wide, Wide], rows: Wide, columns: Wide, bits: int) -> Wide:
    high, cross, low = parts
    together = high + (cross + low * 2.0**-bits) * 2.0**-bits
    return together * rows[:, None] * columns[None, :]
