"""cloneofsimo's safelora: layers by number, in the order in which its trainer met them.

The order inside a transformer block is attn1, feed-forward, attn2, as diffusers of 2022 defined
its modules; blocks come down, up, middle for the same reason. Every shape of two real files fits
that order (144 of 144), and 64 do not fit the obvious one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trainer.lora_file.architecture import Architecture
from trainer.lora_file.dialects.base import Dialect, Part

_UNET = tuple(f"attn1.{p}" for p in ("to_q", "to_k", "to_v", "to_out.0"))
_UNET += ("ff.net.0.proj", *(f"attn2.{p}" for p in ("to_q", "to_k", "to_v", "to_out.0")))
_TEXT = ("k_proj", "v_proj", "q_proj", "out_proj")
_SIDES = ("down_blocks", "up_blocks", "mid_block")
_BLOCK = re.compile(r"(.+\.transformer_blocks\.\d+)\..+")
_ATTENTION = re.compile(r"(.+\.layers\.\d+\.self_attn)\..+")


class Safelora(Dialect):
    """``unet:17:up`` and ``text_encoder:3:down``; ranks and layer kinds are in the header."""

    name = "safelora"
    title = "cloneofsimo's safelora"
    suffixes: Mapping[str, Part] = {":down": "A", ":up": "B"}

    def owns(self, stem: str) -> bool:
        component, _, number = stem.partition(":")
        return component in ("unet", "text_encoder") and number.isdecimal()

    def stems(self, architecture: Architecture) -> Mapping[tuple[str, str], Sequence[str]]:
        found: dict[tuple[str, str], Sequence[str]] = {}
        for component, pattern, parts in (
            ("unet", _BLOCK, _UNET),
            ("text_encoder", _ATTENTION, _TEXT),
        ):
            layers = architecture.components.get(component, {})
            places = {match[1] for name in layers if (match := pattern.fullmatch(name))}
            order = (f"{place}.{part}" for place in sorted(places, key=_met) for part in parts)
            numbered = enumerate(name for name in order if name in layers)
            found |= {(component, name): (f"{component}:{number}",) for number, name in numbered}
        return found


def _met(place: str) -> tuple[int, list[int]]:
    """The order of registration: sides first, then every number in the name."""
    side = next((n for n, side in enumerate(_SIDES) if place.startswith(side)), 0)
    return side, [int(number) for number in re.findall(r"\d+", place)]
