"""How well adapters predict pictures they were not trained on, compared fairly.

The denoising loss of one picture varies far more with noise level and noise than between adapters,
so every adapter sees exactly the same draws: frozen by seed, picture and draw number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from trainer import embedded, objective
from trainer.aggregate.kernel import tree_sum
from trainer.cache import Examples
from trainer.config import CLASSIFIER_TRIALS, EVALUATION_BATCH
from trainer.errors import NO_USABLE, TrainerError
from trainer.job import Job
from trainer.models.base import LoadedModel
from trainer.seeds import generator


def denoising_losses(
    model: LoadedModel, examples: Examples, draws: int, seed: int, job: Job
) -> dict[str, float]:
    """Mean squared error of each picture, by name, of the model as it is now.

    Noise levels are stratified: draw i of n is uniform in the i-th n-th of the schedule.
    """
    means = {}
    for index, name in enumerate(examples.names):
        losses: list[float] = []
        for first in range(0, draws, EVALUATION_BATCH):
            job.check()
            numbers = range(first, min(draws, first + EVALUATION_BATCH))
            losses += _some(model, examples, index, name, numbers, draws, seed)
        means[name] = mean(losses)
    return means


def mean(losses: Sequence[float]) -> float:
    """The mean, summed in an order that depends on the count alone."""
    return tree_sum(np.array(losses, dtype=np.float64)) / len(losses)


@torch.no_grad()
def _some(
    model: LoadedModel,
    examples: Examples,
    index: int,
    name: str,
    numbers: Sequence[int],
    draws: int,
    seed: int,
) -> list[float]:
    levels = int(model.schedule.config.num_train_timesteps)
    moments = examples.moments[index : index + 1].to(model.device)
    shape = model.latent_shape(moments)
    noises, times = [], []
    for number in numbers:
        draw = generator("evaluate", seed, name, number)
        noises.append(torch.randn(shape, generator=draw))
        u = float(torch.rand((), generator=draw, dtype=torch.float64))
        times.append(min(levels - 1, int((number + u) / draws * levels)))
    noise = torch.cat(noises).to(model.device)
    timesteps = torch.tensor(times, device=model.device)
    posterior = torch.zeros(shape, device=model.device)
    latents = model.latents(moments, posterior).expand_as(noise)
    states = examples.states[examples.captions[index]].to(model.device)
    states = states.expand(len(times), *states.shape)
    noisy = model.schedule.add_noise(latents, noise, timesteps)
    prediction = model.predict(noisy, timesteps, states)
    wanted = objective.target(model.schedule, latents, noise, timesteps)
    return [float(value) for value in objective.per_example(prediction, wanted).tolist()]


@dataclass(frozen=True)
class StyleReadings:
    """Which pictures look painterly (1.0) or plain (0.0) to a classifier.

    ``accuracy`` is its share of right answers about style on ``trials`` freshly drawn scenes.
    """

    painterly: dict[str, float]
    accuracy: float
    trials: int


def read_style(pictures: Sequence[str], seed: int) -> StyleReadings:
    """Looks at PNG files with the embedded model's classifier, and at the classifier itself.

    Raises :class:`TrainerError` when a picture or the classifier cannot be read.
    """
    from trainer.embedded import classifier, federated
    from trainer.embedded.pictures import as_tensor
    from trainer.embedded.scenes import STYLES

    try:
        model = classifier.load_classifier(embedded.WEIGHTS / "classifier.safetensors")
        images = [Image.open(path, formats=("PNG",)).convert("RGB") for path in pictures]
    except OSError as error:
        raise TrainerError(
            "The pictures cannot be judged",
            str(error),
            "Name PNG files that fedtui generate wrote.",
            NO_USABLE,
        ) from error
    looks = {
        path: float(classifier.read(model, as_tensor([image]))[0].style == federated.STYLE)
        for path, image in zip(pictures, images, strict=True)
    }
    half = CLASSIFIER_TRIALS // 2
    shares = [classifier.accuracy_on_scenes(model, style, half, seed)["style"] for style in STYLES]
    return StyleReadings(looks, sum(shares) / len(shares), half * len(shares))
