"""Training every weight of a denoiser, and the files that hold them all.

A file names weights as the network's state dict does and holds float32, which is what mode
``dense`` combines (:mod:`trainer.aggregate`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainer import tensor_file
from trainer.aggregate.dense import EMA_PREFIX
from trainer.aggregate.files import ROUNDS_KEY
from trainer.config import MAX_MODEL_HEADER
from trainer.errors import TrainerError

FloatArray = NDArray[np.float32]


def read(path: Path) -> dict[str, FloatArray]:
    """The weights of a file, their averages left out. Raises :class:`TrainerError`."""
    return {name: array for name, array in _all(path).items() if "/" not in name}


def read_averages(path: Path) -> dict[str, FloatArray]:
    """What to draw with: the averages if the file has them, else the weights."""
    arrays = _all(path)
    averages = {
        name.removeprefix(EMA_PREFIX): array
        for name, array in arrays.items()
        if name.startswith(EMA_PREFIX)
    }
    return averages or {name: array for name, array in arrays.items() if "/" not in name}


def rounds(path: Path) -> int:
    """How many combinations the weights of a file have behind them."""
    with path.open("rb") as file:
        text = tensor_file.read_header(file, MAX_MODEL_HEADER).metadata.get(ROUNDS_KEY, "0")
    return int(text) if text.isdecimal() else 0


def _all(path: Path) -> dict[str, FloatArray]:
    try:
        arrays, _ = tensor_file.read_all(path, MAX_MODEL_HEADER)
    except (OSError, tensor_file.FormatError) as error:
        raise TrainerError("The weights cannot be read", f"{path}: {error}") from error
    return {name: array.astype(np.float32) for name, array in arrays.items()}


@contextmanager
def replaced(network: nn.Module, weights: Mapping[str, FloatArray]) -> Iterator[None]:
    """The network with these weights in place of its own; its own again afterwards.

    Raises :class:`TrainerError` unless names and shapes are exactly the network's.
    """
    named = dict(network.named_parameters())
    wanted = {name: tuple(parameter.shape) for name, parameter in named.items()}
    found = {name: array.shape for name, array in weights.items()}
    if weights and found != wanted:
        matching = sum(found.get(name) == shape for name, shape in wanted.items())
        raise TrainerError(
            "The weights do not fit the model",
            f"{matching} of its {len(wanted)} weights are in the file, which has {len(found)}.",
            "Use them with the model they were trained from.",
        )
    kept = {name: parameter.data for name, parameter in named.items()}
    try:
        for name, array in weights.items():
            named[name].data = torch.from_numpy(array.copy()).to(
                kept[name].device, kept[name].dtype
            )
        yield
    finally:
        for name, parameter in named.items():
            parameter.data = kept[name]


@contextmanager
def trainable(
    network: nn.Module, weights: Mapping[str, FloatArray]
) -> Iterator[dict[str, nn.Parameter]]:
    """Every weight of the network in float32 and trainable, sorted by name.

    Training begins at ``weights``, or at the network's own when there are none. Afterwards the
    network is as it was.
    """
    with replaced(network, weights):
        named = dict(sorted(network.named_parameters()))
        try:
            for parameter in named.values():
                parameter.data = parameter.data.to(torch.float32, copy=True)
                parameter.requires_grad_(True)
            yield named
        finally:
            for parameter in named.values():
                parameter.grad = None
                parameter.requires_grad_(False)


def extracted(values: Mapping[str, torch.Tensor]) -> dict[str, FloatArray]:
    """Copies of the weights as they are written to a file."""
    return {
        name: value.detach().to("cpu", torch.float32).numpy().copy()
        for name, value in values.items()
    }
