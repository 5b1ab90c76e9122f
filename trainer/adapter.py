"""LoRA factors as plain arrays: their names, shapes, first values and files.

Weights of an adapted layer are W = W0 + B A with A (r, in) and B (out, r); a convolution has
A (r, in, k, k) and B (out, r, 1, 1), which other programs call LoCon. Factors on disk and in
aggregation always have scale 1: whoever trains with another alpha / r folds it into B, because
factors with different hidden scales must not be averaged.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer import tensor_file
from trainer.config import MAX_RANK
from trainer.errors import MISUSE, TrainerError
from trainer.lora_file.architecture import Architecture
from trainer.models.base import BaseModel, Layers, Shape
from trainer.protocol import AdapterSpec

A_SUFFIX = ".lora_A.weight"
B_SUFFIX = ".lora_B.weight"
MAGNITUDE_SUFFIX = ".lora_magnitude_vector"
"""Of DoRA alone, and never in a room."""
RESIDUAL_A_SUFFIX = ".residual_A.weight"
RESIDUAL_B_SUFFIX = ".residual_B.weight"
DENSE_SUFFIX = ".residual.weight"
"""A room's adapter has, beside the factors that are trained, a frozen branch of low rank, or of a
whole float32 matrix where that is smaller."""

INITIAL_DOMAIN = b"fedtui A0 v1\0"
"""Separates this use of SHAKE-128 from any other; a new recipe takes a new version."""

FloatArray = NDArray[np.float32]


def target_layers(model: BaseModel, spec: AdapterSpec) -> dict[str, Shape]:
    """The layers that ``spec`` names in the model, sorted, with the shapes of their weights.

    Layers of text encoders have flat names, see :meth:`Architecture.flat_name`.
    Raises :class:`TrainerError` when the spec is impossible or matches nothing.
    """
    if not 1 <= spec.rank <= MAX_RANK or not 1 <= spec.alpha <= MAX_RANK:
        raise TrainerError(
            "The adapter's size is impossible",
            f"Rank {spec.rank} and alpha {spec.alpha} must lie between 1 and {MAX_RANK}.",
            "Rank 4 to 32 is usual, with the same alpha.",
            MISUSE,
        )
    chosen = _named(model.layers(model.family.adapted), spec.targets)
    if not chosen:
        raise TrainerError(
            "The adapter does not fit the model",
            f"No layer of {model.name} is called {', '.join(spec.targets)}.",
            "The attention projections to_q, to_k, to_v and to_out.0 exist in every model.",
            MISUSE,
        )
    return dict(sorted((chosen | _text_layers(model, spec)).items()))


def _text_layers(model: BaseModel, spec: AdapterSpec) -> dict[str, Shape]:
    """Those of the text encoders, by flat names; none unless ``spec`` wants some."""
    if not spec.text_targets:
        return {}
    architecture = Architecture.of(model)
    found = {
        architecture.flat_name(component, name): shape
        for component in architecture.text_encoders
        for name, shape in _named(architecture.components[component], spec.text_targets).items()
    }
    if not found:
        raise TrainerError(
            "The text encoder cannot be adapted",
            f"{model.name} has no text encoder with layers {', '.join(spec.text_targets)}.",
            "Models with a CLIP text encoder can; train without it.",
            MISUSE,
        )
    return found


def _named(layers: Layers, targets: Sequence[str]) -> dict[str, Shape]:
    """The layers whose names are or end in one of ``targets``."""
    return {
        name: shape
        for name, shape in layers.items()
        if any(name == target or name.endswith(f".{target}") for target in targets)
    }


def shared_layers(layers: Layers, spec: AdapterSpec) -> dict[str, Shape]:
    """The layers that a room trains together: all but the personal ones.

    Raises :class:`TrainerError` when none is left.
    """
    shared = {
        name: shape
        for name, shape in layers.items()
        if not any(part in name for part in spec.personal)
    }
    if not shared:
        raise TrainerError(
            "Nothing is left to train together",
            f"Every layer's name contains one of {', '.join(spec.personal)}.",
            "Keep fewer layers personal.",
            MISUSE,
        )
    return shared


def check_personal(layers: Layers, spec: AdapterSpec) -> None:
    """Raises :class:`TrainerError` for a word that keeps no layer personal: it was misspelt, and
    what was meant to stay at home would be sent."""
    for part in spec.personal:
        if not any(part in name for name in layers):
            raise TrainerError(
                "No layer would stay personal",
                f"No adapted layer's name contains {part!r}.",
                f"They are called like {', '.join(list(layers)[:2])}; say a part of such a name.",
                MISUSE,
            )


def contribution_shapes(layers: Layers, rank: int, parts: str) -> dict[str, Shape]:
    """Names and shapes in a contribution that holds factors ``parts``: ``AB``, ``A`` or ``B``."""
    suffixes = tuple(suffix for part, suffix in (("A", A_SUFFIX), ("B", B_SUFFIX)) if part in parts)
    shapes = factor_shapes(layers, rank)
    return {name: shape for name, shape in shapes.items() if name.endswith(suffixes)}


def factor_shapes(layers: Layers, rank: int) -> dict[str, Shape]:
    """Names and shapes of all tensors in a factors file."""
    shapes: dict[str, Shape] = {}
    for name, (out, *rest) in layers.items():
        shapes[name + A_SUFFIX] = (rank, *rest)
        shapes[name + B_SUFFIX] = (out, rank, *(1 for _ in rest[1:]))
    return shapes


def initial_factors(shapes: Mapping[str, Shape], seed: int) -> Iterator[tuple[str, FloatArray]]:
    """Where every member of a room starts, bit for bit the same on every machine.

    B is zero. A is uniform within about 1/sqrt(in), rounded to a power of two: odd 24 bit integers
    from SHAKE-128 of the seed and the name, times a power of two, so no step of it rounds.
    Yields tensors in sorted order of their names.
    """
    for name in sorted(shapes):
        shape = shapes[name]
        if name.endswith(B_SUFFIX):
            yield name, np.zeros(shape, np.float32)
            continue
        count, into = math.prod(shape), math.prod(shape[1:])
        key = INITIAL_DOMAIN + seed.to_bytes(16, "little", signed=True) + name.encode()
        words = np.frombuffer(hashlib.shake_128(key).digest(4 * count), "<u4")
        odd = (words >> np.uint32(8)).astype(np.int64) * 2 + 1 - (1 << 24)
        exponent = into.bit_length() // 2
        yield name, (odd * 2.0 ** -(24 + exponent)).astype(np.float32).reshape(shape)


def write_initial(path: Path, layers: Layers, rank: int, seed: int) -> tensor_file.Written:
    """Writes the factors of :func:`initial_factors` for these layers."""
    shapes = factor_shapes(layers, rank)
    return tensor_file.write_stream(path, shapes, initial_factors(shapes, seed))
