"""Learning rates over a training, as a pure function of the step."""

from __future__ import annotations

import math

from trainer.protocol import Tuning


def factor(tuning: Tuning, step: int, steps: int) -> float:
    """What the learning rate is multiplied by at ``step`` of ``steps``, counted from 0.

    It grows to 1 over ``warmup`` steps, then stays, or falls to 0 at the end: on a line or along
    half a cosine (Loshchilov and Hutter, arXiv 1608.03983).
    """
    if step < tuning.warmup:
        return (step + 1) / (tuning.warmup + 1)
    if tuning.schedule == "constant":
        return 1.0
    done = (step - tuning.warmup) / max(1, steps - tuning.warmup)
    return 1.0 - done if tuning.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
