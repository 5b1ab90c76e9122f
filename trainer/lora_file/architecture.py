"""The layers a LoRA file can belong to, without the weights of any model.

A model on disk gives its own; those that most files are made for are in
:mod:`trainer.lora_file.known`, so that a file can be looked at where no checkpoint lies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from trainer.lora_file.native import native_names
from trainer.lora_file.native_transformers import Parts, native_parts
from trainer.models.base import BaseModel, Layers, Shape, read_config

TEXT_PREFIX = "text_model."
"""Part of a CLIP text layer's public name; transformers 5.6 dropped it from CLIPTextModel."""
Value = TypeVar("Value")
_CLIP_START = re.compile(r"(encoder\.layers|embeddings)\.")


@dataclass(frozen=True)
class Architecture:
    """Components and the names and weight shapes of their layers, as modules are called in memory.

    ``adapted`` is the denoiser's component. ``title`` is for people, ``base_version`` and
    ``signature`` are kohya's and modelspec's words for the base.
    """

    title: str
    adapted: str
    components: Mapping[str, Layers]
    signature: str
    base_version: str

    @classmethod
    def of(cls, model: BaseModel) -> Architecture:
        """That of a model on disk, from headers and configurations alone."""
        family = model.family
        components: dict[str, Layers] = {family.adapted: model.layers(family.adapted)}
        for component in family.networks:
            if component.startswith("text_encoder") and model.has(component):
                config = read_config(model.folder / component / "config.json")
                kinds = config.get("architectures") or [""]
                bare = kinds[0] == "CLIPTextModel"
                components[component] = {
                    _live(name, bare): shape for name, shape in model.layers(component).items()
                }
        return cls(model.name, family.adapted, components, *family.names(model.folder))

    @property
    def text_encoders(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.components if name != self.adapted))

    @property
    def is_sdxl(self) -> bool:
        """kohya's files for it speak of the original UNet's layers."""
        return self.adapted == "unet" and "text_encoder_2" in self.components

    @cached_property
    def native(self) -> Mapping[str, str]:
        """The original checkpoint's names of those of the denoiser's layers that it has too."""
        if self.adapted != "unet":
            return {parts[0]: native for native, parts in self.parts.items() if len(parts) == 1}
        return native_names(self.components[self.adapted])

    @cached_property
    def parts(self) -> Parts:
        """Original layers of a transformer and the layers here that are their rows."""
        if self.adapted == "unet":
            return {}
        return native_parts(self.components[self.adapted])

    @property
    def fused(self) -> Parts:
        """Those of several layers."""
        return {native: parts for native, parts in self.parts.items() if len(parts) > 1}

    def flat_name(self, component: str, name: str) -> str:
        """A layer's name where all components share one space, as in a room's factors: those of the
        denoiser keep theirs, those of a text encoder have its public name."""
        if component == self.adapted:
            return name
        return f"{component}.{public_name(component, name)}"

    def by_component(self, flat: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
        """What is kept under flat names, by component and the layer's name in memory.

        A name that the model does not have counts as one of the denoiser.
        """
        places = {self.flat_name(place, name): (place, name) for place, name, _ in self.each()}
        found: dict[str, dict[str, Value]] = {}
        for key, value in flat.items():
            component, name = places.get(key, (self.adapted, key))
            found.setdefault(component, {})[name] = value
        return found

    def each(self) -> Iterator[tuple[str, str, Shape]]:
        """(component, layer, shape of its weight)."""
        for component, layers in self.components.items():
            for name, shape in layers.items():
                yield component, name, shape


def public_name(component: str, module: str) -> str:
    """What other programs call a module of this transformers version."""
    clip = component.startswith("text_encoder") and _CLIP_START.match(module)
    return TEXT_PREFIX + module if clip else module


def _live(name: str, bare: bool) -> str:
    """The name in memory of a text layer as it is called on disk, which depends on the writer."""
    name = name.removeprefix(TEXT_PREFIX)
    return name if bare else public_name("text_encoder", name)
