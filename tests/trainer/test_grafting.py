"""Weights that stay with a participant, put into a file of those that are trained together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer import tensor_file
from trainer.aggregate.dense import EMA_PREFIX, VELOCITY_PREFIX
from trainer.errors import TrainerError
from trainer.job import Job
from trainer.measures.requests import graft_whole
from trainer.protocol import GraftWhole

NAMES = ("conv_in.weight", "mid.weight", "conv_out.weight")


def weights(path: Path, value: float, *prefixes: str) -> str:
    arrays = {
        prefix + name: np.full((2, 3), value + number, dtype=np.float32)
        for prefix in ("", *prefixes)
        for number, name in enumerate(NAMES)
    }
    tensor_file.write(path, arrays, {"fedtui.rounds": "3"})
    return str(path)


def test_only_named_weights_change_and_their_averages_follow(tmp_path: Path) -> None:
    state = weights(tmp_path / "state", 0.0, EMA_PREFIX, VELOCITY_PREFIX)
    own = weights(tmp_path / "own", 100.0)
    out = tmp_path / "out"
    result = graft_whole(GraftWhole(state, own, ("conv_in", "conv_out"), str(out)), Job())
    made, notes = tensor_file.read_all(out)
    assert result["grafted"] == 2
    assert notes == {"fedtui.rounds": "3"}
    first = {name: float(array[0, 0]) for name, array in made.items()}
    expected = {"conv_in.weight": 100.0, "mid.weight": 1.0, "conv_out.weight": 102.0}
    assert first == expected | {EMA_PREFIX + name: value for name, value in expected.items()}


@pytest.mark.parametrize(
    ("words", "says"),
    [(("conv_inn",), "'conv_inn'"), (("weight",), "Every weight"), (("conv_in", "x"), "'x'")],
)
def test_words_that_keep_nothing_or_everything_are_refused(
    words: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    state = weights(tmp_path / "state", 0.0)
    with pytest.raises(TrainerError) as caught:
        graft_whole(GraftWhole(state, state, words, str(tmp_path / "out")), Job())
    assert says in caught.value.cause
    assert not (tmp_path / "out").exists()


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    state = weights(tmp_path / "state", 0.0)
    tensor_file.write(tmp_path / "other", {"conv_in.weight": np.zeros((3, 3), dtype=np.float32)})
    request = GraftWhole(state, str(tmp_path / "other"), ("conv_in",), str(tmp_path / "out"))
    with pytest.raises(TrainerError, match="do not fit"):
        graft_whole(request, Job())
    (tmp_path / "other").write_bytes(b"nothing")
    with pytest.raises(TrainerError, match="cannot be read"):
        graft_whole(request, Job())
