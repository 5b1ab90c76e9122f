"""What a room's own adapter file is, from its header alone; other programs' have dialects."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from trainer import tensor_file
from trainer.adapter import A_SUFFIX, DENSE_SUFFIX, RESIDUAL_A_SUFFIX
from trainer.aggregate.files import layers_of
from trainer.errors import TrainerError
from trainer.lora_file import Architecture
from trainer.lora_file.inspecting import Inspection
from trainer.models.base import BaseModel
from trainer.tensor_file import FormatError, Header

TITLE = "an adapter of a room"


def inspect(path: Path, model: BaseModel | None = None) -> Inspection:
    """Looks at a file's header. Raises :class:`TrainerError` when it is damaged."""
    try:
        with path.open("rb") as file:
            header = tensor_file.read_header(file)
        layers = layers_of(header)
    except (OSError, FormatError) as error:
        raise TrainerError("The adapter cannot be read", f"{path}: {error}") from error
    base = Architecture.of(model) if model else None
    there = (
        {base.flat_name(place, name): shape for place, name, shape in base.each()} if base else {}
    )
    return Inspection(
        dialect="room",
        title=TITLE,
        modules=len(layers),
        ranks=dict(sorted(Counter(rank(header, name) for name in layers).items())),
        alphas={None: len(layers)},
        dtypes=dict(Counter(header.tensors[name + A_SUFFIX].dtype for name in layers)),
        bytes=path.stat().st_size,
        ignored=(),
        metadata=dict(header.metadata),
        model=base.title if base else "",
        matching=sum(there.get(name) == shape for name, shape in layers.items()),
    )


def rank(header: Header, layer: str) -> int:
    """Of the factors that the layer's exact export has: those of the branch come on top."""
    own = header.tensors[layer + A_SUFFIX].shape[0]
    if whole := header.tensors.get(layer + DENSE_SUFFIX):
        return own + min(whole.shape[0], math.prod(whole.shape[1:]))
    branch = header.tensors.get(layer + RESIDUAL_A_SUFFIX)
    return own + (branch.shape[0] if branch else 0)
