"""Contributions and the previous adapter as open files, read one layer at a time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trainer.adapter import A_SUFFIX, B_SUFFIX, DENSE_SUFFIX, RESIDUAL_A_SUFFIX, RESIDUAL_B_SUFFIX
from trainer.aggregate.kernel import Pair, Wide, widen
from trainer.config import MAX_INPUTS, MAX_WEIGHT
from trainer.errors import MISUSE, TrainerError
from trainer.models.base import Shape
from trainer.protocol import WeightedFile
from trainer.tensor_file import ITEM_SIZES, FormatError, Header, read_header, read_tensor

ROUNDS_KEY = "fedtui.rounds"
"""Metadata: how many combinations an adapter has behind it, or the one that was trained on."""
STEPS_KEY = "fedtui.steps"
"""Metadata of a contribution: the local optimiser steps behind it, as its maker says."""


@dataclass(frozen=True)
class Source:
    """An open file of float32 tensors. ``weight`` is the number of samples behind it."""

    id: str
    weight: int
    path: Path
    file: BinaryIO
    header: Header

    def has(self, name: str) -> bool:
        return name in self.header.tensors

    def shape(self, name: str) -> Shape:
        return self.header.tensors[name].shape

    def read(self, name: str) -> Wide:
        """One tensor. Raises :class:`FormatError` when a value is not finite."""
        values = widen(read_tensor(self.file, self.header.tensors[name]))
        if not np.isfinite(values).all():
            raise FormatError(f"{self.id} contains NaN or infinity")
        return values

    def piece(self, name: str, first: int, last: int) -> Wide:
        """Numbers ``first`` to ``last`` of a tensor, flat. Raises :class:`FormatError`."""
        tensor = self.header.tensors[name]
        start = tensor.start + first * ITEM_SIZES["F32"]
        end = tensor.start + last * ITEM_SIZES["F32"]
        values = widen(read_tensor(self.file, replace(tensor, shape=(-1,), start=start, end=end)))
        if not np.isfinite(values).all():
            raise FormatError(f"{self.id} contains NaN or infinity")
        return values

    def pair(self, layer: str, frozen: Pair | None = None) -> Pair:
        """A layer's factors as matrices; a factor the file does not hold is that of ``frozen``."""
        A = self._matrix(layer + A_SUFFIX) if self.has(layer + A_SUFFIX) or not frozen else frozen.A
        B = self._matrix(layer + B_SUFFIX) if self.has(layer + B_SUFFIX) or not frozen else frozen.B
        if A.shape[0] != B.shape[1]:
            raise FormatError(f"the factors of {layer} in {self.id} do not fit each other")
        return Pair(A, B)

    def residual(self, layer: str) -> Pair | Wide | None:
        """The layer's residual branch: low rank, a whole matrix, or none."""
        if self.has(layer + DENSE_SUFFIX):
            return self._matrix(layer + DENSE_SUFFIX)
        if self.has(layer + RESIDUAL_A_SUFFIX):
            A, B = self._matrix(layer + RESIDUAL_A_SUFFIX), self._matrix(layer + RESIDUAL_B_SUFFIX)
            return Pair(A, B)
        return None

    def residual_rank(self, layer: str) -> int:
        """The rank of a low-rank branch; 0 where there is none or a whole matrix."""
        name = layer + RESIDUAL_A_SUFFIX
        return self.shape(name)[0] if self.has(name) else 0

    def count(self, key: str) -> int | None:
        """A natural number from the metadata; None where there is none worth the name."""
        text = self.header.metadata.get(key, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None

    def _matrix(self, name: str) -> Wide:
        if not self.has(name):
            raise FormatError(f"{self.id} does not hold {name}")
        values = self.read(name)
        return values.reshape(values.shape[0], -1)


def open_source(stack: ExitStack, id: str, path: Path, weight: int) -> Source:
    """Opens a file for the lifetime of ``stack``.

    Raises OSError, and :class:`FormatError` unless all its tensors are float32.
    """
    file = stack.enter_context(path.open("rb"))
    try:
        header = read_header(file)
    except FormatError as error:
        raise FormatError(f"{id}: {error}") from error
    if any(tensor.dtype != "F32" for tensor in header.tensors.values()):
        raise FormatError(f"{id} holds tensors that are not float32")
    return Source(id, weight, path, file, header)


def in_order(inputs: Sequence[WeightedFile]) -> list[WeightedFile]:
    """The inputs sorted by id, which is the order of every sum.

    Raises :class:`TrainerError` on weights that are not in 1..2**29-1, ids that occur twice, and
    too many or no inputs.
    """
    cause = ""
    if not 1 <= len(inputs) <= MAX_INPUTS:
        cause = f"{len(inputs)} contributions were given; 1 to {MAX_INPUTS} are possible."
    elif len({item.id for item in inputs}) != len(inputs):
        cause = "Two contributions have the same id."
    else:
        wrong = next((item for item in inputs if not 1 <= item.weight < MAX_WEIGHT), None)
        if wrong is not None:
            cause = (
                f"The weight {wrong.weight} of {wrong.id} is not between 1 and {MAX_WEIGHT - 1}."
            )
    if cause:
        raise TrainerError(
            "These contributions cannot be combined",
            cause,
            "Give each contribution once, with its number of pictures as weight.",
            MISUSE,
        )
    return sorted(inputs, key=lambda item: item.id)


def layers_of(header: Header) -> dict[str, Shape]:
    """The layers whose factors a file holds, in the order of their tensors' names, with the shapes
    of their weights. Raises :class:`FormatError` when half of a layer is missing."""
    names = [name.removesuffix(A_SUFFIX) for name in header.tensors if name.endswith(A_SUFFIX)]
    layers: dict[str, Shape] = {}
    for name in sorted(names, key=lambda name: name + A_SUFFIX):
        if name + B_SUFFIX not in header.tensors:
            raise FormatError(f"{name} has no second factor")
        out = header.tensors[name + B_SUFFIX].shape[0]
        layers[name] = (out, *header.tensors[name + A_SUFFIX].shape[1:])
    return layers
