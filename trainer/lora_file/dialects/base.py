"""What a dialect is: suffixes for a layer's parts, and words for the layers themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

from trainer.lora_file.architecture import Architecture
from trainer.lora_file.layers import Name

Part = Literal["A", "B", "alpha", "magnitude"]

DOTTED: Mapping[str, Part] = {
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".alpha": "alpha",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".lora_A.default.weight": "A",
    ".lora_B.default.weight": "B",
    ".lora.down.weight": "A",
    ".lora.up.weight": "B",
    ".lora_linear_layer.down.weight": "A",
    ".lora_linear_layer.up.weight": "B",
    ".lora_down.weight": "A",
    ".lora_up.weight": "B",
}
"""Endings of keys whose layers keep their dots; the first of each part is the one to write."""


class Dialect(ABC):
    """One way to name the tensors of a LoRA file; stateless.

    A key is a *stem*, which names a layer, and a suffix, which names a part of it.
    """

    name: Name
    title: str
    """For people: who writes files like this."""
    suffixes: Mapping[str, Part] = DOTTED

    @abstractmethod
    def owns(self, stem: str) -> bool:
        """Whether a stem looks like one of this dialect."""

    @abstractmethod
    def stems(self, architecture: Architecture) -> Mapping[tuple[str, str], Sequence[str]]:
        """How each (component, layer) is spelled, the right way first; what has no word is absent.

        Several dialects are read in more than one spelling.
        """

    def fused(self, architecture: Architecture) -> Mapping[str, Sequence[tuple[str, str]]]:
        """Stems that stand for several layers, which lie in it one below another."""
        del architecture
        return {}

    def split(self, key: str) -> tuple[str, Part] | None:
        """The stem and part of a key, or None when it is of another dialect."""
        for suffix, part in self.suffixes.items():
            if key.endswith(suffix):
                stem = key.removesuffix(suffix)
                if stem and self.owns(stem):
                    return stem, part
        return None

    def key(self, stem: str, part: Part) -> str:
        """The key of a part as this dialect writes it. The dialect must have that part."""
        return stem + next(suffix for suffix, p in self.suffixes.items() if p == part)
