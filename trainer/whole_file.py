"""Files of every weight of a denoiser, without torch: a room's first one, its shape, its export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from trainer import tensor_file
from trainer.adapter import A_SUFFIX
from trainer.aggregate.dense import EMA_PREFIX, VELOCITY_PREFIX
from trainer.aggregate.files import ROUNDS_KEY
from trainer.aggregate.kernel import SMALLEST_NORMAL
from trainer.config import MAX_MODEL_HEADER
from trainer.errors import MISUSE, TrainerError
from trainer.models.base import BaseModel, Shape, weight_files
from trainer.room_adapter import EXPORTED_ROUNDS
from trainer.tensor_file import FormatError, Tensor, Written


def is_whole(path: Path) -> bool:
    """Whether a file of a room holds whole weights, not factors."""
    try:
        with path.open("rb") as file:
            header = tensor_file.read_header(file, MAX_MODEL_HEADER)
    except (OSError, FormatError):
        return False
    factors = any(name.endswith(A_SUFFIX) for name in header.tensors)
    return ROUNDS_KEY in header.metadata and not factors


def shapes(base: BaseModel) -> dict[str, Shape]:
    """Names and shapes of all weights that mode ``dense`` trains, read from headers alone."""
    with ExitStack() as stack:
        return {name: tensor.shape for name, (_, tensor) in _located(stack, base).items()}


def write_initial(path: Path, base: BaseModel) -> Written:
    """The base model's own weights in float32: where every member of a room starts."""
    with ExitStack() as stack:
        located = _located(stack, base)
        return tensor_file.write_stream(
            path,
            {name: tensor.shape for name, (_, tensor) in located.items()},
            ((name, _widened(*located[name])) for name in sorted(located)),
        )


@dataclass(frozen=True)
class Export:
    """A written file of weights under the names of the network's state dict."""

    written: Written
    tensors: int
    averaged: bool


def export(path: Path, out: Path, metadata: dict[str, str]) -> Export:
    """Writes what a room draws with: the moving averages where it keeps some, else the weights."""
    with path.open("rb") as file:
        header = tensor_file.read_header(file, MAX_MODEL_HEADER)
        averaged = any(name.startswith(EMA_PREFIX) for name in header.tensors)
        chosen = {
            name.removeprefix(EMA_PREFIX): tensor
            for name, tensor in header.tensors.items()
            if name.startswith(EMA_PREFIX) == averaged and not name.startswith(VELOCITY_PREFIX)
        }
        notes = metadata | {EXPORTED_ROUNDS: header.metadata.get(ROUNDS_KEY, "0")}
        written = tensor_file.write_stream(
            out, {n: t.shape for n, t in chosen.items()}, _each(file, chosen), notes
        )
    return Export(written, len(chosen), averaged)


def restore(path: Path, out: Path) -> Written:
    """The room's own file from an export of it that holds the weights themselves."""
    with path.open("rb") as file:
        header = tensor_file.read_header(file, MAX_MODEL_HEADER)
        rounds = header.metadata.get(EXPORTED_ROUNDS, "0")
        return tensor_file.write_stream(
            out,
            header.shapes,
            _each(file, dict(header.tensors)),
            {ROUNDS_KEY: rounds} if rounds != "0" else None,
        )


def graft(path: Path, scion: Path, words: Sequence[str], out: Path) -> tuple[int, Written]:
    """Writes the weights of ``path`` with those of ``scion`` wherever a name contains one of
    ``words``; moving averages of these, too, become the scion's weights. Velocities stay out.

    Returns how many were replaced. Raises :class:`TrainerError` for a word that no name contains,
    and for weights that do not fit each other.
    """
    try:
        arrays, notes = tensor_file.read_all(path, MAX_MODEL_HEADER)
        others, _ = tensor_file.read_all(scion, MAX_MODEL_HEADER)
    except (OSError, FormatError) as error:
        raise TrainerError("The weights cannot be read", f"{error}.") from error
    plain = [name for name in arrays if "/" not in name]
    for word in words:
        if not any(word in name for name in plain):
            raise TrainerError(
                "No layer would stay personal",
                f"No weight's name contains {word!r}.",
                f"The names are like {', '.join(sorted(plain)[:3])}.",
                MISUSE,
            )
    chosen = [name for name in plain if any(word in name for word in words)]
    if len(chosen) == len(plain):
        raise TrainerError(
            "No layer would be trained together",
            f"Every weight's name contains one of {', '.join(words)}.",
            "Keep fewer layers personal.",
            MISUSE,
        )
    made = {name: array for name, array in arrays.items() if not name.startswith(VELOCITY_PREFIX)}
    for name in chosen:
        if name not in others or others[name].shape != arrays[name].shape:
            raise TrainerError("The weights do not fit each other", f"{scion} has no such {name}.")
        made[name] = others[name]
        if EMA_PREFIX + name in made:
            made[EMA_PREFIX + name] = others[name]
    return len(chosen), tensor_file.write(out, made, notes)


def _each(file: BinaryIO, tensors: dict[str, Tensor]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name in sorted(tensors):
        yield name, tensor_file.read_tensor(file, tensors[name])


def _located(stack: ExitStack, base: BaseModel) -> dict[str, tuple[BinaryIO, Tensor]]:
    found: dict[str, tuple[BinaryIO, Tensor]] = {}
    for path in weight_files(base.folder / base.family.adapted):
        file = stack.enter_context(path.open("rb"))
        header = tensor_file.read_header(file, MAX_MODEL_HEADER)
        found |= {
            name: (file, tensor)
            for name, tensor in header.tensors.items()
            if name not in base.family.tables
        }
    return found


def _widened(file: BinaryIO, tensor: Tensor) -> NDArray[np.float32]:
    values = tensor_file.read_tensor(file, tensor).astype(np.float32)
    values[np.abs(values) < SMALLEST_NORMAL] = 0.0
    return values
