"""Combination is exact, repeatable and independent of order."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from trainer.adapter import factor_shapes, initial_factors
from trainer.aggregate import modes
from trainer.aggregate.kernel import SMALLEST_NORMAL, Combination, narrow, tree_sum, widen
from trainer.errors import TrainerError
from trainer.job import Job
from trainer.protocol import WeightedFile
from trainer.tensor_file import read_all, write

SHAPES = factor_shapes({"a.to_q": (20, 20), "a.to_k": (20, 12), "b.to_v": (7, 33)}, 4)
COUNTS = (20, 40, 60, 40, 40)

GOLDEN = "b6d160b6e9f56b09c81754644cb70a5f387f2d28dcd69546b9b6ccebb68733d5"
"""SHA-256 of the result for the inputs below, on every machine."""


def stranger(path: Path, seed: int, size: float = 0.1) -> Path:
    """Factors from SHA-256 alone, so that the golden vector needs no generator of numpy."""
    arrays = {}
    for name, shape in SHAPES.items():
        digest = hashlib.shake_128(f"{seed}{name}".encode()).digest(4 * math.prod(shape))
        words = np.frombuffer(digest, "<i4").astype(np.float64) / 2**31
        arrays[name] = (words * size).astype(np.float32).reshape(shape)
    write(path, arrays)
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> list[WeightedFile]:
    return [
        WeightedFile(f"id{n}", str(stranger(tmp_path / f"in{n}", n)), count)
        for n, count in enumerate(COUNTS)
    ]


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    return write(tmp_path / "previous", dict(initial_factors(SHAPES, 3))).path


def fedavg(inputs: list[WeightedFile], previous: Path, out: Path) -> Combination:
    return modes.combine("fedavg", inputs, previous, out, Job())


def test_golden_vector(inputs: list[WeightedFile], previous: Path, tmp_path: Path) -> None:
    assert fedavg(inputs, previous, tmp_path / "out").written.sha256 == GOLDEN


def test_the_order_of_arrival_does_not_matter(
    inputs: list[WeightedFile], previous: Path, tmp_path: Path
) -> None:
    one = fedavg(inputs, previous, tmp_path / "1")
    other = fedavg(inputs[::-1], previous, tmp_path / "2")
    assert one.written.sha256 == other.written.sha256
    assert one.norms == other.norms
    assert one.cosines == other.cosines


def test_ids_decide_the_order_of_the_sum_where_it_matters(tmp_path: Path) -> None:
    """1e20 + 1 - 1e20 is 0 or 1 in float64, by order."""
    name = "a.lora_A.weight"
    paths = [
        write(tmp_path / str(n), {name: np.full((1, 1), value, np.float32)}).path
        for n, value in enumerate((1e20, 1.0, -1e20))
    ]
    inputs = [WeightedFile(f"id{n}", str(path), 1) for n, path in enumerate(paths)]
    results = set()
    for order in ((0, 1, 2), (0, 2, 1), (2, 1, 0), (1, 0, 2)):
        fedavg([inputs[n] for n in order], paths[1], tmp_path / "out")
        results.add(float(read_all(tmp_path / "out")[0][name].item()))
    assert results == {0.0}


def test_the_mean_is_weighted_by_counts(
    inputs: list[WeightedFile], previous: Path, tmp_path: Path
) -> None:
    fedavg(inputs, previous, tmp_path / "out")
    result, _ = read_all(tmp_path / "out")
    files = [read_all(Path(item.path))[0] for item in inputs]
    for name in SHAPES:
        wanted = sum(
            count * arrays[name].astype(np.longdouble)
            for count, arrays in zip(COUNTS, files, strict=True)
        ) / sum(COUNTS)
        assert np.abs(result[name] - wanted).max() <= np.spacing(np.float32(0.1))
        uniform = sum(arrays[name].astype(np.float64) for arrays in files) / len(files)
        assert np.abs(result[name] - uniform).max() > 1e-3


def test_one_contribution_comes_back_unchanged(
    inputs: list[WeightedFile], previous: Path, tmp_path: Path
) -> None:
    only = inputs[2]
    assert (
        fedavg([only], previous, tmp_path / "out").written.sha256
        == hashlib.sha256(Path(only.path).read_bytes()).hexdigest()
    )


def test_scaling_all_weights_changes_nothing(
    inputs: list[WeightedFile], previous: Path, tmp_path: Path
) -> None:
    scaled = [WeightedFile(i.id, i.path, i.weight * 64) for i in inputs]
    one = fedavg(inputs, previous, tmp_path / "1").written.sha256
    assert fedavg(scaled, previous, tmp_path / "2").written.sha256 == one


def test_a_peer_counts_like_its_clones(
    inputs: list[WeightedFile], previous: Path, tmp_path: Path
) -> None:
    third = inputs[2]
    clones = [
        *inputs[:2],
        WeightedFile("x1", third.path, 20),
        WeightedFile("x2", third.path, 40),
        *inputs[3:],
    ]
    fedavg(inputs, previous, tmp_path / "1")
    fedavg(clones, previous, tmp_path / "2")
    one, two = read_all(tmp_path / "1")[0], read_all(tmp_path / "2")[0]
    assert all(np.abs(one[name] - two[name]).max() <= 1e-8 for name in SHAPES)


def test_norms_and_cosines_of_updates(
    inputs: list[WeightedFile], previous: Path, tmp_path: Path
) -> None:
    combination = fedavg(inputs, previous, tmp_path / "out")
    base, result = read_all(previous)[0], read_all(tmp_path / "out")[0]

    def flat(arrays: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([(arrays[n] - base[n]).ravel() for n in SHAPES]).astype(np.float64)

    step = flat(result)
    for item in inputs:
        update = flat(read_all(Path(item.path))[0])
        norm = np.linalg.norm(update)
        assert combination.norms[item.id] == pytest.approx(norm, rel=1e-6)
        cosine = update @ step / (norm * np.linalg.norm(step))
        assert combination.cosines[item.id] == pytest.approx(cosine, rel=1e-5)


def test_an_unchanged_contribution_has_no_direction(previous: Path, tmp_path: Path) -> None:
    item = WeightedFile("lazy", str(previous), 5)
    combination = fedavg([item], previous, tmp_path / "out")
    assert combination.norms == {"lazy": 0.0}
    assert combination.cosines == {"lazy": 0.0}


def test_subnormals_count_as_zero() -> None:
    tiny = np.array([1e-40, -1e-40, SMALLEST_NORMAL, -0.0], np.float32)
    assert widen(tiny).tobytes() == np.array([0, 0, SMALLEST_NORMAL, 0.0]).tobytes()
    assert (
        narrow(np.array([1e-40, -0.0, 0.5])).tobytes()
        == np.array([0, 0, 0.5], np.float32).tobytes()
    )


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 64, 1000])
def test_tree_sum_adds_everything(size: int) -> None:
    values = np.arange(1, size + 1, dtype=np.float64)
    assert tree_sum(values) == size * (size + 1) / 2


@pytest.mark.parametrize("weights", [(0, 1), (-1, 1), (1 << 29, 1)])
def test_weights_that_would_not_be_exact_are_refused(
    inputs: list[WeightedFile], previous: Path, tmp_path: Path, weights: tuple[int, int]
) -> None:
    wrong = [WeightedFile(i.id, i.path, w) for i, w in zip(inputs, weights, strict=False)]
    with pytest.raises(TrainerError) as caught:
        fedavg(wrong, previous, tmp_path / "out")
    assert caught.value.code == 2


def test_what_cannot_be_combined_is_refused(
    inputs: list[WeightedFile], previous: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "other", {"a.to_q.lora_A.weight": np.ones((4, 20), np.float32)})
    for wrong in (
        [],
        [inputs[0], inputs[0]],
        [WeightedFile("x", str(other.path), 1)],
        [WeightedFile("x", str(tmp_path / "missing"), 1)],
    ):
        with pytest.raises(TrainerError):
            fedavg(wrong, previous, tmp_path / "out")
    with pytest.raises(TrainerError, match="unknown"):
        modes.combine("fedsum", inputs, previous, tmp_path / "out", Job())
    assert not (tmp_path / "out").exists()


def test_nan_that_slipped_in_is_refused(
    inputs: list[WeightedFile], previous: Path, tmp_path: Path
) -> None:
    arrays = {n: a.copy() for n, a in read_all(Path(inputs[0].path))[0].items()}
    arrays["a.to_q.lora_A.weight"][0, 0] = np.nan
    bad = write(tmp_path / "nan", arrays)
    with pytest.raises(TrainerError, match="combined"):
        fedavg([WeightedFile("x", str(bad.path), 1)], previous, tmp_path / "out")
