"""Aggregation at Stable Diffusion 1.5's size, beside two published ways of doing it.

128 attention matrices. *Flower* is what ``flwr.server.strategy.aggregate`` does to lists of arrays:
each times its number of samples, added up, divided, in float32, in memory, on the factors: FedAvg,
which loses the residual. *FedEx-LoRA* is ``fed_agg.py`` of the published code without its
transposition: dense ΔW = mean(B·A) - mean(B)·mean(A) of every layer in float32, which is exact but
has the size of the model. Both work on arrays in memory; ours reads files, checks and writes one.
Errors are relative to Σ p_k B_k A_k in float64.
"""

from __future__ import annotations

import math
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.measure import Line, seconds, side_by_side
from trainer import room_adapter
from trainer.aggregate import kernel
from trainer.aggregate.combination import combine
from trainer.aggregate.products import inner_products
from trainer.aggregate.rules import RULES, Geometry, Update
from trainer.job import Job
from trainer.protocol import RuleSpec, WeightedFile
from trainer.tensor_file import write

SHAPES = (
    [(320, 320)] * 30 + [(320, 768)] * 10 + [(640, 640)] * 30 + [(640, 768)] * 10
    + [(1280, 1280)] * 36 + [(1280, 768)] * 12
)  # fmt: skip
"""(out, in) of the layers that an attention adapter of SD 1.5 changes."""
SAMPLES = (20, 40, 60, 40, 40)
KERNEL_BARS = {8: 0.5, 16: 4.0}
"""Seconds by rank that two quiet cores should stay below."""
RULES_BAR = 8.0
MEMORY_BAR = 3.0
ROBUST = ("clip", "multi_krum", "rfa", "centered_clip", "threshold")

Factors = dict[str, NDArray[np.float32]]


def run() -> Iterator[Line]:
    for members, rank in ((5, 8), (20, 16)):
        samples = [SAMPLES[k % len(SAMPLES)] for k in range(members)]
        arrays = [_factors(rank, seed) for seed in range(1, members + 1)]
        yield from _kernel(arrays, samples, rank)
        with tempfile.TemporaryDirectory() as folder:
            yield from _files(Path(folder), arrays, samples, rank)


def _kernel(arrays: list[Factors], samples: list[int], rank: int) -> Iterator[Line]:
    """The arithmetic alone, from arrays to arrays."""
    name, runs = f"{len(arrays)} x rank {rank}", 3
    shares = [n / sum(samples) for n in samples]
    layers = _layers(arrays)

    def exact() -> None:
        for pairs in layers:
            combined = kernel.combine(pairs, shares)
            for part in (combined.A, combined.B, combined.L, combined.R):
                kernel.narrow(part)

    ours, theirs = side_by_side(exact, lambda: flower(arrays, samples), runs)
    yield Line(f"kernel, {name}", ours, KERNEL_BARS[rank], "the bar, on two quiet cores")
    yield Line(f"kernel, {name}", ours, theirs, "Flower's FedAvg of factors")
    ours, theirs = side_by_side(exact, lambda: _each_dense(arrays, shares), 1)
    yield Line(f"kernel, {name}", ours, theirs, "FedEx-LoRA's dense residual")
    geometry = [0.0]

    def measure() -> None:
        geometry[0] = sum(inner_products(pairs) for pairs in layers)  # type: ignore[assignment]

    yield Line(
        f"all inner products, {name}", seconds(measure), RULES_BAR, "the bar, on two quiet cores"
    )
    updates = [Update(f"{k:02d}", n, 40) for k, n in enumerate(samples)]
    seen = Geometry(np.pad(geometry[0], ((1, 0), (1, 0))))

    def weigh() -> None:
        for rule in ROBUST:
            RULES[rule](updates, seen, RuleSpec(rule, threshold_milli=-1000))

    yield Line(
        f"{len(ROBUST)} robust rules after them, {name}", seconds(weigh), RULES_BAR, "the bar"
    )


