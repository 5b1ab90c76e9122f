"""Exact arithmetic of combination: the same result bytes on every machine.

What makes it so: numpy ufuncs only (no BLAS, no ``np.sum``, whose order of additions depends on
the machine); float64 multiply and add as two operations (no fused multiply-add); integer weights
below 2**29, so products of a float32 and a weight are exact; contributions in the order of their
ids; subnormal numbers taken for zero, because some libraries switch them off for the whole
process. One tensor of one contribution is in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from trainer.tensor_file import FormatError, Header, Written, read_header, read_tensor

VERSION = 1
"""Raised whenever the bytes of a result could change for the same inputs."""

SMALLEST_NORMAL = 2.0**-126
"""Of float32; what lies below counts as zero."""

Wide = NDArray[np.float64]


def tree_sum(values: NDArray[Any]) -> float:
    """The sum of float64 values by adding halves, whose order depends on the length alone."""
    x = values.ravel()
    while x.size > 1:
        if x.size % 2:
            x = np.append(x, 0.0)
        half = x.size // 2
        x = x[:half] + x[half:]
    return float(x[0]) if x.size else 0.0


def widen(values: NDArray[Any]) -> Wide:
    """float32 as float64, subnormals and negative zeros as zero."""
    wide = values.astype(np.float64)
    wide[np.abs(wide) < SMALLEST_NORMAL] = 0.0
    return wide


def narrow(values: Wide) -> NDArray[np.float32]:
    """float64 as float32, round to nearest even, subnormals and negative zeros as zero."""
    return np.where(np.abs(values) < SMALLEST_NORMAL, 0.0, values).astype(np.float32)


@dataclass(frozen=True)
class Combination:
    """A round's result: its file, and of each contribution's update by id its norm and its cosine
    with the combined update."""

    written: Written
    norms: Mapping[str, float]
    cosines: Mapping[str, float]


@dataclass(frozen=True)
class Source:
    """An open file of factors."""

    id: str
    weight: int
    file: BinaryIO
    header: Header

    def read(self, name: str) -> Wide:
        """Raises :class:`FormatError` when a value is not finite."""
        values = widen(read_tensor(self.file, self.header.tensors[name]))
        if not np.isfinite(values).all():
            raise FormatError(f"{self.id} contains NaN or infinity")
        return values


def open_source(stack: ExitStack, id: str, path: Path, weight: int) -> Source:
    """Opens a factors file for the lifetime of ``stack``.

    Raises OSError, and :class:`FormatError` unless all its tensors are float32.
    """
    file = stack.enter_context(path.open("rb"))
    try:
        header = read_header(file)
    except FormatError as error:
        raise FormatError(f"{id}: {error}") from error
    if any(tensor.dtype != "F32" for tensor in header.tensors.values()):
        raise FormatError(f"{id} holds tensors that are not float32")
    return Source(id, weight, file, header)


def weighted_mean(name: str, sources: Sequence[Source]) -> Wide:
    """Σ n_k x_k / Σ n_k of one tensor, in the order of ``sources``."""
    total: Wide = np.zeros(sources[0].header.tensors[name].shape, np.float64)
    for source in sources:
        product = source.read(name) * np.float64(source.weight)
        total = total + product
    return total / np.float64(sum(source.weight for source in sources))


class UpdateStatistics:
    """Norms of updates x_k - previous, and their cosines with the update of the result.

    Sums of one tensor are trees; tensors are added in the order they are seen.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._squares = dict.fromkeys((source.id for source in sources), 0.0)
        self._products = dict.fromkeys((source.id for source in sources), 0.0)
        self._result_squares = 0.0

    def add(self, name: str, previous: Wide, result: Wide) -> None:
        """Takes one tensor into account."""
        step = result - previous
        self._result_squares += tree_sum(step * step)
        for source in self._sources:
            update = source.read(name) - previous
            self._squares[source.id] += tree_sum(update * update)
            self._products[source.id] += tree_sum(update * step)

    @property
    def norms(self) -> dict[str, float]:
        return {id: math.sqrt(square) for id, square in self._squares.items()}

    @property
    def cosines(self) -> dict[str, float]:
        """0 where one of the two updates is zero."""
        length = math.sqrt(self._result_squares)
        return {
            id: self._products[id] / (norm * length) if norm * length > 0 else 0.0
            for id, norm in self.norms.items()
        }


def each_tensor(
    previous: Source,
    sources: Sequence[Source],
    statistics: UpdateStatistics,
    check: Callable[[], None],
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The weighted mean tensor by tensor, in sorted order; ``check`` may raise to end it."""
    for name in sorted(previous.header.tensors):
        check()
        mean = weighted_mean(name, sources)
        statistics.add(name, previous.read(name), mean)
        yield name, narrow(mean)
