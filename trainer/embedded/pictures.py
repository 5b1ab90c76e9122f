"""Pictures as tensors, and the meaningless drawings that widen the autoencoder's view."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, sin
from random import Random

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

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


def brushwork(rng: Random) -> Image.Image:
    """Random paint: a field of broad strokes along random waves, of no scene and no style.

    Without it the decoder smooths every stroke away, whatever an adapter learns later.
    """
    base = doodle(rng)
    side = 4 * FRAME
    image = base.filter(ImageFilter.GaussianBlur(2)).resize((side, side))
    pen = ImageDraw.Draw(image)
    spacing, width = 3.5 + 3 * rng.random(), 2.5 + 3.5 * rng.random()
    turn, bend, wave = 6.3 * rng.random(), 2.5 * rng.random(), 5 + 15 * rng.random()
    phase, spread, odd = 6.3 * rng.random(), 20 + 90 * rng.random(), 0.3 * rng.random()
    accent = [int(256 * rng.random()) for _ in range(3)]
    count = int((FRAME / spacing + 1) ** 2)
    for _ in range(count):
        x, y = FRAME * rng.random(), FRAME * rng.random()
        pixel = base.getpixel((int(x), int(y)))
        assert isinstance(pixel, tuple)
        light = spread * (rng.random() - 0.5)
        source = accent if rng.random() < odd else list(pixel)
        colour = [int(max(0, min(255, c + light + 30 * (rng.random() - 0.5)))) for c in source]
        points = []
        for _ in range(5):
            points.append((4 * x, 4 * y))
            angle = turn + bend * (sin(x / wave + phase) + sin(y / wave))
            x, y = x + 0.7 * width * cos(angle), y + 0.7 * width * sin(angle)
        pen.line(
            points, fill=(colour[0], colour[1], colour[2]), width=round(4 * width), joint="curve"
        )
    return image.reduce(4)


def fresh_batch(seed: int, scenes: int, doodles: int, strokes: int = 0) -> torch.Tensor:
    """Plain scenes of the base, doodles and brushwork by seed, (n, 3, 64, 64)."""
    rng = Random(seed)
    images = [draw(sample_scene(rng)) for _ in range(scenes)]
    images += [doodle(rng) for _ in range(doodles)]
    return as_tensor(images + [brushwork(rng) for _ in range(strokes)])
