"""Combining LoRA files of other programs offline, with the arithmetic of rooms.

Every file becomes a room's contribution in a temporary folder, with the component as part of a
layer's name; the result becomes one ordinary LoRA file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import lora_file, models, room_adapter, tensor_file
from trainer.adapter import A_SUFFIX, B_SUFFIX, FloatArray
from trainer.aggregate.combination import Combination, check_choice, combine
from trainer.errors import MISUSE, TrainerError
from trainer.job import Job
from trainer.lora_file import Factors, LoraAdapter
from trainer.models.base import BaseModel
from trainer.protocol import DENSE, CombineAdapters, WeightedFile
from trainer.room_adapter import RoomAdapter
from trainer.tensor_file import Written

SEPARATOR = "/"


@dataclass(frozen=True)
class Combined:
    """The written file, what is in it, and how it came about."""

    written: Written
    adapter: LoraAdapter
    combination: Combination


def combine_files(request: CombineAdapters, job: Job) -> Combined:
    """See :class:`trainer.protocol.CombineAdapters`. Raises :class:`TrainerError`."""
    check_choice(request.mode, request.rule)
    if request.mode in (DENSE, "ffa", "rolora"):
        raise TrainerError(
            "This mode combines no LoRA files",
            f"{request.mode} needs to know how members trained.",
            "Choose fedex, fedavg or stack.",
            MISUSE,
        )
    model = models.resolve(request.model)
    with tempfile.TemporaryDirectory(prefix="fedtui-combine-") as name:
        folder = Path(name)
        inputs = []
        layers: Mapping[str, Factors] | None = None
        for number, item in enumerate(request.inputs):
            job.check()
            found = _flat(Path(item.path), model)
            if layers is not None and set(found) != set(layers):
                odd = sorted(set(found) ^ set(layers))[0]
                raise TrainerError(
                    "These adapters cannot be combined",
                    f"{item.path} and {request.inputs[0].path} adapt different layers, for "
                    f"instance {odd}.",
                    "Combine adapters that were trained with the same targets.",
                )
            layers = found
            path = tensor_file.write(folder / f"{number:05d}", _arrays(found)).path
            inputs.append(WeightedFile(item.id, str(path), item.weight))
        before = _before(request, model, layers or {})
        previous = tensor_file.write(folder / "before", before).path
        out = folder / "result"
        done = combine(request.mode, inputs, previous, out, job, request.rule)
        if done.note:
            raise TrainerError("These adapters were not combined", f"{done.note}.", code=MISUSE)
        exact = _used(room_adapter.read(out))
    components: dict[str, dict[str, Factors]] = {}
    for key, factors in exact.items():
        component, _, layer = key.partition(SEPARATOR)
        components.setdefault(component, {})[layer] = factors
    adapter = LoraAdapter(components, "factors", {})
    base = lora_file.Architecture.of(model)
    notes = {"mode": request.mode, "rule": request.rule.name}
    file = lora_file.write(Path(request.out), adapter, request.format, base, notes)
    return Combined(file, adapter, done)


def _used(room: RoomAdapter) -> dict[str, Factors]:
    """Exact factors without those that a mode has begun anew: their B is zero, so they are ranks of
    nothing in a file that nobody goes on training in a room."""
    exact = room.exact()
    for name, branch in room.branches.items():
        if not room.factors[name].B.any():
            exact[name] = branch.as_factors()
    return exact


def _flat(path: Path, model: BaseModel) -> dict[str, Factors]:
    if room_adapter.is_room_adapter(path):
        exact = room_adapter.read(path).exact()
        components = lora_file.Architecture.of(model).by_component(exact)
        read = LoraAdapter(components, "factors", {})
    else:
        read = lora_file.read(path, model)
    if read.has_magnitudes:
        raise TrainerError(
            "A DoRA adapter cannot be combined",
            f"{path} scales every row of a weight, and an average of adapters is none of that "
            "kind.",
            "Train without --dora what is to be combined.",
            MISUSE,
        )
    return {
        f"{component}{SEPARATOR}{name}": factors
        for component, name, factors in lora_file.each_layer(read)
    }


def _before(
    request: CombineAdapters, model: BaseModel, layers: Mapping[str, Factors]
) -> dict[str, FloatArray]:
    """The adapter that all began with; without one, B is zero: updates count from the base."""
    if request.base:
        return _arrays(_flat(Path(request.base), model))
    return {
        name: np.zeros_like(array) if name.endswith(B_SUFFIX) else array
        for name, array in _arrays(layers).items()
    }


def _arrays(layers: Mapping[str, Factors]) -> dict[str, FloatArray]:
    arrays: dict[str, FloatArray] = {}
    for name, factors in layers.items():
        arrays[name + A_SUFFIX], arrays[name + B_SUFFIX] = factors.A, factors.B
    return arrays
