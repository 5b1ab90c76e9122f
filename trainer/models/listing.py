"""Which base models are on this machine, told from their settings alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainer import embedded, models
from trainer.errors import TrainerError
from trainer.models import store
from trainer.models.base import BaseModel, Digests


@dataclass(frozen=True)
class Present:
    """A model, as :class:`trainer.protocol.ListModels` tells of it."""

    name: str
    source: str
    family: str
    resolution: int
    sha256: str
    bytes: int
    folder: str
    unfinished: bool = False


def present(also: Sequence[str] = ()) -> list[Present]:
    """The built-in model, those of the store, then what ``also`` names and is no such model."""
    built_in = models.resolve(embedded.MODEL_NAME)
    found = [_described(built_in, embedded.MODEL_NAME, Digests.of(built_in).model)]
    found += _kept()
    known = {entry.folder for entry in found}
    for source in dict.fromkeys(also):
        try:
            base = models.resolve(source)
        except (TrainerError, OSError):
            continue  # It is not on this machine.
        if str(base.folder) not in known:
            found.append(_described(base, source, ""))
    return found


def _kept() -> Iterator[Present]:
    for kind in ("hub", "files"):
        place = store.root() / kind
        for folder in sorted(place.iterdir()) if place.is_dir() else ():
            # What is being unpacked has a hidden name.
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            entry = store.record(folder)
            if entry is None:
                source = store.hub_name(folder) if kind == "hub" else folder.name
                yield Present(
                    folder.name, source, "", 0, "", bytes_in(folder), str(folder), unfinished=True
                )
                continue
            try:
                base = models.described(folder.name, folder)
                yield _described(base, entry.source, entry.sha256)
            except TrainerError:
                continue  # Somebody took it apart; using it says what is wrong.


def _described(base: BaseModel, source: str, sha256: str) -> Present:
    return Present(
        base.name,
        source,
        base.family.name,
        base.resolution,
        sha256,
        bytes_in(base.folder),
        str(base.folder),
    )


def bytes_in(folder: Path) -> int:
    """Of all files below a folder, as far as they can be looked at."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(root) / name).stat().st_size
    return total
