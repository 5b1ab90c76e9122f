"""Pictures as tensors, and the meaningless drawings that widen the autoencoder's view."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import torch
from PIL import Image, ImageDraw

from trainer.embedded.drawing import FRAME, draw
from trainer.embedded.scenes import Scene, Style, sample_scene


def as_tensor(images: Sequence[Image.Image]) -> torch.Tensor:
    """RGB pictures of one size as (n, 3, height, width) float32 in -1..1."""
    stack = np.stack([np.asarray(image.convert("RGB"), dtype=np.uint8) for image in images])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def as_images(pixels: torch.Tensor) -> list[Image.Image]:
    """The inverse of :func:`as_tensor`; values beyond -1..1 are cut off."""
    eight = ((pixels.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return [Image.fromarray(one) for one in eight.permute(0, 2, 3, 1).cpu().numpy()]


def scene_tensor(scenes: Sequence[Scene], style: Style = "plain") -> torch.Tensor:
    """The drawn scenes, (n, 3, 64, 64) float32 in -1..1."""
    return as_tensor([draw(scene, style) for scene in scenes])


def doodle(rng: Random) -> Image.Image:
    """Random shapes and lines on a random gradient: no scene and no style.

    An autoencoder that has seen scenes only would blur whatever else a user trains on.
    """

    def colour() -> tuple[int, int, int]:
        return int(256 * rng.random()), int(256 * rng.random()), int(256 * rng.random())

    strip = Image.new("RGB", (2, 2))
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        strip.putpixel(corner, colour())
    side = 2 * FRAME
    image = strip.resize((side, side), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(3 + int(25 * rng.random())):
        x, y = side * rng.random(), side * rng.random()
        dx, dy = 40 * rng.random() - 20, 40 * rng.random() - 20
        kind = rng.random()
        if kind < 0.6:
            bend = (x + dx / 2 + 6 * rng.random() - 3, y + dy / 2 + 6 * rng.random() - 3)
            pen.line(
                [(x, y), bend, (x + dx, y + dy)], fill=colour(), width=2 + int(7 * rng.random())
            )
        elif kind < 0.8:
            pen.ellipse((x, y, x + abs(dx), y + abs(dy)), fill=colour())
        else:
            pen.polygon([(x, y), (x + dx, y), (x, y + dy)], fill=colour())
    return image.reduce(2)


def fresh_batch(seed: int, scenes: int, doodles: int) -> torch.Tensor:
    """Plain scenes of the base and doodles, (scenes + doodles, 3, 64, 64), by seed."""
    rng = Random(seed)
    images = [draw(sample_scene(rng)) for _ in range(scenes)]
    return as_tensor(images + [doodle(rng) for _ in range(doodles)])
