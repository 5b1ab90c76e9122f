"""Scenes: deterministic, captioned truthfully, and never showing what the base must not know."""

from __future__ import annotations

import hashlib
from random import Random

import pytest

from trainer.embedded.captions import sentence, tag_caption, tags, training_caption
from trainer.embedded.drawing import draw
from trainer.embedded.scenes import OBJECTS, STYLES, Scene, sample_scene


def scenes(count: int, seed: int) -> list[Scene]:
    rng = Random(seed)
    return [sample_scene(rng) for _ in range(count)]


def test_attributes_and_captions_of_a_seed_never_change() -> None:
    lines = [
        f"{scene}|{tag_caption(scene)}|{sentence(scene, Random(7))}" for scene in scenes(50, 3)
    ]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert digest == "b82399f2da5f2c00b1fca9396b412ae90121145ba6e98e263a19dbbd0c3b9ee2"


@pytest.mark.parametrize("style", STYLES)
def test_the_same_scene_gives_the_same_pixels(style: str) -> None:
    for scene in scenes(4, 11):
        assert draw(scene, style).tobytes() == draw(scene, style).tobytes()  # type: ignore[arg-type]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [32, 64, 128])
def test_pictures_have_the_asked_size(style: str, size: int) -> None:
    image = draw(scenes(1, 2)[0], style, size)  # type: ignore[arg-type]
    assert (image.size, image.mode) == ((size, size), "RGB")


def test_the_two_styles_are_far_apart() -> None:
    for scene in scenes(5, 4):
        plain, painted = draw(scene, "plain").tobytes(), draw(scene, "van_gogh").tobytes()
        difference = sum(abs(a - b) for a, b in zip(plain, painted, strict=True)) / len(plain)
        assert difference > 15  # of 255, mean over pixels


def test_captions_name_every_attribute() -> None:
    for scene in scenes(300, 5):
        words = tag_caption(scene).split(", ")
        assert scene.time in words
        assert scene.relief in words
        assert scene.ground in words
        assert scene.celestial == "none" or scene.celestial in words
        assert ("stars" in words, "clouds" in words) == (scene.stars, scene.clouds)
        assert set(words) & set(OBJECTS) == set(scene.objects)
        assert words[-1] == "scenery"
        text = sentence(scene, Random(1))
        assert all(name.replace("_", " ") in text for name in scene.objects)
        assert ("moon" in text) == scene.celestial.endswith("moon")


def test_training_captions_never_claim_what_is_not_there() -> None:
    rng = Random(6)
    for scene in scenes(300, 6):
        text = training_caption(scene, rng).replace("_", " ")
        for name in OBJECTS:
            assert name in scene.objects or name.replace("_", " ") not in text
        assert set(tags(scene)) >= {scene.time, scene.relief, scene.ground}


def test_the_base_never_sees_the_style_or_the_lighthouse() -> None:
    rng = Random(9)
    for scene in scenes(3000, 9):
        assert "lighthouse" not in scene.objects
        text = training_caption(scene, rng)
        assert "lighthouse" not in text
        assert "gogh" not in text


def test_constraints_hold_and_the_rest_varies() -> None:
    rng = Random(10)
    some = [sample_scene(rng, time="night", ground="sea") for _ in range(200)]
    assert {(scene.time, scene.ground) for scene in some} == {("night", "sea")}
    assert len({scene.relief for scene in some}) == 3
    assert {scene.celestial for scene in some} == {"none", "full_moon", "crescent_moon"}
    assert sample_scene(rng, objects=("boat",)).ground == "sea"
    assert sample_scene(rng, celestial="full_moon").time == "night"
    assert sample_scene(rng, celestial="sun").time != "night"


@pytest.mark.parametrize(
    "change",
    [
        {"time": "noon"},
        {"time": "night", "celestial": "sun"},
        {"time": "day", "stars": True},
        {"ground": "grass", "objects": ("boat",)},
        {"objects": ("tree", "tree")},
        {"objects": ("tree", "pine", "cactus")},
        {"objects": ("castle",)},
    ],
)
def test_impossible_scenes_are_refused(change: dict[str, object]) -> None:
    parts: dict[str, object] = {
        "time": "day", "celestial": "none", "stars": False, "clouds": False,
        "relief": "flat", "ground": "grass", "objects": (), "layout": 1,
    }  # fmt: skip
    with pytest.raises(ValueError):
        Scene(**(parts | change))  # type: ignore[arg-type]
