"""A file's header taken apart into layers, before any model is known and any value is read."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from trainer.lora_file.dialects import DIALECTS, Dialect, Part
from trainer.tensor_file import FormatError, Tensor, read_header, read_tensor

MAX_HEADER = 8 << 20
"""Bytes; adapters of strangers with every layer of SDXL have about 1 MB."""
MAX_LAYERS = 20_000
"""Layers in a file; every layer of the largest public model is about 3,000."""
MAX_LAYER_BYTES = 512 << 20
"""Bytes of one factor."""
MAX_CONFIG = 1 << 20
"""Bytes of an adapter_config.json."""

_UNREADABLE = (
    (("hada_w", "lokr_w"), "it is a LyCORIS file (LoHa or LoKr), not a LoRA"),
    ((".oft_", "oft_blocks", "oft_diag"), "it is an OFT file, not a LoRA"),
    (("dora_scale",), "it is DoRA of kohya's kind, whose row lengths programs read differently"),
    (("lora_mid",), "it has Tucker-decomposed convolutions"),
    ((".diff.", ".diff_b."), "it holds whole weight differences, not only LoRA factors"),
)


@dataclass(frozen=True)
class Layer:
    """One layer of a file: where its factors lie, and its alpha and DoRA's lengths if any."""

    dialect: Dialect
    stem: str
    A: Tensor
    B: Tensor
    alpha: Tensor | None
    magnitude: Tensor | None

    @property
    def rank(self) -> int:
        return self.A.shape[0] if self.A.shape else 0


@dataclass(frozen=True)
class Parsed:
    """A LoRA file's header. ``config`` is peft's, by component; ``ignored`` are no LoRA tensors."""

    layers: tuple[Layer, ...]
    metadata: Mapping[str, str]
    config: Mapping[str, Any]
    ignored: tuple[str, ...]

    @property
    def dialect(self) -> Dialect:
        """That of most layers."""
        return Counter(layer.dialect for layer in self.layers).most_common(1)[0][0]

    def alpha(self, file: BinaryIO, layer: Layer, component: str, module: str) -> float | None:
        """The layer's alpha, or None where nothing says one; then alpha = rank."""
        if layer.alpha is not None:
            if math.prod(layer.alpha.shape) != 1:
                raise FormatError(f"the alpha of {layer.stem[:80]!r} is not one number")
            return float(read_tensor(file, layer.alpha).item())
        alpha = self.config.get(f"{component}.lora_alpha", self.config.get("lora_alpha"))
        for name in ("alpha_pattern", f"{component}.alpha_pattern"):
            pattern = self.config.get(name)
            if isinstance(pattern, dict):
                alpha = _by_pattern(pattern, module, alpha)
        return float(alpha) if isinstance(alpha, int | float) else None

    def scale(self, file: BinaryIO, layer: Layer, component: str, module: str) -> float:
        """alpha / rank, or alpha / √rank for rank-stabilised adapters (arXiv 2312.03732)."""
        alpha = self.alpha(file, layer, component, module)
        if alpha is None:
            return 1.0
        stable = self.config.get(f"{component}.use_rslora", self.config.get("use_rslora"))
        return alpha / (math.sqrt(layer.rank) if stable else layer.rank)


def parse(path: Path, file: BinaryIO) -> Parsed:
    """Raises :class:`FormatError` for anything but complete LoRA layers of known dialects."""
    header = read_header(file, MAX_HEADER)
    for marks, reason in _UNREADABLE:
        if any(mark in f"{key}." for key in header.tensors for mark in marks):
            raise FormatError(reason)
    found: dict[tuple[str, str], dict[Part, Tensor]] = {}
    owners: dict[tuple[str, str], Dialect] = {}
    ignored: list[str] = []
    for key, tensor in header.tensors.items():
        if header.metadata.get(key) == "<embed>":  # a word learned beside a safelora
            ignored.append(key)
            continue
        dialect, stem, part = _understood(key)
        parts = found.setdefault((dialect.name, stem), {})
        owners[dialect.name, stem] = dialect
        if part in parts:
            raise FormatError(f"it has two tensors for {stem[:80]!a}")
        if tensor.end - tensor.start > MAX_LAYER_BYTES:
            raise FormatError(f"the tensor {key[:80]!a} is larger than {MAX_LAYER_BYTES >> 20} MB")
        parts[part] = tensor
    if not 0 < len(found) <= MAX_LAYERS:
        raise FormatError("it is empty" if not found else f"it has more than {MAX_LAYERS} layers")
    layers = []
    for (name, stem), parts in sorted(found.items()):
        if "A" not in parts or "B" not in parts or not (parts["A"].shape and parts["A"].shape[0]):
            raise FormatError(f"the layer {stem[:80]!a} lacks one of its two factors")
        rest = parts.get("alpha"), parts.get("magnitude")
        layers.append(Layer(owners[name, stem], stem, parts["A"], parts["B"], *rest))
    return Parsed(
        tuple(layers), header.metadata, _peft_config(path, header.metadata), tuple(ignored)
    )


def _understood(key: str) -> tuple[Dialect, str, Part]:
    for dialect in DIALECTS:
        if (split := dialect.split(key)) is not None:
            return dialect, *split
    raise FormatError(f"the tensor {key[:80]!a} belongs to no known dialect")


def _peft_config(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What ``save_lora_weights`` writes into the header, else what peft writes beside the file."""
    text = metadata.get("lora_adapter_metadata")
    beside = path.with_name("adapter_config.json")
    if text is None and beside.is_file() and beside.stat().st_size <= MAX_CONFIG:
        text = beside.read_text(encoding="utf-8", errors="replace")
    try:
        config = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise FormatError("its peft configuration is not JSON") from error
    return config if isinstance(config, dict) else {}


def _by_pattern(pattern: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    """peft's patterns name a layer, or the end of its name."""
    for name, value in pattern.items():
        if module == name or module.endswith(f".{name}"):
            return value
    return otherwise
