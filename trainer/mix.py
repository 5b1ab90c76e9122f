"""Several adapters at once: those of other programs, and rooms' with their frozen branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer import injection, lora_file, room_adapter
from trainer.lora_file import Factors, LoraAdapter
from trainer.models.base import BaseModel
from trainer.room_adapter import Branch, RoomAdapter


@dataclass(frozen=True)
class Ingredient:
    """One adapter: its factors, and the frozen branches of a room's by layer of ``adapted``."""

    adapter: LoraAdapter
    branches: Mapping[str, Branch]
    adapted: str

    @property
    def plain(self) -> Ingredient:
        """The same function without branches: they become further ranks."""
        if not self.branches:
            return self
        room = RoomAdapter(self.adapter.components[self.adapted], self.branches, 0)
        return Ingredient(
            LoraAdapter({self.adapted: room.exact()}, self.adapter.dialect, {}), {}, self.adapted
        )


@dataclass(frozen=True)
class Mix:
    """Several adapters as one, by component."""

    factors: Mapping[str, Mapping[str, Factors]]
    branches: Mapping[str, Mapping[str, Branch]]


def ingredient(path: Path, base: BaseModel) -> Ingredient:
    """Reads an adapter of any dialect, or a room's. Raises :class:`TrainerError`."""
    adapted = base.family.adapted
    if not room_adapter.is_room_adapter(path):
        return Ingredient(lora_file.read(path, base), {}, adapted)
    room = room_adapter.read(path)
    return Ingredient(LoraAdapter({adapted: room.factors}, "factors", {}), room.branches, adapted)


def mixed(ingredients: Sequence[Ingredient], weights: Sequence[float]) -> Mix:
    """One adapter that does what all do together, each as strongly as its weight says."""
    parts = list(zip(ingredients, weights, strict=True))
    branches: dict[str, dict[str, Branch]] = {}
    for part, weight in parts:
        for name, branch in part.branches.items():
            layers, more = branches.setdefault(part.adapted, {}), branch.scaled(weight)
            layers[name] = layers[name].plus(more) if name in layers else more
    return Mix(injection.mixed([(part.adapter, weight) for part, weight in parts]), branches)


def alone(path: str, base: BaseModel) -> Mix:
    """One adapter at full strength; an empty path is the base model itself."""
    return mixed([ingredient(Path(path), base)], [1.0]) if path else Mix({}, {})
