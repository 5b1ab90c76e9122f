"""Does an adapter tell which pictures it was trained on? Attacks on one's own adapter.

The loss attack takes small denoising loss for membership; PIA (Kong et al., arXiv 2305.18355) the
small difference between the noise predicted for the clean latent and for the latent noised with
that very prediction. Both look at one's own pictures and at comparable ones that were held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from trainer.cache import Examples
from trainer.dataset import Contents
from trainer.evaluate import denoising_losses
from trainer.job import Job
from trainer.measures import extractors
from trainer.models.base import LoadedModel

FALSE_POSITIVES = 0.01
"""The rate at which true positives are reported (Carlini et al., arXiv 2112.03570)."""
PIA_TIME = 0.2
"""Where on the schedule PIA looks: t = 200 of 1000."""

PREDICTIONS = ("epsilon", "v_prediction")
"""What PIA can turn into noise; straight paths (flow matching) have no such noise."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Attack:
    """How well an attack tells members from others: ``auc`` 0.5 is guessing.

    ``true_positives`` at 1 % false positives; with few held-out pictures no rate below
    ``resolution`` can be told from zero.
    """

    auc: float
    true_positives: float
    resolution: float


def attack(members: Scores, others: Scores) -> Attack:
    """Judges scores that are higher for pictures taken for members, (n,) and (m,).

    Raises :class:`ValueError` when a side is empty.
    """
    if not len(members) or not len(others):
        raise ValueError("an attack needs pictures of both kinds")
    higher = (members[:, None] > others[None, :]).mean()
    equal = (members[:, None] == others[None, :]).mean()
    allowed = int(FALSE_POSITIVES * len(others))
    threshold = np.sort(others)[::-1][allowed]
    return Attack(
        auc=float(higher + equal / 2.0),
        true_positives=float((members > threshold).mean()),
        resolution=1.0 / len(others),
    )


@torch.no_grad()
def pia(model: LoadedModel, examples: Examples, job: Job) -> Scores:
    """PIA's score of each picture, (n,): minus the 4-norm of the two predictions' difference."""
    schedule = model.schedule
    last = int(schedule.config.num_train_timesteps) - 1
    time = torch.tensor([round(PIA_TIME * last)], device=model.device)
    start = torch.zeros_like(time)
    scores = []
    for index in range(len(examples)):
        job.check()
        moments = examples.moments[index : index + 1].to(model.device)
        states = examples.states[examples.captions[index : index + 1]].to(model.device)
        latent = model.latents(moments, torch.zeros(model.latent_shape(moments)).to(model.device))
        noise = _noise(model, latent, start, states)
        noisy = schedule.add_noise(latent, noise, time)
        gap = (noise - _noise(model, noisy, time, states)).double().abs()
        scores.append(-float((gap**4).sum() ** 0.25))
    return np.array(scores)


def attacks(
    model: LoadedModel, own: Examples, other: Examples, draws: int, seed: int, job: Job
) -> dict[str, Attack]:
    """Every attack that the model's objective allows, by name, on the model as it is now."""
    losses = [
        _losses_as_scores(list(denoising_losses(model, each, draws, seed, job).values()))
        for each in (own, other)
    ]
    result = {"loss": attack(*losses)}
    if str(model.schedule.config.get("prediction_type", "")) in PREDICTIONS:
        result["pia"] = attack(pia(model, own, job), pia(model, other, job))
    return result


def nearest_training(
    pictures: Sequence[Path], training: Contents, extractor: str
) -> list[dict[str, Any]]:
    """Of each picture the training picture that looks most like it, and how much (a cosine)."""
    chosen = extractors.load(extractor)
    files = [training.folder / picture.file for picture in training.pictures]
    own = chosen.of([Image.open(path).convert("RGB") for path in files])
    drawn = chosen.of([Image.open(path).convert("RGB") for path in pictures])
    return [
        {"path": str(path), "training": str(files[index]), "cosine": cosine}
        for path, (index, cosine) in zip(pictures, nearest(drawn, own), strict=True)
    ]


def nearest(
    pictures: NDArray[np.float64], training: NDArray[np.float64]
) -> list[tuple[int, float]]:
    """Of each picture's features (n, d): the closest training picture and the cosine with it."""
    one = pictures / np.linalg.norm(pictures, axis=1, keepdims=True)
    other = training / np.linalg.norm(training, axis=1, keepdims=True)
    cosines = one @ other.T
    return [(int(row.argmax()), float(row.max())) for row in cosines]


def _noise(
    model: LoadedModel, noisy: torch.Tensor, time: torch.Tensor, states: torch.Tensor
) -> torch.Tensor:
    """The predicted noise, whatever the model predicts: ε itself, or v = √ᾱ ε - √(1-ᾱ) x₀."""
    prediction = model.predict(noisy, time, states)
    if model.schedule.config.prediction_type == "epsilon":
        return prediction
    alpha = model.schedule.alphas_cumprod.to(noisy.device)[time].view(-1, 1, 1, 1)
    noise: torch.Tensor = alpha.sqrt() * prediction + (1.0 - alpha).sqrt() * noisy
    return noise


def _losses_as_scores(losses: Sequence[float]) -> Scores:
    """The loss attack: the smaller the loss, the more likely a member."""
    return -np.array(losses, dtype=np.float64)
