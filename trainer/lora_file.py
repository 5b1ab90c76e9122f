"""LoRA files of other programs: reading four dialects, writing two.

Two layers. A dialect says what a key means (which layer, which part of it); everything below works
on layers by their diffusers names. In memory the scale is always 1: alpha / rank is folded into B
when a file is read, and a written kohya file says alpha = rank. Losing alpha on the way, or zero
matching layers passing silently, are the two classic faults of this format.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainer import tensor_file
from trainer.errors import TrainerError
from trainer.models.base import BaseModel, Shape
from trainer.tensor_file import FormatError, Written

FloatArray = NDArray[np.float32]
Dialect = Literal["factors", "kohya", "diffusers", "attn-procs"]
Part = Literal["A", "B", "alpha"]

TEXT_PREFIX = "text_model."
"""Part of a CLIP text layer's public name; transformers 5.6 dropped it from the module tree."""
MAX_HEADER = 8 << 20
"""Bytes; adapters of strangers with every layer of SDXL have about 1 MB."""

_SUFFIXES: tuple[tuple[str, Part], ...] = (
    (".lora_A.weight", "A"),
    (".lora_B.weight", "B"),
    (".lora_A.default.weight", "A"),
    (".lora_B.default.weight", "B"),
    (".lora.down.weight", "A"),
    (".lora.up.weight", "B"),
    (".lora_linear_layer.down.weight", "A"),
    (".lora_linear_layer.up.weight", "B"),
    (".lora_down.weight", "A"),
    (".lora_up.weight", "B"),
    (".alpha", "alpha"),
)
_PROCESSOR = re.compile(r"(.+)\.processor\.(to_[qkv]|to_out)_lora\.(down|up)\.weight")
_UNREADABLE = (
    (("hada_w", "lokr_w"), "it is a LyCORIS file (LoHa or LoKr), not a LoRA"),
    (("dora_scale", "lora_magnitude_vector"), "it is a DoRA file, whose magnitudes are no LoRA"),
    (("lora_mid",), "it has Tucker-decomposed convolutions"),
    (("unet:", "text_encoder:"), "it is a safelora file of cloneofsimo/lora; convert it first"),
    ((".diff", ".diff_b"), "it holds whole weight differences, not only LoRA factors"),
)


@dataclass(frozen=True)
class Factors:
    """One layer's A (r, in, ...) and B (out, r, ...) with scale 1."""

    A: FloatArray
    B: FloatArray

    @property
    def rank(self) -> int:
        return int(self.A.shape[0])


@dataclass(frozen=True)
class LoraAdapter:
    """Factors by component (``unet``, ``text_encoder``) and layer, and where they came from."""

    components: Mapping[str, Mapping[str, Factors]]
    dialect: Dialect
    metadata: Mapping[str, str]

    @property
    def modules(self) -> int:
        return sum(len(layers) for layers in self.components.values())

    @property
    def rank(self) -> int:
        """The largest rank of any layer."""
        return max(
            factors.rank for layers in self.components.values() for factors in layers.values()
        )


def read(path: Path, model: BaseModel) -> LoraAdapter:
    """Reads an adapter for ``model`` from any dialect.

    Raises :class:`TrainerError` when the file cannot be read, its dialect is unknown, or any of
    its layers is not in the model.
    """
    try:
        arrays, metadata = tensor_file.read_all(path, MAX_HEADER)
        names = _Names(model)
        parts, dialect = _by_layer(arrays, names)
        components = _folded(parts, metadata, names)
    except FormatError as error:
        raise TrainerError(
            "The adapter cannot be used",
            f"{path}: {error}.",
            f"Give a LoRA file in kohya or diffusers format made for {model.name}.",
        ) from error
    except OSError as error:
        raise TrainerError("The adapter cannot be read", str(error)) from error
    return LoraAdapter(components, dialect, metadata)


