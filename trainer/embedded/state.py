"""Checkpoints of a pretraining stage: written beside and moved into place, never half.

A checkpoint is one safetensors file: tensors as they are, everything else as JSON in the
header. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file

Log = Callable[[str], None]

TENSOR = "tensor:"


class Stateful(Protocol):
    """Anything that gives and takes a state dict."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


def save_state(path: Path, step: int, seconds: float, loss: float, **parts: Stateful) -> None:
    """Writes counters and the state of each part; survives a kill at any moment."""
    tensors: dict[str, torch.Tensor] = {}
    plain = {name: _fold(part.state_dict(), name, tensors) for name, part in parts.items()}
    header = {"step": step, "seconds": seconds, "loss": loss, "parts": plain}
    beside = path.with_suffix(".part")
    save_file(tensors, beside, metadata={"state": json.dumps(header)})
    beside.replace(path)


def load_state(path: Path, **parts: Stateful) -> tuple[int, float, float]:
    """Restores each part; returns step, seconds and mean loss.

    Raises:
        KeyError: the checkpoint lacks a part.
    """
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["state"])
        for name, part in parts.items():
            part.load_state_dict(_unfold(header["parts"][name], file))
    return int(header["step"]), float(header["seconds"]), float(header["loss"])


def _fold(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return TENSOR + name
    if isinstance(value, dict):
        return {str(key): _fold(item, f"{name}/{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_fold(item, f"{name}/{at}", tensors) for at, item in enumerate(value)]
    return value


def _unfold(value: Any, file: Any) -> Any:
    if isinstance(value, str) and value.startswith(TENSOR):
        return file.get_tensor(value.removeprefix(TENSOR))
    if isinstance(value, dict):  # an optimizer numbers its parameters
        return {int(k) if k.isdigit() else k: _unfold(v, file) for k, v in value.items()}
    if isinstance(value, list):
        return [_unfold(item, file) for item in value]
    return value
