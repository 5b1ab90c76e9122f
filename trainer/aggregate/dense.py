"""One round of whole weights, for models trained from scratch or fully fine-tuned.

A file holds every trained parameter by its name. The room's own file may hold two more tensors for
each: ``ema/NAME``, the moving average that pictures are drawn from, and ``velocity/NAME``, the
outer optimiser's momentum. With Δ = Σ w_k (x_k - x_0):

    v⁺ = μ v + Δ        x⁺ = x_0 + η (Δ + μ v⁺)        e⁺ = β e + (1 - β) x⁺

η = 1 and μ = 0 is FedAvg; η = 0.7, μ = 0.9 is DiLoCo's outer Nesterov step (arXiv 2311.08105).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainer import tensor_file
from trainer.aggregate import kernel, products
from trainer.aggregate.files import ROUNDS_KEY, Source
from trainer.aggregate.kernel import Narrow, Wide, narrow
from trainer.aggregate.lowrank import Outcome
from trainer.aggregate.rules import MILLI
from trainer.job import Job
from trainer.models.base import Shape
from trainer.protocol import RuleSpec

EMA_PREFIX = "ema/"
VELOCITY_PREFIX = "velocity/"
PIECE = 1 << 19
"""Numbers of one tensor that are compared at a time: 4 MiB for each member."""


@dataclass
class DenseRound:
    """The combination of ``sources`` with ``previous``, weight by weight."""

    previous: Source
    sources: Sequence[Source]
    spec: RuleSpec
    shapes: dict[str, Shape] = field(init=False)
    rounds: int = field(init=False)

    def __post_init__(self) -> None:
        self.shapes = {
            name: shape
            for name, shape in sorted(self.previous.header.shapes.items())
            if not name.startswith((EMA_PREFIX, VELOCITY_PREFIX))
        }
        self.rounds = self.previous.count(ROUNDS_KEY) or 0

    def refusal(self, source: Source) -> str:
        """Why a file cannot be combined; empty when it can."""
        if source.header.shapes != self.shapes:
            return "it holds other weights than the room trains"
        return ""

    def products(self, job: Job) -> Wide:
        """⟨x_i, x_j⟩ of the updates, with a zero for the previous weights.

        Whole weights are far longer than what a round changes, so differences are taken first.
        Pieces of ``PIECE`` numbers of all members are in memory at a time.
        """
        count = len(self.sources)
        total: Wide = np.zeros((count + 1, count + 1))
        for name, shape in self.shapes.items():
            size = math.prod(shape)
            for first in range(0, size, PIECE):
                job.check()
                last = min(size, first + PIECE)
                before = self.previous.piece(name, first, last)
                updates = [source.piece(name, first, last) - before for source in self.sources]
                total[1:, 1:] = total[1:, 1:] + products.gram(np.stack(updates))
        return total

    def write(self, weights: Sequence[float], before: float, out: Path, job: Job) -> Outcome:
        """Writes the new weights; ``before`` is the weight of the previous ones."""
        shapes = dict(self.shapes)
        if self.spec.ema_milli:
            shapes |= {EMA_PREFIX + name: shape for name, shape in self.shapes.items()}
        if self.spec.outer_momentum_milli:
            shapes |= {VELOCITY_PREFIX + name: shape for name, shape in self.shapes.items()}
        steps = _Steps(self, weights, before)
        written = tensor_file.write_stream(
            out,
            shapes,
            self._tensors(steps, sorted(shapes), job),
            {ROUNDS_KEY: str(self.rounds + 1)},
        )
        return Outcome(written, 0.0, math.sqrt(steps.square), 0, 0)

    def _tensors(
        self, steps: _Steps, names: Sequence[str], job: Job
    ) -> Iterator[tuple[str, Narrow]]:
        for name in names:
            job.check()
            if name.startswith(EMA_PREFIX):
                yield name, narrow(steps.average(name.removeprefix(EMA_PREFIX)))
            elif name.startswith(VELOCITY_PREFIX):
                yield name, narrow(steps.velocity(name.removeprefix(VELOCITY_PREFIX)))
            else:
                moved = steps.weights(name)
                steps.count(name, moved)
                yield name, narrow(moved)


@dataclass
class _Steps:
    """The outer step of one tensor at a time; ``square`` adds up ‖x⁺ - x_0‖²."""

    round: DenseRound
    shares: Sequence[float]
    before: float
    square: float = 0.0

    def weights(self, name: str) -> Wide:
        """x⁺; the plain mean itself where the outer step is plain, so that FedAvg is exact."""
        spec = self.round.spec
        if spec.outer_rate_milli == MILLI and not spec.outer_momentum_milli:
            return self._mean(name)
        before, delta = self.round.previous.read(name), self._delta(name)
        momentum = np.float64(spec.outer_momentum_milli / MILLI)
        step = delta + momentum * self.velocity(name) if spec.outer_momentum_milli else delta
        moved: Wide = before + np.float64(spec.outer_rate_milli / MILLI) * step
        return moved

    def velocity(self, name: str) -> Wide:
        """v⁺."""
        kept = VELOCITY_PREFIX + name
        delta = self._delta(name)
        if not self.round.previous.has(kept):
            return delta
        momentum = np.float64(self.round.spec.outer_momentum_milli / MILLI)
        moved: Wide = momentum * self.round.previous.read(kept) + delta
        return moved

    def average(self, name: str) -> Wide:
        """e⁺, which begins with the weights of the first combination."""
        moved, kept = self.weights(name), EMA_PREFIX + name
        if not self.round.previous.has(kept):
            return moved
        decay = np.float64(self.round.spec.ema_milli / MILLI)
        mixed: Wide = decay * self.round.previous.read(kept) + (1.0 - decay) * moved
        return mixed

    def count(self, name: str, moved: Wide) -> None:
        step = moved - self.round.previous.read(name)
        self.square += kernel.tree_sum(step * step)

    def _mean(self, name: str) -> Wide:
        """Σ w_k x_k + w_0 x_0, one contribution in memory at a time."""
        total: Wide = np.zeros(self.round.shapes[name])
        terms = zip(
            (self.round.previous, *self.round.sources), (self.before, *self.shares), strict=True
        )
        for source, weight in terms:
            if weight != 0.0:
                part = source.read(name) * np.float64(weight)
                total = total + part
        return total

    def _delta(self, name: str) -> Wide:
        delta: Wide = self._mean(name) - self.round.previous.read(name)
        return delta
