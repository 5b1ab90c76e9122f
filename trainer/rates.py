"""Learning rates: what suits a model, and their course as a pure function of the step."""

from __future__ import annotations

import math

from trainer import embedded
from trainer.models.base import BaseModel
from trainer.protocol import Tuning

BUILT_IN_RATE = 1e-3
"""Of the embedded model, which is small and learns in some hundred steps."""
LION_SHARE = 0.3
"""Of AdamW's rate (Chen et al., arXiv 2302.06675)."""
PRODIGY_RATE = 1.0
"""It multiplies the rate that Prodigy finds by itself."""


def suited(base: BaseModel, tuning: Tuning, *, whole: bool) -> float:
    """The learning rate for whoever says none; ``whole`` is for training every weight."""
    if tuning.optimizer == "prodigy":
        return PRODIGY_RATE
    family = base.family
    rate = family.whole_rate if whole else family.rate
    if base.folder == embedded.WEIGHTS.resolve():
        rate = BUILT_IN_RATE
    return rate * LION_SHARE if tuning.optimizer == "lion" else rate


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
