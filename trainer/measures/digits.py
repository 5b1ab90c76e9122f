"""Real handwritten digits for federated diffusion from scratch, and a judge of drawn ones.

The 1,797 digits of scikit-learn (Alpaydin and Kaynak, UCI, 8 x 8 pixels in 17 shades) are small
enough for a CPU and real enough to have classes that a participant may lack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.errors import MISUSE, TrainerError
from trainer.measures import dealing
from trainer.measures.dealing import Verdict

SIDE = 8
"""Pixels a side of a digit."""
WRITTEN = 4 * SIDE
"""Pixels a side of a written picture, which the loader wants; shrinking it loses nothing."""
SHADES = 16.0
CLASSES = 10

Digits = NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """One participant's digits: pictures (n, 8, 8) in 0..1 and their classes."""

    pictures: Digits
    classes: NDArray[np.int64]


def held_out() -> Share:
    """The digits that no participant has."""
    return _split()[1]


def share(index: int, participants: int, beta: float, shared: float, seed: int) -> Share:
    """Participant ``index``'s digits, as :func:`dealing.share` deals them.

    Raises :class:`TrainerError` for an impossible split.
    """
    everything, _ = _split()
    chosen = dealing.share(everything.classes, index, participants, beta, shared, seed)
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
    accuracy = model.score(unseen.pictures.reshape(len(unseen.classes), -1), unseen.classes)
    labels = model.predict(pixels.reshape(len(images), -1) / 255).tolist()
    return dealing.verdict(labels, CLASSES, float(accuracy))


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
    kept = dealing.kept(classes)
    return Share(pictures[kept], classes[kept]), Share(pictures[~kept], classes[~kept])


@cache
def _judge() -> Any:
    from sklearn.svm import SVC

    known, _ = _split()
    return SVC(gamma="scale").fit(known.pictures.reshape(len(known.classes), -1), known.classes)
