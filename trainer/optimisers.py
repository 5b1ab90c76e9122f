"""Optimisers by name, each from the library that is known for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from trainer.errors import MISUSE, TrainerError
from trainer.protocol import Tuning

Values = Sequence[torch.nn.Parameter]


def _adamw(values: Values, rate: float, decay: float) -> torch.optim.Optimizer:
    device = values[0].device.type
    fused = device in ("cuda", "cpu", "mps", "xpu")
    return torch.optim.AdamW(values, rate, weight_decay=decay, fused=fused)


def _adamw8bit(values: Values, rate: float, decay: float) -> torch.optim.Optimizer:
    library = _library("bitsandbytes.optim", "bitsandbytes")
    optimizer: torch.optim.Optimizer = library.AdamW8bit(values, lr=rate, weight_decay=decay)
    return optimizer


def _prodigy(values: Values, rate: float, decay: float) -> torch.optim.Optimizer:
    """``rate`` multiplies the rate it finds by itself; 1 is meant. Settings as its authors advise
    for diffusion models."""
    library = _library("prodigyopt", "prodigyopt")
    optimizer: torch.optim.Optimizer = library.Prodigy(
        values, lr=rate, weight_decay=decay, safeguard_warmup=True, use_bias_correction=True
    )
    return optimizer


def _lion(values: Values, rate: float, decay: float) -> torch.optim.Optimizer:
    """Wants a third to a tenth of AdamW's rate (Chen et al., arXiv 2302.06675)."""
    library = _library("lion_pytorch", "lion-pytorch")
    optimizer: torch.optim.Optimizer = library.Lion(values, lr=rate, weight_decay=decay)
    return optimizer


OPTIMISERS: Mapping[str, Callable[[Values, float, float], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adamw8bit": _adamw8bit,
    "prodigy": _prodigy,
    "lion": _lion,
}


def build(values: Values, rate: float, tuning: Tuning) -> torch.optim.Optimizer:
    """A fresh optimiser. Raises :class:`TrainerError` if its library is not there."""
    return OPTIMISERS[tuning.optimizer](values, rate, tuning.weight_decay)


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise TrainerError(
            "This optimiser is not installed",
            f"It comes from the library {package}: {error}",
            "Run: pip install 'fedtui[optimizers]', or use adamw.",
            MISUSE,
        ) from error
