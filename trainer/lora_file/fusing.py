"""Layers that lie one below another in a layer of the original checkpoint, apart and together.

With W = [W_1; W_2; …] an adapter of W has B = [B_1; B_2; …] over one A. Adapters of the parts have
an A each: together A = [A_1; A_2; …] with B block-diagonal. Both are exact; the second way is told
from the first by its zeros, as sd-scripts and diffusers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.lora_file.layers import Factors, padded
from trainer.models.base import Shape
from trainer.tensor_file import FormatError

Pair = tuple[NDArray[Any], NDArray[Any]]


def divided(A: NDArray[Any], B: NDArray[Any], rows: Sequence[int], name: str) -> list[Pair | None]:
    """A and B of each part; ``rows`` are those of the parts' weights. None for a part that was
    only filled up with zeros.

    Raises :class:`FormatError` when B has another number of rows.
    """
    if A.ndim < 2 or B.ndim < 2 or B.shape[0] != sum(rows) or B.shape[1] != A.shape[0]:
        raise FormatError(
            f"the layer {name[:80]!r} has factors {list(B.shape)} and {list(A.shape)}"
        )
    ends = np.cumsum(rows)
    parts = [B[end - count : end] for end, count in zip(ends, rows, strict=True)]
    each, rest = divmod(A.shape[0], len(rows))
    places = [slice(number * each, (number + 1) * each) for number in range(len(rows))]
    if rest or not all(_only(part, place) for part, place in zip(parts, places, strict=True)):
        return [(A, part) for part in parts]
    pairs = [(A[place], part[:, place]) for part, place in zip(parts, places, strict=True)]
    return [pair if pair[0].any() or pair[1].any() else None for pair in pairs]


def _only(part: NDArray[Any], place: slice) -> bool:
    """Whether a part uses nothing of A but its own rows."""
    others = part.copy()
    others[:, place] = 0
    return not others.any()


def fused(parts: Sequence[Factors | None], shapes: Sequence[Shape]) -> Factors:
    """Factors of the whole weight; missing parts are zeros. The ranks of all parts add up, each as
    large as the largest, so that readers can tell them apart again."""
    each = max(part.rank for part in parts if part is not None)
    A = np.zeros((each * len(parts), shapes[0][1]), np.float32)
    B = np.zeros((sum(shape[0] for shape in shapes), each * len(parts)), np.float32)
    row = 0
    for number, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
        if part is not None:
            place = slice(number * each, (number + 1) * each)
            wide = padded(part, each)
            A[place], B[row : row + shape[0], place] = wide.A, wide.B
        row += shape[0]
    return Factors(A, B)
