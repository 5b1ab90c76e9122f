"""Measuring adapters and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainer.protocol.conversation import Request


@dataclass(frozen=True)
class Evaluate(Request):
    """Paired denoising loss of adapters on a folder, with frozen noise and timesteps.

    An empty path stands for the base model. Also says of ``pictures`` which look painterly (1.0),
    by a classifier whose own accuracy is in the result. Result:
    ``{"losses": {path: float}, "pictures": int, "draws"}``, and if pictures were given
    ``{"painterly": {path: float}, "classifier_accuracy"}``, with ``by_picture`` also
    ``{"by_picture": {path: {picture: float}}, "captions": {picture: str}}``; the hash of its
    pixels names a picture.
    """

    kind: ClassVar[str] = "evaluate"
    model: str
    folder: str
    adapters: tuple[str, ...]
    pictures: tuple[str, ...] = ()
    draws: int = 8
    seed: int = 0
    by_picture: bool = False
    cache: str = ""


@dataclass(frozen=True)
class MeasureSet(Request):
    """How far the pictures of a folder are from those of another, in an extractor's features.

    ``folder`` and ``reference`` hold at least 6 PNG or JPEG files each. Result: ``{"kid": {"value",
    "low", "high"}, "frechet": {"name", "value", "biased"}, "precision", "recall", "density",
    "coverage", "pictures", "reference", "extractor": {...}}``.
    """

    kind: ClassVar[str] = "measure_set"
    folder: str
    reference: str
    extractor: str = "scenes"
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class MeasureClip(Request):
    """How well the pictures of a folder show what their captions say, by a CLIP.

    ``clip`` is a folder with both its halves as transformers writes them, or a name on the hub.
    A picture's caption is the one training would read, or the prompt in a PNG that was drawn.
    Result: ``{"mean", "low", "high", "deviation", "pictures", "truncated", "by_picture": {file:
    score}, "clip": {...}}``; scores are 100 times the cosine, and 0 below zero.
    """

    kind: ClassVar[str] = "measure_clip"
    folder: str
    clip: str
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class DrawnPicture:
    """A picture and the prompt it was drawn from; "" where its own caption or metadata says it."""

    path: str
    prompt: str


@dataclass(frozen=True)
class JudgeScenes(Request):
    """What drawn landscapes show of the tags in their prompts, by the embedded classifier.

    Result: ``{"pictures", "large", "objects", "style", "by_attribute", "classifier"}``: shares in
    0..1, ``classifier`` being the judge's own accuracy.
    """

    kind: ClassVar[str] = "judge_scenes"
    pictures: tuple[DrawnPicture, ...]
    seed: int = 0


@dataclass(frozen=True)
class ProbeLeak(Request):
    """Whether an adapter tells which pictures it was trained on, attacked on one's own machine.

    ``members`` is the folder it was trained on, ``others`` one of comparable pictures held back;
    ``pictures`` are drawn ones whose nearest training picture is looked for. Result:
    ``{"attacks": {name: {"auc", "low", "high", "true_positives", "allowed", "resolution",
    "base"}}, "members", "others"}``, and if pictures were given ``"nearest": {"extractor",
    "others_median", "others_most", "pictures": [{"path", "training", "cosine"}]}``.
    """

    kind: ClassVar[str] = "probe_leak"
    model: str
    adapter: str
    members: str
    others: str
    pictures: tuple[str, ...] = ()
    extractor: str = "scenes"
    draws: int = 16
    seed: int = 0


@dataclass(frozen=True)
class JudgeDigits(Request):
    """Which digits drawn pictures (PNG files of a folder) show.

    Result: ``{"pictures", "classes", "coverage", "entropy", "accuracy"}``.
    """

    kind: ClassVar[str] = "judge_digits"
    folder: str


@dataclass(frozen=True)
class JudgeLandscapes(Request):
    """Like :class:`JudgeDigits` with the classes of :class:`trainer.protocol.LandscapeData`."""

    kind: ClassVar[str] = "judge_landscapes"
    folder: str
