"""Strangers' files: what is accepted, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.adapter import factor_shapes, initial_factors
from trainer.safefile import check
from trainer.tensor_file import write

LAYERS = {"block.to_q": (12, 8), "block.to_k": (12, 6)}
SHAPES = factor_shapes(LAYERS, 4)
LIMIT = 1 << 20


@pytest.fixture
def factors() -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in initial_factors(SHAPES, 1)}


def reason(path: Path, factors: dict[str, np.ndarray], **metadata: str) -> str:
    write(path, factors, metadata)
    verdict = check(path, SHAPES, LIMIT)
    assert verdict.ok == (verdict.reason == "")
    return verdict.reason


def test_an_honest_contribution_passes(tmp_path: Path, factors: dict[str, np.ndarray]) -> None:
    assert reason(tmp_path / "x", factors) == ""


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(
    tmp_path: Path, factors: dict[str, np.ndarray], value: float
) -> None:
    factors["block.to_q.lora_B.weight"][3, 2] = value
    assert "NaN or infinity" in reason(tmp_path / "x", factors)


def test_values_and_norms_beyond_any_training(
    tmp_path: Path, factors: dict[str, np.ndarray]
) -> None:
    factors["block.to_q.lora_B.weight"][0, 0] = 2e4
    assert "beyond" in reason(tmp_path / "x", factors)
    zero = {name: np.zeros_like(array) for name, array in factors.items()}
    assert "norm" in reason(tmp_path / "y", zero)


def test_another_shape_type_or_name(tmp_path: Path, factors: dict[str, np.ndarray]) -> None:
    name = "block.to_q.lora_A.weight"
    assert "shape" in reason(tmp_path / "a", factors | {name: np.ones((5, 8), np.float32)})
    assert "F16" in reason(tmp_path / "b", factors | {name: factors[name].astype(np.float16)})
    extra = reason(tmp_path / "c", factors | {"\x1b[2Jevil": np.ones(1, np.float32)})
    assert "does not have" in extra
    assert "\x1b" not in extra
    del factors[name]
    assert "1 of 4 tensors are missing" in reason(tmp_path / "d", factors)


def test_metadata_and_size_are_bounded(tmp_path: Path, factors: dict[str, np.ndarray]) -> None:
    assert reason(tmp_path / "a", factors, note="x" * 1000) == ""
    assert "metadata" in reason(tmp_path / "b", factors, note="x" * 5000)
    write(tmp_path / "c", factors)
    verdict = check(tmp_path / "c", SHAPES, 100)
    assert not verdict.ok
    assert "100" in verdict.reason


def test_a_truncated_file_is_a_verdict_not_a_failure(
    tmp_path: Path, factors: dict[str, np.ndarray]
) -> None:
    whole = write(tmp_path / "x", factors)
    content = (tmp_path / "x").read_bytes()
    for size in range(0, whole.bytes, 37):
        (tmp_path / "x").write_bytes(content[:size])
        assert not check(tmp_path / "x", SHAPES, LIMIT).ok


def test_no_bytes_whatever_raise(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    honest = write(tmp_path / "h", dict(initial_factors(SHAPES, 1)))
    content = bytearray(honest.path.read_bytes())
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(0, 300, 3):
            damaged[position] = int(rng.integers(0, 256))
        (tmp_path / "x").write_bytes(damaged)
        verdict = check(tmp_path / "x", SHAPES, LIMIT)
        assert verdict.ok or verdict.reason
