"""Aspect-ratio buckets: pictures keep their shape, batches keep one size.

Every bucket has about as many pixels as the square of the resolution. A picture goes to the bucket
whose shape is nearest to its own, is scaled until it covers it, and loses only what sticks out on
two sides (the idea of NovelAI's training, 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainer.config import MAX_ASPECT

Size = tuple[int, int]
"""Width and height in pixels."""
SIDE_STEP = 8
"""Pixels; the autoencoders of all families shrink by 4 or 8. Transformers that take two latents for
one token need twice that: :attr:`trainer.models.base.Family.side_step`."""


@dataclass(frozen=True)
class Placement:
    """How a picture covers its bucket: scaled to ``scaled``, then cut out at (left, top)."""

    bucket: Size
    scaled: Size
    left: int
    top: int


def default_step(resolution: int, side_step: int = SIDE_STEP) -> int:
    """Pixels between two sizes, multiples of ``side_step``: 64 at 512, as others have it."""
    return max(side_step, resolution // 8 // side_step * side_step)


def sizes(resolution: int, step: int) -> tuple[Size, ...]:
    """All buckets, the square first, then by shape from tall to wide.

    Sides are multiples of ``step`` and no bucket has more pixels than the square, so none takes
    more memory; the longer side is at most MAX_ASPECT times the shorter.
    """
    area = resolution * resolution
    found = set()
    for width in range(step, int(resolution * math.sqrt(MAX_ASPECT)) + 1, step):
        height = min(area // width // step * step, int(width * MAX_ASPECT) // step * step)
        if height and width <= height * MAX_ASPECT:
            found |= {(width, height), (height, width)}
    square = (resolution, resolution)
    return (square, *sorted(found - {square}, key=lambda size: (size[0] / size[1], size)))


def nearest(width: int, height: int, among: tuple[Size, ...]) -> Size:
    """The bucket whose aspect ratio is closest, the largest of equally close ones."""
    aspect = math.log(width / height)
    return min(among, key=lambda s: (abs(math.log(s[0] / s[1]) - aspect), -s[0] * s[1]))


def placed(size: Size, bucket: Size, position: tuple[float, float] = (0.5, 0.5)) -> Placement:
    """Scales a picture to just cover its bucket; ``position`` is where in the overhang to cut.

    0 is the left or upper end, 1 the other, 0.5 the middle.
    """
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    scaled = (max(bucket[0], round(size[0] * scale)), max(bucket[1], round(size[1] * scale)))
    left = round((scaled[0] - bucket[0]) * position[0])
    top = round((scaled[1] - bucket[1]) * position[1])
    return Placement(bucket, scaled, left, top)
