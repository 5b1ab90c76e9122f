"""Training steps against the loop of diffusers' own script, on the same pictures, model and batch.

Both ways take turns, each in a process of its own with one thread, and the processor's time counts:
other work on the machine disturbs it less than the clock on the wall. ``loss`` lines compare the
arithmetic: the same pictures, noise and levels through both ways in float32. Compiling takes
minutes the first time; torch keeps what it made.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import torch
from peft.helpers import disable_input_dtype_casting

from tests.benchmarks.measure import Line
from tests.benchmarks.script_loop import ScriptLoop
from trainer import (
    cache,
    checkpoint,
    dataset,
    embedded,
    loop,
    memory,
    models,
    precision,
    trainee,
    training,
)
from trainer.cache import Cache
from trainer.config import CHECKPOINT_INTERVAL, CHECKPOINT_SHARE
from trainer.embedded import federated
from trainer.embedded.scenes import sample_scene
from trainer.job import Job
from trainer.models.base import Digests
from trainer.protocol import AdapterSpec, Train
from trainer.selection import Selection

PICTURES = 16
PHOTOGRAPH = 1024
"""Pixels along a side of pictures as people bring them: the embedded model's own have 64."""
BATCH = 8
STEPS = 16
RUNS = 3
HANDLED = 5_000
"""Steps with nothing in them, to see what the loop does around them."""
RANK = 8


def run() -> Iterator[Line]:
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rng = Random(0)
        scenes = [sample_scene(rng) for _ in range(PICTURES)]
        pictures, photographs = folder / "pictures", folder / "photographs"
        federated.write_dataset(pictures, scenes, "plain")
        federated.write_dataset(photographs, scenes, "plain", PHOTOGRAPH)
        weights = str(embedded.WEIGHTS)
        yield from _compared("embedded model", weights, pictures, 64, compiled=True)
        yield from _compared(f"the same, pictures of {PHOTOGRAPH}", weights, photographs, 64)
        yield from _compared("SD 1.5 in small", str(_medium(folder / "small")), pictures, 128)
        yield _first_step(folder)
        yield from _overhead(folder)


def _compared(
    name: str, model: str, folder: Path, resolution: int, compiled: bool = False
) -> Iterator[Line]:
    with Ours(model, folder, resolution) as ours, _script(model, folder, resolution) as script_for:
        ours.run(1)
        times = [
            (_processor(lambda: ours.run(STEPS)), script_for("run", STEPS)) for _ in range(RUNS)
        ]
        seen = STEPS * BATCH
        mine, script = (min(each) / seen for each in zip(*times, strict=True))
        yield Line(f"train, {name}", mine, script, "diffusers' script", "s/pic")
        if compiled:
            with precision.prepared(ours.model.components["unet"], False, compiled=True):
                ours.run(1)
                faster = min(_processor(lambda: ours.run(STEPS)) for _ in range(RUNS)) / seen
            yield Line("  the same with --compile", faster, script, "diffusers' script", "s/pic")
        plain = min(script_for("denoise", STEPS) for _ in range(RUNS)) / seen
        yield from _limits(ours, plain, mine, script)
        yield Line(
            "  its encoding, once per picture", ours.encoding / PICTURES, script, "each step", "s"
        )
    yield _same_loss(name, model, folder, resolution)


