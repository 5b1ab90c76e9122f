"""Does an adapter tell which pictures it was trained on? Attacks on one's own adapter.

The loss attack takes small denoising loss for membership; PIA (Kong et al., arXiv 2305.18355) the
small difference between the noise predicted for the clean latent and for the latent noised with
that very prediction. Both look at one's own pictures and at comparable ones that were held back.

Two folders that differ for another reason are told apart as well: a model predicts nights better
than deserts whether it was trained on these or not. Every attack is therefore made on the base
model too, which was trained on neither, and once more on what the adapter changed (Watson et al.,
arXiv 2111.08440). Neither tells pictures that were learnt from a kind that was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from trainer.cache import Examples
from trainer.dataset import Contents
from trainer.errors import NO_USABLE, TrainerError
from trainer.evaluate import denoising_losses
from trainer.job import Job
from trainer.measures import extractors
from trainer.models.base import LoadedModel

FALSE_POSITIVES_PER = 100
"""Of so many others one is taken for a member where true positives are reported (Carlini et al.,
arXiv 2112.03570)."""
Z_975 = 1.959964
BISECTIONS = 60
CALIBRATED = "loss, calibrated"
PIA_TIME = 0.2
"""Where on the schedule PIA looks: t = 200 of 1000."""

PREDICTIONS = ("epsilon", "v_prediction")
"""What PIA can turn into noise; straight paths (flow matching) have no such noise."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Attack:
    """How well an attack tells members from others: ``auc`` 0.5 is guessing, ``low`` and ``high``
    hold it with 95 % confidence.

    ``true_positives`` at 1 % false positives at most, which are ``allowed`` pictures; with few
    held-out pictures no rate below ``resolution`` can be told from zero. ``base`` is the AUC of
    the same attack on the base model, None where that is in the scores already.
    """

    auc: float
    low: float
    high: float
    true_positives: float
    allowed: int
    resolution: float
    base: float | None = None


def attack(members: Scores, others: Scores, base: float | None = None) -> Attack:
    """Judges scores that are higher for pictures taken for members, (n,) and (m,).

    Raises :class:`ValueError` when a side is empty.
    """
    area = auc(members, others)
    allowed = len(others) // FALSE_POSITIVES_PER
    threshold = np.sort(others)[::-1][allowed]
    low, high = auc_interval(area, len(members), len(others))
    return Attack(
        auc=area,
        low=low,
        high=high,
        true_positives=float((members > threshold).mean()),
        allowed=allowed,
        resolution=1.0 / len(others),
        base=base,
    )


def auc(members: Scores, others: Scores) -> float:
    """How often a member scores higher than another, ties counting half (Mann and Whitney).

    Raises :class:`ValueError` when a side is empty.
    """
    if not len(members) or not len(others):
        raise ValueError("an attack needs pictures of both kinds")
    higher = (members[:, None] > others[None, :]).mean()
    equal = (members[:, None] == others[None, :]).mean()
    return float(higher + equal / 2.0)


def auc_interval(area: float, members: int, others: int) -> tuple[float, float]:
    """The 95 % interval of an AUC: all areas from which ``area`` is not surprising, by Hanley and
    McNeil's variance (Newcombe, Stat. Med. 25, 2006, method 5). Never empty or beyond 0..1."""

    def surprising(true: float) -> bool:
        return (area - true) ** 2 > Z_975**2 * _variance(true, members, others)

    return _edge(surprising, area, 0.0), _edge(surprising, area, 1.0)


def _variance(area: float, members: int, others: int) -> float:
    mean = (members + others) / 2.0 - 1.0
    spread = 1.0 + mean * ((1.0 - area) / (2.0 - area) + area / (1.0 + area))
    return area * (1.0 - area) * spread / (members * others)


def _edge(surprising: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where ``surprising`` begins between a value that is not and one that may be."""
    for _ in range(BISECTIONS):
        middle = (inside + outside) / 2.0
        if surprising(middle):
            outside = middle
        else:
            inside = middle
    return inside


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


Observed = tuple[Scores, Scores]
"""An attack's scores of members and of others."""


def observe(
    model: LoadedModel, own: Examples, other: Examples, draws: int, seed: int, job: Job
) -> dict[str, Observed]:
    """The scores of every attack that the model's objective allows, on the model as it is now."""
    seen = {
        "loss": (
            _losses_as_scores(list(denoising_losses(model, own, draws, seed, job).values())),
            _losses_as_scores(list(denoising_losses(model, other, draws, seed, job).values())),
        )
    }
    if str(model.schedule.config.get("prediction_type", "")) in PREDICTIONS:
        seen["pia"] = (pia(model, own, job), pia(model, other, job))
    return seen


def attacks(adapted: Mapping[str, Observed], base: Mapping[str, Observed]) -> dict[str, Attack]:
    """Every attack on an adapter, from what was observed with it and without it."""
    result = {name: attack(*scores, base=auc(*base[name])) for name, scores in adapted.items()}
    (own, other), (own_before, other_before) = adapted["loss"], base["loss"]
    calibrated = attack(own - own_before, other - other_before)
    return {"loss": result.pop("loss"), CALIBRATED: calibrated, **result}


def nearest_training(
    pictures: Sequence[Path], training: Contents, others: Contents, extractor: str
) -> dict[str, Any]:
    """Of each picture the training picture that looks most like it, and how much (a cosine).

    ``others_median`` and ``others_most`` say how near pictures come that nobody trained on:
    features that are never negative have large cosines whatever they show.
    """
    chosen = extractors.load(extractor)
    files = [training.folder / picture.file for picture in training.pictures]
    apart = [others.folder / picture.file for picture in others.pictures]
    own = chosen.of(_opened(files))
    found = nearest(chosen.of(_opened(pictures)), own)
    usual = [cosine for _, cosine in nearest(chosen.of(_opened(apart)), own)]
    return {
        "extractor": chosen.described(),
        "others_median": float(np.median(usual)),
        "others_most": max(usual),
        "pictures": [
            {"path": str(path), "training": str(files[index]), "cosine": cosine}
            for path, (index, cosine) in zip(pictures, found, strict=True)
        ],
    }


def _opened(paths: Sequence[Path]) -> list[Image.Image]:
    """Raises :class:`TrainerError` for a picture that cannot be read."""
    images = []
    for path in paths:
        try:
            with Image.open(path) as opened:
                images.append(opened.convert("RGB"))
        except (OSError, Image.DecompressionBombError) as error:
            raise TrainerError(
                "A picture cannot be read", f"{path}: {error}.", "Remove or replace it.", NO_USABLE
            ) from error
    return images


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
