"""Pictures in a folder as measures read them: as they are, sorted by name, with their captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from trainer import provenance
from trainer.captions import caption_of, read_metadata
from trainer.config import MAX_FILES
from trainer.errors import NO_USABLE, TrainerError
from trainer.protocol import DataOptions

SUFFIXES = (".png", ".jpg", ".jpeg")


def listed(folder: Path, least: int) -> list[Path]:
    """Every picture of a folder. Raises :class:`TrainerError` when there are too few or many."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not least <= len(paths) <= MAX_FILES:
        raise TrainerError(
            "These pictures cannot be compared",
            f"{folder} has {len(paths)} pictures.",
            f"A folder needs {least} to {MAX_FILES} PNG or JPEG files.",
            NO_USABLE,
        )
    return paths


def captions(paths: Sequence[Path]) -> list[str]:
    """What each picture shows: the caption that training would read, or the prompt in a PNG that
    was drawn; "" where neither is there."""
    folders = {path.parent: read_metadata(path.parent)[0] for path in paths}
    return [
        caption_of(path, path.name, folders[path.parent], DataOptions())[0].text
        or provenance.prompt_of(path)
        for path in paths
    ]


def opened(path: Path) -> Image.Image:
    """A picture as RGB. Raises :class:`TrainerError`."""
    try:
        return Image.open(path, formats=("PNG", "JPEG")).convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise TrainerError(
            "A picture cannot be read", f"{path}: {error}.", "Remove or replace it.", NO_USABLE
        ) from error
