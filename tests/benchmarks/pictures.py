"""A 256x256 picture at 64x32 cells, first time and from the cache."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from fedtui.tui.widgets.picture import Key, drawn
from tests.benchmarks.measure import Line, seconds

COLUMNS, ROWS, RUNS = 64, 32, 7


def run() -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.png"
        Image.effect_noise((256, 256), 80).convert("RGB").save(path)
        for mode in ("half", "quadrant"):
            key = Key(str(path), COLUMNS, ROWS, mode, (0, 0, 0))
            cold = min(seconds(lambda k=key, n=n: drawn(k, n, 0)) for n in range(RUNS))
            warm = min(seconds(lambda k=key: drawn(k, 0, 0)) for _ in range(RUNS))
            yield Line(f"256x256 picture at 64x32 cells, {mode}", warm, cold, "cold cache")
