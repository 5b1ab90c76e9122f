"""The training loop: cached latents and text in, trained factors or weights out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from peft.helpers import disable_input_dtype_casting
from torch import nn

from trainer import checkpoint, evaluate, injection, memory, objective, optimisers, rates
from trainer.cache import Examples
from trainer.checkpoint import Place, Progress
from trainer.config import (
    CHECKPOINT_INTERVAL,
    CHECKPOINT_SHARE,
    CHECKPOINT_STEPS,
    EMA_POWER,
    PROGRESS_INTERVAL,
    VALIDATION_DRAWS,
)
from trainer.crew import ALONE, Crew
from trainer.device import moved
from trainer.errors import Cancelled, TrainerError
from trainer.job import Job
from trainer.models.base import LoadedModel
from trainer.protocol import Tuning
from trainer.seeds import derived, generator
from trainer.steering import Steering
from trainer.supply import Supply


@dataclass(frozen=True)
class Recipe:
    """How to train. ``run`` names everything that decides the course, for checkpoints.

    ``min_snr`` is γ of the loss weighting, ``proximal`` FedProx's μ; 0 for none. With ``resume`` a
    checkpoint that cannot be gone on from is an error.
    """

    steps: int
    batch: int
    learning_rate: float
    min_snr: float
    seed: int
    round: int
    node: str
    run: str
    proximal: float = 0.0
    tuning: Tuning = field(default_factory=Tuning)
    sample_every: int = 0
    resume: bool = False


@dataclass(frozen=True)
class Material:
    """What to train on, what to keep in mind beside it, and what only to measure.

    With ``speaks`` text encoders train, so that what was encoded beforehand is of no use.
    """

    examples: Supply
    prior: Supply | None = None
    held_out: Examples | None = None
    speaks: bool = False


@dataclass(frozen=True)
class Outcome:
    """Mean loss over all steps, and wall time of this process's share of them.

    ``held_out`` pairs finished steps with the loss on pictures held out.
    """

    steps: int
    loss: float
    seconds: float
    held_out: tuple[tuple[int, float], ...]


class Losses:
    """Losses on the device, looked at now and then: reading one waits for the device."""

    def __init__(self, place: Place) -> None:
        self._waiting: list[torch.Tensor] = []
        self._read = place

    def add(self, loss: torch.Tensor) -> None:
        self._waiting.append(loss.detach())

    def place(self) -> Place:
        """Finished steps and the sum of their losses.

        Raises :class:`TrainerError` at the first loss not finite.
        """
        step, total = self._read.step, self._read.loss_sum
        for value in torch.stack(self._waiting).tolist() if self._waiting else ():
            step, total = step + 1, total + value
            if not math.isfinite(value):
                raise TrainerError(
                    "Training diverged",
                    f"The loss was not a finite number at step {step}.",
                    "Use a lower learning rate, for instance a third of this one.",
                )
        self._waiting.clear()
        self._read = Place(step, total)
        return self._read


def step_loss(model: LoadedModel, material: Material, recipe: Recipe, step: int) -> torch.Tensor:
    """The loss of one batch: a pure function of weights, pictures, recipe and the batch's number.

    With a prior it is loss + weight x loss on as many of the prior's pictures (Ruiz et al.,
    arXiv 2208.12242).
    """
    speaks = material.speaks
    value = _batch_loss(model, material.examples, recipe, step, "order", "step", speaks)
    if material.prior is None:
        return value
    other = _batch_loss(model, material.prior, recipe, step, "prior order", "prior step", speaks)
    return value + recipe.tuning.prior_weight * other


def _batch_loss(
    model: LoadedModel,
    supply: Supply,
    recipe: Recipe,
    step: int,
    order: str,
    noises: str,
    speaks: bool,
) -> torch.Tensor:
    place = (recipe.seed, recipe.round, recipe.node)
    batch = supply.batch(recipe.batch, step, *place, order)
    draw = generator(noises, *place, step)
    moments = moved(batch.moments, model.device)
    states = model.spoken(batch.texts) if speaks else moved(batch.states, model.device)
    shape = model.latent_shape(moments)
    posterior, noise = moved(torch.randn((2, *shape), generator=draw), model.device)
    timesteps = moved(objective.levels(model.schedule, shape[0], draw), model.device)
    if recipe.tuning.noise_offset > 0:
        offset = moved(torch.randn((*shape[:2], 1, 1), generator=draw), model.device)
        noise = noise + recipe.tuning.noise_offset * offset
    latents = model.latents(moments, posterior)
    noisy = model.schedule.add_noise(latents, noise, timesteps)
    prediction = model.predict(noisy, timesteps, states)
    wanted = objective.target(model.schedule, latents, noise, timesteps)
    weights = None
    if recipe.min_snr > 0:
        weights = objective.min_snr_weights(model.schedule, timesteps, recipe.min_snr)
    masks = None if batch.masks is None else moved(batch.masks, model.device)
    return objective.loss(prediction, wanted, weights, masks)


def pull_back(
    values: Sequence[torch.Tensor], anchors: Sequence[torch.Tensor], proximal: float
) -> None:
    """Adds the gradient of μ/2 ‖x - x_0‖² to what is there: μ (x - x_0).

    FedProx, Li et al., arXiv 1812.06127. The norm is squared; copies that leave the square out
    pull with the same force however far x has gone.
    """
    for value, anchor in zip(values, anchors, strict=True):
        if value.grad is not None:
            value.grad.add_(value.detach() - anchor, alpha=proximal)


def train(
    model: LoadedModel,
    network: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    material: Material,
    recipe: Recipe,
    job: Job,
    saved: Path | None = None,
    draw: Callable[[int], None] | None = None,
    crew: Crew = ALONE,
) -> Outcome:
    """Trains ``parameters`` of ``network`` in place with a fresh optimiser.

    With a moving average they end as that, and what is drawn or measured meanwhile is that too.
    Reports ``{"stage": "train", "step", "steps", "loss", "images_per_s"}`` with the mean loss so
    far. With ``saved`` it resumes from that file and leaves one behind when cancelled. ``draw``
    draws pictures of what there is after so many steps. Raises :class:`Cancelled`, and
    :class:`TrainerError` when the loss is no longer finite, or for a checkpoint it cannot use.
    """
    values = list(parameters.values())
    anchors = [value.detach().clone() for value in values] if recipe.proximal else []
    progress = _begun(parameters, recipe)
    place = Place()
    if saved is not None:
        place = checkpoint.restore(saved, recipe.run, recipe.steps, progress, recipe.resume)
    losses = Losses(place)
    pace = _Pace(place.step, recipe, crew.size)
    measured = list(place.held_out)

    unsaved = False

    def save(asked: bool = True) -> bool:
        """Whether there is a checkpoint of this very step now. Of several in a row that fail, only
        the first is told, and those that somebody ``asked`` for."""
        nonlocal unsaved
        if saved is None or not crew.leads:
            return False
        reached = replace(losses.place(), held_out=tuple(measured))
        with pace.saving():
            try:
                checkpoint.save(saved, recipe.run, recipe.batch, reached, progress)
            except OSError as error:
                # What is trained so far lies in memory: there is more to lose by ending here.
                why = error.strerror or str(error)
                text = f"no checkpoint after step {reached.step}: {saved}: {why}"
                if asked or not unsaved:
                    job.announce({"stage": "note", "text": text})
                unsaved = True
                return False
        unsaved = False
        return True

    def sample() -> None:
        if draw is not None:
            with _shown(progress):
                draw(losses.place().step)

    def validate(step: int) -> None:
        if material.held_out is None or not _validation_due(recipe, step):
            return
        try:
            with _shown(progress):
                loss = _validated(model, material, recipe, job)
        except Cancelled:
            save()
            raise
        measured.append((step, loss))
        job.announce({"stage": "validate", "step": step, "steps": recipe.steps, "loss": loss})

    steering = Steering(job, save if saved is not None else None, sample)
    with memory.held(), disable_input_dtype_casting(network):
        if place.step and (not measured or measured[-1][0] < place.step):
            validate(place.step)  # it was stopped in the middle of that
        for step in range(place.step, recipe.steps):
            steering.attend(step, recipe.steps)
            crew.step()
            losses.add(_advance(model, material, recipe, progress, anchors, crew, step))
            if step + 1 == recipe.steps:
                job.announce(pace.progress(losses.place()))
            elif pace.report_due():
                job.report(pace.progress(losses.place()))
            validate(step + 1)
            # After measuring: whoever goes on from here does not measure this step again.
            if saved is not None and pace.checkpoint_due(step + 1):
                save(asked=False)
            if recipe.sample_every and (step + 1) % recipe.sample_every == 0:
                sample()
    place = losses.place()
    if not all(bool(torch.isfinite(value).all()) for value in values):
        raise TrainerError(
            "Training diverged",
            f"What trained was not finite after step {place.step}.",
            "Use a lower learning rate, for instance a third of this one.",
        )
    if progress.average is not None:
        progress.average.copy_to(values)
    mean = place.loss_sum / max(1, place.step)
    return Outcome(place.step, mean, pace.seconds, tuple(measured))


def _begun(parameters: Mapping[str, nn.Parameter], recipe: Recipe) -> Progress:
    values, tuning = list(parameters.values()), recipe.tuning
    optimizer = optimisers.build(values, recipe.learning_rate, tuning)
    if not tuning.ema:
        return Progress(parameters, optimizer)
    average = EMAModel(values, decay=tuning.ema, use_ema_warmup=True, power=EMA_POWER, foreach=True)
    return Progress(parameters, optimizer, average)


def _advance(
    model: LoadedModel,
    material: Material,
    recipe: Recipe,
    progress: Progress,
    anchors: Sequence[torch.Tensor],
    crew: Crew,
    step: int,
) -> torch.Tensor:
    """One step of the optimiser; its loss, still on the device."""
    tuning, values = recipe.tuning, list(progress.parameters.values())
    for group in progress.optimizer.param_groups:
        group["lr"] = recipe.learning_rate * rates.factor(tuning, step, recipe.steps)
    total = torch.zeros((), device=model.device)
    for place in range(step * tuning.accumulate, (step + 1) * tuning.accumulate):
        number = place * crew.size + crew.rank
        # For dropout, an adapter's or a network's own: it asks nobody but the global generator.
        torch.manual_seed(derived("dropout", recipe.seed, recipe.round, recipe.node, number))
        with crew.together():
            value = step_loss(model, material, recipe, number) / tuning.accumulate
            value.backward()  # type: ignore[no-untyped-call]
            total = total + value.detach()
    total = crew.average(values, total)
    if anchors:
        pull_back(values, anchors, recipe.proximal)
    if tuning.clip:
        nn.utils.clip_grad_norm_(values, tuning.clip)
    progress.optimizer.step()
    progress.optimizer.zero_grad()
    if progress.average is not None:
        progress.average.step(values)
    return total


@contextmanager
def _shown(progress: Progress) -> Iterator[None]:
    """What would come out if the training ended now in place of what trains: the moving average,
    where there is one."""
    if progress.average is None:
        yield
        return
    values = list(progress.parameters.values())
    progress.average.store(values)
    try:
        progress.average.copy_to(values)
        yield
    finally:
        progress.average.restore(values)


def _validation_due(recipe: Recipe, step: int) -> bool:
    every = recipe.tuning.validate_every
    return step == recipe.steps or (every > 0 and step % every == 0)


def _validated(model: LoadedModel, material: Material, recipe: Recipe, job: Job) -> float:
    """The loss on pictures held out; noise and levels are the same every time."""
    assert material.held_out is not None
    with injection.at_rest(model.components.values()):
        held_out = material.held_out.spoken_by(model) if material.speaks else material.held_out
        losses = evaluate.denoising_losses(model, held_out, VALIDATION_DRAWS, recipe.seed, job)
    return evaluate.mean(list(losses.values()))


class _Pace:
    """The clock's part in training: when to speak and when to save. It decides no value."""

    def __init__(self, first: int, recipe: Recipe, crew: int) -> None:
        self._first, self._recipe, self._crew = first, recipe, crew
        self._started = self._reported = time.monotonic()
        self._saved = float("-inf")
        self._cost = 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def report_due(self) -> bool:
        now = time.monotonic()
        due = now - self._reported >= PROGRESS_INTERVAL
        if due:
            self._reported = now
        return due

    def checkpoint_due(self, step: int) -> bool:
        """At some multiples of steps, and never so often that saving takes more than its share."""
        rest = max(CHECKPOINT_INTERVAL, self._cost / CHECKPOINT_SHARE)
        return step % CHECKPOINT_STEPS == 0 and time.monotonic() - self._saved >= rest

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measures what a checkpoint costs."""
        began = time.monotonic()
        yield
        self._saved = time.monotonic()
        self._cost = self._saved - began

    def progress(self, place: Place) -> dict[str, Any]:
        tuning = self._recipe.tuning
        images = (place.step - self._first) * self._recipe.batch * tuning.accumulate * self._crew
        return {
            "stage": "train",
            "step": place.step,
            "steps": self._recipe.steps,
            "loss": place.loss_sum / max(1, place.step),
            "images_per_s": images / max(self.seconds, 1e-9),
        }
