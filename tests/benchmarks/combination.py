"""The aggregation kernel at Stable Diffusion 1.5's size against a plain float32 mean.

128 attention matrices, five contributions of rank 8. The plain mean is what FedAvg frameworks do
(Flower's ``aggregate``): float32, in memory, in arrival order, without files, checks or statistics.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.measure import Line, side_by_side
from trainer.aggregate.modes import combine
from trainer.job import Job
from trainer.protocol import WeightedFile
from trainer.tensor_file import read_all, write

RANK = 8
SHAPES = (
    [(320, 320)] * 30 + [(320, 768)] * 10 + [(640, 640)] * 30 + [(640, 768)] * 10
    + [(1280, 1280)] * 36 + [(1280, 768)] * 12
)  # fmt: skip
"""(out, in) of the layers that an attention adapter of SD 1.5 changes."""
SAMPLES = (20, 40, 60, 40, 40)

Factors = dict[str, NDArray[np.float32]]


def run() -> Iterator[Line]:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        previous = Path(folder) / "previous.safetensors"
        write(previous, _factors(rng))
        inputs = [
            WeightedFile(f"{i:064x}", str(Path(folder) / f"{i}.safetensors"), n)
            for i, n in enumerate(SAMPLES)
        ]
        for item in inputs:
            write(Path(item.path), _factors(rng))
        arrays = [read_all(Path(item.path))[0] for item in inputs]
        out = Path(folder) / "out.safetensors"
        ours, theirs = side_by_side(
            lambda: combine("fedavg", inputs, previous, out, Job()), lambda: _plain(arrays)
        )
        yield Line(
            "combine 5 x rank 8, SD 1.5, files included", ours, theirs, "float32 mean in RAM"
        )
        exact = _reference(arrays)
        error = _error(read_all(out)[0], exact)
        yield Line("its largest error against float64", error, _error(_plain(arrays), exact),
                   "float32 mean in RAM", "abs")  # fmt: skip


def _factors(rng: np.random.Generator) -> Factors:
    factors: Factors = {}
    for i, (rows, columns) in enumerate(SHAPES):
        factors[f"layer{i:03d}.lora_A.weight"] = rng.standard_normal(
            (RANK, columns), dtype=np.float32
        )
        factors[f"layer{i:03d}.lora_B.weight"] = rng.standard_normal((rows, RANK), dtype=np.float32)
    return factors


def _plain(arrays: list[Factors]) -> Factors:
    total = np.float32(sum(SAMPLES))
    return {
        name: sum(
            (each[name] * np.float32(n) for each, n in zip(arrays, SAMPLES, strict=True)),
            np.zeros_like(first),
        )
        / total
        for name, first in arrays[0].items()
    }


def _reference(arrays: list[Factors]) -> dict[str, NDArray[np.float64]]:
    weights = np.array(SAMPLES, np.float64) / sum(SAMPLES)
    return {
        name: np.tensordot(weights, np.stack([each[name] for each in arrays]).astype("f8"), 1)
        for name in arrays[0]
    }


def _error(found: Factors, exact: dict[str, NDArray[np.float64]]) -> float:
    return max(float(np.abs(found[name] - exact[name]).max()) for name in exact)
