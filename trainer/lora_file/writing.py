"""Factors as other programs read them, so that none of them gets the strength wrong.

Alpha is folded into B already, so a kohya file says alpha = rank for each layer. A diffusers file
says no alpha, which every reader takes for alpha = rank as long as all ranks are equal: diffusers
before 0.42 scaled layers of another rank by the commonest one. Smaller ranks are therefore filled
up with zeros.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainer.errors import MISUSE, TrainerError
from trainer.lora_file.architecture import Architecture
from trainer.lora_file.dialects import BY_NAME, Dialect
from trainer.lora_file.fusing import fused
from trainer.lora_file.layers import Factors, LoraAdapter, each_layer, padded
from trainer.models.base import BaseModel
from trainer.tensor_file import Written
from trainer.tensor_file import write as write_tensors

Format = Literal["kohya", "diffusers"]
OWN_KEYS = ("fedtui.", "ss_", "modelspec.")
"""Beginnings of header keys that say who reads them."""


def check_format(model: BaseModel | Architecture, dialect: Format) -> None:
    """Raises :class:`TrainerError` when a model's adapters have no such form: before the work."""
    architecture = model if isinstance(model, Architecture) else Architecture.of(model)
    if dialect == "kohya" and architecture.adapted != "unet" and not architecture.parts:
        raise TrainerError(
            "There is no such file for this model",
            f"kohya has no names for the layers of {architecture.title}.",
            "Use the format diffusers; ComfyUI reads it for this kind of model.",
            MISUSE,
        )


def write(
    path: Path,
    adapter: LoraAdapter,
    dialect: Format,
    model: BaseModel | Architecture,
    notes: Mapping[str, str],
) -> Written:
    """Writes float32 factors for other programs.

    ``notes`` go into the header, as ``fedtui.*`` where they are not in words of other programs.

    kohya names are what ComfyUI, A1111 and diffusers all load. Raises :class:`TrainerError` when
    the model's adapters have no such form.
    """
    architecture = model if isinstance(model, Architecture) else Architecture.of(model)
    check_format(architecture, dialect)
    if adapter.has_magnitudes and dialect == "kohya":
        raise TrainerError(
            "A DoRA adapter has no such file",
            "ComfyUI and A1111 measure the rows of a weight before its adapter, peft after it.",
            "Use the format diffusers, which diffusers reads exactly.",
            MISUSE,
        )
    speaker = BY_NAME[dialect]
    rank = adapter.rank
    lowest = min(factors.rank for _, _, factors in each_layer(adapter))
    arrays: dict[str, Any] = {}
    for stem, factors in _spelled(adapter, speaker, architecture):
        if dialect == "kohya":
            alpha = lowest if architecture.adapted == "unet" else factors.rank
            factors = _with_alpha(factors, alpha)
            arrays[speaker.key(stem, "alpha")] = np.float32(alpha).reshape(())
        else:
            factors = padded(factors, rank)
        arrays[speaker.key(stem, "A")] = factors.A
        arrays[speaker.key(stem, "B")] = factors.B
        if factors.magnitude is not None:
            ones = (1,) * (factors.A.ndim - 2)
            shape = (1, -1, *ones) if ones else (-1,)
            arrays[speaker.key(stem, "magnitude")] = factors.magnitude.reshape(shape)
    metadata = {"format": "pt"} | _described(path, adapter, architecture)
    metadata |= {
        key if key.startswith(OWN_KEYS) else f"fedtui.{key}": value for key, value in notes.items()
    }
    metadata["sshs_model_hash"] = _content_hash(arrays)
    return write_tensors(path, arrays, metadata)


def _spelled(
    adapter: LoraAdapter, speaker: Dialect, architecture: Architecture
) -> Iterator[tuple[str, Factors]]:
    """Each layer's stem; layers that the dialect fuses come together.

    Raises :class:`TrainerError` for a layer without a name.
    """
    layers = {(component, name): factors for component, name, factors in each_layer(adapter)}
    for stem, places in speaker.fused(architecture).items():
        parts = [layers.pop(found, None) for found in places]
        if any(parts):
            shapes = [architecture.components[component][name] for component, name in places]
            yield stem, fused(parts, shapes)
    stems = speaker.stems(architecture)
    for found, factors in layers.items():
        component, name = found
        unnamed = component == architecture.adapted != "unet" and name not in architecture.native
        if found not in stems or (speaker.name == "kohya" and unnamed):
            raise TrainerError(
                "There is no such file for this adapter",
                f"{speaker.title} has no name for the layer {name}.",
                "Use the format diffusers.",
                MISUSE,
            )
        yield stems[found][0], factors


def _described(path: Path, adapter: LoraAdapter, architecture: Architecture) -> dict[str, str]:
    """What interfaces of other programs show of a LoRA file."""
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(adapter.rank),
        "ss_network_alpha": str(float(adapter.rank)),
        "ss_base_model_version": architecture.base_version,
        "ss_sd_model_name": architecture.title,
        "ss_output_name": path.stem,
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{architecture.signature}/lora",
        "modelspec.implementation": "https://github.com/huggingface/diffusers",
        "modelspec.title": path.stem,
    }


def _content_hash(arrays: Mapping[str, Any]) -> str:
    """SHA-256 over the tensors' bytes in file order, as kohya's tools compute it."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _with_alpha(factors: Factors, alpha: int) -> Factors:
    """The same change of the weight for readers that multiply by alpha / rank.

    diffusers 0.42 drops alphas of attention layers that differ from the most common one, so all
    layers get the same. Ranks are padded to alpha times a power of two, so that B changes by a
    power of two, without any rounding.
    """
    rank = alpha
    while rank < factors.rank:
        rank *= 2
    wide = padded(factors, rank)
    return Factors(wide.A, wide.B * np.float32(rank // alpha))
