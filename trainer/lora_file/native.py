"""Diffusers' names of a UNet's layers in the words of the original checkpoints.

CompVis and Stability number their blocks through: ``down_blocks.1.attentions.0`` of diffusers is
``input_blocks.4.1`` there. kohya's SDXL files and ComfyUI's own dialect use those names. The
number of layers per block follows from the names themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_BLOCK = re.compile(
    r"(down_blocks|up_blocks)\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def native_names(names: Iterable[str]) -> dict[str, str]:
    """The original name of every diffusers name that has one."""
    names = list(names)
    layers = 1 + max(
        (int(m[4]) for name in names if (m := _BLOCK.fullmatch(name)) and m[1] == "down_blocks"),
        default=0,
    )
    attentive = {
        int(m[2])
        for name in names
        if (m := _BLOCK.fullmatch(name)) and m[1] == "up_blocks" and m[3] == "attentions"
    }
    found = {name: _native(name, layers, attentive) for name in names}
    return {name: native for name, native in found.items() if native}


def _native(name: str, layers: int, attentive: set[int]) -> str:
    """``layers`` per down block (an up block has one more); ``attentive`` up blocks attend."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    if middle := _MIDDLE.fullmatch(name):
        kind, number, rest = middle.groups()
        place = 1 + 2 * int(number) if kind == "attentions" else 2 * int(number)
        return f"middle_block.{place}.{_within(kind, rest)}"
    match = _BLOCK.fullmatch(name)
    if match is None:
        return ""
    side, kind, rest = match[1], match[3], match[5]
    block, number = int(match[2]), int(match[4])
    if side == "down_blocks":
        place = block * (layers + 1) + number + 1
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.op"
        return f"input_blocks.{place}.{int(kind == 'attentions')}.{_within(kind, rest)}"
    place = block * (layers + 1) + number
    if kind == "upsamplers":
        last = block * (layers + 1) + layers
        return f"output_blocks.{last}.{1 + (block in attentive)}.{rest}"
    return f"output_blocks.{place}.{int(kind == 'attentions')}.{_within(kind, rest)}"


def _within(kind: str, rest: str) -> str:
    return _RESNET.get(rest, rest) if kind == "resnets" else rest
