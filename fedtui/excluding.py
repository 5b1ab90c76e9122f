"""Keeping a picture out of training and letting it in again, without touching its file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fedtui.captioning import picture_in
from fedtui.control.operations import Result
from fedtui.errors import FedtuiError, UsageError
from p2p.durable import publish, sync_directory
from trainer.protocol import LEFT_OUT, MAX_LEFT_OUT_BYTES


@dataclass(frozen=True)
class ExcludePicture:
    """A picture in a folder, named as :class:`trainer.protocol.CheckData` names it."""

    folder: str
    file: str
    excluded: bool


def exclude(folder: Path, file: str, excluded: bool) -> Result:
    """Result: ``{"file", "excluded", "count"}``; ``count`` are then left out in this folder.

    The list is whole at every moment. Raises :class:`UsageError` when there is no such picture or
    the list is damaged, :class:`FedtuiError` when the disk refuses.
    """
    if excluded:
        picture_in(folder, file)
    path = folder / LEFT_OUT
    try:
        names = _listed(path)
        names = names | {file} if excluded else names - {file}
        if names:
            publish(path, json.dumps(sorted(names), indent=1).encode() + b"\n")
        else:
            path.unlink(missing_ok=True)
            sync_directory(folder)
    except OSError as error:
        raise FedtuiError(
            f"{file} stays as it is",
            f"{path}: {error.strerror or error}",
            "see to the rights and the space of that folder, or move the picture out of it",
        ) from error
    return {"file": file, "excluded": excluded, "count": len(names)}


def _listed(path: Path) -> frozenset[str]:
    """Raises OSError, and :class:`UsageError` for anything but a list of names: overwriting it
    could let a picture in that somebody kept out."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_LEFT_OUT_BYTES + 1)
    except FileNotFoundError:
        return frozenset()
    try:
        names = json.loads(content)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(
            "which pictures are left out is not known",
            f"{path} is no list of file names",
            "mend it, or delete it if every picture may be trained on",
        )
    return frozenset(names)
