"""Judging files that strangers made, before any library reads them.

The verdict is about form and magnitude: exactly the tensors that the plan's adapter has, finite
and of a plausible size. It says nothing about what the numbers teach.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trainer.aggregate.kernel import tree_sum
from trainer.config import MAX_ABSOLUTE, MAX_METADATA, MAX_NORM, MIN_NORM
from trainer.models.base import Shape
from trainer.tensor_file import FormatError, Header, read_header, read_tensor

SHOWN_NAME = 60
"""Characters of a stranger's tensor name that a reason repeats."""


@dataclass(frozen=True)
class Verdict:
    """Whether a file may enter a round; ``reason`` is one sentence a person understands."""

    ok: bool
    reason: str = ""


def check(path: Path, shapes: Mapping[str, Shape], max_bytes: int) -> Verdict:
    """Judges a contribution that must hold exactly these float32 tensors.

    Bad content is a verdict. Raises OSError when the file itself cannot be opened or read.
    """
    size = path.stat().st_size
    if size > max_bytes:
        return Verdict(False, f"The file has {size} bytes; the room allows {max_bytes}.")
    try:
        with path.open("rb") as file:
            header = read_header(file)
            _check_names(header, shapes)
            _check_values(file, header)
    except FormatError as error:
        return Verdict(False, f"The file is refused: {error}.")
    return Verdict(True)


def _check_names(header: Header, shapes: Mapping[str, Shape]) -> None:
    if header.metadata_bytes > MAX_METADATA:
        raise FormatError(f"its metadata is larger than {MAX_METADATA} bytes")
    for name, tensor in header.tensors.items():
        if name not in shapes:
            raise FormatError(f"it holds {_shown(name)}, which the room's adapter does not have")
        if tensor.dtype != "F32":
            raise FormatError(f"{_shown(name)} is of type {tensor.dtype} and not F32")
        if tensor.shape != shapes[name]:
            raise FormatError(
                f"{_shown(name)} has shape {list(tensor.shape)} and not {list(shapes[name])}"
            )
    missing = len(shapes) - len(header.tensors)
    if missing:
        raise FormatError(f"{missing} of {len(shapes)} tensors are missing")


def _check_values(file: BinaryIO, header: Header) -> None:
    squares = 0.0
    for name, tensor in header.tensors.items():
        values = read_tensor(file, tensor)
        if not np.isfinite(values).all():
            raise FormatError(f"{_shown(name)} contains NaN or infinity")
        if values.size and float(np.abs(values).max()) > MAX_ABSOLUTE:
            raise FormatError(f"{_shown(name)} contains values beyond {MAX_ABSOLUTE:g}")
        wide = values.astype(np.float64)
        squares += tree_sum(wide * wide)
    norm = math.sqrt(squares)
    if not MIN_NORM <= norm <= MAX_NORM:
        raise FormatError(f"its norm of {norm:.3g} lies outside {MIN_NORM:g} to {MAX_NORM:g}")


def _shown(name: str) -> str:
    """A name that may hold anything, made fit for a screen."""
    short = name if len(name) <= SHOWN_NAME else name[:SHOWN_NAME] + "…"
    return ascii(short)
