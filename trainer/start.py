"""Where a training begins: the room's adapter, and which of its factors are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer import adapter, injection, room_adapter
from trainer.adapter import FloatArray
from trainer.aggregate.modes import LOW_RANK, trained_factors
from trainer.errors import MISUSE, TrainerError
from trainer.lora_file import Factors
from trainer.models.base import BaseModel, Shape
from trainer.protocol import Train
from trainer.room_adapter import Branch


@dataclass(frozen=True)
class Start:
    """Where a training begins: factors by layer, the frozen branch, and which factors are trained,
    by the names they have in a file; ``own`` are the names that stay with this member."""

    layers: Mapping[str, Factors]
    branches: Mapping[str, Branch]
    trained: frozenset[str]
    own: frozenset[str]
    rounds: int

    @property
    def arrays(self) -> dict[str, FloatArray]:
        return injection.as_arrays(self.layers)


def begin(request: Train, base: BaseModel) -> Start:
    """Raises :class:`TrainerError` when the adapter at hand is not that of ``request.spec``."""
    if request.mode not in LOW_RANK:
        raise TrainerError(
            "This way of training is unknown",
            f"There is no mode {request.mode!r} for adapters.",
            f"Choose one of {', '.join(LOW_RANK)}.",
            MISUSE,
        )
    rank = request.spec.rank
    layers = adapter.target_layers(base, request.spec)
    shared = adapter.factor_shapes(adapter.shared_layers(layers, request.spec), rank)
    every = adapter.factor_shapes(layers, rank)
    room = room_adapter.read(Path(request.initial)) if request.initial else None
    arrays = dict(adapter.initial_factors(every, request.seed))
    if room is not None:
        arrays |= _checked(injection.as_arrays(room.factors), shared, request.initial)
    own = frozenset(every) - frozenset(shared)
    if request.personal and Path(request.personal).is_file():
        kept = room_adapter.read(Path(request.personal))
        wanted = {name: every[name] for name in own}
        arrays |= _checked(injection.as_arrays(kept.factors), wanted, request.personal)
    rounds = room.rounds if room else 0
    parts = trained_factors(request.mode, rounds)
    sent = frozenset(
        adapter.contribution_shapes(adapter.shared_layers(layers, request.spec), rank, parts)
    )
    return Start(
        injection.as_layers(arrays), room.branches if room else {}, sent | own, own, rounds
    )


def _checked(
    arrays: Mapping[str, FloatArray], shapes: Mapping[str, Shape], path: str
) -> Mapping[str, FloatArray]:
    found = {name: array.shape for name, array in arrays.items()}
    if found != dict(shapes):
        matching = sum(found.get(name) == shape for name, shape in shapes.items())
        raise TrainerError(
            "The adapter does not fit the model",
            f"{matching} of {len(shapes)} tensors match in {path}.",
            "Use the adapter with the model and rank it was made for.",
        )
    return arrays
