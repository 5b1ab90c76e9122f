"""Pictures in a folder as measures read them: as they are, sorted by name."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from trainer.config import MAX_FILES
from trainer.errors import NO_USABLE, TrainerError

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


def opened(path: Path) -> Image.Image:
    """A picture as RGB. Raises :class:`TrainerError`."""
    try:
        return Image.open(path, formats=("PNG", "JPEG")).convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise TrainerError(
            "A picture cannot be read", f"{path}: {error}.", "Remove or replace it.", NO_USABLE
        ) from error
