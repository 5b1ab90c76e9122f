"""What single steps lost, out of the means that a trainer tells of while it goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fedtui.view import LossPoint


class Stretch(NamedTuple):
    """The mean loss of the steps since the stretch before; ``at`` counts this machine's steps over
    all rounds until its end."""

    round: int
    at: int
    loss: float


def stretches(points: Sequence[LossPoint]) -> list[Stretch]:
    """A point is the mean of its round so far: the steps between two of them follow exactly. A
    training that began anew in the same round counts from its own beginning."""
    found: list[Stretch] = []
    done, before = 0, None
    for point in points:
        if not math.isfinite(point.loss):
            continue
        if before is not None and before.round == point.round and before.step == point.step:
            continue
        if before is not None and before.round == point.round and before.step < point.step:
            total = point.loss * point.step - before.loss * before.step
            own = total / (point.step - before.step)
        else:
            done, own = done + (before.step if before else 0), point.loss
        found.append(Stretch(point.round, done + point.step, own))
        before = point
    return found


def means(points: Sequence[LossPoint]) -> dict[int, float]:
    """The mean loss of each round, of the newest one so far."""
    return {point.round: point.loss for point in points if math.isfinite(point.loss)}
