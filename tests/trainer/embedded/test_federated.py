"""The demo's data: uneven, disjoint, and ordinary files on disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from trainer.embedded.federated import (
    COUNTS,
    DEMO_PROMPTS,
    KINDS,
    heldout_scenes,
    participant_count,
    participant_scenes,
    write_dataset,
)


def test_counts_are_those_of_the_paper_and_go_on() -> None:
    assert [participant_count(index) for index in range(7)] == [*COUNTS, 20, 40]


def test_each_participant_has_mostly_its_own_kind() -> None:
    for index, kind in enumerate(KINDS):
        scenes = participant_scenes(index, 60, seed=1)
        for name in ("time", "relief", "ground"):
            wanted = getattr(kind, name)
            if wanted is not None:
                counts = Counter(getattr(scene, name) for scene in scenes)
                assert counts[wanted] > 0.65 * len(scenes), (kind, counts)
                assert len(counts) > 1, "no participant is of one kind only"


def test_nobody_holds_another_ones_or_a_held_out_scene() -> None:
    owners = [participant_scenes(index, 60, seed=1) for index in range(7)]
    owners += [heldout_scenes(200, seed=1), heldout_scenes(200, seed=2)]
    layouts = [scene.layout for scenes in owners[:8] for scene in scenes]
    assert len(layouts) == len(set(layouts))
    held_out = {scene.layout for scenes in owners[7:] for scene in scenes}
    assert held_out.isdisjoint(scene.layout for scenes in owners[:7] for scene in scenes)


def test_scenes_depend_on_index_and_seed_alone() -> None:
    assert participant_scenes(2, 9, seed=4) == participant_scenes(2, 9, seed=4)
    assert participant_scenes(2, 9, seed=4) == participant_scenes(2, 20, seed=4)[:9]
    assert participant_scenes(2, 9, seed=4) != participant_scenes(2, 9, seed=5)


def test_some_lighthouses_are_there_to_be_learnt() -> None:
    scenes = [s for index in range(5) for s in participant_scenes(index, COUNTS[index], seed=1)]
    share = sum("lighthouse" in scene.objects for scene in scenes) / len(scenes)
    assert 0.08 < share < 0.25


def test_a_data_set_is_pictures_and_captions(tmp_path: Path) -> None:
    scenes = participant_scenes(0, 5, seed=1)
    write_dataset(tmp_path / "pictures", scenes, seed=1)
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == [f"{n:04d}.{end}" for n in range(5) for end in ("png", "txt")]
    for number, scene in enumerate(scenes):
        with Image.open(tmp_path / "pictures" / f"{number:04d}.png") as image:
            assert (image.size, image.mode) == ((64, 64), "RGB")
        text = (tmp_path / "pictures" / f"{number:04d}.txt").read_text(encoding="utf-8")
        words = text.strip().split(", ")
        assert words[0] == "van_gogh"
        assert {scene.time, scene.ground, scene.relief} <= set(words)


def test_plain_data_sets_do_not_name_a_style(tmp_path: Path) -> None:
    write_dataset(tmp_path, heldout_scenes(2, seed=1), "plain")
    assert "van_gogh" not in (tmp_path / "0000.txt").read_text()


@pytest.mark.parametrize(("index", "count"), [(-1, 3), (0, -1)])
def test_negative_numbers_are_refused(index: int, count: int) -> None:
    with pytest.raises(ValueError):
        participant_scenes(index, count, seed=1)


def test_four_demo_prompts_ask_for_the_style() -> None:
    assert len(DEMO_PROMPTS) == 4
    assert all(prompt.startswith("van_gogh, ") for prompt in DEMO_PROMPTS)
