"""One round of LoRA factors: inner products of what was sent, then the new adapter, layer by layer.

No more than one layer of all contributions is in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainer import tensor_file
from trainer.adapter import (
    A_SUFFIX,
    B_SUFFIX,
    DENSE_SUFFIX,
    RESIDUAL_A_SUFFIX,
    RESIDUAL_B_SUFFIX,
    initial_factors,
)
from trainer.aggregate import kernel, products
from trainer.aggregate.files import ROUNDS_KEY, Source, layers_of
from trainer.aggregate.kernel import Combined, Narrow, Pair, Wide, narrow
from trainer.aggregate.modes import LowRank
from trainer.job import Job
from trainer.models.base import Shape
from trainer.tensor_file import Written


@dataclass(frozen=True)
class Outcome:
    """A written adapter. ``residual`` and ``product`` are the Frobenius norms of what averaging the
    factors alone would have lost, and of Σ w_k B_k A_k."""

    written: Written
    residual: float
    product: float
    branch_rank: int
    whole_layers: int


@dataclass
class LowRankRound:
    """The combination of ``sources`` with ``previous`` under ``mode``; ``seed`` is the room's."""

    mode: LowRank
    previous: Source
    sources: Sequence[Source]
    seed: int
    layers: dict[str, Shape] = field(init=False)
    rounds: int = field(init=False)

    def __post_init__(self) -> None:
        """Raises :class:`FormatError` when the previous file is no adapter."""
        self.layers = layers_of(self.previous.header)
        self.rounds = self.previous.count(ROUNDS_KEY) or 0

    def refusal(self, source: Source) -> str:
        """Why a file cannot be combined in this round; empty when it can."""
        trained = self.mode.trained(self.rounds)
        for name, shape in self.layers.items():
            for suffix, part in ((A_SUFFIX, "A"), (B_SUFFIX, "B")):
                wanted, there = part in trained, source.has(name + suffix)
                if wanted != there:
                    return f"it {'lacks' if wanted else 'holds'} factors {part} in this round"
                if there and not self._fits(source.shape(name + suffix), shape, part):
                    return f"its factor {part} of {name[:60]} does not fit"
        if len(source.header.tensors) != len(self.layers) * len(trained):
            return "it holds tensors that the room's adapter does not have"
        return ""

    @staticmethod
    def _fits(factor: Shape, layer: Shape, part: str) -> bool:
        """Ranks may differ, everything else may not."""
        if len(factor) != len(layer):
            return False
        return factor[1:] == layer[1:] if part == "A" else factor[0] == layer[0]

    def products(self, job: Job) -> Wide:
        """⟨B_i A_i, B_j A_j⟩ with the previous adapter as index 0, added over the layers."""
        count = len(self.sources) + 1
        total: Wide = np.zeros((count, count))
        for layer in self.layers:
            job.check()
            total = total + products.inner_products([self._before(layer), *self._pairs(layer)])
        return total

    def write(self, weights: Sequence[float], before: float, out: Path, job: Job) -> Outcome:
        """Writes the new adapter; ``before`` is the weight of the previous one."""
        sums = _Sums()
        shapes = self._shapes(weights, before)
        written = tensor_file.write_stream(
            out,
            shapes,
            self._tensors(weights, before, shapes, sums, job),
            {ROUNDS_KEY: str(self.rounds + 1)},
        )
        ranks = [shape[0] for name, shape in shapes.items() if name.endswith(RESIDUAL_A_SUFFIX)]
        whole = sum(name.endswith(DENSE_SUFFIX) for name in shapes)
        return Outcome(
            written, math.sqrt(sums.residual), math.sqrt(sums.product), max(ranks, default=0), whole
        )

    # --- one layer -------------------------------------------------------------------------------
    def _before(self, layer: str) -> Pair:
        return self.previous.pair(layer)

    def _pairs(self, layer: str) -> list[Pair]:
        frozen = None if self.mode.trained(self.rounds) == "AB" else self._before(layer)
        return [source.pair(layer, frozen) for source in self.sources]

    def _tensors(
        self,
        weights: Sequence[float],
        before: float,
        shapes: dict[str, Shape],
        sums: _Sums,
        job: Job,
    ) -> Iterator[tuple[str, Narrow]]:
        for layer in self.layers:
            job.check()
            pairs = [self._before(layer), *self._pairs(layer)]
            combined = kernel.combine(pairs, [before, *weights])
            sums.add(combined)
            grown: Pair | None = None
            A, B = combined.A, combined.B
            if self.mode.residual == "restart":
                left, right = kernel.stack(pairs[1:], weights)
                grown = Pair(right, left)
                A, B = self._anew(layer)
            elif self.mode.residual == "branch":
                grown = Pair(combined.R, combined.L)
            elif self.mode.residual == "none":
                trained = self.mode.trained(self.rounds)
                A, B = (A, pairs[0].B) if trained == "A" else (pairs[0].A, B)
            yield from self._named(layer, Pair(A, B), grown, shapes)

    def _named(
        self, layer: str, factors: Pair, grown: Pair | None, shapes: dict[str, Shape]
    ) -> Iterator[tuple[str, Narrow]]:
        """The layer's tensors in the order of their names."""
        old = self.previous.residual(layer)
        found: dict[str, Wide] = {A_SUFFIX: factors.A, B_SUFFIX: factors.B}
        if layer + DENSE_SUFFIX in shapes:
            found[DENSE_SUFFIX] = _whole(old, grown, (factors.B.shape[0], factors.A.shape[1]))
        elif layer + RESIDUAL_A_SUFFIX in shapes:
            parts = [part for part in (old, grown) if isinstance(part, Pair)]
            found[RESIDUAL_A_SUFFIX] = np.concatenate([part.A for part in parts], axis=0)
            found[RESIDUAL_B_SUFFIX] = np.concatenate([part.B for part in parts], axis=1)
        for suffix in sorted(found):
            name = layer + suffix
            yield name, narrow(found[suffix]).reshape(shapes[name])

    def _anew(self, layer: str) -> tuple[Wide, Wide]:
        """The first factors of a layer after this combination: A from the seed, B zero."""
        names = [layer + A_SUFFIX, layer + B_SUFFIX]
        shapes = {name: self.previous.shape(name) for name in names}
        seed = self.seed + ((self.rounds + 1) << 64)
        A, B = (array for _, array in initial_factors(shapes, seed))
        return (
            A.astype(np.float64).reshape(A.shape[0], -1),
            B.astype(np.float64).reshape(B.shape[0], -1),
        )

    # --- shapes ----------------------------------------------------------------------------------
    def _shapes(self, weights: Sequence[float], before: float) -> dict[str, Shape]:
        """Names and shapes of all tensors, before any is computed: the header comes first."""
        shapes: dict[str, Shape] = {}
        for layer, shape in self.layers.items():
            out, *rest = shape
            ones = (1,) * len(rest[1:])
            ranks = [self.previous.shape(layer + A_SUFFIX)[0]] if before != 0.0 else []
            ranks += [
                self._rank(source, layer)
                for source, weight in zip(self.sources, weights, strict=True)
                if weight != 0.0
            ]
            rank = max(ranks)
            if self.mode.residual == "restart":
                rank = self.previous.shape(layer + A_SUFFIX)[0]
            shapes[layer + A_SUFFIX] = (rank, *rest)
            shapes[layer + B_SUFFIX] = (out, rank, *ones)
            grown = self.previous.residual_rank(layer) + self._growth(ranks, before)
            if self.previous.has(layer + DENSE_SUFFIX) or _whole_is_smaller(grown, shape):
                shapes[layer + DENSE_SUFFIX] = shape
            elif grown:
                shapes[layer + RESIDUAL_A_SUFFIX] = (grown, *rest)
                shapes[layer + RESIDUAL_B_SUFFIX] = (out, grown, *ones)
        return shapes

    def _rank(self, source: Source, layer: str) -> int:
        if source.has(layer + A_SUFFIX):
            return source.shape(layer + A_SUFFIX)[0]
        return source.shape(layer + B_SUFFIX)[1]

    def _growth(self, ranks: Sequence[int], before: float) -> int:
        """By how much this round raises the rank of a layer's branch."""
        if self.mode.residual == "branch":
            return (len(ranks) - 1) * max(ranks)
        if self.mode.residual == "restart":
            return sum(ranks[1:] if before != 0.0 else ranks)
        return 0


@dataclass
class _Sums:
    """Squares of Frobenius norms over the layers seen so far, for showing: not bit for bit."""

    residual: float = 0.0
    product: float = 0.0

    def add(self, combined: Combined) -> None:
        L, R, A, B = combined.L, combined.R, combined.A, combined.B
        residual = float(((L.T @ L) * (R @ R.T)).sum())
        self.residual += max(0.0, residual)
        mean = float(((B.T @ B) * (A @ A.T)).sum())
        both = float(((B.T @ L) * (A @ R.T)).sum())
        self.product += max(0.0, mean + 2.0 * both + residual)


def _whole_is_smaller(rank: int, shape: Shape) -> bool:
    out, into = shape[0], math.prod(shape[1:])
    return rank > 0 and rank * (out + into) >= out * into


def _whole(old: Pair | Wide | None, grown: Pair | None, shape: tuple[int, int]) -> Wide:
    """A branch as one matrix; the only error is that of its rounding to float32."""
    total: Wide = np.zeros(shape)
    for part in (old, grown):
        if isinstance(part, Pair):
            total = total + products.product(part.B, part.A)
        elif part is not None:
            total = total + part
    return total
