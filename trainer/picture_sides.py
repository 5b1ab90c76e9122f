"""How large the pictures of a folder are beside the size they are trained at."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Any

from trainer.dataset import Picture, deciding_side
from trainer.protocol import DataOptions

STEPS = range(-4, 8)
"""Bounds between bins, in halves of a doubling of the resolution: a quarter of it to eleven times.
0 is the resolution itself, so that no bin lies on both sides of it."""


def sides(pictures: Sequence[Picture], options: DataOptions, resolution: int) -> dict[str, Any]:
    """The part of a report that :class:`trainer.protocol.CheckData` calls ``sides``."""
    bounds = [math.ceil(resolution * 2 ** (step / 2)) for step in STEPS]
    found = [deciding_side(picture, options) for picture in pictures]
    counts = Counter(bisect_right(bounds, side) for side in found)
    at = STEPS.index(0) + 1
    first, last = min(counts, default=at), max(counts, default=at)
    starts, ends = [0, *bounds], [*(bound - 1 for bound in bounds), 0]
    return {
        "resolution": resolution,
        "by": "area" if options.buckets else "shorter side",
        "smaller": sum(side < resolution for side in found),
        "bins": [[starts[i], ends[i], counts[i]] for i in range(first, last + 1)],
    }
