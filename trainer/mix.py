"""Several adapters at once: those of other programs, and rooms' with their frozen branches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trainer import injection, lora_file, room_adapter, whole, whole_file
from trainer.adapter import FloatArray
from trainer.errors import MISUSE, TrainerError
from trainer.lora_file import Architecture, Factors, LoraAdapter
from trainer.models.base import BaseModel, LoadedModel
from trainer.room_adapter import Branch, RoomAdapter


@dataclass(frozen=True)
class Ingredient:
    """One adapter: its factors, and the frozen branches of a room's by component and layer; or
    whole ``weights`` in place of the base's ``adapted`` network."""

    adapter: LoraAdapter
    branches: Mapping[str, Mapping[str, Branch]]
    adapted: str
    weights: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def plain(self) -> Ingredient:
        """The same function without branches: they become further ranks."""
        if not self.branches:
            return self
        exact = {
            component: RoomAdapter(layers, self.branches.get(component, {}), 0).exact()
            for component, layers in self.adapter.components.items()
        }
        return Ingredient(LoraAdapter(exact, self.adapter.dialect, {}), {}, self.adapted)


@dataclass(frozen=True)
class Mix:
    """Several adapters as one, by component."""

    factors: Mapping[str, Mapping[str, Factors]]
    branches: Mapping[str, Mapping[str, Branch]]
    weights: Mapping[str, Mapping[str, FloatArray]]

    @property
    def speaks(self) -> bool:
        """Whether it changes what the model knows of captions."""
        return any(name.startswith("text_encoder") for name in self.factors)

    @contextmanager
    def on(self, model: LoadedModel) -> Iterator[None]:
        """The model with all of it; the plain base again afterwards."""
        with ExitStack() as stack:
            for component, weights in self.weights.items():
                stack.enter_context(whole.replaced(model.components[component], weights))
            stack.enter_context(injection.attached(model, self.factors, branches=self.branches))
            yield


def ingredient(path: Path, base: BaseModel) -> Ingredient:
    """Reads an adapter of any dialect, or a room's. Raises :class:`TrainerError`."""
    adapted = base.family.adapted
    if whole_file.is_whole(path):
        none = LoraAdapter({}, "factors", {})
        return Ingredient(none, {}, adapted, whole.read_averages(path))
    if not room_adapter.is_room_adapter(path):
        return Ingredient(lora_file.read(path, base), {}, adapted)
    room, architecture = room_adapter.read(path), Architecture.of(base)
    adapter = LoraAdapter(architecture.by_component(room.factors), "factors", {})
    return Ingredient(adapter, architecture.by_component(room.branches), adapted)


def mixed(ingredients: Sequence[Ingredient], weights: Sequence[float]) -> Mix:
    """One adapter that does what all do together, each as strongly as its weight says.

    Raises :class:`TrainerError` for whole weights at another strength than 1: there are no half
    weights.
    """
    parts = list(zip(ingredients, weights, strict=True))
    replaced = {part.adapted: part.weights for part, _ in parts if part.weights}
    if any(part.weights and weight != 1.0 for part, weight in parts):
        raise TrainerError(
            "Whole weights have no strength",
            "They replace the base model's.",
            "Use them at strength 1.",
            MISUSE,
        )
    branches: dict[str, dict[str, Branch]] = {}
    for part, weight in parts:
        for component, frozen in part.branches.items():
            layers = branches.setdefault(component, {})
            for name, branch in frozen.items():
                more = branch.scaled(weight)
                layers[name] = layers[name].plus(more) if name in layers else more
    return Mix(
        injection.mixed([(part.adapter, weight) for part, weight in parts]), branches, replaced
    )


def alone(path: str, base: BaseModel) -> Mix:
    """One adapter at full strength; an empty path is the base model itself."""
    return mixed([ingredient(Path(path), base)], [1.0]) if path else Mix({}, {}, {})
