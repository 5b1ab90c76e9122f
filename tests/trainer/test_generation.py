"""Grids, several adapters, batches, previews, samplers and what the pictures say of themselves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainer import generate, models
from trainer.adapter import factor_shapes, initial_factors, target_layers
from trainer.config import MAX_ADAPTERS
from trainer.errors import Cancelled, TrainerError
from trainer.job import Job
from trainer.live_preview import LatentColours
from trainer.protocol import AdapterSpec, Generate, LoraFile, Shot
from trainer.samplers import SAMPLERS
from trainer.studio import Studio
from trainer.tensor_file import write


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


@pytest.fixture
def request_to_draw(tiny_model: Path, tmp_path: Path) -> Generate:
    """Two prompts' worth of nothing in particular, with two adapters that both change it."""
    base = models.resolve(str(tiny_model))
    loras = []
    for seed, name in enumerate(("brush", "night")):
        shapes = factor_shapes(target_layers(base, AdapterSpec(2 + seed, 2)), 2 + seed)
        rng = np.random.default_rng(seed)
        factors = {
            key: array + rng.normal(size=array.shape).astype(np.float32)
            for key, array in initial_factors(shapes, seed)
        }
        loras.append(LoraFile(str(write(tmp_path / f"{name}.safetensors", factors).path)))
    return Generate(
        str(tiny_model), ("a house",), (1,), str(tmp_path / "out"), tuple(loras), steps=2
    )


def drawn(studio: Studio, request: Generate, job: Job | None = None) -> list[bytes]:
    pictures = studio.generate(request, job or Job())["pictures"]
    return [Image.open(picture["path"]).tobytes() for picture in pictures]


def test_each_picture_of_a_grid_is_what_it_would_be_alone(
    studio: Studio, request_to_draw: Generate
) -> None:
    shots = tuple(
        Shot("a house", seed, weights=weights, steps=2)
        for weights in ((0.0, 0.0), (1.0, 0.0), (0.5, -1.0))
        for seed in (1, 2)
    )
    grid = drawn(studio, replace(request_to_draw, shots=shots))
    assert len(set(grid)) == 6
    for shot, picture in zip(shots, grid, strict=True):
        loras = tuple(
            replace(lora, weight=weight)
            for lora, weight in zip(request_to_draw.loras, shot.weights, strict=True)
        )
        alone = replace(request_to_draw, seeds=(shot.seed,), loras=loras)
        assert drawn(studio, alone) == [picture]
    plain = replace(request_to_draw, loras=(), seeds=(1, 2))
    assert drawn(studio, plain) == grid[:2]


def test_pictures_drawn_at_once_are_those_drawn_one_by_one(
    studio: Studio, request_to_draw: Generate
) -> None:
    # Gently: factors of random numbers make a chaos that answers to the last bit of a sum.
    gentle = tuple(replace(lora, weight=0.01) for lora in request_to_draw.loras)
    several = replace(
        request_to_draw, loras=gentle, prompts=("a house", "the sea"), seeds=(1, 2, 3)
    )
    alone = drawn(studio, several)
    calls: list[int] = []
    job = Job(report=lambda data: calls.append(data["step"]))
    together = drawn(studio, replace(several, batch=4), job)
    assert len(calls) == 4  # two batches of two steps
    assert calls[-1] == 12
    for one, other in zip(alone, together, strict=True):
        difference = np.frombuffer(one, np.uint8).astype(int) - np.frombuffer(other, np.uint8)
        assert np.abs(difference).max() <= 2


def test_only_pictures_that_agree_in_all_but_words_and_seed_are_drawn_at_once(
    request_to_draw: Generate,
) -> None:
    shots = (
        Shot("a", 1),
        Shot("b", 2, negative="x"),
        Shot("b", 2, steps=5),
        Shot("b", 2, weights=(0.0, 1.0)),
        Shot("b", 3, weights=(0.0, 1.0)),
        Shot("b", 4, weights=(0.0, 1.0)),
    )
    exposures = generate.planned(replace(request_to_draw, shots=shots), 32)
    for batch, groups in ((1, [[n] for n in range(6)]), (2, [[0, 1], [2], [3, 4], [5]])):
        found = [[e.number for e in group] for group in generate.together(exposures, batch)]
        assert found == groups
    mixed = replace(request_to_draw, shots=shots[::3] + shots[1::3])
    exposures = generate.planned(mixed, 32)
    assert [[e.number for e in g] for g in generate.together(exposures, 9)] == [[0, 2], [1, 3]]


def test_a_preview_shows_what_emerges(
    studio: Studio,
    request_to_draw: Generate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generate, "PREVIEW_INTERVAL", 0.0)
    place = tmp_path / "look.png"
    looks: list[bytes] = []

    def announce(data: dict[str, Any]) -> None:
        if "preview" in data:
            assert data["preview"] == str(place)
            assert (data["picture"], data["pictures"]) == (0, 1)
            looks.append(Image.open(place).tobytes())

    (picture,) = drawn(studio, replace(request_to_draw, preview=str(place)), Job(announce=announce))
    assert len(looks) == 2 == len(set(looks))
    assert Image.open(place).size == (64, 64)
    final = Image.frombytes("RGB", (32, 32), picture).resize((64, 64), Image.Resampling.BICUBIC)
    last = np.frombuffer(looks[-1], np.uint8).astype(float)
    assert np.abs(last - np.frombuffer(final.tobytes(), np.uint8)).mean() < 3


