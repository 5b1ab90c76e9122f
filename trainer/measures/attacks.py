"""Simulated attackers, for experiments and tests: what a dishonest participant could hand in.

Each takes an honest contribution x and the state p it was trained from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer import tensor_file
from trainer.errors import MISUSE, TrainerError
from trainer.tensor_file import Written

Array = NDArray[np.float64]
Attack = Callable[[Array, Array, float, np.random.Generator], Array]


def _scale(x: Array, p: Array, factor: float, draw: np.random.Generator) -> Array:
    """p + factor·(x - p): an update that outweighs everybody's."""
    return p + factor * (x - p)


def _sign_flip(x: Array, p: Array, factor: float, draw: np.random.Generator) -> Array:
    """p - factor·(x - p): unlearns."""
    return p - factor * (x - p)


def _noise(x: Array, p: Array, factor: float, draw: np.random.Generator) -> Array:
    """p plus normal noise of factor times the update's root mean square."""
    size = np.sqrt(np.mean((x - p) ** 2)) if x.size else 0.0
    return p + factor * size * draw.standard_normal(x.shape)


def _free_rider(x: Array, p: Array, factor: float, draw: np.random.Generator) -> Array:
    """p itself with a grain of noise, to look trained."""
    return _noise(x, p, 0.01, draw)


ATTACKS: Mapping[str, Attack] = {
    "scale": _scale,
    "sign_flip": _sign_flip,
    "noise": _noise,
    "free_rider": _free_rider,
}
"""All attacks by name."""


def tamper(
    attack: str, contribution: Path, previous: Path, out: Path, factor: float, seed: int
) -> Written:
    """Writes the dishonest version of a contribution. Raises :class:`TrainerError`."""
    if attack not in ATTACKS:
        raise TrainerError(
            "This attack is unknown",
            f"There is no {attack!r}.",
            f"Choose one of {', '.join(ATTACKS)}.",
            MISUSE,
        )
    honest, _ = tensor_file.read_all(contribution)
    before, _ = tensor_file.read_all(previous)
    draw = np.random.default_rng(seed)
    tensors = {}
    for name in sorted(honest):
        x = honest[name].astype(np.float64)
        p = before[name].astype(np.float64) if name in before else np.zeros_like(x)
        tensors[name] = ATTACKS[attack](x, p, factor, draw).astype(np.float32)
    return tensor_file.write(out, tensors)
