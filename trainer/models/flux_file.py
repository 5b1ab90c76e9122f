"""Flux.1 out of a file in the names of its first publication.

Most such files hold the transformer alone: the text encoders and the autoencoder then come from the
folder that has its settings. Diffusers' own reader wants them all in the file and has the width of
the published models built in; this one takes it from the settings.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import diffusers
import torch
import transformers
from safetensors import safe_open

from trainer.errors import NO_USABLE, TrainerError
from trainer.lora_file.native_transformers import native_parts
from trainer.models.base import Shape, has_plain_weights, read_config

PIPELINE = "FluxPipeline"
PREFIX = "model.diffusion_model."
"""Before the transformer's names where the file holds more than that."""
OTHERS: Mapping[str, tuple[str, ...]] = {
    "text_encoder": (
        "text_encoders.clip_l.transformer.text_model.embeddings.position_embedding.weight",
    ),
    "text_encoder_2": ("text_encoders.t5xxl.transformer.shared.weight",),
    "vae": ("first_stage_model.encoder.conv_in.weight", "vae.encoder.conv_in.weight"),
}
"""The other networks, and a tensor that a file has which holds them."""
PUBLISHED = ("black-forest-labs/FLUX.1-schnell", "black-forest-labs/FLUX.1-dev")
"""Without and with the guidance that was distilled into the weights."""

SWAPPED = "final_layer.adaLN_modulation.1"
"""Says shift and scale in the other order than diffusers' ``norm_out.linear``."""
NORM = re.compile(
    r"(?P<kind>double|single)_blocks\.(?P<number>\d+)\."
    r"(?:(?P<stream>img|txt)_attn\.)?norm\.(?P<of>query|key)_norm\.scale"
)

_LIBRARIES: Mapping[str, ModuleType] = {"diffusers": diffusers, "transformers": transformers}


def networks(
    path: Path, names: Collection[str], settings: Path, dtype: torch.dtype
) -> dict[str, Any]:
    """The networks of a file with tensors ``names`` that diffusers would not find by itself.

    Raises :class:`TrainerError` when some are neither in the file nor in the folder ``settings``,
    and ValueError or RuntimeError when the transformer is not the one of the settings.
    """
    elsewhere = [name for name, marks in OTHERS.items() if not set(marks) & set(names)]
    missing = [name for name in elsewhere if not list((settings / name).glob("*.safetensors"))]
    if missing:
        raise TrainerError(
            "The model file is only a part of a model",
            f"{path.name} holds the transformer of a Flux, but no {', '.join(missing)}, and there "
            f"are none in {settings}.",
            f"Run: fedtui model import {PUBLISHED[any('guidance_in.' in n for n in names)]}, or "
            f"put these folders of it at {path.with_suffix('')}.",
            NO_USABLE,
        )
    index = read_config(settings / "model_index.json")
    found = {name: _from_folder(settings / name, index[name]) for name in elsewhere}
    return {**found, "transformer": _transformer(path, settings / "transformer", dtype)}


def _from_folder(folder: Path, kind: tuple[str, str]) -> Any:
    """A network as it lies there, in the precision it has."""
    library, name = kind
    more: dict[str, Any] = {"dtype": "auto"} if library == "transformers" else {}
    return getattr(_LIBRARIES[library], name).from_pretrained(
        folder,
        variant=None if has_plain_weights(folder) else "fp16",
        use_safetensors=True,
        local_files_only=True,
        **more,
    )


def _transformer(path: Path, settings: Path, dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        network = diffusers.FluxTransformer2DModel.from_config(
            read_config(settings / "config.json")
        )
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    with safe_open(path, "pt") as file:
        names = _of_transformer(file.keys())
        tensors = ((name, file.get_tensor(stored)) for name, stored in names.items())
        found = dict(converted(tensors, shapes))
    for name, shape in shapes.items():
        if name not in found:
            raise ValueError(f"it lacks {name}, and has {len(found)} of {len(shapes)} weights")
        if found[name].shape != shape:
            raise ValueError(f"{name} is {list(found[name].shape)} and should be {list(shape)}")
    network.load_state_dict(found, assign=True)
    return network.to(dtype)


def _of_transformer(stored: Collection[str]) -> dict[str, str]:
    """The transformer's tensors without their prefix, and the names they are stored under."""
    if any(name.startswith(PREFIX) for name in stored):
        return {n.removeprefix(PREFIX): n for n in stored if n.startswith(PREFIX)}
    return {name: name for name in stored}


def converted(
    tensors: Iterator[tuple[str, torch.Tensor]], shapes: Mapping[str, Shape]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The transformer's tensors by diffusers' names; ``shapes`` are those that it has.

    Raises ValueError for a tensor that a Flux has not, such as the scales of 8-bit weights, and for
    one of another size.
    """
    layers = native_parts({name.removesuffix(".weight") for name in shapes})
    for name, value in tensors:
        layer, _, kind = name.rpartition(".")
        if layer == SWAPPED:
            yield f"norm_out.linear.{kind}", torch.cat(value.chunk(2)[::-1])
        elif norm := NORM.fullmatch(name):
            yield _norm_name(norm), value
        elif layer in layers and kind in ("weight", "bias"):
            parts = [f"{part}.{kind}" for part in layers[layer]]
            rows = [shapes[part][0] for part in parts]
            if len(value) != sum(rows):
                raise ValueError(f"{name[:80]} has {len(value)} rows where there should be {rows}")
            for part, own in zip(parts, torch.split(value, rows), strict=True):
                yield part, own.clone()
        else:
            raise ValueError(f"it has the tensor {name[:80]!r}, which no plain Flux.1 has")


def _norm_name(match: re.Match[str]) -> str:
    blocks = "transformer_blocks" if match["kind"] == "double" else "single_transformer_blocks"
    added = "added_" if match["stream"] == "txt" else ""
    return f"{blocks}.{match['number']}.attn.norm_{added}{match['of'][0]}.weight"
