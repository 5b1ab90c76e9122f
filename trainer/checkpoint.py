"""Where a training run was when its process died: one atomic file, no generator state.

Random numbers follow from the step, so factors, the optimiser's two moments and the losses so far
are everything.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from trainer import tensor_file

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Place:
    """Finished steps and the sum of their losses."""

    step: int = 0
    loss_sum: float = 0.0


def save(
    path: Path,
    run: str,
    place: Place,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Writes the state of the run called ``run`` (a hash of all that decides its course)."""
    arrays = {}
    for name, parameter in parameters.items():
        state = optimizer.state[parameter]
        arrays[f"{name}/value"] = parameter.detach().float().cpu().numpy()
        arrays[f"{name}/mean"] = state["exp_avg"].float().cpu().numpy()
        arrays[f"{name}/square"] = state["exp_avg_sq"].float().cpu().numpy()
    metadata = {"run": run, "place": json.dumps([place.step, place.loss_sum.hex()])}
    tensor_file.write(path, arrays, metadata)


def restore(
    path: Path,
    run: str,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> Place:
    """Continues where :func:`save` was; from the start if there is nothing or another run's."""
    try:
        arrays, metadata = tensor_file.read_all(path)
        if metadata.get("run") != run:
            log.info("the checkpoint %s belongs to another run and is not used", path)
            return Place()
        step, loss_sum = json.loads(metadata["place"])
        place = Place(int(step), float.fromhex(loss_sum))
        values = {
            name: [arrays[f"{name}/{part}"] for part in ("value", "mean", "square")]
            for name in parameters
        }
    except FileNotFoundError:
        return Place()
    except (OSError, KeyError, ValueError) as error:
        log.warning("the checkpoint %s cannot be used: %s", path, error)
        return Place()
    for name, parameter in parameters.items():
        value, mean, square = (_like(array, parameter) for array in values[name])
        parameter.data.copy_(value)
        optimizer.state[parameter] = {
            "step": torch.tensor(float(place.step)),
            "exp_avg": mean,
            "exp_avg_sq": square,
        }
    return place


def _like(array: np.ndarray, parameter: nn.Parameter) -> torch.Tensor:
    return torch.from_numpy(array.copy()).to(parameter.device)
