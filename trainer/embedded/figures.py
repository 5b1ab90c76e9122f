"""Measures the assembled model: the figures of the model card."""

from __future__ import annotations

import time
from random import Random
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from trainer.embedded.assemble import GUIDANCE, STEPS, generate
from trainer.embedded.autoencoder import psnr
from trainer.embedded.captions import sentence, tag_caption
from trainer.embedded.classifier import (
    LARGE,
    SceneClassifier,
    accuracy_on_scenes,
    read,
)
from trainer.embedded.scenes import BASE_OBJECTS, Scene, sample_scene

SEED = 20_000_000
"""Far from every training seed."""


def prompt_scenes(count: int, seed: int = SEED) -> list[Scene]:
    """The scenes whose captions are the prompts; the base's distribution, new seeds."""
    rng = Random(seed)
    return [sample_scene(rng) for _ in range(count)]


def shown(
    model: SceneClassifier, scenes: list[Scene], pixels: torch.Tensor
) -> dict[str, float | dict[str, float]]:
    """How often generated pictures show what their prompts asked for.

    Large attributes: share of pictures in which the classifier reads the asked value, a sun
    or moon counted only where one was asked for. Objects: share of asked objects seen.
    ``objects_unasked`` is the mean number of objects seen that nobody asked for.
    """
    readings = read(model, pixels)
    large: dict[str, float] = {}
    for name in LARGE:
        pairs = [
            (getattr(reading, name), getattr(scene, name))
            for reading, scene in zip(readings, scenes, strict=True)
            if getattr(scene, name) != "none"
        ]
        large[name] = sum(a == b for a, b in pairs) / len(pairs)
    objects: dict[str, float] = {}
    for name in BASE_OBJECTS:
        seen = [
            name in r.present for r, s in zip(readings, scenes, strict=True) if name in s.objects
        ]
        objects[name] = sum(seen) / max(1, len(seen))
    asked = [(n in r.present) for r, s in zip(readings, scenes, strict=True) for n in s.objects]
    extra = [
        len((r.present & set(BASE_OBJECTS)) - set(s.objects))
        for r, s in zip(readings, scenes, strict=True)
    ]
    small = {}
    for name in ("stars", "clouds"):
        right = [
            (name in r.present) == getattr(s, name) for r, s in zip(readings, scenes, strict=True)
        ]
        small[name] = sum(right) / len(right)
    return {
        "large_mean": sum(large.values()) / len(large),
        "large": large,
        "objects_mean": sum(asked) / max(1, len(asked)),
        "objects": objects,
        "objects_unasked": sum(extra) / len(extra),
        "stars_and_clouds": small,
        "plain_style": sum(r.style == "plain" for r in readings) / len(readings),
    }


def alignment(
    pipe: StableDiffusionPipeline,
    model: SceneClassifier,
    count: int,
    *,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    sentences: bool = False,
) -> dict[str, Any]:
    """:func:`shown` for ``count`` new prompts, tags or sentences, with how it was measured."""
    scenes = prompt_scenes(count)
    rng = Random(SEED + 1)
    prompts = [sentence(s, rng) if sentences else tag_caption(s) for s in scenes]
    pixels = generate(pipe, prompts, SEED, steps=steps, guidance=guidance)
    form = "sentences" if sentences else "tags"
    method = {"pictures": count, "steps": steps, "guidance": guidance, "prompts": form}
    return {"method": method, **shown(model, scenes, pixels)}


def seconds_per_picture(pipe: StableDiffusionPipeline, steps: int = STEPS) -> float:
    """Median wall time in seconds of one picture on this machine, five tries, one warm-up."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        generate(pipe, ["night, full_moon, mountain, sea, boat, scenery"], 1, steps=steps)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[2]


def measure(pipe: StableDiffusionPipeline, model: SceneClassifier, count: int) -> dict[str, Any]:
    """All figures of the model card."""
    return {
        "psnr_db": {"value": psnr(pipe.vae, seed=SEED + 2, count=512), "pictures": 512},
        "classifier_plain": accuracy_on_scenes(model, "plain", 2000, SEED + 3),
        "classifier_van_gogh": accuracy_on_scenes(model, "van_gogh", 500, SEED + 4),
        "shown_tags": alignment(pipe, model, count),
        "shown_sentences": alignment(pipe, model, count // 2, sentences=True),
        "seconds_per_picture": {
            "value": seconds_per_picture(pipe),
            "threads": torch.get_num_threads(),
            "steps": STEPS,
        },
    }
