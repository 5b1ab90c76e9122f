"""Pictures with classes shared out unevenly, and which classes drawings show afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.errors import MISUSE, TrainerError

HELD_OUT_EVERY = 5
"""Every fifth picture of a class is nobody's: drawings are held against them."""
COVERED = 0.02
"""A class is covered when at least so many of the drawings are of it."""

Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Verdict:
    """What a judge sees in drawings.

    ``classes`` counts drawings by class, ``coverage`` is the share of classes that are covered,
    ``entropy`` that of the counts over that of an even spread (1 is even), ``accuracy`` the
    judge's own on pictures it never saw.
    """

    pictures: int
    classes: tuple[int, ...]
    coverage: float
    entropy: float
    accuracy: float


def verdict(labels: Iterable[int], count: int, accuracy: float) -> Verdict:
    """From the class of each drawing, of ``count`` classes. Raises ZeroDivisionError for none."""
    counts = Counter(labels)
    classes = tuple(counts.get(label, 0) for label in range(count))
    shares = np.array(classes) / sum(classes)
    present = shares[shares > 0]
    return Verdict(
        pictures=sum(classes),
        classes=classes,
        coverage=float((shares >= COVERED).mean()),
        entropy=float(-(present * np.log(present)).sum() / np.log(count)),
        accuracy=accuracy,
    )


def kept(classes: Classes) -> NDArray[np.bool_]:
    """Which of the pictures somebody has; the others are held out, alike of every class."""
    chosen = np.zeros(len(classes), dtype=bool)
    for label in np.unique(classes):
        chosen[np.flatnonzero(classes == label)[::HELD_OUT_EVERY]] = True
    return ~chosen


def share(
    classes: Classes, index: int, participants: int, beta: float, shared: float, seed: int
) -> NDArray[np.int64]:
    """Which pictures participant ``index`` has, sorted: of each class a part drawn from
    Dirichlet(``beta``) over all participants, and ``shared`` (0..1) of a common set of one picture
    in ten (Zhao et al., arXiv 1806.00582, the data sharing of Phoenix).

    Raises :class:`TrainerError` for an impossible split.
    """
    if not (0 <= index < participants and beta > 0 and 0 <= shared <= 1):
        raise TrainerError(
            "These pictures cannot be shared out",
            f"Participant {index} of {participants}, beta {beta}, shared {shared}.",
            "beta is positive and shared lies in 0..1.",
            MISUSE,
        )
    draw = np.random.default_rng([seed, participants, round(beta * 1000)])
    mine: list[int] = []
    for label in np.unique(classes):
        members = draw.permutation(np.flatnonzero(classes == label))
        borders = np.cumsum(draw.dirichlet(np.full(participants, beta)))[:-1] * len(members)
        mine += np.split(members, borders.astype(int))[index].tolist()
    if shared > 0:
        common = np.random.default_rng([seed, 1]).permutation(len(classes))
        common = common[: len(common) // 10]
        own = np.random.default_rng([seed, 2, index]).permutation(common)
        mine += own[: round(shared * len(own))].tolist()
    return np.array(sorted(set(mine)), dtype=np.int64)
