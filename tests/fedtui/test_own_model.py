"""A person's own Stable Diffusion 1.5, as a folder and as one file, through the commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fedtui.cli.app import run
from tests.trainer.single_file_rig import write_single_file
from tests.trainer.trainer_rig import write_random_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
"""Three trainers start one after the other, which takes minutes where all cores are busy."""


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEDTUI_MODELS", str(tmp_path / "models"))


def test_an_own_model_is_looked_at_trained_and_drawn_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder and the file are the same model: one is trained on, the other drawn with."""
    folder = write_random_model(tmp_path / "own")
    file = write_single_file(folder, tmp_path / "checkpoint.safetensors")
    settings = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(folder, tmp_path / "checkpoint", ignore=settings)
    pictures = str(tmp_path / "pictures")
    assert run(["data", "sample", pictures, "--count", "2"]) == 0
    sheet = str(tmp_path / "batches.png")
    assert run(["data", "check", pictures, "--resolution", "32", "--preview", sheet]) == 0
    assert Image.open(sheet).size > (64, 32)

    adapter = tmp_path / "adapter.safetensors"
    capsys.readouterr()
    train = ("train", pictures, "--model", str(folder), "--steps", "1", "--batch", "2")
    assert run([*train, "--rank", "2", "--out", str(adapter), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 2

    picture = tmp_path / "house.png"
    draw = ("generate", "a house", "--model", str(file), "--lora", f"{adapter}:0.5")
    assert run([*draw, "--steps", "2", "--out", str(picture)]) == 0
    with Image.open(picture) as drawn:
        assert drawn.size == (32, 32)
        assert "a house" in drawn.info["parameters"]
