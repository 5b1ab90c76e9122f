"""Grids of pictures: axes as people write them, and the order of their product."""

from __future__ import annotations

import pytest

from fedtui.errors import UsageError
from fedtui.grid import Axis, laid_out, parsed
from trainer.protocol import Shot

AXES = {
    "seed=1,2,3": (1, 2, 3),
    "seed=0:4:5": (0, 1, 2, 3, 4),
    "seed=3:1": (3, 2, 1),
    "lora=0:1:5": (0.0, 0.25, 0.5, 0.75, 1.0),
    "lora2=0.1": (0.1,),
    "cfg=2,7.5": (2.0, 7.5),
    "steps=10:20:2": (10, 20),
    "prompt=a house, red | the sea": ("a house, red", "the sea"),
    "sampler=ddim,euler_a": ("ddim", "euler_a"),
}


@pytest.mark.parametrize(("text", "values"), AXES.items())
def test_an_axis_is_a_name_and_values(text: str, values: tuple[object, ...]) -> None:
    axis = parsed(text, adapters=2)
    assert axis == Axis(text.partition("=")[0], values)  # type: ignore[arg-type]
    assert len(axis.labels()) == len(values)


WRONG = ("seed", "color=1", "lora3=1", "lora0=1", "seed=a", "seed=", "seed=1:2:0", "seed=1:2:3:4",
         "lora=0:nan:3", "seed=0:1:1000", "cfg=1:2:1e9")  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_axis_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(text, adapters=2)
    assert caught.value.cause


def test_without_adapters_there_is_no_weight_to_vary() -> None:
    with pytest.raises(UsageError, match="no adapter to vary"):
        parsed("lora=0:1:5", adapters=0)


def test_the_first_axis_runs_along_a_row() -> None:
    base = Shot("x", 7, "no", (1.0, 0.5), 9, 4.0)
    axes = [parsed(text, 2) for text in ("lora1=0,1", "seed=1,2", "cfg=3,5")]
    grid = laid_out(base, axes)
    assert grid.columns == ("lora1 0", "lora1 1")
    assert grid.rows == ("seed 1, cfg 3", "seed 1, cfg 5", "seed 2, cfg 3", "seed 2, cfg 5")
    assert [(s.weights, s.seed, s.guidance) for s in grid.shots[:4]] == [
        ((0.0, 0.5), 1, 3.0),
        ((1.0, 0.5), 1, 3.0),
        ((0.0, 0.5), 1, 5.0),
        ((1.0, 0.5), 1, 5.0),
    ]
    assert len(grid.shots) == 8
    assert all(s.negative == "no" and s.steps == 9 for s in grid.shots)


def test_one_axis_is_one_row_and_all_weights_move_together() -> None:
    grid = laid_out(Shot("x", 7, weights=(1.0, 0.5)), [parsed("lora=0,2", 2)])
    assert grid.rows == ("",)
    assert [shot.weights for shot in grid.shots] == [(0.0, 0.0), (2.0, 2.0)]


def test_rounds_take_turns_and_other_weights_leave_them_alone() -> None:
    base = Shot("x", 7, weights=(0.5, 0.0, 0.0))
    axes = [parsed(text, 1) for text in ("round=0,2,3", "lora=0.5,1")]
    grid = laid_out(base, axes, {2: 1, 3: 2})
    assert grid.columns == ("round 0", "round 2", "round 3")
    assert [shot.weights for shot in grid.shots] == [
        (0.5, 0.0, 0.0),
        (0.5, 1.0, 0.0),
        (0.5, 0.0, 1.0),
        (1.0, 0.0, 0.0),
        (1.0, 1.0, 0.0),
        (1.0, 0.0, 1.0),
    ]


def test_a_grid_of_too_many_pictures_or_of_one_axis_twice_is_refused() -> None:
    many = [parsed(f"{name}=0:49:50", 0) for name in ("seed", "cfg")]
    with pytest.raises(UsageError, match="cannot be drawn"):
        laid_out(Shot("x", 0), many)
    with pytest.raises(UsageError, match="cannot be drawn"):
        laid_out(Shot("x", 0), [parsed("seed=1", 0)] * 2)