def test_latents_are_mapped_to_colours_without_the_autoencoder(studio: Studio) -> None:
    """A stand-in whose latents are linear in colours is understood exactly."""

    class Linear:
        device = torch.device("cpu")

        def moments(self, pixels: torch.Tensor) -> torch.Tensor:
            small = torch.nn.functional.interpolate(pixels, scale_factor=0.125, mode="area")
            return torch.cat([small * 2 + 1, small.sum(1, keepdim=True)], dim=1)

        def latents(self, moments: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            return moments

        def latent_shape(self, moments: torch.Tensor) -> tuple[int, ...]:
            return tuple(moments.shape)

    model: Any = Linear()
    pixels = torch.rand(1, 3, 64, 32) * 2 - 1
    seen = LatentColours.fitted(model).picture(model.moments(pixels))
    wanted = torch.nn.functional.interpolate(pixels, scale_factor=0.125, mode="area")[0]
    values = torch.from_numpy(np.asarray(seen).copy()).permute(2, 0, 1).float() / 127.5 - 1
    assert (values - wanted).abs().max() < 0.01


def test_drawing_ends_when_it_is_cancelled(studio: Studio, request_to_draw: Generate) -> None:
    seen: list[dict[str, Any]] = []
    job = Job(lambda: len(seen) > 2, seen.append)
    with pytest.raises(Cancelled):
        drawn(studio, replace(request_to_draw, steps=50), job)
    assert len(seen) == 3


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_every_sampler_draws_and_the_models_own_comes_back(
    studio: Studio, request_to_draw: Generate, name: str
) -> None:
    own = drawn(studio, replace(request_to_draw, steps=3))
    picture = drawn(studio, replace(request_to_draw, steps=3, sampler=name))
    assert (picture == own) == (name == "ddim")
    assert drawn(studio, replace(request_to_draw, steps=3)) == own


def test_the_text_is_what_galleries_read(
    studio: Studio, request_to_draw: Generate, tmp_path: Path
) -> None:
    shot = Shot("a house,\nred", 7, "blue", (0.8, 0.0), 2, 4.5, "dpmpp_2m_karras")
    (picture,) = studio.generate(replace(request_to_draw, shots=(shot,)), Job())["pictures"]
    info = Image.open(picture["path"]).info
    words, negative, settings = info["parameters"].split("\n")
    assert words == "a house, red <lora:brush:0.8>"
    assert negative == "Negative prompt: blue"
    assert settings.startswith(
        "Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, Seed: 7, Size: 32x32, "
    )
    content = Path(request_to_draw.loras[0].path).read_bytes()
    tensors = content[8 + int.from_bytes(content[:8], "little") :]
    short = hashlib.sha256(tensors).hexdigest()[:12]
    assert f'Lora hashes: "brush: {short}", ' in settings
    hashes = json.loads(settings.partition("Hashes: ")[2])
    assert list(hashes) == ["lora:brush"]
    recipe = json.loads(info["fedtui"])
    assert [weight for _, weight in recipe["loras"]] == [0.8, 0.0]
    assert recipe["loras"][0][0].startswith(hashes["lora:brush"])
    assert recipe["seed"] == 7


def test_pictures_can_say_nothing_of_themselves(studio: Studio, request_to_draw: Generate) -> None:
    (picture,) = studio.generate(replace(request_to_draw, metadata=False), Job())["pictures"]
    assert Image.open(picture["path"]).info == {}
    content = Path(picture["path"]).read_bytes()
    assert b"house" not in content


IMPOSSIBLE: tuple[dict[str, Any], ...] = (
    {"batch": 0},
    {"sampler": "nonsense"},
    {"shots": (Shot("a", 1, weights=(1.0,)),)},
    {"shots": (Shot("a", -1),)},
    {"shots": (Shot("a", 1, weights=(float("nan"), 1.0)),)},
    {"loras": (LoraFile("x"),) * (MAX_ADAPTERS + 1)},
    {"loras": (LoraFile("x", 1e6),)},
)


@pytest.mark.parametrize("change", IMPOSSIBLE)
def test_what_cannot_be_drawn_is_refused_before_a_model_is_loaded(
    request_to_draw: Generate, change: dict[str, Any]
) -> None:
    with pytest.raises(TrainerError) as caught:
        generate.planned(replace(request_to_draw, **change), 32)
    assert caught.value.code == 2
    assert caught.value.remedy


def test_sides_are_multiples_of_what_the_model_takes(request_to_draw: Generate) -> None:
    wide = replace(request_to_draw, width=40)
    assert generate.planned(wide, 32, side_step=8)[0].drawing.width == 40
    with pytest.raises(TrainerError) as caught:
        generate.planned(wide, 32, side_step=16)
    assert "multiples of 16" in caught.value.remedy


def test_a_device_without_room_is_answered_with_what_to_change(
    studio: Studio, request_to_draw: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = studio._use(request_to_draw.model, Job()).model

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loaded, "draw", full)
    with pytest.raises(TrainerError, match="Out of memory") as caught:
        studio.generate(replace(request_to_draw, batch=8), Job())
    assert caught.value.remedy == "Use a batch of 4."


def test_grids_go_into_a_folder_or_beside_the_name(request_to_draw: Generate) -> None:
    shots = (Shot("a", 4, weights=(0.0, 1.0)), Shot("a", 4, weights=(1.0, 1.0)))
    for out, names in (
        ("g.png", ["g-000-4.png", "g-001-4.png"]),
        ("g", ["000-4.png", "001-4.png"]),
    ):
        exposures = generate.planned(replace(request_to_draw, shots=shots, out=out), 32)
        assert [exposure.path.name for exposure in exposures] == names
