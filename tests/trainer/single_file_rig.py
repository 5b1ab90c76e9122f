"""A diffusers folder written as the single file that other programs give away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}  # fmt: skip


def write_single_file(folder: Path, target: Path) -> Path:
    """Stable Diffusion 1.x as one checkpoint with the names of its first publication."""
    from safetensors.torch import load_file, save_file

    tensors: dict[str, Any] = {}
    config = json.loads((folder / "unet" / "config.json").read_text())
    places = dict(_unet_places(config))
    for name, value in load_file(folder / "unet/diffusion_pytorch_model.safetensors").items():
        tensors["model.diffusion_model." + _renamed(name, places)] = value
    blocks = len(json.loads((folder / "vae" / "config.json").read_text())["block_out_channels"])
    for name, value in load_file(folder / "vae/diffusion_pytorch_model.safetensors").items():
        tensors["first_stage_model." + _vae_name(name, blocks)] = (
            value[..., None, None] if re.search(r"attn.*to_.*weight", _old(name)) else value
        )
    for name, value in load_file(folder / "text_encoder/model.safetensors").items():
        plain = name.removeprefix("text_model.")
        tensors[f"cond_stage_model.transformer.text_model.{plain}"] = value
    save_file({name: value.contiguous() for name, value in tensors.items()}, target)
    return target


def _old(name: str) -> str:
    return name.replace("mid_block.attentions.0.", "attn.")


def _unet_places(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ENDS.items()
    layers, number = config["layers_per_block"], 1
    for block in range(len(config["down_block_types"])):
        for layer in range(layers):
            yield f"down_blocks.{block}.resnets.{layer}", f"input_blocks.{number}.0"
            yield f"down_blocks.{block}.attentions.{layer}", f"input_blocks.{number}.1"
            number += 1
        yield f"down_blocks.{block}.downsamplers.0.conv", f"input_blocks.{number}.0.op"
        number += 1
    number = 0
    for block, kind in enumerate(config["up_block_types"]):
        for layer in range(layers + 1):
            yield f"up_blocks.{block}.resnets.{layer}", f"output_blocks.{number}.0"
            yield f"up_blocks.{block}.attentions.{layer}", f"output_blocks.{number}.1"
            number += 1
        after = 2 if "CrossAttn" in kind else 1
        yield f"up_blocks.{block}.upsamplers.0.conv", f"output_blocks.{number - 1}.{after}.conv"


def _renamed(name: str, places: dict[str, str]) -> str:
    prefix = max((p for p in places if name.startswith(f"{p}.")), key=len)
    rest = name.removeprefix(f"{prefix}.")
    for ours, theirs in RESNET.items():
        if "resnets" in prefix and rest.startswith(f"{ours}."):
            rest = theirs + rest.removeprefix(ours)
    return f"{places[prefix]}.{rest}"


def _vae_name(name: str, blocks: int) -> str:
    name = re.sub(r"up_blocks\.(\d+)", lambda match: f"up.{blocks - 1 - int(match.group(1))}", name)
    for ours, theirs in (
        ("down_blocks.", "down."), ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"), ("mid_block.attentions.0.", "mid.attn_1."),
        ("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"),
        ("to_out.0", "proj_out"), ("resnets.", "block."), ("downsamplers.0.", "downsample."),
        ("upsamplers.0.", "upsample."), ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
    ):  # fmt: skip
        name = name.replace(ours, theirs)
    return name
