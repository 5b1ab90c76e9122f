"""What a LoRA file is, said without loading it and without needing its model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import MISUSE, TrainerError
from trainer.lora_file.architecture import Architecture
from trainer.lora_file.known import known
from trainer.lora_file.parsing import Parsed, parse
from trainer.lora_file.reading import alphas, fits, suggested
from trainer.models.base import BaseModel
from trainer.tensor_file import FormatError

SHOWN_METADATA = 40
SHOWN_VALUE = 300
"""Entries, and characters of each, that are worth showing."""


@dataclass(frozen=True)
class Inspection:
    """``alphas`` counts layers by alpha, None where the file says none and alpha = rank is meant.

    ``matching`` counts the layers that are in ``model`` with weights of their size; without a
    model to compare, ``model`` is the well-known base that the file fits, or empty.
    """

    dialect: str
    title: str
    modules: int
    ranks: dict[int, int]
    alphas: dict[float | None, int]
    dtypes: dict[str, int]
    bytes: int
    ignored: tuple[str, ...]
    metadata: dict[str, str]
    model: str
    matching: int


def known_base(path: Path) -> Architecture:
    """The well-known base that a file fits. Raises :class:`TrainerError` when there is none."""
    parsed, _ = _looked_at(path)
    base = suggested(parsed)
    if base is None:
        raise TrainerError(
            "The adapter's base model is not known",
            f"Its {len(parsed.layers)} layers fit none of {', '.join(b.title for b in known())}.",
            "Name the model it was made for.",
            MISUSE,
        )
    return base


def inspect(path: Path, model: BaseModel | None = None) -> Inspection:
    """Looks at a file's header. Raises :class:`TrainerError` when it is no LoRA that is read."""
    parsed, said = _looked_at(path)
    base = Architecture.of(model) if model else suggested(parsed)
    return Inspection(
        dialect=parsed.dialect.name,
        title=parsed.dialect.title,
        modules=len(parsed.layers),
        ranks=dict(sorted(Counter(layer.rank for layer in parsed.layers).items())),
        alphas=dict(said.most_common()),
        dtypes=dict(Counter(layer.B.dtype for layer in parsed.layers)),
        bytes=path.stat().st_size,
        ignored=parsed.ignored,
        metadata={
            key[:SHOWN_VALUE]: value[:SHOWN_VALUE]
            for key, value in sorted(parsed.metadata.items())[:SHOWN_METADATA]
        },
        model=base.title if base else "",
        matching=fits(parsed, base) if base else 0,
    )


def _looked_at(path: Path) -> tuple[Parsed, Counter[float | None]]:
    try:
        with path.open("rb") as file:
            parsed = parse(path, file)
            return parsed, alphas(parsed, file)
    except FormatError as error:
        raise TrainerError(
            "The file is no LoRA adapter that can be read",
            f"{path}: {error}.",
            "Give a LoRA of kohya, diffusers, peft, ComfyUI or safelora in safetensors format.",
        ) from error
    except OSError as error:
        raise TrainerError(
            "The adapter cannot be read",
            f"{path}: {error.strerror}.",
            "Check that it is a file that you may read.",
        ) from error
