"""``python -m tests.benchmarks.gpu_sd15``: images per second of LoRA training on a GPU.

Stable Diffusion 1.5 at its full size with random weights, rank 16, 512 x 512, batch 1, 8 and 32,
everything encoded before. One step takes 1,725 GFLOP per image (forward 808, backward 917, counted
with torch's FlopCounterMode), so images per second give the share of the card's peak.

``--model FOLDER --side 32 --device cpu`` runs the same steps on something small.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from tests.benchmarks.sd15 import write_checkpoint
from trainer import cache, dataset, loop, memory, models, precision, trainee, training
from trainer.cache import Cache
from trainer.device import described
from trainer.job import Job
from trainer.memory import Plan
from trainer.models.base import BaseModel, Digests, LoadedModel
from trainer.protocol import AdapterSpec, Train
from trainer.selection import Selection

FLOP_PER_IMAGE = 1.725e12
PEAK = 790e12
"""Dense bfloat16 of an H200, per second."""
BATCHES = (1, 8, 32)
WARM_UP, STEPS = 5, 30
PICTURES = 32
BEST_PUBLISHED = 5.5
"""Images per second at batch 1 on an H100: SimpleTuner's table, 0.181 s a step."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", help="a model folder instead of SD 1.5")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU here", file=sys.stderr)
        return 5
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = Path(options.model) if options.model else write_checkpoint(folder / "sd15")
        _pictures(folder / "pictures", options.side)
        base = models.resolve(str(model))
        loaded = base.family.load(base, device)
        print(f"{described(device)}, {base.name}, {options.side} pixels, r = 16")
        for batch in options.batches:
            with fitting(batch):
                rate = measured(base, loaded, folder, batch, options.side, options.compile)
                share = rate * FLOP_PER_IMAGE / PEAK
                against = f", {rate / BEST_PUBLISHED:.1f}x the best published" if batch == 1 else ""
                print(f"batch {batch:3}  {rate:8.2f} images/s  {share:6.1%} of peak{against}")
    return 0


def measured(
    base: BaseModel, model: LoadedModel, folder: Path, batch: int, side: int, compiled: bool
) -> float:
    """Images per second over :data:`STEPS` steps."""
    request = Train(
        str(base.folder), str(folder / "pictures"), str(folder / "out"), AdapterSpec(16, 16),
        STEPS, batch=batch, resolution=side, learning_rate=1e-4,
    )  # fmt: skip
    contents = dataset.scan(folder / "pictures", Job(), side)
    selection = Selection.of(contents, dataset.PLAIN, side)
    kept = Cache(folder / "cache")
    supply = cache.supply(selection, model, Digests.of(base), kept, Job())
    network = model.components[base.family.adapted]
    what = trainee.of(request, base)
    recipe = training._recipe(request, Plan(batch, False), "benchmark")
    latents = max(model.latent_shape(supply.moments[0][0][None])[2:])

    def run(steps: int) -> None:
        loop.train(
            model, network, parameters, loop.Material(supply), replace(recipe, steps=steps), Job()
        )

    with (
        what.parameters(model) as parameters,
        precision.lowered(model, network, latents, whole=False),
        precision.prepared(network, checkpointing=False, compiled=compiled),
    ):
        run(WARM_UP)
        return STEPS * batch / _clocked(lambda: run(STEPS), model.device)


def _clocked(work: Callable[[], None], device: torch.device) -> float:
    """Wall time until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


@contextmanager
def fitting(batch: int) -> Iterator[None]:
    """Says that a batch did not fit, and goes on."""
    try:
        yield
    except Exception as error:
        if not memory.is_exhaustion(error):
            raise
        print(f"batch {batch:3}  does not fit into memory")


def _pictures(folder: Path, side: int) -> None:
    from PIL import Image

    folder.mkdir()
    for number in range(PICTURES):
        Image.effect_noise((side, side), 40 + number).convert("RGB").save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a house\n")


if __name__ == "__main__":
    sys.exit(main())
