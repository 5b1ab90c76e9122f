"""What the trainer's tests share: a random base model and folders of pictures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trainer_rig import MakePictures, picture, write_random_model

# More threads than free cores wait for one another: a tiny step takes ten times as long.
os.environ.setdefault("FEDTUI_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random model that has every part of Stable Diffusion 1.5."""
    return write_random_model(tmp_path_factory.mktemp("model") / "tiny-random")


@pytest.fixture
def make_pictures(tmp_path: Path) -> MakePictures:
    """Writes captioned PNG files into a folder below the test's own."""

    def make(name: str = "pictures", count: int = 4, first: int = 0) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(first, first + count):
            picture(number).save(folder / f"{number:03d}.png")
            (folder / f"{number:03d}.txt").write_text(f"a red house, number {number % 3}\n")
        return folder

    return make
