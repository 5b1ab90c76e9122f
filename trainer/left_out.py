"""Pictures that their owner keeps out of training, without moving or deleting a file.

Their names lie in one file in the folder itself, so that every look at the folder knows of them,
whoever looks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trainer.errors import NO_USABLE, TrainerError
from trainer.protocol import LEFT_OUT, MAX_LEFT_OUT_BYTES


@dataclass(frozen=True)
class LeftOut:
    """A picture that is kept out; ``same_as`` names the one that shows the same, if it is that one
    which was left out. Sides are 0 where it cannot be decoded."""

    file: str
    caption: str
    width: int
    height: int
    same_as: str = ""


def names(folder: Path) -> frozenset[str]:
    """The pictures of a folder that are left out, relative to it.

    Raises :class:`TrainerError` when the list is there and cannot be read: training on what
    somebody wanted to keep out cannot be taken back.
    """
    path = folder / LEFT_OUT
    try:
        with path.open("rb") as file:
            content = file.read(MAX_LEFT_OUT_BYTES + 1)
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if len(content) > MAX_LEFT_OUT_BYTES:
        raise _unreadable(path, f"it has more than {MAX_LEFT_OUT_BYTES >> 20} MB")
    try:
        listed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f"it is no JSON: {error}") from error
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise _unreadable(path, "it is no list of file names")
    return frozenset(listed)


def inside(listed: Iterable[str], folder: Path) -> list[Path]:
    """The files of these names that are there, in their order; none from outside of the folder."""
    kept = []
    for name in sorted(listed):
        parts = PurePosixPath(name)
        outside = parts.is_absolute() or ".." in parts.parts or "\0" in name
        if not outside and (folder / parts).is_file():
            kept.append(folder / parts)
    return kept


def _unreadable(path: Path, cause: str) -> TrainerError:
    return TrainerError(
        "Which pictures are left out is not known",
        f"{path}: {cause}.",
        f"Mend {LEFT_OUT}, or delete it if every picture may be trained on.",
        NO_USABLE,
    )
