"""Diffusers' names of transformers' layers in the words of the original checkpoints.

Flux and Stable Diffusion 3 have one weight for queries, keys and values where diffusers has three,
and Flux's single blocks add the first half of the feed-forward layer. So an original layer stands
for several, which lie in it one below another. PixArt has no such names: its adapters are written
and read in those of diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

Parts = Mapping[str, tuple[str, ...]]
"""Original layers by name, and the layers of diffusers that are their rows, from the top."""

FLUX_MARK = "single_transformer_blocks.0.attn.to_q"
SD3_MARK = "pos_embed.proj"

_FLUX_OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_FLUX_DOUBLE = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
}
_FLUX_SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation.lin": ("norm.linear",),
}
_SD3_OUTSIDE = {
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_SD3_BLOCK = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block.attn.proj": ("attn.to_out.0",),
    "context_block.attn.proj": ("attn.to_add_out",),
    "x_block.attn2.proj": ("attn2.to_out.0",),
    "x_block.mlp.fc1": ("ff.net.0.proj",),
    "x_block.mlp.fc2": ("ff.net.2",),
    "context_block.mlp.fc1": ("ff_context.net.0.proj",),
    "context_block.mlp.fc2": ("ff_context.net.2",),
    "x_block.adaLN_modulation.1": ("norm1.linear",),
    "context_block.adaLN_modulation.1": ("norm1_context.linear",),
}


def native_parts(names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The original layers of Flux or Stable Diffusion 3 whose parts are all in ``names``.

    Modulations whose shift and scale have changed places are left out.
    """
    if FLUX_MARK in names:
        found: dict[str, tuple[str, ...]] = {n: (name,) for n, name in _FLUX_OUTSIDE.items()}
        found |= _blocks(names, "transformer_blocks", "double_blocks", _FLUX_DOUBLE)
        found |= _blocks(names, "single_transformer_blocks", "single_blocks", _FLUX_SINGLE)
    elif SD3_MARK in names and "context_embedder" in names:
        found = {native: (name,) for native, name in _SD3_OUTSIDE.items()}
        found |= _blocks(names, "transformer_blocks", "joint_blocks", _SD3_BLOCK)
        last = _count(names, "transformer_blocks") - 1
        found.pop(f"joint_blocks.{last}.context_block.adaLN_modulation.1", None)
    else:
        return {}
    return {native: parts for native, parts in found.items() if all(p in names for p in parts)}


def _blocks(
    names: Collection[str], ours: str, theirs: str, table: Parts
) -> dict[str, tuple[str, ...]]:
    return {
        f"{theirs}.{number}.{native}": tuple(f"{ours}.{number}.{part}" for part in parts)
        for number in range(_count(names, ours))
        for native, parts in table.items()
    }


def _count(names: Collection[str], block: str) -> int:
    numbers = (re.match(rf"{block}\.(\d+)\.", name) for name in names)
    return 1 + max((int(match[1]) for match in numbers if match), default=-1)
