"""From a loaded model to the first step: 40 pictures encoded, and recalled from the cache.

The bar is 1.5 s between a loaded model and the first step with a warm cache.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.benchmarks.measure import Line, seconds
from trainer import cache, dataset, device, models
from trainer.cache import Cache
from trainer.dataset import PLAIN
from trainer.embedded import federated
from trainer.embedded.scenes import sample_scene
from trainer.job import Job
from trainer.models.base import Digests
from trainer.scan_index import ScanIndex
from trainer.selection import Selection

PICTURES, RUNS = 40, 5
BAR_S = 1.5


def run() -> Iterator[Line]:
    base = models.resolve("tiny-landscapes")
    model, digests = base.family.load(base, device.configure()), Digests.of(base)
    with tempfile.TemporaryDirectory() as place:
        folder, kept = Path(place) / "pictures", Path(place) / "cache"
        rng = Random(0)
        scenes = [sample_scene(rng) for _ in range(PICTURES)]
        federated.write_dataset(folder, scenes, "plain", seed=0)

        def prepare() -> None:
            contents = dataset.scan(folder, index=ScanIndex(kept))
            selection = Selection.of(contents, PLAIN, base.resolution)
            supply = cache.supply(selection, model, digests, Cache(kept), Job())
            supply.batch(8, 0, 0, 0, "")

        def afresh() -> float:
            shutil.rmtree(kept, ignore_errors=True)
            return seconds(prepare)

        times = [(afresh(), seconds(prepare)) for _ in range(RUNS)]
    cold, warm = (min(column) for column in zip(*times, strict=True))
    yield Line(f"first batch of {PICTURES} pictures, warm cache", warm, cold, "cold cache")
    yield Line("the same", warm, BAR_S, "the bar")
