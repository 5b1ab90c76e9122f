"""What a denoiser predicts: read from a model's scheduler, and said anew where that is wrong.

Weights look the same whether a model predicts the noise or the velocity; trained or drawn as the
other one, it gives noise. Some files say it in an empty tensor's name, as ComfyUI reads it.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from trainer.errors import MISUSE, TrainerError
from trainer.models.base import PREDICTIONS, read_config

MARKS: Mapping[str, Mapping[str, Any]] = {
    "v_pred": {"prediction_type": "v_prediction"},
    "ztsnr": {"rescale_betas_zero_snr": True},
}
"""Tensors of a single file that are nothing but a word; the second is that of a model whose last
level is noise alone (Lin et al., arXiv 2305.08891)."""


def check(prediction: str) -> None:
    """Raises :class:`TrainerError` for a word that is not one of :data:`PREDICTIONS`, or ""."""
    if prediction and prediction not in PREDICTIONS:
        raise TrainerError(
            "No model predicts this",
            f"There is no {prediction!r}.",
            f"Say {' or '.join(PREDICTIONS)}.",
            MISUSE,
        )


def said_by(names: Container[str]) -> dict[str, Any]:
    """What the tensors' names of a single file say of its scheduler; mostly nothing."""
    return {
        key: value
        for mark, settings in MARKS.items()
        if mark in names
        for key, value in settings.items()
    }


def write(folder: Path, prediction: str) -> None:
    """Makes the scheduler of a model folder say ``prediction``."""
    path = folder / "scheduler" / "scheduler_config.json"
    config = read_config(path) | {"prediction_type": prediction}
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(path)
