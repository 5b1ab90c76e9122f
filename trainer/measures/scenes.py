"""What drawn landscapes show of what was asked for, by a classifier that is judged as well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from trainer import embedded
from trainer.embedded import classifier, federated
from trainer.embedded.classifier import CHOICES, LARGE, YES_NO, Reading
from trainer.embedded.pictures import as_tensor
from trainer.embedded.scenes import OBJECTS, STYLES

TRIALS = 200
"""Freshly drawn scenes of each style on which the classifier itself is judged."""


@dataclass(frozen=True)
class Judgement:
    """Shares in 0..1 of what was asked for that is there.

    ``by_attribute`` of everything asked for; ``large`` and ``objects`` are means over the pictures'
    wishes of that kind, None where nobody wished any; ``style`` is the share of painterly pictures.
    ``classifier`` is the accuracy of the judge on fresh drawings, by attribute and as ``mean``.
    """

    pictures: int
    large: float | None
    objects: float | None
    style: float
    by_attribute: Mapping[str, float]
    classifier: Mapping[str, float]


def judge(images: Sequence[Image.Image], prompts: Sequence[str], seed: int) -> Judgement:
    """Looks at each picture for the tags of its prompt; words that are no tags are ignored.

    Raises :class:`OSError` when the embedded classifier is not there.
    """
    model = classifier.load_classifier(embedded.WEIGHTS / "classifier.safetensors")
    readings = [classifier.read(model, as_tensor([image]))[0] for image in images]
    hits: dict[str, list[bool]] = defaultdict(list)
    for prompt, reading in zip(prompts, readings, strict=True):
        for name, shown in _answers(prompt, reading):
            hits[name].append(shown)
    return Judgement(
        pictures=len(readings),
        large=_share([hit for name in LARGE for hit in hits[name]]),
        objects=_share([hit for name in OBJECTS for hit in hits[name]]),
        style=_share([reading.style == federated.STYLE for reading in readings]) or 0.0,
        by_attribute={name: sum(some) / len(some) for name, some in hits.items() if some},
        classifier=accuracy(seed),
    )


@lru_cache(maxsize=8)
def accuracy(seed: int) -> Mapping[str, float]:
    """Of the judge itself, on fresh drawings of a seed; an experiment asks once for each arm."""
    model = classifier.load_classifier(embedded.WEIGHTS / "classifier.safetensors")
    styles = [classifier.accuracy_on_scenes(model, style, TRIALS, seed) for style in STYLES]
    return {name: sum(each[name] for each in styles) / len(styles) for name in styles[0]}


def _answers(prompt: str, reading: Reading) -> list[tuple[str, bool]]:
    """Each attribute the prompt names, and whether the picture shows it."""
    words = {word.strip() for word in prompt.split(",")}
    answers = [
        (name, getattr(reading, name) == option)
        for name in LARGE
        for option in CHOICES[name]
        if option in words
    ]
    return answers + [(name, name in reading.present) for name in YES_NO if name in words]


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
