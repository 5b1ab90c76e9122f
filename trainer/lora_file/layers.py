"""LoRA factors in memory: by component and layer of a model, always with scale 1."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainer.models.base import Shape
from trainer.tensor_file import FormatError

FloatArray = NDArray[np.float32]
Name = Literal["factors", "peft", "diffusers", "attn-procs", "kohya", "comfyui", "safelora"]
"""The dialects: who calls a layer what."""


@dataclass(frozen=True)
class Factors:
    """One layer's A (r, in, ...) and B (out, r, ...) with scale 1.

    With a ``magnitude`` (out,) it is DoRA (Liu et al., arXiv 2402.09353): every row of W0 + B A is
    brought to that length.
    """

    A: FloatArray
    B: FloatArray
    magnitude: FloatArray | None = None

    @property
    def rank(self) -> int:
        return int(self.A.shape[0])


@dataclass(frozen=True)
class LoraAdapter:
    """Factors by component (``unet``, ``text_encoder``) and layer, and where they came from.

    ``ignored`` are tensors of the file that are no LoRA, for instance learned words.
    """

    components: Mapping[str, Mapping[str, Factors]]
    dialect: Name
    metadata: Mapping[str, str]
    ignored: tuple[str, ...] = ()

    @property
    def modules(self) -> int:
        return sum(len(layers) for layers in self.components.values())

    @property
    def has_magnitudes(self) -> bool:
        """Whether it is DoRA, which no sum or multiple of adapters is."""
        return any(factors.magnitude is not None for _, _, factors in each_layer(self))

    @property
    def rank(self) -> int:
        """The largest rank of any layer."""
        return max(factors.rank for _, _, factors in each_layer(self))


def each_layer(adapter: LoraAdapter) -> Iterable[tuple[str, str, Factors]]:
    """(component, layer, factors) in sorted order."""
    for component, layers in sorted(adapter.components.items()):
        for name, factors in sorted(layers.items()):
            yield component, name, factors


def fitted(A: NDArray[Any], B: NDArray[Any], scale: float, shape: Shape, name: str) -> Factors:
    """Factors shaped like the layer's weight, ``scale`` folded into B.

    Files differ in how they write 1x1 convolutions. Raises :class:`FormatError` when the sizes
    do not belong to the layer or a value is not finite.
    """
    out, into, kernel = shape[0], shape[1], shape[2:]
    rank = A.shape[0] if A.ndim else 0
    fits = rank > 0 and A.size == rank * into * math.prod(kernel) and B.size == out * rank
    if not fits or (kernel == () and A.ndim > 2 and math.prod(A.shape[2:]) != 1):
        raise FormatError(
            f"the layer {name[:80]!r} has factors {list(B.shape)} and {list(A.shape)} for a weight "
            f"{list(shape)}"
        )
    A, B = A.astype(np.float32), B.astype(np.float32)
    if scale != 1.0:
        with np.errstate(over="ignore"):
            B = (B.astype(np.float64) * scale).astype(np.float32)
    if not (np.isfinite(A).all() and np.isfinite(B).all()):
        raise FormatError(f"the layer {name[:80]!r} contains NaN or infinity")
    ones = (1,) * len(kernel)
    return Factors(A.reshape((rank, into, *kernel)), B.reshape((out, rank, *ones)))


def padded(factors: Factors, rank: int) -> Factors:
    """The same change of the weight with zeros up to ``rank``."""
    missing = rank - factors.rank
    if not missing:
        return factors
    A, B = factors.A, factors.B
    return Factors(
        np.concatenate([A, np.zeros((missing, *A.shape[1:]), np.float32)]),
        np.concatenate([B, np.zeros((B.shape[0], missing, *B.shape[2:]), np.float32)], axis=1),
        factors.magnitude,
    )
