"""Real handwritten digits for federated diffusion from scratch, and a judge of drawn ones.

The 1,797 digits of scikit-learn (Alpaydin and Kaynak, UCI, 8 x 8 pixels in 17 shades) are small
enough for a CPU and real enough to have classes that a participant may lack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.errors import MISUSE, TrainerError

SIDE = 8
"""Pixels a side of a digit."""
WRITTEN = 4 * SIDE
"""Pixels a side of a written picture, which the loader wants; shrinking it loses nothing."""
SHADES = 16.0
CLASSES = 10
HELD_OUT_EVERY = 5
"""Every fifth digit of a class is nobody's: drawings are held against them."""
COVERED = 0.02
"""A class is covered when at least so many of the drawings are of it; a tenth would be fair."""

Digits = NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """One participant's digits: pictures (n, 8, 8) in 0..1 and their classes."""

    pictures: Digits
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class Verdict:
    """What a judge sees in drawings.

    ``classes`` counts drawings by class, ``coverage`` is the share of classes that are covered,
    ``entropy`` that of the counts over that of an even spread (1 is even), ``accuracy`` the
    judge's own on digits it never saw.
    """

    pictures: int
    classes: tuple[int, ...]
    coverage: float
    entropy: float
    accuracy: float


def held_out() -> Share:
    """The digits that no participant has."""
    return _split()[1]


def share(index: int, participants: int, beta: float, shared: float, seed: int) -> Share:
    """Participant ``index``'s digits: of each class a part drawn from Dirichlet(``beta``) over all
    participants, and ``shared`` (0..1) of a common set of one digit in ten (Zhao et al., arXiv
    1806.00582, the data sharing of Phoenix).

    Raises :class:`TrainerError` for an impossible split.
    """
    if not (0 <= index < participants and beta > 0 and 0 <= shared <= 1):
        raise TrainerError(
            "These digits cannot be shared out",
            f"Participant {index} of {participants}, beta {beta}, shared {shared}.",
            "beta is positive and shared lies in 0..1.",
            MISUSE,
        )
    everything, _ = _split()
    draw = np.random.default_rng([seed, participants, round(beta * 1000)])
    mine: list[int] = []
    for label in range(CLASSES):
        members = draw.permutation(np.flatnonzero(everything.classes == label))
        borders = np.cumsum(draw.dirichlet(np.full(participants, beta)))[:-1] * len(members)
        mine += np.split(members, borders.astype(int))[index].tolist()
    if shared > 0:
        common = np.random.default_rng([seed, 1]).permutation(len(everything.classes))
        common = common[: len(common) // 10]
        own = np.random.default_rng([seed, 2, index]).permutation(common)
        mine += own[: round(shared * len(own))].tolist()
    chosen = np.array(sorted(set(mine)), dtype=np.int64)
    return Share(everything.pictures[chosen], everything.classes[chosen])


def write(folder: Path, digits: Share) -> int:
    """Writes ``0000.png`` and ``0000.txt`` (the class) and so on; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (picture, label) in enumerate(zip(digits.pictures, digits.classes, strict=True)):
        shades = Image.fromarray((picture * 255).round().astype(np.uint8))
        large = shades.resize((WRITTEN, WRITTEN), Image.Resampling.NEAREST)
        large.convert("RGB").save(folder / f"{number:04d}.png")
        (folder / f"{number:04d}.txt").write_text(f"{label}\n", encoding="utf-8")
    return len(digits.classes)


def judge(images: Sequence[Image.Image]) -> Verdict:
    """Reads drawn digits with a support vector machine trained on all but the held-out ones."""
    model = _judge()
    unseen = held_out()
    pixels = np.stack(
        [
            np.asarray(
                image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64
            )
            for image in images
        ]
    )
    counts = Counter(model.predict(pixels.reshape(len(images), -1) / 255).tolist())
    classes = tuple(counts.get(label, 0) for label in range(CLASSES))
    shares = np.array(classes) / len(images)
    present = shares[shares > 0]
    return Verdict(
        pictures=len(images),
        classes=classes,
        coverage=float((shares >= COVERED).mean()),
        entropy=float(-(present * np.log(present)).sum() / np.log(CLASSES)),
        accuracy=float(
            model.score(unseen.pictures.reshape(len(unseen.classes), -1), unseen.classes)
        ),
    )


@cache
def _split() -> tuple[Share, Share]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise TrainerError(
            "The digits are not installed", f"{error}.", "pip install 'fedtui[eval]'", MISUSE
        ) from error
    data = load_digits()
    pictures = np.asarray(data.images, dtype=np.float64) / SHADES
    classes = np.asarray(data.target, dtype=np.int64)
    kept = np.zeros(len(classes), dtype=bool)
    for label in range(CLASSES):
        kept[np.flatnonzero(classes == label)[::HELD_OUT_EVERY]] = True
    return Share(pictures[~kept], classes[~kept]), Share(pictures[kept], classes[kept])


@cache
def _judge() -> Any:
    from sklearn.svm import SVC

    known, _ = _split()
    return SVC(gamma="scale").fit(known.pictures.reshape(len(known.classes), -1), known.classes)
