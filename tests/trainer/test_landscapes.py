"""Landscapes as pictures with classes: shares of a fixed collection, and their judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.embedded.drawing import draw
from trainer.embedded.scenes import Scene
from trainer.errors import TrainerError
from trainer.job import Job
from trainer.measures import landscapes
from trainer.measures.requests import gather_pictures, judge_landscapes, landscape_data
from trainer.protocol import GatherPictures, JudgeLandscapes, LandscapeData

SIDE = 16


def shrunk(scenes: list[Scene]) -> list[Image.Image]:
    return [draw(scene).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for scene in scenes]


def test_every_landscape_belongs_to_exactly_one_participant_or_to_nobody() -> None:
    owned = [scene for i in range(10) for scene in landscapes.share(i, 10, 0.5, 0.0, 1)]
    unseen = landscapes.held_out()
    assert (len(owned), len(unseen)) == (1440, 360)
    assert len({*owned, *unseen}) == 1800
    assert landscapes.count(owned) == [120] * 12
    assert landscapes.count(unseen) == [30] * 12


def test_a_small_beta_leaves_classes_out_and_a_shared_set_brings_them_back() -> None:
    few = landscapes.count(landscapes.share(0, 10, 0.1, 0.0, 1))
    helped = landscapes.count(landscapes.share(0, 10, 0.1, 1.0, 1))
    assert few.count(0) > 3
    assert helped.count(0) == 0


def test_the_judge_reads_landscapes_of_sixteen_pixels_and_sees_a_missing_class() -> None:
    unseen = landscapes.held_out()[::6]
    verdict = landscapes.judge(shrunk(unseen))
    assert verdict.accuracy > 0.97
    assert (verdict.coverage, verdict.pictures) == (1.0, 60)
    assert verdict.entropy > 0.98
    nights = landscapes.judge(shrunk([scene for scene in unseen if scene.time == "night"]))
    assert nights.coverage == pytest.approx(4 / 12)


def test_a_share_is_written_with_its_classes_and_can_be_judged(tmp_path: Path) -> None:
    result = landscape_data(LandscapeData(str(tmp_path / "own"), 3, 50, 0.5), Job())
    assert (
        result["written"] == sum(result["classes"]) == len(list((tmp_path / "own").glob("*.png")))
    )
    assert judge_landscapes(JudgeLandscapes(str(tmp_path / "own")), Job())["coverage"] > 0
    with pytest.raises(TrainerError, match="cannot be shared out"):
        landscape_data(LandscapeData(str(tmp_path / "none"), 50, 50), Job())


def test_drawings_of_several_models_come_into_one_folder(tmp_path: Path) -> None:
    for name, shade in (("one", 10), ("two", 200)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), (shade,) * 3).save(tmp_path / name / "0.png")
    folders = (str(tmp_path / "one"), str(tmp_path / "two"))
    assert gather_pictures(GatherPictures(folders, str(tmp_path / "all")), Job()) == {"written": 2}
    seen = [np.asarray(Image.open(path))[0, 0, 0] for path in sorted((tmp_path / "all").iterdir())]
    assert seen == [10, 200]