class _Names:
    """Finds a model's layers by the names that different programs have for them."""

    def __init__(self, model: BaseModel) -> None:
        adapted = model.family.adapted
        self.layers: dict[tuple[str, str], Shape] = {
            (adapted, name): shape for name, shape in model.layers(adapted).items()
        }
        if "text_encoder" in model.family.networks:
            for name, shape in model.layers("text_encoder").items():
                self.layers["text_encoder", name.removeprefix(TEXT_PREFIX)] = shape
        self.adapted = adapted
        self._flat = {
            f"{prefix}_{public_name(component, name).replace('.', '_')}": (component, name)
            for component, name in self.layers
            for prefix in (
                ("lora_te", "lora_te1") if component == "text_encoder" else ("lora_unet",)
            )
        }

    def kohya(self, flat: str) -> tuple[str, str]:
        """The layer of ``lora_unet_down_blocks_0_…``; a name of no layer comes back unchanged."""
        return self._flat.get(flat, (self.adapted, flat))

    def dotted(self, name: str) -> tuple[str, str]:
        """The layer of ``unet.down_blocks.0.…`` with or without prefixes."""
        name = name.removeprefix("base_model.model.")
        if name.startswith("text_encoder."):
            name = name.removeprefix("text_encoder.").removeprefix(TEXT_PREFIX)
            return "text_encoder", name
        return self.adapted, name.removeprefix(f"{self.adapted}.")


def public_name(component: str, module: str) -> str:
    """What other programs call a module of this transformers version."""
    return TEXT_PREFIX + module if component == "text_encoder" else module


_Parts = dict[tuple[str, str], dict[Part, FloatArray]]


def _by_layer(arrays: Mapping[str, Any], names: _Names) -> tuple[_Parts, Dialect]:
    for marks, reason in _UNREADABLE:
        if any(mark in key for key in arrays for mark in marks):
            raise FormatError(reason)
    found: _Parts = {}
    dialects: set[Dialect] = set()
    for key, array in arrays.items():
        dialect, layer, part = _understood(key, names)
        dialects.add(dialect)
        parts = found.setdefault(layer, {})
        if part in parts:
            raise FormatError(f"it has two tensors for {layer[1][:80]!r}")
        parts[part] = array.astype(np.float32)
    if not found:
        raise FormatError("it is empty")
    unknown = [name for component, name in found if (component, name) not in names.layers]
    if unknown:
        raise FormatError(
            f"{len(found) - len(unknown)} of its {len(found)} layers are in the model; "
            f"for instance {unknown[0][:80]!a} is not"
        )
    if "diffusers" in dialects and all(not key.startswith("unet.") for key in arrays):
        dialects.discard("diffusers")
        dialects.add("factors")
    return found, sorted(dialects)[0]


def _understood(key: str, names: _Names) -> tuple[Dialect, tuple[str, str], Part]:
    processor = _PROCESSOR.fullmatch(key)
    if processor is not None:
        module, projection, direction = processor.groups()
        name = f"{module}.{'to_out.0' if projection == 'to_out' else projection}"
        return "attn-procs", names.dotted(name), "A" if direction == "down" else "B"
    for suffix, part in _SUFFIXES:
        if key.endswith(suffix):
            name = key.removesuffix(suffix)
            if name.startswith("lora_"):
                return "kohya", names.kohya(name), part
            return "diffusers", names.dotted(name), part
    raise FormatError(f"the tensor {key[:80]!a} belongs to no known dialect")


def _folded(
    parts: _Parts, metadata: Mapping[str, str], names: _Names
) -> dict[str, dict[str, Factors]]:
    config = _peft_config(metadata)
    components: dict[str, dict[str, Factors]] = {}
    for (component, name), tensors in sorted(parts.items()):
        if "A" not in tensors or "B" not in tensors:
            raise FormatError(f"the layer {name!r} lacks one of its two factors")
        scale = _scale(tensors, component, name, config)
        factors = _fitted(tensors["A"], tensors["B"], names.layers[component, name], name)
        if scale != 1.0:
            factors = Factors(factors.A, (factors.B.astype(np.float64) * scale).astype(np.float32))
        components.setdefault(component, {})[name] = factors
    return components


