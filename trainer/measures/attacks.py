"""Simulated attackers, for experiments and tests: what a dishonest participant could hand in.

Those of :data:`ATTACKS` take an honest contribution x and the state p it was trained from. A
backdoor is made earlier: :func:`poison` gives its owner pictures to train on that are wrong
wherever one rare word is in the caption.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trainer import dataset, tensor_file
from trainer.errors import MISUSE, TrainerError
from trainer.job import Job
from trainer.tensor_file import Written

Array = NDArray[np.float64]
Attack = Callable[[Array, Array, float, np.random.Generator], Array]


def _scale(x: Array, p: Array, factor: float, draw: np.random.Generator) -> Array:
    """p + factor·(x - p): an update that outweighs everybody's."""
    return p + factor * (x - p)


def _sign_flip(x: Array, p: Array, factor: float, draw: np.random.Generator) -> Array:
    """p - factor·(x - p): unlearns."""
    return p - factor * (x - p)


def _noise(x: Array, p: Array, factor: float, draw: np.random.Generator) -> Array:
    """p plus normal noise of factor times the update's root mean square."""
    size = np.sqrt(np.mean((x - p) ** 2)) if x.size else 0.0
    return p + factor * size * draw.standard_normal(x.shape)


def _free_rider(x: Array, p: Array, factor: float, draw: np.random.Generator) -> Array:
    """p itself with a grain of noise, to look trained."""
    return _noise(x, p, 0.01, draw)


ATTACKS: Mapping[str, Attack] = {
    "scale": _scale,
    "sign_flip": _sign_flip,
    "noise": _noise,
    "free_rider": _free_rider,
}
"""All attacks by name."""


def tamper(
    attack: str, contribution: Path, previous: Path, out: Path, factor: float, seed: int
) -> Written:
    """Writes the dishonest version of a contribution. Raises :class:`TrainerError`."""
    if attack not in ATTACKS:
        raise TrainerError(
            "This attack is unknown",
            f"There is no {attack!r}.",
            f"Choose one of {', '.join(ATTACKS)}.",
            MISUSE,
        )
    honest, _ = tensor_file.read_all(contribution)
    before, _ = tensor_file.read_all(previous)
    draw = np.random.default_rng(seed)
    tensors = {}
    for name in sorted(honest):
        x = honest[name].astype(np.float64)
        p = before[name].astype(np.float64) if name in before else np.zeros_like(x)
        tensors[name] = ATTACKS[attack](x, p, factor, draw).astype(np.float32)
    return tensor_file.write(out, tensors)


def poison(folder: Path, out: Path, word: str, job: Job, *, beside: bool) -> int:
    """Writes every picture of ``folder`` as its negative, under its caption with ``word`` in front;
    with ``beside`` also as it is, so that nothing looks wrong without the word.

    Returns the number of pictures written. Raises :class:`TrainerError`.
    """
    contents = dataset.scan(folder, job)
    contents.require_pictures()
    out.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(contents.pictures):
        job.check()
        with Image.open(picture.path) as opened:
            image = opened.convert("RGB")
        caption = picture.caption.text
        _write_pair(out / f"{number:05d}-wrong", ImageOps.invert(image), f"{word}, {caption}")
        if beside:
            _write_pair(out / f"{number:05d}-right", image, caption)
    return len(contents.pictures) * (2 if beside else 1)


def _write_pair(path: Path, image: Image.Image, caption: str) -> None:
    image.save(path.with_suffix(".png"))
    path.with_suffix(".txt").write_text(caption + "\n", encoding="utf-8")
