"""Where a training run was when its process died: one atomic file, no generator state.

Random numbers follow from the step, so what trains, the optimiser's state, the moving average and
the losses so far are everything.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import nn

from trainer import tensor_file
from trainer.config import MAX_MODEL_HEADER
from trainer.errors import MISUSE, TrainerError

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Place:
    """Finished steps, the sum of their losses, and (step, loss) of pictures held out so far."""

    step: int = 0
    loss_sum: float = 0.0
    held_out: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Progress:
    """Everything that a step changes."""

    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    average: EMAModel | None = None


def save(path: Path, run: str, batch: int, place: Place, progress: Progress) -> None:
    """Writes the state of the run called ``run`` (a hash of all that decides its course).

    ``batch`` is its number of pictures in a step, for whoever goes on without having said one.
    """
    arrays: dict[str, np.ndarray] = {}
    numbers: dict[str, Any] = {}
    state = progress.optimizer.state_dict()
    for index, (name, parameter) in enumerate(progress.parameters.items()):
        arrays[f"value/{name}"] = _array(parameter.detach().float())
        for key, value in state["state"].get(index, {}).items():
            if isinstance(value, torch.Tensor):
                arrays[f"state/{key}/{name}"] = _array(value)
            else:
                numbers[f"{key}/{name}"] = value
        if progress.average is not None:
            arrays[f"average/{name}"] = _array(progress.average.shadow_params[index])
    metadata = {
        "run": run,
        "batch": str(batch),
        "place": json.dumps([place.step, place.loss_sum.hex()]),
        "held_out": json.dumps([[step, loss.hex()] for step, loss in place.held_out]),
        "groups": json.dumps(state["param_groups"]),
        "numbers": json.dumps(numbers),
    }
    tensor_file.write(path, arrays, metadata)


def batch_of(path: Path) -> int:
    """Pictures in a step of the run that left this file; 0 if there is none or it is damaged."""
    try:
        with path.open("rb") as file:
            return int(tensor_file.read_header(file, MAX_MODEL_HEADER).metadata["batch"])
    except (OSError, KeyError, ValueError):
        return 0


def restore(path: Path, run: str, steps: int, progress: Progress, insist: bool = False) -> Place:
    """Continues where :func:`save` was; from the start if there is nothing.

    What is damaged, of another run or beyond ``steps`` counts as nothing, or raises
    :class:`TrainerError` for somebody who would ``insist``.
    """
    try:
        return _restored(path, run, steps, progress)
    except FileNotFoundError:
        return Place()
    except (OSError, KeyError, ValueError) as error:
        if insist:
            raise TrainerError(
                "The checkpoint cannot be used",
                f"{path}: {error}.",
                "Say the same model, pictures and settings as before, or leave --resume out to "
                "start anew.",
                MISUSE,
            ) from error
        log.warning("the checkpoint %s cannot be used: %s", path, error)
        return Place()


def _restored(path: Path, run: str, steps: int, progress: Progress) -> Place:
    """Raises OSError, KeyError and ValueError before anything is changed."""
    arrays, metadata = tensor_file.read_all(path, MAX_MODEL_HEADER)
    if metadata.get("run") != run:
        raise ValueError("it belongs to a training of something else, or with other settings")
    step, loss_sum = json.loads(metadata["place"])
    held_out = json.loads(metadata["held_out"])
    measured = tuple((int(number), float.fromhex(loss)) for number, loss in held_out)
    place = Place(int(step), float.fromhex(loss_sum), measured)
    if place.step > steps:
        raise ValueError(f"it is after step {place.step} already, and {steps} are asked for")
    names = list(progress.parameters)
    tensors = {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}
    values = [tensors[f"value/{name}"] for name in names]
    average = [tensors[f"average/{name}"] for name in names] if progress.average else []
    state = _state(names, tensors, json.loads(metadata["numbers"]))
    progress.optimizer.load_state_dict(
        {"state": state, "param_groups": json.loads(metadata["groups"])}
    )
    for parameter, value in zip(progress.parameters.values(), values, strict=True):
        parameter.data.copy_(value)
    if progress.average is not None:
        progress.average.optimization_step = place.step
        for shadow, value in zip(progress.average.shadow_params, average, strict=True):
            shadow.copy_(value)
    return place


def _state(
    names: list[str], tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Any]
) -> dict[int, dict[str, Any]]:
    """The optimiser's own form: states by the parameter's place."""
    places = {name: index for index, name in enumerate(names)}
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "state":
            entry, _, name = rest.partition("/")
            state.setdefault(places[name], {})[entry] = tensor
    for key, number in numbers.items():
        entry, _, name = key.partition("/")
        state.setdefault(places[name], {})[entry] = number
    return state


def _array(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array