@contextmanager
def _script(model: str, folder: Path, resolution: int) -> Iterator[Callable[[str, int], float]]:
    """Runs a method of the script for some steps and gives the processor's time of it.

    In another process: what ours does about memory must not help it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, model, folder, resolution))
    process.start()

    def ask(method: str, steps: int) -> float:
        ours.send((method, steps))
        seconds: float = ours.recv()
        return seconds

    try:
        ask("run", 1)
        yield ask
        ours.send(None)
        process.join()
    finally:
        process.kill()


def _serve(connection: Connection, model: str, folder: Path, resolution: int) -> None:
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    script = ScriptLoop.of(Path(model), folder, BATCH, RANK, resolution)
    work = {"run": script.run, "denoise": script.denoise}
    while (asked := connection.recv()) is not None:
        method, steps = asked
        connection.send(_processor(lambda: work[method](steps)))  # noqa: B023


def _limits(ours: Ours, plain: float, mine: float, script: float) -> Iterator[Line]:
    """What the denoiser's forward and backward pass on noise takes of a step; ``plain`` is the
    script's.

    The first ratio is what could be gained at most by a training that does the script's arithmetic
    and nothing beside it, the second what lower precision gains, the third what is left to gain.
    """
    states = ours.examples.states[ours.examples.captions[:BATCH]]
    noise = torch.randn(ours.model.latent_shape(ours.examples.moments[:BATCH]))
    levels = torch.randint(0, 1000, (BATCH,))

    def denoise() -> None:
        for _ in range(STEPS):
            ours.model.predict(noise, levels, states).square().mean().backward()  # type: ignore[no-untyped-call]

    with memory.held(), disable_input_dtype_casting(ours.model.components["unet"]):
        lowered = min(_processor(denoise) for _ in range(RUNS)) / (STEPS * BATCH)
    yield Line("  the script's denoiser alone", plain, script, "its whole step", "s/pic")
    yield Line("  our denoiser alone", lowered, plain, "the script's alone", "s/pic")
    yield Line("  our denoiser alone", lowered, mine, "our whole step", "s/pic")


class Ours:
    """A training as the product runs it, that can be run on for some steps at a time."""

    def __init__(self, model: str, folder: Path, resolution: int) -> None:
        self._request = Train(
            model, str(folder), str(folder.parent / "out"), AdapterSpec(RANK, RANK), STEPS,
            batch=BATCH, resolution=resolution, learning_rate=1e-4,
        )  # fmt: skip
        self._base = models.resolve(model if Path(model) != embedded.WEIGHTS else "tiny-landscapes")
        self.model = self._base.family.load(self._base, torch.device("cpu"))
        contents = dataset.scan(folder, Job(), resolution)
        digests = Digests.of(self._base)
        began = time.process_time()
        selection = Selection.of(contents, dataset.PLAIN, resolution)
        supply = cache.supply(selection, self.model, digests, Cache(None), Job())
        self.encoding = time.process_time() - began
        self.examples = cache.encode(contents, resolution, self.model, digests, Cache(None), Job())
        self.material = loop.Material(supply)
        self._stack = ExitStack()

    def __enter__(self) -> Ours:
        network = self.model.components["unet"]
        what = trainee.of(self._request, self._base)
        self._parameters = self._stack.enter_context(what.parameters(self.model))
        side = self.examples.moments.shape[-1]
        self._stack.enter_context(precision.lowered(self.model, network, side, whole=False))
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def save(self, path: Path) -> None:
        """Writes a checkpoint with the state of an optimiser that has taken a step."""
        progress = loop._begun(self._parameters, self._recipe(1))
        for parameter in self._parameters.values():
            parameter.grad = torch.ones_like(parameter)
        progress.optimizer.step()
        progress.optimizer.zero_grad()
        checkpoint.save(path, "benchmark", BATCH, checkpoint.Place(1, 1.0), progress)

    def _recipe(self, steps: int) -> loop.Recipe:
        plan = training.Plan(BATCH, False)
        return replace(training._recipe(self._request, plan, "benchmark"), steps=steps)

    def run(self, steps: int, job: Job | None = None) -> None:
        network, recipe = self.model.components["unet"], self._recipe(steps)
        loop.train(self.model, network, self._parameters, self.material, recipe, job or Job())


def _same_loss(name: str, model: str, folder: Path, resolution: int) -> Line:
    ours = Ours(model, folder, resolution)
    theirs = ScriptLoop.of(Path(model), folder, BATCH, RANK, resolution)
    examples = ours.examples
    torch.manual_seed(0)
    shape = ours.model.latent_shape(examples.moments[:BATCH])
    posterior, noise = torch.randn((2, *shape))
    levels = torch.randint(0, 1000, shape[:1])
    pictures = theirs.loader.dataset
    batch = [pictures[number] for number in range(BATCH)]
    states = examples.states[examples.captions[:BATCH]]
    with torch.no_grad():
        latents = ours.model.latents(examples.moments[:BATCH], posterior)
        noisy = ours.model.schedule.add_noise(latents, noise, levels)
        mine = loop.objective.loss(
            ours.model.predict(noisy, levels, states),
            loop.objective.target(ours.model.schedule, latents, noise, levels),
        )
        encoded = theirs.pipe.vae.encode(torch.stack([item["pixel_values"] for item in batch]))
        if hasattr(encoded, "latents"):
            scaled = encoded.latents * theirs.pipe.vae.config.scaling_factor
        else:
            spread = encoded.latent_dist.mean + encoded.latent_dist.std * posterior
            scaled = spread * theirs.pipe.vae.config.scaling_factor
        ids = torch.stack([item["input_ids"] for item in batch])
        script = theirs.error(scaled, noise, levels, ids)
    return Line(f"  loss in float32, {name}", float(mine), float(script), "should be equal", "")


def _first_step(folder: Path) -> Line:
    """A training of one step with everything encoded, against importing torch and loading.

    With one thread: those that wait for one another use the processor too.
    """
    kept = folder / "cache"
    request = (
        "from trainer.studio import Studio; from trainer.job import Job;"
        "from trainer.protocol import *;"
        f"Studio().train(Train('tiny-landscapes', {str(folder / 'pictures')!r},"
        f"{str(folder / 'one')!r}, AdapterSpec(), 1, batch=1, cache={str(kept)!r}), Job())"
    )
    load = (
        "import torch; from trainer import models; base = models.resolve('tiny-landscapes');"
        "base.family.load(base, torch.device('cpu'))"
    )

    alone = {**os.environ, "FEDTUI_THREADS": "1", "OMP_NUM_THREADS": "1"}

    def spent(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=alone)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    spent(request)
    times = [(spent(request), spent(load)) for _ in range(2)]
    return Line(
        "start, one step, all encoded before", min(t[0] for t in times), min(t[1] for t in times),
        "torch and the model alone", "s cpu",
    )  # fmt: skip


def _overhead(folder: Path) -> Iterator[Line]:
    """What a step costs beside itself: 1 % would be a ratio of 100.

    Handling is everything the loop does around a step (cancellation, wishes, losses, progress),
    measured without the steps, because a difference of two long runs drowns in noise. Checkpoints
    come in intervals that follow their cost.
    """
    with Ours("tiny-landscapes", folder / "pictures", 64) as ours:
        ours.run(1)
        told: list[dict[str, Any]] = []
        job = Job(lambda: False, told.append, told.append)
        step = min(_processor(lambda: ours.run(STEPS)) for _ in range(RUNS)) / STEPS
        with mock.patch.object(loop, "_advance", _no_step):
            bare = min(_processor(lambda: ours.run(HANDLED, job)) for _ in range(RUNS)) / HANDLED
        yield Line("  handling of a step", bare, step, "the step itself", "s cpu")
        saved = min(_processor(lambda: ours.save(folder / "checkpoint")) for _ in range(RUNS))
    wait = max(CHECKPOINT_INTERVAL, saved / CHECKPOINT_SHARE)
    yield Line("  a checkpoint", saved, wait, "the time until the next", "s")


def _no_step(*_: Any) -> torch.Tensor:
    return torch.zeros(())


def _processor(work: Callable[[], object]) -> float:
    """The processor's time for one call, in seconds."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _medium(folder: Path) -> Path:
    """The architecture of Stable Diffusion 1.5 with 13 M parameters in its UNet.

    Encoding a picture of 128 pixels costs 0.65 of a training step (2.20 and 3.36 GFLOP), as in the
    real one (1,117 and 1,725 GFLOP at 512 pixels).
    """
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    whole = StableDiffusionPipeline.from_pretrained(embedded.WEIGHTS, dtype=torch.float32)
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16, cross_attention_dim=128, attention_head_dim=8, layers_per_block=1,
        block_out_channels=(96, 192, 192),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    text = CLIPTextConfig(
        vocab_size=len(whole.tokenizer), hidden_size=128, intermediate_size=512,
        num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=whole.tokenizer.model_max_length,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(24, 40, 96, 96), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4,
        norm_num_groups=8,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=whole.tokenizer, unet=unet,
        scheduler=whole.scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder
