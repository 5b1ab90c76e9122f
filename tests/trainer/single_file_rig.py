"""A diffusers folder written as the single file that other programs give away.

The names are those of the first publications (CompVis, OpenCLIP, Stability's SD3, the Flux of Black
Forest Labs), written down here once more: what reads them is tested with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Tensors = dict[str, Any]

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2", "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
OPEN_CLIP = {
    "text_model.encoder.layers.": "transformer.resblocks.",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final", "layer_norm1": "ln_1", "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
SD3_BLOCK = {
    "attn.to_out.0": "x_block.attn.proj", "attn.to_add_out": "context_block.attn.proj",
    "attn2.to_out.0": "x_block.attn2.proj", "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k", "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k", "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1", "ff_context.net.2": "context_block.mlp.fc2",
}  # fmt: skip
SD3_FUSED = {
    "attn.to_q": "x_block.attn.qkv", "attn.add_q_proj": "context_block.attn.qkv",
    "attn2.to_q": "x_block.attn2.qkv",
}  # fmt: skip
SD3_ENDS = {
    "pos_embed.proj": "x_embedder.proj", "context_embedder": "context_embedder",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "proj_out": "final_layer.linear", "norm_out.linear": "final_layer.adaLN_modulation.1",
}  # fmt: skip


FLUX_ENDS = {
    "x_embedder": "img_in", "context_embedder": "txt_in", "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
}  # fmt: skip
FLUX_DOUBLE = {
    "norm1.linear": "img_mod.lin", "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj", "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2",
    "attn.norm_q": "img_attn.norm.query_norm", "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm", "attn.norm_added_k": "txt_attn.norm.key_norm",
}  # fmt: skip
FLUX_SINGLE = {
    "norm.linear": "modulation.lin", "proj_out": "linear2",
    "attn.norm_q": "norm.query_norm", "attn.norm_k": "norm.key_norm",
}  # fmt: skip
FLUX_FUSED = {
    "transformer_blocks": {
        "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    },
    "single_transformer_blocks": {
        "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    },
}


def write_single_file(folder: Path, target: Path) -> Path:
    """Stable Diffusion 1.x as one checkpoint."""
    text = _clip_tensors(folder / "text_encoder", "cond_stage_model.transformer.")
    return _save(target, _unet(folder), _vae(folder), text)


def write_sd2_file(folder: Path, target: Path) -> Path:
    """Stable Diffusion 2.x as one checkpoint: an OpenCLIP with its fused attention."""
    tensors = {
        name if name.startswith("text_") else f"text_model.{name}": value
        for name, value in _loaded(folder / "text_encoder" / "model.safetensors").items()
    }
    text = {f"cond_stage_model.model.{name}": value for name, value in _open_clip(tensors)}
    return _save(target, _unet(folder), _vae(folder), text)


def write_sdxl_file(folder: Path, target: Path) -> Path:
    """Stable Diffusion XL as one checkpoint: a CLIP, and an OpenCLIP with its fused attention."""
    first = _clip_tensors(folder / "text_encoder", "conditioner.embedders.0.transformer.")
    second = {
        f"conditioner.embedders.1.model.{name}": value
        for name, value in _open_clip(_loaded(folder / "text_encoder_2" / "model.safetensors"))
    }
    return _save(target, _unet(folder), _vae(folder), first, second)


def write_sd3_file(folder: Path, target: Path) -> Path:
    """Stable Diffusion 3 as one checkpoint with all three text encoders."""
    place = "text_encoders.{}.transformer."
    texts = [
        _clip_tensors(folder / "text_encoder", place.format("clip_l")),
        _clip_tensors(folder / "text_encoder_2", place.format("clip_g")),
        {
            place.format("t5xxl") + name: value
            for name, value in _loaded(folder / "text_encoder_3" / "model.safetensors").items()
        },
    ]
    tensors = _loaded(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    denoiser = {f"model.diffusion_model.{name}": value for name, value in _sd3(tensors)}
    return _save(target, denoiser, _vae(folder), *texts)


def write_flux_file(folder: Path, target: Path, whole: bool = True) -> Path:
    """Flux as one checkpoint: all of it, or the transformer alone as it was first published."""
    tensors = _loaded(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    denoiser = dict(flux_tensors(tensors))
    if not whole:
        return _save(target, denoiser)
    texts = _clip_tensors(folder / "text_encoder", "text_encoders.clip_l.transformer.")
    t5 = _loaded(folder / "text_encoder_2" / "model.safetensors")
    place = "text_encoders.t5xxl.transformer."
    return _save(
        target,
        {f"model.diffusion_model.{name}": value for name, value in denoiser.items()},
        _vae(folder),
        texts,
        {place + name: value for name, value in t5.items()},
    )


def flux_tensors(tensors: Tensors) -> Iterator[tuple[str, Any]]:
    """The transformer's tensors as Black Forest Labs call them."""
    import torch

    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        if layer in FLUX_ENDS:
            swapped = torch.cat(value.chunk(2)[::-1]) if layer == "norm_out.linear" else value
            yield f"{FLUX_ENDS[layer]}.{kind}", swapped
            continue
        blocks, number, inner = layer.split(".", 2)
        double = blocks == "transformer_blocks"
        place = f"{'double' if double else 'single'}_blocks.{number}"
        names = FLUX_DOUBLE if double else FLUX_SINGLE
        if inner in names:
            yield f"{place}.{names[inner]}.{'scale' if '_norm' in names[inner] else kind}", value
        for fused, parts in FLUX_FUSED[blocks].items():
            if inner == parts[0]:
                together = [tensors[f"{blocks}.{number}.{part}.{kind}"] for part in parts]
                yield f"{place}.{fused}.{kind}", torch.cat(together)


def _save(target: Path, *parts: Tensors) -> Path:
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for part in parts for name, value in part.items()}, target)
    return target


def _loaded(path: Path) -> Tensors:
    from safetensors.torch import load_file

    tensors: Tensors = load_file(path)
    return tensors


def _unet(folder: Path) -> Tensors:
    config = json.loads((folder / "unet" / "config.json").read_text())
    places = dict(_unet_places(config))
    return {
        "model.diffusion_model." + _renamed(name, places): value
        for name, value in _loaded(folder / "unet/diffusion_pytorch_model.safetensors").items()
    }


def _vae(folder: Path) -> Tensors:
    blocks = len(json.loads((folder / "vae" / "config.json").read_text())["block_out_channels"])
    return {
        "first_stage_model." + _vae_name(name, blocks): (
            value[..., None, None] if re.search(r"attn.*to_.*weight", _old(name)) else value
        )
        for name, value in _loaded(folder / "vae/diffusion_pytorch_model.safetensors").items()
    }


def _clip_tensors(folder: Path, prefix: str) -> Tensors:
    """CLIP as transformers calls it, whichever version wrote the folder."""
    found = {}
    for name, value in _loaded(folder / "model.safetensors").items():
        plain = name.removeprefix("text_model.")
        found[prefix + (plain if plain.startswith("text_proj") else f"text_model.{plain}")] = value
    return found


def _open_clip(tensors: Tensors) -> Iterator[tuple[str, Any]]:
    import torch

    for name, value in tensors.items():
        if name == "text_projection.weight":
            yield "text_projection", value.T
            continue
        other = name
        for ours, theirs in OPEN_CLIP.items():
            other = other.replace(ours, theirs)
        if fused := re.fullmatch(r"(.+)\.self_attn\.q_proj\.(weight|bias)", other):
            parts = [tensors[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            yield f"{fused[1]}.attn.in_proj_{fused[2]}", torch.cat(parts)
        elif "self_attn" not in other:
            yield other, value


def _sd3(tensors: Tensors) -> Iterator[tuple[str, Any]]:
    import torch

    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("transformer_blocks"))
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        if name == "pos_embed.pos_embed":
            yield "pos_embed", value
            continue
        # The last layers say shift and scale in the other order there.
        if layer in ("norm_out.linear", f"transformer_blocks.{last}.norm1_context.linear"):
            value = torch.cat(value.chunk(2)[::-1])
        if layer in SD3_ENDS:
            yield f"{SD3_ENDS[layer]}.{kind}", value
            continue
        _, number, inner = layer.split(".", 2)
        if inner in SD3_FUSED:
            parts = [tensors[f"{layer.replace('_q', f'_{part}')}.{kind}"] for part in "qkv"]
            yield f"joint_blocks.{number}.{SD3_FUSED[inner]}.{kind}", torch.cat(parts)
        elif inner in SD3_BLOCK:
            yield f"joint_blocks.{number}.{SD3_BLOCK[inner]}.{kind}", value


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