def _fitted(A: FloatArray, B: FloatArray, shape: Shape, name: str) -> Factors:
    """Factors shaped like the layer's weight; files differ in how they write 1x1 convolutions."""
    out, into, kernel = shape[0], shape[1], shape[2:]
    rank = A.shape[0] if A.ndim else 0
    fits = rank > 0 and A.size == rank * into * math.prod(kernel) and B.size == out * rank
    if not fits or (kernel == () and A.ndim > 2 and math.prod(A.shape[2:]) != 1):
        raise FormatError(
            f"the layer {name!r} has factors {list(B.shape)} and {list(A.shape)} for a weight "
            f"{list(shape)}"
        )
    if not (np.isfinite(A).all() and np.isfinite(B).all()):
        raise FormatError(f"the layer {name!r} contains NaN or infinity")
    ones = (1,) * len(kernel)
    return Factors(A.reshape((rank, into, *kernel)), B.reshape((out, rank, *ones)))


def _scale(
    tensors: Mapping[Part, FloatArray], component: str, name: str, config: Mapping[str, Any]
) -> float:
    rank = tensors["A"].shape[0]
    if "alpha" in tensors:
        if tensors["alpha"].size != 1:
            raise FormatError(f"the alpha of {name!r} is not one number")
        return float(tensors["alpha"].item()) / int(rank)
    alpha = config.get(f"{component}.lora_alpha")
    pattern = config.get(f"{component}.alpha_pattern")
    if isinstance(pattern, dict):
        alpha = pattern.get(name, alpha)
    if not isinstance(alpha, int | float):
        return 1.0
    return float(alpha) / (math.sqrt(rank) if config.get(f"{component}.use_rslora") else rank)


def _peft_config(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What ``save_lora_weights`` writes into the header, flat with the component's prefix."""
    try:
        config = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except ValueError as error:
        raise FormatError("its lora_adapter_metadata is not JSON") from error
    return config if isinstance(config, dict) else {}


def write(
    path: Path,
    adapter: LoraAdapter,
    dialect: Literal["kohya", "diffusers"],
    model: BaseModel,
    notes: Mapping[str, str],
) -> Written:
    """Writes float32 factors for other programs; ``notes`` go into the header as ``fedtui.*``.

    kohya names are what ComfyUI, A1111 and diffusers all load.
    """
    arrays: dict[str, Any] = {}
    for component, name, factors in each_layer(adapter):
        public = public_name(component, name)
        if dialect == "kohya":
            prefix = "lora_te" if component == "text_encoder" else "lora_unet"
            key = f"{prefix}_{public.replace('.', '_')}"
            arrays[f"{key}.lora_down.weight"] = factors.A
            arrays[f"{key}.lora_up.weight"] = factors.B
            arrays[f"{key}.alpha"] = np.float32(factors.rank).reshape(())
        else:
            arrays[f"{component}.{public}.lora_A.weight"] = factors.A
            arrays[f"{component}.{public}.lora_B.weight"] = factors.B
    metadata = _described(path, adapter, model) if dialect == "kohya" else {"format": "pt"}
    metadata |= {
        key if key.startswith("fedtui.") else f"fedtui.{key}": value for key, value in notes.items()
    }
    if dialect == "kohya":
        metadata["sshs_model_hash"] = _content_hash(arrays)
    return tensor_file.write(path, arrays, metadata)


def each_layer(adapter: LoraAdapter) -> Iterable[tuple[str, str, Factors]]:
    """(component, layer, factors) in sorted order."""
    for component, layers in sorted(adapter.components.items()):
        for name, factors in sorted(layers.items()):
            yield component, name, factors


def _described(path: Path, adapter: LoraAdapter, model: BaseModel) -> dict[str, str]:
    """What interfaces of other programs show of a LoRA file."""
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(adapter.rank),
        "ss_network_alpha": str(float(adapter.rank)),
        "ss_base_model_version": model.family.base_version,
        "ss_sd_model_name": model.name,
        "ss_output_name": path.stem,
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{model.family.architecture}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": path.stem,
    }


def _content_hash(arrays: Mapping[str, Any]) -> str:
    """SHA-256 over the tensors' bytes in file order, as kohya's tools compute it."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
