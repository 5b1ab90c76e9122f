"""The training loop: cached latents and text in, trained factors out."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch import nn

from trainer import checkpoint, objective
from trainer.cache import Examples
from trainer.checkpoint import Place
from trainer.config import (
    CHECKPOINT_INTERVAL,
    CHECKPOINT_STEPS,
    GRADIENT_CLIP,
    PROGRESS_INTERVAL,
    WEIGHT_DECAY,
)
from trainer.errors import Cancelled, TrainerError
from trainer.job import Job
from trainer.models.base import LoadedModel
from trainer.seeds import generator


@dataclass(frozen=True)
class Recipe:
    """How to train. ``run`` names everything that decides the course, for checkpoints.

    ``min_snr`` is γ of the loss weighting, ``proximal`` FedProx's μ; 0 for none.
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


@dataclass(frozen=True)
class Outcome:
    """Mean loss over all steps, and wall time of this process's share of them."""

    steps: int
    loss: float
    seconds: float


class Losses:
    """Losses on the device, looked at now and then: reading one waits for the device."""

    def __init__(self, place: Place) -> None:
        self._waiting: list[torch.Tensor] = []
        self._read = place

    def add(self, loss: torch.Tensor) -> None:
        self._waiting.append(loss.detach())

    def place(self) -> Place:
        """Steps and sum so far; raises :class:`TrainerError` at the first loss not finite."""
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


def picked(count: int, recipe: Recipe, step: int) -> torch.Tensor:
    """Which of ``count`` examples the step trains on, (batch,) int64.

    Every pass over the data has its own order and uses each example once; a batch may reach into
    the next pass.
    """
    first = step * recipe.batch
    passes: dict[int, torch.Tensor] = {}
    chosen = []
    for position in range(first, first + recipe.batch):
        number, place = divmod(position, count)
        if number not in passes:
            order = generator("order", recipe.seed, recipe.round, recipe.node, number)
            passes[number] = torch.randperm(count, generator=order)
        chosen.append(passes[number][place])
    return torch.stack(chosen)


def step_loss(model: LoadedModel, examples: Examples, recipe: Recipe, step: int) -> torch.Tensor:
    """The loss of one step: a pure function of weights, examples, recipe and step."""
    indices = picked(len(examples), recipe, step)
    draw = generator("step", recipe.seed, recipe.round, recipe.node, step)
    moments = examples.moments[indices].to(model.device)
    states = examples.states[examples.captions[indices]].to(model.device)
    shape = model.latent_shape(moments)
    posterior, noise = torch.randn((2, *shape), generator=draw).to(model.device)
    timesteps = objective.levels(model.schedule, shape[0], draw).to(model.device)
    latents = model.latents(moments, posterior)
    noisy = model.schedule.add_noise(latents, noise, timesteps)
    prediction = model.predict(noisy, timesteps, states)
    wanted = objective.target(model.schedule, latents, noise, timesteps)
    weights = None
    if recipe.min_snr > 0:
        weights = objective.min_snr_weights(model.schedule, timesteps, recipe.min_snr)
    return objective.loss(prediction, wanted, weights)


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
    examples: Examples,
    recipe: Recipe,
    job: Job,
    saved: Path | None = None,
) -> Outcome:
    """Trains ``parameters`` of ``network`` in place with a fresh AdamW.

    Reports ``{"stage": "train", "step", "steps", "loss", "images_per_s"}`` with the mean loss so
    far. With ``saved`` it resumes from that file and leaves one behind when cancelled. Raises
    :class:`Cancelled`, and :class:`TrainerError` when the loss is no longer finite.
    """
    values = list(parameters.values())
    anchors = [value.detach().clone() for value in values] if recipe.proximal else []
    optimizer = torch.optim.AdamW(
        values,
        recipe.learning_rate,
        weight_decay=WEIGHT_DECAY,
        fused=model.device.type == "cuda",
    )
    place = Place()
    if saved is not None:
        place = checkpoint.restore(saved, recipe.run, parameters, optimizer)
    losses = Losses(place)
    pace = _Pace(place.step, recipe)
    with disable_input_dtype_casting(network):
        for step in range(place.step, recipe.steps):
            try:
                job.check()
            except Cancelled:
                if saved is not None and step > 0:
                    checkpoint.save(saved, recipe.run, losses.place(), parameters, optimizer)
                raise
            value = step_loss(model, examples, recipe, step)
            value.backward()  # type: ignore[no-untyped-call]
            if anchors:
                pull_back(values, anchors, recipe.proximal)
            nn.utils.clip_grad_norm_(values, GRADIENT_CLIP)
            optimizer.step()
            optimizer.zero_grad()
            losses.add(value)
            if step + 1 == recipe.steps:
                job.announce(pace.progress(losses.place()))
            elif pace.report_due():
                job.report(pace.progress(losses.place()))
            if saved is not None and pace.checkpoint_due(step + 1):
                checkpoint.save(saved, recipe.run, losses.place(), parameters, optimizer)
    place = losses.place()
    if not all(bool(torch.isfinite(value).all()) for value in values):
        raise TrainerError(
            "Training diverged",
            f"The adapter was not finite after step {place.step}.",
            "Use a lower learning rate, for instance a third of this one.",
        )
    return Outcome(place.step, place.loss_sum / max(1, place.step), pace.seconds)


class _Pace:
    """The clock's part in training: when to speak and when to save. It decides no value."""

    def __init__(self, first: int, recipe: Recipe) -> None:
        self._first, self._recipe = first, recipe
        self._started = self._reported = time.monotonic()
        self._saved = float("-inf")

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
        now = time.monotonic()
        due = step % CHECKPOINT_STEPS == 0 and now - self._saved >= CHECKPOINT_INTERVAL
        if due:
            self._saved = now
        return due

    def progress(self, place: Place) -> dict[str, Any]:
        images = (place.step - self._first) * self._recipe.batch
        return {
            "stage": "train",
            "step": place.step,
            "steps": self._recipe.steps,
            "loss": place.loss_sum / max(1, place.step),
            "images_per_s": images / max(self.seconds, 1e-9),
        }
