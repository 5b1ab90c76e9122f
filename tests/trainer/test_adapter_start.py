"""The adapter that every member starts from is the same bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.adapter import factor_shapes, initial_factors, target_layers, write_initial
from trainer.errors import TrainerError
from trainer.models import resolve
from trainer.protocol import AdapterSpec

LAYERS = {"down.attn1.to_q": (64, 320), "down.attn2.to_k": (64, 768)}
GOLDEN = "99d1f5c52414d9d08811602d1d5f57b4c9f3c27fd78102a70256a12cee5ae648"


def test_golden_start(tmp_path: Path) -> None:
    assert write_initial(tmp_path / "a0", LAYERS, 8, seed=2026).sha256 == GOLDEN


def test_b_is_zero_and_a_is_uniform_within_a_power_of_two() -> None:
    factors = dict(initial_factors(factor_shapes(LAYERS, 8), 1))
    assert not factors["down.attn1.to_q.lora_B.weight"].any()
    for name, bound in (("down.attn1.to_q", 2.0**-4), ("down.attn2.to_k", 2.0**-5)):
        A = factors[f"{name}.lora_A.weight"]
        assert np.abs(A).max() < bound
        assert np.abs(A).min() > 0
        assert A.mean() == pytest.approx(0, abs=bound / 20)
        assert A.std() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_seed_and_layer_decide_the_values() -> None:
    shapes = factor_shapes(LAYERS, 8)
    one, other = dict(initial_factors(shapes, 1)), dict(initial_factors(shapes, 2))
    name = "down.attn1.to_q.lora_A.weight"
    assert (one[name] != other[name]).any()
    alone = dict(initial_factors({name: shapes[name]}, 1))
    assert (alone[name] == one[name]).all()


def test_targets_are_found_from_headers(tiny_model: Path) -> None:
    layers = target_layers(resolve(str(tiny_model)), AdapterSpec(rank=2, alpha=2))
    assert layers
    assert all(name.endswith(("to_q", "to_k", "to_v", "to_out.0")) for name in layers)
    assert all(len(shape) == 2 for shape in layers.values())


def test_convolutions_are_adapted_like_matrices() -> None:
    shapes = factor_shapes({"resnets.0.conv1": (64, 32, 3, 3)}, 4)
    A, B = (dict(initial_factors(shapes, 1))[f"resnets.0.conv1.lora_{x}.weight"] for x in "AB")
    assert A.shape == (4, 32, 3, 3)
    assert B.shape == (64, 4, 1, 1)
    assert np.abs(A).max() < 2.0**-4  # 288 inputs


@pytest.mark.parametrize(
    "spec",
    [
        AdapterSpec(rank=0),
        AdapterSpec(rank=1 << 20),
        AdapterSpec(targets=("to_x",)),
        AdapterSpec(targets=()),
    ],
)
def test_impossible_specs_are_refused(tiny_model: Path, spec: AdapterSpec) -> None:
    with pytest.raises(TrainerError) as caught:
        target_layers(resolve(str(tiny_model)), spec)
    assert caught.value.code == 2


def test_models_that_are_none(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "file.safetensors").write_bytes(b"x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model_index.json").write_text('{"_class_name": "OtherPipeline"}')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model_index.json").write_text("{")
    for name, code in {"nowhere": 2, "file.safetensors": 5, "other": 5, "broken": 5}.items():
        with pytest.raises(TrainerError) as caught:
            resolve(str(tmp_path / name))
        assert caught.value.code == code
        assert caught.value.remedy