def _files(folder: Path, arrays: list[Factors], samples: list[int], rank: int) -> Iterator[Line]:
    """Everything a node does, and what comes out."""
    name = f"{len(arrays)} x rank {rank}"
    previous = write(folder / "previous", _factors(rank, 0)).path
    inputs = []
    for number, (each, count) in enumerate(zip(arrays, samples, strict=True)):
        path = write(folder / f"{number}", each).path
        inputs.append(WeightedFile(f"{number:064x}", str(path), count))
    out = folder / "out"
    took = seconds(lambda: combine("fedex", inputs, previous, out, Job()))
    yield Line(f"a node's whole round, {name}", took, RULES_BAR, "the bar of robust rules")
    tracemalloc.start()
    written = combine("fedex", inputs, previous, out, Job()).written
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    yield Line(f"peak memory / result, {name}", peak / written.bytes, MEMORY_BAR, "the bar", "x")
    shares = [n / sum(samples) for n in samples]
    room = room_adapter.read(out)
    averaged = flower(arrays, samples)
    errors: dict[str, list[float]] = {"ours": [], "flower": [], "dense": []}
    sizes = []
    for layer in ("layer000", "layer050", "layer100", "layer127"):
        wanted = sum(p * _product(each, layer) for p, each in zip(shares, arrays, strict=True))
        exact = room.exact()[layer]
        B, A = exact.B.astype(np.float64), exact.A.astype(np.float64)
        errors["ours"].append(_square(B @ A - wanted))
        errors["flower"].append(_square(_product(averaged, layer) - wanted))
        errors["dense"].append(_square(dense(arrays, shares, layer) - wanted))
        sizes.append(_square(wanted))
    relative = {way: math.sqrt(sum(some) / sum(sizes)) for way, some in errors.items()}
    for way, label in (("flower", "Flower's FedAvg of factors"), ("dense", "FedEx-LoRA's way")):
        yield Line(f"relative error, {name}", relative["ours"], relative[way], label, "")


def flower(arrays: list[Factors], samples: list[int]) -> Factors:
    """flwr.server.strategy.aggregate.aggregate: a float32 sum of products, divided."""
    total = sum(samples)
    return {
        name: sum(
            (each[name] * n for each, n in zip(arrays, samples, strict=True)),
            np.zeros_like(first),
        )
        / np.float32(total)
        for name, first in arrays[0].items()
    }


def dense(arrays: list[Factors], shares: list[float], layer: str) -> NDArray[np.float32]:
    """One layer's global update the published way: mean(B)·mean(A) + the dense residual."""
    A = sum(np.float32(p) * each[f"{layer}.lora_A.weight"] for p, each in _paired(shares, arrays))
    B = sum(np.float32(p) * each[f"{layer}.lora_B.weight"] for p, each in _paired(shares, arrays))
    mean = B @ A
    residual = (
        sum(
            np.float32(p) * (each[f"{layer}.lora_B.weight"] @ each[f"{layer}.lora_A.weight"])
            for p, each in _paired(shares, arrays)
        )
        - mean
    )
    found: NDArray[np.float32] = mean + residual
    return found


def _each_dense(arrays: list[Factors], shares: list[float]) -> None:
    for number in range(len(SHAPES)):
        dense(arrays, shares, f"layer{number:03d}")


def _paired(shares: list[float], arrays: list[Factors]) -> list[tuple[float, Factors]]:
    return list(zip(shares, arrays, strict=True))


def _layers(arrays: list[Factors]) -> list[list[kernel.Pair]]:
    return [
        [
            kernel.Pair(
                each[f"layer{number:03d}.lora_A.weight"].astype(np.float64),
                each[f"layer{number:03d}.lora_B.weight"].astype(np.float64),
            )
            for each in arrays
        ]
        for number in range(len(SHAPES))
    ]


def _product(arrays: Factors, layer: str) -> NDArray[np.float64]:
    A, B = (arrays[f"{layer}.lora_{part}.weight"].astype(np.float64) for part in "AB")
    return B @ A


def _square(values: NDArray[np.float64]) -> float:
    return float((values**2).sum())


def _factors(rank: int, seed: int) -> Factors:
    """Factors of the size real adapters have: A near one shared start, B about 1e-3."""
    start, rng = np.random.default_rng(99), np.random.default_rng(seed)
    factors: Factors = {}
    for i, (rows, columns) in enumerate(SHAPES):
        A = start.standard_normal((rank, columns), dtype=np.float32) / np.float32(rank)
        A += np.float32(1e-3) * rng.standard_normal((rank, columns), dtype=np.float32)
        factors[f"layer{i:03d}.lora_A.weight"] = A
        factors[f"layer{i:03d}.lora_B.weight"] = np.float32(1e-3) * rng.standard_normal(
            (rows, rank), dtype=np.float32
        )
    return factors
